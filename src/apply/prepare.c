/*-------------------------------------------------------------------------
 *
 * prepare.c
 *	  Which route takes a message, and the row it becomes.
 *
 * Routes are tried in their order.  One without a filter takes all messages of
 * its topics that are left; one with a filter decides by SQL, one statement
 * for all of them, which evaluates the mapped columns too.  What is malformed
 * fails here, alone and before any SQL has seen it.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/work.h"

#include "apply/expression.h"
#include "apply/message_row.h"
#include "apply/root.h"
#include "apply/route_target.h"
#include "apply/statement.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "state/catalog.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ---------- topics ---------- */

typedef struct TopicEntry
{
	char		topic[DJK_TOPIC_MAX + 1];	/* hash key */
	Bitmapset  *routes;
} TopicEntry;

Bitmapset *
djk_work_routes(DjkApply *apply, const char *topic)
{
	TopicEntry *entry;
	char		key[DJK_TOPIC_MAX + 1] = {0};
	bool		found;
	Bitmapset  *routes = NULL;
	MemoryContext old;

	if (apply->topics == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = DJK_TOPIC_MAX + 1;
		ctl.entrysize = sizeof(TopicEntry);
		ctl.hcxt = apply->context;
		apply->topics = hash_create("djkafka topics", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	strlcpy(key, topic, sizeof(key));
	entry = hash_search(apply->topics, key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->routes;

	old = MemoryContextSwitchTo(apply->context);
	for (int r = 0; r < apply->consumer->nroutes; r++)
	{
		if (djk_topic_matches(apply->consumer->routes[r].topic, topic))
			routes = bms_add_member(routes, r);
	}
	MemoryContextSwitchTo(old);
	entry = hash_search(apply->topics, key, HASH_ENTER, &found);
	entry->routes = routes;
	return routes;
}

/* ---------- failing ---------- */

static char *
copy_string(MemoryContext context, const char *s)
{
	return s ? MemoryContextStrdup(context, s) : NULL;
}

void
djk_work_fail(DjkApply *apply, int message, const DjkError *error, const char *context)
{
	static const DjkFate fates[] = {
		[DJK_ON_ERROR_DEAD_LETTER] = DJK_FATE_DEAD,
		[DJK_ON_ERROR_SKIP] = DJK_FATE_SKIPPED,
		[DJK_ON_ERROR_STOP] = DJK_FATE_STOP
	};
	DjkWork    *work = &apply->work[message];
	DjkOnError	policy = work->route >= 0 ? apply->consumer->routes[work->route].on_error : DJK_ON_ERROR_DEAD_LETTER;

	work->fate = fates[policy];
	work->error.sqlstate = error->sqlstate;
	work->error.message = copy_string(apply->batch_context, error->message);
	work->error.detail = copy_string(apply->batch_context, error->detail);
	work->error.hint = copy_string(apply->batch_context, error->hint);
	work->context = copy_string(apply->batch_context, context);
}

/*
 * Takes the lock that the statement will take anyway, before anything is
 * derived from the table: what was altered meanwhile is then known, and no
 * message is judged by what its column used to be.
 */
static void
lock_target(const DjkRouteRow *route)
{
	Oid			target = route->target;

	if (!OidIsValid(target))
		return;
	djk_route_target_require_rights(route);
	LockRelationOid(target, RowExclusiveLock);
}

DjkRouteState *
djk_work_state(DjkApply *apply, int route)
{
	DjkRouteState *state;

	lock_target(&apply->consumer->routes[route]);
	state = apply->states[route];
	if (state != NULL && !state->valid)
	{
		djk_route_state_destroy(state);
		state = apply->states[route] = NULL;
	}
	if (state == NULL)
		state = apply->states[route] = djk_route_state_create(&apply->consumer->routes[route], apply->context);
	return state;
}

/*
 * The state to write rows with that were prepared before.  Expressions and
 * triggers may have altered the target meanwhile: rows of another shape must
 * not reach it.
 */
DjkRouteState *
djk_work_state_prepared(DjkApply *apply, int route)
{
	DjkRouteState *prepared = apply->states[route];
	DjkRouteState *state;

	lock_target(&apply->consumer->routes[route]);
	if (prepared->valid)
		return prepared;
	state = djk_route_state_create(&apply->consumer->routes[route], apply->context);
	if (!djk_route_state_same_shape(prepared, state))
	{
		djk_route_state_destroy(state);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was altered while messages were applied to it",
						apply->consumer->routes[route].target_name),
				 errdetail("An expression, a handler or a trigger of the same transaction has done it.")));
	}
	djk_route_state_destroy(prepared);
	return apply->states[route] = state;
}

/* ---------- the input relation ---------- */

