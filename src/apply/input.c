/*-------------------------------------------------------------------------
 *
 * input.c
 *	  Messages as the relation that expressions and handlers read.
 *
 * Only what they use of a message is made at all, so that nothing else can fail.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/input.h"

#include "apply/message_row.h"
#include "apply/park.h"
#include "apply/root.h"
#include "apply/row.h"
#include "apply/statement.h"
#include "apply/writer.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The text of an object of those fields alone that are used. */
static void
append_used(StringInfo text, const DjkDecoded *decoded, const DjkUses *uses)
{
	const char *separator = "";
	ListCell   *lc;

	appendStringInfoChar(text, '{');
	foreach(lc, uses->fields)
	{
		char	   *name = lfirst(lc);
		DjkField	field;

		if (!djk_codec_find_field(decoded, &name, 1, &field))
			continue;
		appendStringInfoString(text, separator);
		escape_json(text, name);
		appendStringInfoChar(text, ':');
		djk_codec_append_json(&field, text);
		separator = ",";
	}
	appendStringInfoChar(text, '}');
}

static bool
used_datum(DjkRouteState *state, DjkDecoded *decoded, const DjkUses *uses,
		   Datum *value, bool *isnull, DjkError *error)
{
	DjkField	field = {.kind = DJK_FIELD_OBJECT};
	StringInfoData text;

	if (!uses->whole)
	{
		initStringInfo(&text);
		append_used(&text, decoded, uses);
		field.raw = text.data;
		field.raw_len = text.len;
	}
	else if (!djk_codec_text(decoded, error))
		return false;
	else
	{
		field.raw = decoded->text;
		field.raw_len = decoded->text_len;
	}
	field.text = field.raw;
	field.len = field.raw_len;
	return djk_convert(state->jsonb_converter, &field, value, isnull, error);
}

/* Says of an error that it is the key's; returns false for the caller. */
static bool
blame_key(DjkError *error)
{
	error->message = psprintf("key of the message: %s", error->message);
	return false;
}

/* The key as jsonb: an object, a string, a number … as djk_codec_decode_key() reads it. */
static bool
key_datum(DjkRouteState *state, const DjkMessage *message, const DjkUses *uses, DjkDecoded *decoded,
		  Datum *value, bool *isnull, DjkError *error)
{
	DjkField	field;

	*value = (Datum) 0;
	*isnull = true;
	if (!djk_message_has_key(state, message))
		return true;
	if (!djk_message_decode_key(state, message, decoded, error))
		return false;
	if (state->codec->connect && !djk_root_unwrap_key(state, decoded, error))
		return false;
	if (decoded->is_object)
		return used_datum(state, decoded, uses, value, isnull, error) || blame_key(error);
	field = decoded->bare;
	if (field.kind == DJK_FIELD_BYTES)
	{
		/* as to_jsonb() has bytea: a string of \x and hexadecimal digits */
		field.kind = DJK_FIELD_STRING;
		field.text = DatumGetCString(DirectFunctionCall1(byteaout,
														 djk_bytea_datum(field.text, field.len)));
		field.len = strlen(field.text);
		field.raw = NULL;
	}
	return djk_convert(state->jsonb_converter, &field, value, isnull, error) || blame_key(error);
}

/* What is wrong counts later, if at all. */
static void
put_off(DjkError *error, DjkError *refused)
{
	*refused = *error;
	memset(error, 0, sizeof(*error));
}

/*
 * The fields of an object that expressions use: what no jsonb can hold in others
 * does not count.  Neither does it in what columns alone use, as long as the
 * message is not the route's or deletes: it is kept in *refused until that is
 * known.  (NULL: it is known.)  In what tells its row and a filter does not use it
 * counts if the filter takes the message: *unread.
 */
