/*-------------------------------------------------------------------------
 *
 * row.c
 *	  A message becomes a row of its route's target.
 *
 * A column that the message does not speak of is absent, which is not the same
 * as null: it gets its default on insert and keeps its value on update.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/row.h"

#include "apply/expression.h"
#include "apply/park.h"
#include "apply/root.h"
#include "apply/row_fields.h"
#include "apply/writer.h"
#include "base/compat.h"
#include "codec/connect.h"
#include "codec/framing.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Makes equal sets of columns one pointer. */
Bitmapset *
djk_row_share_present(DjkApply *apply, Bitmapset *present)
{
	ListCell   *lc;

	foreach(lc, apply->presents)
	{
		if (bms_equal(lfirst(lc), present))
			return lfirst(lc);
	}
	present = bms_copy(present);
	apply->presents = lcons(present, apply->presents);
	return present;
}

static bool
is_true(const DjkField *field)
{
	return (field->kind == DJK_FIELD_BOOL || field->kind == DJK_FIELD_STRING) &&
		field->len == 4 && pg_strncasecmp(field->text, "true", 4) == 0;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Whether text ends so, and how long it is before that and the space there. */
static bool
ends_with(const char *text, int *len, const char *end)
{
	int			n = strlen(end);

	while (*len > 0 && is_space(text[*len - 1]))
		(*len)--;
	if (*len < n || memcmp(text + *len - n, end, n) != 0)
		return false;
	*len -= n;
	return true;
}

/*
 * Whether it is nothing beside the schema of what it would be.  That ends so,
 * whatever the schema is, and may be looked at for each message.
 */
static bool
wraps_null(const DjkRouteState *state, const char *value, int len)
{
	int			before = len;
	DjkDecoded	decoded;
	DjkError	ignored = {0};
	bool		is_null;

	if (!ends_with(value, &before, "}") || !ends_with(value, &before, "null") ||
		!ends_with(value, &before, ":") || !ends_with(value, &before, "\"payload\""))
		return false;
	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	decoded.replace_invalid = state->route->replace_invalid_text;
	is_null = state->codec->decode(value, len, &decoded, &ignored) &&
		!decoded.is_object && decoded.bare.kind == DJK_FIELD_NULL;
	if (decoded.fields != NULL)
		pfree(decoded.fields);
	return is_null;
}

/* What names the schema of a value is none of it. */
static void
skip_framing(const DjkRouteState *state, const char **value, int *len)
{
	DjkFraming	framing;

	if (!state->codec->framed)
		return;
	djk_framing_read(*value, *len, &framing);
	*value += framing.len;
	*len -= framing.len;
}

bool
djk_row_is_tombstone(const DjkRouteState *state, const DjkMessage *message)
{
	const char *value = message->value;
	int			len = message->value_len;

	if (value == NULL)
		return true;
	if (!state->codec->has_fields || state->target_sql == NULL || state->codec->registered || state->codec->type_field != NULL)
		return false;
	if (state->codec->connect && wraps_null(state, value, len))
		return true;
	skip_framing(state, &value, &len);
	while (len > 0 && is_space(*value))
	{
		value++;
		len--;
	}
	while (len > 0 && is_space(value[len - 1]))
		len--;
	return len == 4 && memcmp(value, "null", 4) == 0;
}

bool
djk_row_says_deleted(const DjkRouteState *state, const DjkDecoded *decoded)
{
	if (state->deleted_field_len < 0 || !decoded->is_object)
		return false;
	for (int i = decoded->nfields - 1; i >= 0; i--)
	{
		if (djk_row_is_deleted_field(state, &decoded->fields[i]))
			return is_true(&decoded->fields[i]);
	}
	return false;
}

/* ---------- the key ---------- */

/* Of what is thrown where a value of the key is converted. */
static void
tell_key(void *arg)
{
	errcontext("key of the message");
}

static bool
is_given(const DjkRowBuilder *builder, const DjkRow *row, int c)
{
	return bms_is_member(c, builder->present) && (!row->nulls[c] || builder->state->columns[c].null_is_key);
}

static bool
key_is_given(const DjkRowBuilder *builder, const DjkRow *row)
{
	for (int i = 0; i < builder->state->nkeys; i++)
	{
		if (!is_given(builder, row, builder->state->keys[i]))
			return false;
	}
	return true;
}

/* Fills key columns that the value lacks from the message's key. */
static bool
fill_key(DjkRowBuilder *builder, DjkRow *row, const DjkMessage *message, DjkError *error)
{
	DjkRouteState *state = builder->state;

	if (!djk_message_decode_key(state, message, &builder->decoded, error))
		return false;
	if (!djk_root_unwrap_key(state, &builder->decoded, error))
		return false;

	for (int i = 0; i < state->nkeys; i++)
	{
		DjkColumn  *column = &state->columns[state->keys[i]];
		const DjkField *field = NULL;
		const DjkConnectType *type = builder->decoded.types;

		if (is_given(builder, row, state->keys[i]))
			continue;
		if (!builder->decoded.is_object && state->nkeys == 1)
			field = &builder->decoded.bare;
		if (builder->decoded.is_object && !djk_row_find_field(builder, column, &field, error))
			return false;
		if (builder->decoded.is_object && field != NULL)
			type = djk_connect_find(type, field->name, field->name_len, i);
		if (field != NULL && !djk_row_put_field(builder, row, column, field, type, error))
			return false;
	}
	return true;
}

static bool
put_key(DjkRowBuilder *builder, DjkRow *row, const DjkMessage *message, DjkError *error)
{
	ErrorContextCallback callback = {error_context_stack, tell_key, NULL};
	bool		filled;

	if (!djk_message_has_key(builder->state, message) || key_is_given(builder, row))
		return true;
	builder->in_key = true;
	error_context_stack = &callback;
	filled = fill_key(builder, row, message, error);
	error_context_stack = callback.previous;
	return filled;
}

/* A default that is one value within a transaction; needs a transaction. */
static Datum
evaluate_default(const DjkColumn *column, bool *isnull)
{
	EState	   *estate = CreateExecutorState();
	ExprState  *expression = ExecPrepareExpr(column->stable_default, estate);
	Datum		value = ExecEvalExprSwitchContext(expression, GetPerTupleExprContext(estate), isnull);

	if (!*isnull)
		value = datumCopy(value, get_typbyval(column->type), get_typlen(column->type));
	FreeExecutorState(estate);
	return value;
}

void
djk_row_try_default_keys(DjkRouteState *state)
{
	for (int i = 0; i < state->nkeys && state->route->operation != DJK_OPERATION_INSERT; i++)
	{
		const DjkColumn *column = &state->columns[state->keys[i]];
		bool		isnull;

		if (column->stable_default != NULL && column->source != DJK_SOURCE_EXPRESSION)
			(void) evaluate_default(column, &isnull);
	}
}

/*
 * A key column of which the message does not speak takes its default, if that
 * identifies a row: one that differs from row to row does not.
 */
static void
put_default_key(DjkRowBuilder *builder, DjkRow *row)
{
	for (int i = 0; i < builder->state->nkeys; i++)
	{
		int			c = builder->state->keys[i];
		const DjkColumn *column = &builder->state->columns[c];

		if (bms_is_member(c, builder->present))
			continue;
		if (column->constant_default && !column->default_is_null)
		{
			const FormData_pg_attribute *att = TupleDescAttr(builder->state->rows_desc, c);

			/* The state may be built again before the row is written. */
			row->values[c] = datumCopy(column->default_value, att->attbyval, att->attlen);
			row->nulls[c] = false;
		}
		else if (column->stable_default != NULL)
			row->values[c] = evaluate_default(column, &row->nulls[c]);
		else
			continue;
		builder->present = bms_add_member(builder->present, c);
	}
}

/* The key columns that a deletion has, if a part of them will do. */
static Bitmapset *
given_part(const DjkRowBuilder *builder, const DjkRow *row)
{
	Bitmapset  *part = NULL;

	for (int i = 0; i < builder->state->nkeys; i++)
	{
		int			c = builder->state->keys[i];

		if (is_given(builder, row, c))
			part = bms_add_member(part, c);
	}
	return part;
}

static bool
require_key(const DjkRowBuilder *builder, const DjkRow *row, DjkError *error)
{
	const DjkRouteState *state = builder->state;

	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];

		if (is_given(builder, row, c))
			continue;
		error->sqlstate = DJK_ERRCODE_NO_KEY;
		error->message = psprintf("neither the value nor the key of the message fill key column \"%s\"",
								  state->columns[c].name);
		if (state->columns[c].counting_default)
			error->detail = pstrdup("Its default differs from row to row, so it does not identify one.");
		error->hint = psprintf("Send it as a field or as the message's key, or map it with columns%s.",
							   row->is_delete && given_part(builder, row) != NULL ?
							   "; with partial_deletes a part of the key will do" : "");
		return false;
	}
	return true;
}