/* The key as jsonb: an object, a string, a number … as djk_codec_decode_key() reads it. */
static bool
key_datum(DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded,
		  Datum *value, bool *isnull, DjkError *error)
{
	DjkField	field = {0};

	*value = (Datum) 0;
	*isnull = true;
	if (message->key == NULL)
		return true;
	if (!djk_codec_decode_key(state->route->key_format, message->key, message->key_len, decoded, error))
		return false;
	if (decoded->is_object)
	{
		field.kind = DJK_FIELD_OBJECT;
		field.raw = field.text = decoded->text;
		field.raw_len = field.len = decoded->text_len;
	}
	else
		field = decoded->bare;
	if (field.kind == DJK_FIELD_BYTES)
	{
		/* as to_jsonb() has bytea: a string of \x and hexadecimal digits */
		field.kind = DJK_FIELD_STRING;
		field.text = DatumGetCString(DirectFunctionCall1(byteaout,
														 djk_bytea_datum(message->key, message->key_len)));
		field.len = strlen(field.text);
		field.raw = NULL;
	}
	return djk_convert(state->jsonb_converter, &field, value, isnull, error);
}

static bool
value_datum(DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded,
			Datum *value, bool *isnull, DjkError *error)
{
	DjkField	field = {0};

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
	if (!state->codec->decode(message->value, message->value_len, decoded, error))
		return false;
	if (state->codec->value_type == TEXTOID)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(decoded->bare.text, decoded->bare.len));
		*isnull = false;
		return true;
	}
	if (decoded->is_object)
	{
		field.kind = DJK_FIELD_OBJECT;
		field.raw = field.text = decoded->text;
		field.raw_len = field.len = decoded->text_len;
	}
	else if (decoded->bare.kind == DJK_FIELD_NULL)
	{
		/* A JSON null is a value here, unlike in a column. */
		*value = DirectFunctionCall1(jsonb_in, CStringGetDatum("null"));
		*isnull = false;
		return true;
	}
	else
		field = decoded->bare;
	return djk_convert(state->jsonb_converter, &field, value, isnull, error);
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
		state->codec->decode(message->value, message->value_len, decoded, &ignored);
}

/* Of which columns that an expression fills the message speaks, of those with a path or without. */
static void
find_given(const DjkRouteState *state, const DjkDecoded *decoded, bool by_path, Datum *given)
{
	for (int i = 0; i < state->nexpressions; i++)
	{
		if ((state->expressions[i]->path != NULL) == by_path)
			given[i] = BoolGetDatum(djk_mapping_is_given(state->expressions[i], decoded));
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
	bool		held = fields && !tombstone && (conditions || state->deleted_field_len >= 0) &&
		hold_value(state, message, decoded);
	Datum	   *given = conditions ? palloc0(state->nexpressions * sizeof(Datum)) : NULL;
	DjkError	ignored = {0};
	bool		rooted;

	if (conditions)
		find_given(state, held ? decoded : NULL, false, given);
	rooted = held && decoded->is_object && djk_root_enter(state, decoded, &ignored);
	if (conditions)
	{
		find_given(state, rooted ? decoded : NULL, true, given);
		values[DJK_INPUT_GIVEN] = PointerGetDatum(construct_array(given, state->nexpressions, BOOLOID, 1, true,
																  TYPALIGN_CHAR));
		nulls[DJK_INPUT_GIVEN] = false;
	}
	values[DJK_INPUT_TOMBSTONE] = BoolGetDatum(tombstone);
	values[DJK_INPUT_DELETE] = BoolGetDatum(fields && (tombstone || (rooted && djk_row_says_deleted(state, decoded))));
	nulls[DJK_INPUT_TOMBSTONE] = nulls[DJK_INPUT_DELETE] = false;
}

static bool
fill_input(DjkApply *apply, DjkRouteState *state, int index, int ord, DjkDecoded *decoded,
		   Datum *values, bool *nulls, DjkError *error)
{
	const DjkMessage *message = &apply->batch->messages[index];
	const DjkBatchPartition *partition = &apply->batch->partitions[message->partition];
	DjkHeader  *headers = NULL;
	int			nheaders = 0;

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
	if (state->input_used[DJK_INPUT_VALUE] &&
		!value_datum(state, message, decoded, &values[DJK_INPUT_VALUE], &nulls[DJK_INPUT_VALUE], error))
		return false;
	fill_signs(state, message, decoded, values, nulls);
	/* decodes anew */
	if (state->input_used[DJK_INPUT_KEY] &&
		!key_datum(state, message, decoded, &values[DJK_INPUT_KEY], &nulls[DJK_INPUT_KEY], error))
		return false;
	return true;
}

Tuplestorestate *
djk_prepare_input(DjkApply *apply, DjkRouteState *state, const int *indexes, int n, int *nrows)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "djkafka input row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	DjkDecoded	decoded;

	if (state->input_plan == NULL)
		(void) djk_statement_reads(state);
	djk_decoded_init(&decoded, old, row_context);
	*nrows = 0;
	for (int i = 0; i < n; i++)
	{
		Datum		values[DJK_INPUT_COLUMNS];
		bool		nulls[DJK_INPUT_COLUMNS];
		DjkError	error = {0};

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		MemoryContextSwitchTo(row_context);
		apply->current = indexes[i];
		if (fill_input(apply, state, indexes[i], i, &decoded, values, nulls, &error))
		{
			tuplestore_putvalues(store, state->input_desc, values, nulls);
			(*nrows)++;
		}
		else
			djk_work_fail(apply, indexes[i], &error, NULL);
		MemoryContextSwitchTo(old);
	}
	apply->current = -1;
	MemoryContextDelete(row_context);
	return store;
}