static bool
object_datum(DjkRouteState *state, DjkDecoded *decoded, DjkError *refused, bool *unread,
			 Datum *value, bool *isnull, DjkError *error)
{
	DjkError	ignored = {0};

	if (used_datum(state, decoded, &state->uses, value, isnull, error))
		return true;
	if (refused == NULL)
		return false;
	put_off(error, refused);
	if (used_datum(state, decoded, &state->deciding, value, isnull, error))
		return true;
	if (state->route->filter == NULL || !used_datum(state, decoded, &state->taking, value, isnull, &ignored))
		return false;
	put_off(error, refused);
	*unread = true;
	return true;
}

static bool
value_datum(DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, DjkError *refused, bool *unread,
			Datum *value, bool *isnull, DjkError *error)
{
	*value = (Datum) 0;
	*isnull = true;
	if (djk_row_is_tombstone(state, message))
		return true;
	if (state->codec->value_type == BYTEAOID)
	{
		*value = djk_bytea_datum(message->value, message->value_len);
		*isnull = false;
		return true;
	}
	if (!djk_message_decode(state, message, decoded, error))
		return false;
	if (state->codec->value_type == TEXTOID)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(decoded->bare.text, decoded->bare.len));
		*isnull = false;
		return true;
	}
	if (decoded->is_object)
		return object_datum(state, decoded, refused, unread, value, isnull, error);
	if (decoded->bare.kind == DJK_FIELD_NULL)
	{
		/* A JSON null is a value here, unlike in a column. */
		*value = DirectFunctionCall1(jsonb_in, CStringGetDatum("null"));
		*isnull = false;
		return true;
	}
	return djk_convert(state->jsonb_converter, &decoded->bare, value, isnull, error);
}

static bool
has_conditions(const DjkRouteState *state)
{
	for (int i = 0; i < state->nexpressions; i++)
	{
		if (djk_mapping_is_conditional(state->expressions[i]))
			return true;
	}
	return false;
}

/*
 * Makes sure that 'decoded' holds the value, as it does if an expression uses it.
 * What cannot be decoded fails when the row is built, if this route takes it.
 */
static bool
hold_value(const DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded)
{
	DjkError	ignored = {0};

	return state->input_used[DJK_INPUT_VALUE] ||
		djk_message_decode(state, message, decoded, &ignored);
}

/* Of which columns that an expression fills the message speaks, of those with a path or without. */
static void
find_given(const DjkRouteState *state, const DjkDecoded *decoded, bool by_path, Datum *given)
{
	int			c = -1;

	while ((c = bms_next_member(state->mapped_columns, c)) >= 0)
	{
		const DjkColumn *column = &state->columns[c];

		if (column->source == DJK_SOURCE_EXPRESSION && (column->mapping->path != NULL) == by_path)
			given[column->expression] = BoolGetDatum(djk_route_state_is_given(state, column, decoded));
	}
}

/*
 * What is known of a message without its expressions, which depend on it: that
 * it deletes, and of which columns it speaks.  Enters the root.
 */
static void
fill_signs(const DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, Datum *values, bool *nulls)
{
	bool		fields = state->codec->has_fields && state->target_sql != NULL;
	bool		tombstone = djk_row_is_tombstone(state, message);
	bool		conditions = has_conditions(state);
	bool		held = fields && !tombstone && (conditions || state->deleted_field_len >= 0 || state->codec->open != NULL) &&
		hold_value(state, message, decoded);
	Datum	   *given = conditions ? palloc0(state->nexpressions * sizeof(Datum)) : NULL;
	DjkEffect	effect = DJK_EFFECT_WRITE;
	DjkError	ignored = {0};
	bool		rooted;

	if (conditions)
		find_given(state, held ? decoded : NULL, false, given);
	rooted = held && decoded->is_object && djk_root_enter(state, decoded, &effect, &ignored);
	if (conditions)
	{
		find_given(state, rooted ? decoded : NULL, true, given);
		values[DJK_INPUT_GIVEN] = PointerGetDatum(construct_array(given, state->nexpressions, BOOLOID, 1, true,
																  TYPALIGN_CHAR));
		nulls[DJK_INPUT_GIVEN] = false;
	}
	values[DJK_INPUT_TOMBSTONE] = BoolGetDatum(tombstone);
	values[DJK_INPUT_DELETE] = BoolGetDatum(fields && (tombstone || effect != DJK_EFFECT_WRITE ||
													   (rooted && djk_row_says_deleted(state, decoded))));
	nulls[DJK_INPUT_TOMBSTONE] = nulls[DJK_INPUT_DELETE] = false;
}

