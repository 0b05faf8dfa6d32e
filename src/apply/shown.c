/*-------------------------------------------------------------------------
 *
 * shown.c
 *	  The row that a message is about, for a person to see.
 *
 * For djkafka_test: what was there before is asked for when the message has been
 * applied, and its key is known, with a snapshot that was taken before.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/shown.h"

#include "apply/piece.h"
#include "apply/retry.h"
#include "base/subtransaction.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Rows that are shown of a part of a key. */
#define ROWS_MAX	100

typedef struct ShownQuery
{
	StringInfoData sql;
	int			nvalues;
	Oid		   *types;
	Datum	   *values;
	char	   *nulls;
} ShownQuery;

/* ---------- what the message has become ---------- */

/* Not if its table was altered since, when the attempt that has made the row failed and gave back its lock. */
static bool
has_row(const DjkApply *apply, const DjkWork *work)
{
	const DjkRouteState *state = apply->states[work->route];

	return state != NULL && work->row.values != NULL && work->row.shape == state->shape;
}

typedef struct Prepare
{
	DjkApply   *apply;
	int			message;
} Prepare;

static bool
prepare(void *arg)
{
	const Prepare *prepare = arg;

	djk_piece_prepare(prepare->apply, prepare->message, prepare->message + 1);
	return false;
}

void
djk_shown_prepare(DjkApply *apply, int message)
{
	DjkWork    *work = &apply->work[message];
	DjkWork		before = *work;
	Prepare		arg = {apply, message};
	ErrorData  *edata;
	DjkRow		row;

	if (work->route < 0 || has_row(apply, work))
		return;
	work->fate = DJK_FATE_PENDING;
	edata = djk_subtransaction_try(prepare, &arg, apply->batch_context);
	if (edata != NULL && djk_retry_verdict(edata->sqlerrcode) == DJK_VERDICT_TRANSIENT)
		ReThrowError(edata);
	row = work->row;
	*work = before;
	work->row = row;
}

/* The state of a route to a table that has made a row of the message; NULL: there is none. */
static const DjkRouteState *
state_of(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];
	const DjkRouteState *state = work->route >= 0 ? apply->states[work->route] : NULL;

	return state != NULL && state->target_sql != NULL && has_row(apply, work) ? state : NULL;
}

/* ---------- queries ---------- */

static void
begin_query(ShownQuery *query, const DjkRouteState *state)
{
	initStringInfo(&query->sql);
	query->nvalues = 0;
	query->types = palloc(Max(state->ncolumns, 1) * sizeof(Oid));
	query->values = palloc(Max(state->ncolumns, 1) * sizeof(Datum));
	query->nulls = palloc(Max(state->ncolumns, 1) + 1);
}

/* Its number. */
static int
add_value(ShownQuery *query, const DjkRouteState *state, const DjkRow *row, int column)
{
	query->types[query->nvalues] = state->columns[column].type;
	query->values[query->nvalues] = row->values[column];
	query->nulls[query->nvalues] = row->nulls[column] ? 'n' : ' ';
	return ++query->nvalues;
}

/* The one value that it gives; false if that is null. */
static bool
run_query(ShownQuery *query, Snapshot snapshot, Datum *value)
{
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan;
	bool		isnull = true;

	djk_spi_connect();
	plan = SPI_prepare(query->sql.data, query->nvalues, query->types);
	if (plan == NULL)
		elog(ERROR, "a query of a row could not be prepared: %s", SPI_result_code_string(SPI_result));
	if (SPI_execute_snapshot(plan, query->values, query->nulls, snapshot, InvalidSnapshot, true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "a query of a row has failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_processed == 1)
		*value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		*value = datumCopy(*value, false, -1);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return !isnull;
}

/* ---------- by the key ---------- */

/* What a deletion names a part of may be any of its rows. */
static bool
append_key(ShownQuery *query, const DjkRouteState *state, const DjkRow *row)
{
	bool		partial = row->is_delete && state->route->partial_deletes;
	bool		any = false;

	for (int k = 0; k < state->nkeys; k++)
	{
		int			c = state->keys[k];
		const DjkColumn *column = &state->columns[c];
		bool		is_given = bms_is_member(c, row->present);

		if (!is_given && partial)
			continue;
		if (!is_given || (row->nulls[c] && !column->null_is_key))
			return false;
		appendStringInfo(&query->sql, "%st.%s", any ? " AND " : " WHERE ", quote_identifier(column->name));
		if (row->nulls[c])
			appendStringInfoString(&query->sql, " IS NULL");
		else
			appendStringInfo(&query->sql, "%s %s $%d%s", column->compared_as, column->equal_operator,
							 add_value(query, state, row, c), column->compared_as);
		any = true;
	}
	return any;
}

bool
djk_shown_has_key(const DjkApply *apply, int message)
{
	const DjkRouteState *state = state_of(apply, message);
	ShownQuery	query;

	if (state == NULL || state->nkeys == 0)
		return state != NULL;
	begin_query(&query, state);
	return append_key(&query, state, &apply->work[message].row);
}

static bool
may_read(const DjkRouteState *state)
{
	Oid			target = state->route->target;

	return pg_class_aclcheck(target, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(target, GetUserId(), ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK;
}

bool
djk_shown_row(DjkApply *apply, int message, Snapshot snapshot, Datum *row)
{
	const DjkRouteState *state = state_of(apply, message);
	ShownQuery	query;

	if (state == NULL || !may_read(state))
		return false;
	begin_query(&query, state);
	appendStringInfo(&query.sql,
					 "SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 THEN pg_catalog.jsonb_agg(f.r)"
					 " ELSE pg_catalog.jsonb_agg(f.r) OPERATOR(pg_catalog.->) 0 END"
					 " FROM (SELECT pg_catalog.to_jsonb(t.*) AS r FROM %s AS t", state->target_sql);
	if (!append_key(&query, state, &apply->work[message].row))
		return false;
	appendStringInfo(&query.sql, " LIMIT %d) f", ROWS_MAX);
	return run_query(&query, snapshot, row);
}

bool
djk_shown_given(DjkApply *apply, int message, Datum *row)
{
	const DjkRouteState *state = state_of(apply, message);
	const DjkRow *given = &apply->work[message].row;
	ShownQuery	query;
	int			c = -1;

	if (state == NULL || bms_is_empty(given->present))
		return false;
	begin_query(&query, state);
	appendStringInfoString(&query.sql, "SELECT pg_catalog.to_jsonb(r.*) FROM (SELECT ");
	while ((c = bms_next_member(given->present, c)) >= 0)
	{
		const char *comma = query.nvalues > 0 ? ", " : "";

		appendStringInfo(&query.sql, "%s$%d AS %s", comma, add_value(&query, state, given, c),
						 quote_identifier(state->columns[c].name));
	}
	appendStringInfoString(&query.sql, ") r");
	return run_query(&query, GetActiveSnapshot(), row);
}