/* ---------- routing ---------- */

/* Pending messages of [from, to) that no earlier route took and whose topic matches. */
static int
find_candidates(DjkApply *apply, int route, int from, int to, int *indexes)
{
	int			n = 0;

	for (int i = from; i < to; i++)
	{
		DjkWork    *work = &apply->work[i];
		int			partition = apply->batch->messages[i].partition;

		if (work->fate == DJK_FATE_PENDING && work->route < 0 &&
			bms_is_member(route, djk_work_routes(apply, apply->batch->partitions[partition].topic)))
			indexes[n++] = i;
	}
	return n;
}

/*
 * Filter and expressions of a route, for candidates that may be its own.  A
 * tombstone about which the filter knows nothing belongs to a mirror.
 */
static int
evaluate(DjkApply *apply, DjkRouteState *state, int route, int *indexes, int n)
{
	MemoryContext attempt = CurrentMemoryContext;
	Tuplestorestate *input;
	bool	   *answered = palloc0(n * sizeof(bool));
	int			nrows;
	int			taken = 0;

	for (int i = 0; i < n; i++)
		apply->work[indexes[i]].route = route;
	input = djk_prepare_input(apply, state, indexes, n, &nrows);
	if (nrows > 0)
	{
		djk_statement_evaluate(state, input, nrows);
		for (int row = 0; row < nrows; row++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[row];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			int			ord = DatumGetInt32(SPI_getbinval(tuple, desc, DJK_RESULT_ORD, &isnull));
			int			i;
			bool		matches;

			if (isnull || ord < 0 || ord >= n)
				elog(ERROR, "filter and columns gave a row for no message");
			if (answered[ord])
				djk_statement_throw_set(state);
			answered[ord] = true;
			i = indexes[ord];
			matches = DatumGetBool(SPI_getbinval(tuple, desc, DJK_RESULT_FILTER, &isnull)) && !isnull;
			if (isnull && djk_row_is_tombstone(state, &apply->batch->messages[i]))
				matches = state->route->operation == DJK_OPERATION_MIRROR;
			if (state->route->filter != NULL && !matches)
				apply->work[i].route = -1;
			else if (state->target_sql != NULL)
				djk_row_start(apply, state, i, tuple, desc, attempt);
		}
		SPI_finish();
	}
	tuplestore_end(input);

	for (int i = 0; i < n; i++)
	{
		if (apply->work[indexes[i]].route == route && apply->work[indexes[i]].fate == DJK_FATE_PENDING)
			indexes[taken++] = indexes[i];
	}
	return taken;
}

static void
prepare_route(DjkApply *apply, int route, int from, int to)
{
	int		   *indexes = palloc((to - from) * sizeof(int));
	int			n = find_candidates(apply, route, from, to, indexes);
	DjkRouteState *state;

	if (n > 0)
	{
		apply->current_route = route;
		state = djk_work_state(apply, route);
		if (state->has_expressions)
			n = evaluate(apply, state, route, indexes, n);
		else
		{
			for (int i = 0; i < n; i++)
				apply->work[indexes[i]].route = route;
		}
		if (state->target_sql != NULL)
		{
			/* Input functions too read times in the route's zone. */
			int			guc_level = djk_route_state_enter(state);

			djk_rows_build(apply, state, indexes, n);
			djk_route_state_leave(guc_level);
		}
		apply->current_route = -1;
	}
	pfree(indexes);
}

void
djk_prepare(DjkApply *apply, int from, int to)
{
	apply->presents = NIL;
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate == DJK_FATE_PENDING)
		{
			apply->work[i].route = -1;
			memset(&apply->work[i].row, 0, sizeof(DjkRow));
		}
	}
	for (int route = 0; route < apply->consumer->nroutes; route++)
		prepare_route(apply, route, from, to);
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate == DJK_FATE_PENDING && apply->work[i].route < 0)
			apply->work[i].fate = DJK_FATE_FILTERED;
	}
}