/*
 * Of a message of which something cannot be read that the filter does not use: it
 * may be another route's.  Else it is refused, so no column is evaluated for it,
 * as for a deletion.
 */
static void
fill_signs_of_unread(Datum *values, bool *nulls)
{
	values[DJK_INPUT_TOMBSTONE] = BoolGetDatum(false);
	values[DJK_INPUT_DELETE] = BoolGetDatum(true);
	nulls[DJK_INPUT_TOMBSTONE] = nulls[DJK_INPUT_DELETE] = false;
}

/* Whether a message may be refused for its key or its value after the filter has been asked. */
static bool
may_be_unread(const DjkRouteState *state, int input, const DjkError *refused)
{
	const DjkUses *uses = state->route->filter != NULL ? &state->taking : &state->deciding;

	return refused != NULL && !bms_is_member(input, uses->columns);
}

static bool
fill_value(DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, DjkError *refused, bool *unread,
		   Datum *values, bool *nulls, DjkError *error)
{
	if (!state->input_used[DJK_INPUT_VALUE] ||
		value_datum(state, message, decoded, refused, unread, &values[DJK_INPUT_VALUE], &nulls[DJK_INPUT_VALUE], error))
	{
		fill_signs(state, message, decoded, values, nulls);
		return true;
	}
	if (!may_be_unread(state, DJK_INPUT_VALUE, refused))
		return false;
	put_off(error, refused);
	*unread = true;
	values[DJK_INPUT_VALUE] = (Datum) 0;
	nulls[DJK_INPUT_VALUE] = true;
	return true;
}

/* Decodes again. */
static bool
fill_key(DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, DjkError *refused, bool *unread,
		 Datum *values, bool *nulls, DjkError *error)
{
	DjkError	ignored = {0};
	Datum	   *key = &values[DJK_INPUT_KEY];
	bool	   *isnull = &nulls[DJK_INPUT_KEY];

	if (!state->input_used[DJK_INPUT_KEY] || key_datum(state, message, &state->key_uses, decoded, key, isnull, error))
		return true;
	if (refused == NULL || state->route->filter == NULL)
		return false;
	if (bms_is_member(DJK_INPUT_KEY, state->taking.columns) &&
		!key_datum(state, message, &state->taking_key, decoded, key, isnull, &ignored))
		return false;
	if (!*unread)
		*refused = *error;
	memset(error, 0, sizeof(*error));
	*unread = true;
	return true;
}