/* A deletion may be without one: then it deletes whatever is there. */
static bool
require_version(const DjkRowBuilder *builder, const DjkRow *row, DjkError *error)
{
	const DjkRouteState *state = builder->state;

	if (bms_is_member(state->version, builder->present) && !row->nulls[state->version])
		return true;
	error->sqlstate = DJK_ERRCODE_NO_VERSION;
	error->message = psprintf("nothing in the message fills version_column \"%s\"", state->columns[state->version].name);
	error->hint = pstrdup("Send it as a field, or map the column with columns, such as to msg_offset or msg_time.");
	return false;
}

/* ---------- what a message says beside its key ---------- */

/* None for an operation that changes no row, and where no other column depends on the message's fields. */
static Bitmapset *
telling_columns(const DjkRouteState *state)
{
	Bitmapset  *telling = NULL;

	if (state->route->operation < DJK_OPERATION_UPSERT || !state->codec->has_fields)
		return NULL;
	for (int c = 0; c < state->ncolumns; c++)
	{
		const DjkColumn *column = &state->columns[c];

		if (!column->is_key && !column->insert_only &&
			(column->mapping != NULL ? djk_mapping_is_conditional(column->mapping) : column->source == DJK_SOURCE_FIELD))
			telling = bms_add_member(telling, c);
	}
	return telling;
}

/* ---------- the whole ---------- */

/* Of what a type throws, which can say nothing of the column. */
static void
tell_column(void *arg)
{
	const DjkRowBuilder *builder = arg;

	if (builder->converting != NULL)
		errcontext("column \"%s\"", builder->converting->name);
}

/* Whether a field of the value would be in a column, but for numbers that the table gives by itself. */
static bool
takes_fields(const DjkRouteState *state)
{
	for (int c = 0; c < state->ncolumns; c++)
	{
		const DjkColumn *column = &state->columns[c];

		if ((column->source == DJK_SOURCE_FIELD || (column->mapping != NULL && column->mapping->path != NULL)) &&
			!column->always_identity && !column->counting_default)
			return true;
	}
	return false;
}

/*
 * What deleted_when deletes may have no fields: its key is the message's then.
 * Neither need data that expressions alone read.
 */
static bool
forgive_root(const DjkRouteState *state, const DjkRow *row, DjkError *error)
{
	bool		reads_whole = state->codec->type_field != NULL && state->nroot == 0;

	if (error->sqlstate != DJK_ERRCODE_NO_ROOT || (!row->is_delete && (!reads_whole || takes_fields(state))))
		return false;
	memset(error, 0, sizeof(*error));
	return true;
}

static bool
decode_value(DjkRowBuilder *builder, DjkRow *row, const DjkMessage *message, DjkError *error)
{
	if (!builder->state->codec->has_fields)
	{
		djk_row_mark_given(builder, NULL);
		return djk_row_put_envelope(builder, row, message, error);
	}
	if (djk_row_is_tombstone(builder->state, message))
	{
		djk_row_mark_given(builder, NULL);
		row->is_delete = true;
		return true;
	}
	if (!djk_message_decode(builder->state, message, &builder->decoded, error))
		return false;
	djk_row_mark_given(builder, &builder->decoded);
	if (builder->decoded.is_object)
	{
		if (!djk_root_enter(builder->state, &builder->decoded, &builder->effect, error))
			return forgive_root(builder->state, row, error);
		if (builder->effect == DJK_EFFECT_NONE)
			return true;
		row->is_delete |= builder->effect == DJK_EFFECT_DELETE || djk_row_says_deleted(builder->state, &builder->decoded);
		return djk_row_put_fields(builder, row, error);
	}
	if (builder->state->fields_optional || row->is_delete)
		return true;
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = pstrdup("the value of the message is not a JSON object");
	if (builder->decoded.bare.kind == DJK_FIELD_ARRAY)
		error->detail = pstrdup("It is an array; a message is one row.");
	error->hint = pstrdup("Map the columns with SQL expressions over \"value\", or use a handler.");
	return false;
}

static void
allocate_row(DjkRow *row, const DjkRouteState *state)
{
	row->values = palloc0(state->ncolumns * sizeof(Datum));
	row->nulls = palloc(state->ncolumns * sizeof(bool));
	memset(row->nulls, true, state->ncolumns * sizeof(bool));
	row->shape = state->shape;
}

static bool
result_is_true(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return !isnull && DatumGetBool(value);
}

void
djk_row_start(DjkApply *apply, DjkRouteState *state, int message, HeapTuple tuple, TupleDesc desc,
			  MemoryContext context)
{
	DjkRow	   *row = &apply->work[message].row;
	MemoryContext old = MemoryContextSwitchTo(context);

	allocate_row(row, state);
	row->is_delete = result_is_true(tuple, desc, DJK_RESULT_DELETE);
	for (int c = 0; c < state->ncolumns; c++)
	{
		DjkColumn  *column = &state->columns[c];

		if (column->source == DJK_SOURCE_EXPRESSION)
		{
			Datum		value = SPI_getbinval(tuple, desc, DJK_RESULT_EXPRESSIONS + column->expression, &row->nulls[c]);

			if (!row->nulls[c])
				row->values[c] = datumCopy(value, get_typbyval(column->type), get_typlen(column->type));
		}
	}
	MemoryContextSwitchTo(old);
}