static bool
fill_input(DjkApply *apply, DjkRouteState *state, int index, int ord, DjkDecoded *decoded, DjkError *refused,
		   Datum *values, bool *nulls, DjkError *error)
{
	const DjkMessage *message = &apply->batch->messages[index];
	const DjkBatchPartition *partition = &apply->batch->partitions[message->partition];
	DjkHeader  *headers = NULL;
	int			nheaders = 0;
	bool		unread = false;

	memset(values, 0, DJK_INPUT_COLUMNS * sizeof(Datum));
	memset(nulls, true, DJK_INPUT_COLUMNS * sizeof(bool));
	values[DJK_INPUT_ORD] = Int32GetDatum(ord);
	nulls[DJK_INPUT_ORD] = false;
	values[DJK_INPUT_TOPIC] = CStringGetTextDatum(partition->topic);
	values[DJK_INPUT_PARTITION] = Int32GetDatum(partition->partition);
	values[DJK_INPUT_OFFSET] = Int64GetDatum(message->offset);
	nulls[DJK_INPUT_TOPIC] = nulls[DJK_INPUT_PARTITION] = nulls[DJK_INPUT_OFFSET] = false;
	nulls[DJK_INPUT_TIME] = message->timestamp_ms < 0;
	if (!nulls[DJK_INPUT_TIME])
		values[DJK_INPUT_TIME] = TimestampTzGetDatum(djk_timestamp_from_kafka(message->timestamp_ms));

	if (apply->batch->load_headers != NULL &&
		(state->input_used[DJK_INPUT_HEADERS] || state->input_used[DJK_INPUT_MESSAGE]))
		nheaders = apply->batch->load_headers(apply->batch, message, &headers);
	if (state->input_used[DJK_INPUT_HEADERS])
	{
		values[DJK_INPUT_HEADERS] = djk_headers_datum(state->header_type, headers, nheaders);
		nulls[DJK_INPUT_HEADERS] = values[DJK_INPUT_HEADERS] == (Datum) 0;
	}
	if (state->input_used[DJK_INPUT_MESSAGE])
	{
		values[DJK_INPUT_MESSAGE] = djk_message_datum(state->message_desc, state->header_type, partition->topic,
													  partition->partition, message, headers, nheaders);
		nulls[DJK_INPUT_MESSAGE] = false;
	}
	if (!fill_value(state, message, decoded, refused, &unread, values, nulls, error) ||
		!fill_key(state, message, decoded, refused, &unread, values, nulls, error))
		return false;
	apply->work[index].row.unread = unread;
	if (unread)
		fill_signs_of_unread(values, nulls);
	return true;
}

/* What was refused, in a context that outlives the message's; NULL if nothing was. */
static DjkError *
keep_refused(MemoryContext context, const DjkError *refused)
{
	DjkError   *kept;

	if (refused->sqlstate == 0)
		return NULL;
	kept = MemoryContextAllocZero(context, sizeof(DjkError));
	kept->sqlstate = refused->sqlstate;
	kept->message = refused->message ? MemoryContextStrdup(context, refused->message) : NULL;
	kept->detail = refused->detail ? MemoryContextStrdup(context, refused->detail) : NULL;
	kept->hint = refused->hint ? MemoryContextStrdup(context, refused->hint) : NULL;
	return kept;
}

/* What is before it of its key may wait by now, in this batch: since it could not be read, as is found out only here. */
static bool
is_behind(DjkApply *apply, int message)
{
	if (apply->parked_keys == NULL)
		return false;
	djk_park_note_key(apply, message);
	return djk_park_behind_known(apply, message);
}

Tuplestorestate *
djk_input_store(DjkApply *apply, DjkRouteState *state, const int *indexes, int n, bool deciding,
				int *nrows)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "djkafka input row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	DjkDecoded	decoded;

	if (state->input_plan == NULL)
		(void) djk_route_sql_reads(state);
	djk_decoded_init(&decoded, old, row_context);
	decoded.replace_invalid = state->route->replace_invalid_text;
	decoded.batch = apply->batch;
	*nrows = 0;
	for (int i = 0; i < n; i++)
	{
		Datum		values[DJK_INPUT_COLUMNS];
		bool		nulls[DJK_INPUT_COLUMNS];
		DjkError	error = {0};
		DjkError	refused = {0};
		bool		behind;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		MemoryContextSwitchTo(row_context);
		apply->current = indexes[i];
		behind = !deciding && is_behind(apply, indexes[i]);
		if (!behind && fill_input(apply, state, indexes[i], i, &decoded, deciding ? &refused : NULL, values, nulls, &error))
		{
			tuplestore_putvalues(store, state->input_desc, values, nulls);
			(*nrows)++;
			if (deciding)
				apply->work[indexes[i]].row.refused = keep_refused(old, &refused);
		}
		else if (deciding)
			djk_park_note_unprepared(apply, indexes[i], &error);
		else if (!behind)
			djk_park_unprepared(apply, indexes[i], &error);
		MemoryContextSwitchTo(old);
		/* What is behind one that stops is not for a handler yet. */
		if (!deciding && apply->work[indexes[i]].fate == DJK_FATE_STOP)
			break;
	}
	apply->current = -1;
	MemoryContextDelete(row_context);
	return store;
}