/*
 * Whether a column of the key was looked up, and not found: the message's key
 * does not stand in for it, and what is left of the key names other rows.
 */
static bool
misses_key(const DjkRowBuilder *builder, const DjkRow *row)
{
	const DjkRouteState *state = builder->state;

	for (int i = 0; i < state->nkeys && row->refused != NULL; i++)
	{
		int			c = state->keys[i];
		const DjkMapping *mapping = state->columns[c].mapping;

		if (mapping != NULL && mapping->lookup != NULL && row->nulls[c] && bms_is_member(c, builder->present))
			return true;
	}
	return false;
}

/*
 * Builds one row; false and *error if the message cannot become one.  A delete
 * needs its key alone, so an error of another column does not count there.
 */
static bool
build_row(DjkRowBuilder *builder, int message, bool *filtered, DjkError *error)
{
	DjkRouteState *state = builder->state;
	DjkRow	   *row = &builder->apply->work[message].row;
	const DjkMessage *m = &builder->apply->batch->messages[message];
	bool		by_key = state->route->operation != DJK_OPERATION_INSERT;

	bms_free(builder->present);
	builder->present = NULL;
	builder->in_key = false;
	builder->effect = DJK_EFFECT_WRITE;
	builder->apply->work[message].key_only = false;
	memset(&builder->error, 0, sizeof(DjkError));
	if (row->values == NULL)
		allocate_row(row, state);

	if (!decode_value(builder, row, m, error))
		return false;
	*filtered = builder->effect == DJK_EFFECT_NONE || (row->is_delete && state->route->operation != DJK_OPERATION_MIRROR);
	if (*filtered)
		return true;
	if (misses_key(builder, row))
	{
		*error = *row->refused;
		return false;
	}
	if (state->nkeys > 0 && !put_key(builder, row, m, error))
		return false;
	if (row->is_delete && state->route->partial_deletes)
	{
		Bitmapset  *part = given_part(builder, row);

		if (part != NULL)
		{
			row->present = djk_row_share_present(builder->apply, part);
			return true;
		}
	}
	else if (by_key)
		put_default_key(builder, row);
	if (by_key && !require_key(builder, row, error))
		return false;
	if (state->version >= 0 && !row->is_delete && !require_version(builder, row, error))
		return false;
	/* Also where it is refused now: its key is what others may have to wait behind. */
	row->present = djk_row_share_present(builder->apply, builder->present);
	if (!row->is_delete && (builder->error.sqlstate != 0 || row->refused != NULL))
	{
		*error = builder->error.sqlstate != 0 ? builder->error : *row->refused;
		return false;
	}
	builder->apply->work[message].key_only = !row->is_delete && builder->telling != NULL &&
		!bms_overlap(builder->present, builder->telling);
	return true;
}

void
djk_rows_build(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	DjkRowBuilder builder = {.apply = apply, .state = state, .telling = telling_columns(state)};
	ErrorContextCallback callback = {error_context_stack, tell_column, &builder};

	/* What is decoded of one message may be many times as long as it. */
	MemoryContext decoding = AllocSetContextCreate(CurrentMemoryContext, "djkafka decoding", ALLOCSET_DEFAULT_SIZES);
	int			guc_level = djk_route_state_enter(state);	/* a time without a zone is in the route's */

	djk_decoded_init(&builder.decoded, CurrentMemoryContext, decoding);
	builder.decoded.replace_invalid = state->route->replace_invalid_text;
	builder.decoded.batch = apply->batch;
	builder.decoded.schemas = state->schemas;
	if (state->codec->connect || state->codec->registered)
		builder.scratch = AllocSetContextCreate(CurrentMemoryContext, "djkafka field", ALLOCSET_DEFAULT_SIZES);
	/* A function that is STABLE in the check of a domain sees what its snapshot does: all that was written before. */
	if (state->values_read)
		PushActiveSnapshot(GetTransactionSnapshot());
	error_context_stack = &callback;
	for (int i = 0; i < n; i++)
	{
		DjkError	error = {0};
		bool		filtered = false;

		CHECK_FOR_INTERRUPTS();
		apply->current = indexes[i];
		if (!build_row(&builder, indexes[i], &filtered, &error))
			djk_park_note_unprepared(apply, indexes[i], &error);
		else if (filtered)
			apply->work[indexes[i]].fate = DJK_FATE_FILTERED;
		MemoryContextReset(decoding);
	}
	MemoryContextDelete(decoding);
	if (builder.scratch != NULL)
		MemoryContextDelete(builder.scratch);
	error_context_stack = callback.previous;
	if (state->values_read)
		PopActiveSnapshot();
	apply->current = -1;
	djk_route_state_leave(guc_level);
}
