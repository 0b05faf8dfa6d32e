/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  The SQL that a route runs: plans, and execution over a batch.
 *
 * A batch's rows reach SQL as an ephemeral named relation over a tuplestore,
 * so one statement writes them all and every kind of target, trigger, policy
 * and constraint works as in any other INSERT.  Rows of a batch may have
 * different columns present (absent is not null); each set of columns has its
 * own plan, kept in a hash table by kind and set.
 *
 * UPDATE, DELETE and INSERT of what is missing join the batch with the target.
 * Their plan would outlive the size it was made for, so it is made again when
 * what was written through it has doubled.  Where the order of rows can be seen,
 * the batch's is kept: a join that takes them as they come is the only one left
 * to the planner.  A few rows have a plan of their own, which looks up each: the
 * other may read all of the target, as is right for many.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/statement.h"

#include "apply/expression.h"
#include "apply/plan.h"
#include "apply/referrer.h"
#include "lib/stringinfo.h"
#include "state/catalog.h"
#include "state/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

/* Beyond this many plans, a topic of ever changing fields starts over. */
#define STATEMENTS_MAX		64

/* A join plan is kept at least for so many rows. */
#define REPLAN_ROWS_MIN		10000

/* So many rows are looked up one by one. */
#define FEW_ROWS			64

/* Rows the planner is told at most, so that it prefers the index. */
#define PLANNED_ROWS_MAX	100

typedef struct StatementKey
{
	DjkRouteSql kind;
	bool		looked_up;		/* by a plan for a few rows */
	int			nwords;
	bitmapword	words[(MaxHeapAttributeNumber + BITS_PER_BITMAPWORD - 1) / BITS_PER_BITMAPWORD];
} StatementKey;

typedef struct StatementEntry
{
	StatementKey key;
	SPIPlanPtr	plan;
} StatementEntry;

/* ---------- plans ---------- */

static bool
is_join(const DjkRouteState *state, DjkRouteSql kind)
{
	return kind >= DJK_SQL_UPDATE || (kind != DJK_SQL_INSERT && state->numbered != NIL);
}

static void
free_statements(DjkRouteState *state, bool joins_only)
{
	HASH_SEQ_STATUS scan;
	StatementEntry *entry;

	if (state->statements == NULL)
		return;
	hash_seq_init(&scan, state->statements);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (joins_only && !is_join(state, entry->key.kind))
			continue;
		if (entry->plan != NULL)
			djk_plan_forget(state, entry->plan);
		hash_search(state->statements, &entry->key, HASH_REMOVE, NULL);
	}
}

/* Whether rows are so few that each is looked up, by the key's index. */
static bool
is_looked_up(const DjkRouteState *state, DjkRouteSql kind, int nrows)
{
	if (nrows > FEW_ROWS || !is_join(state, kind) || state->is_view || state->route->partial_deletes)
		return false;
	for (int i = 0; i < state->nkeys; i++)
	{
		if (state->columns[state->keys[i]].compared_as[0] != '\0')
			return false;
	}
	return true;
}

static void
make_key(StatementKey *key, const DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present, bool looked_up)
{
	memset(key, 0, sizeof(*key));
	key->kind = kind;
	key->looked_up = looked_up;
	if (present != NULL && (kind < DJK_SQL_DELETE || state->route->partial_deletes))
	{
		key->nwords = present->nwords;
		memcpy(key->words, present->words, present->nwords * sizeof(bitmapword));
	}
}

static void
create_statements(DjkRouteState *state)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(StatementKey);
	ctl.entrysize = sizeof(StatementEntry);
	ctl.hcxt = state->context;
	state->statements = hash_create("djkafka statements", STATEMENTS_MAX, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The plan of a statement; NULL if there is nothing to do.  SPI is connected. */
static SPIPlanPtr
get_plan(DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present, bool looked_up)
{
	StatementKey key;
	StatementEntry *entry;
	char	   *sql;
	SPIPlanPtr	plan = NULL;

	if (state->statements == NULL)
		create_statements(state);
	if (state->rows_written - state->rows_at_plan > Max(state->rows_at_plan, REPLAN_ROWS_MIN))
	{
		free_statements(state, true);
		state->rows_at_plan = state->rows_written;
	}

	make_key(&key, state, kind, present, looked_up);
	entry = hash_search(state->statements, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->plan;

	if (hash_get_num_entries(state->statements) >= STATEMENTS_MAX)
		free_statements(state, false);
	sql = djk_route_sql_text(state, kind, present);
	if (sql != NULL)
		plan = djk_plan_keep(state, djk_plan_prepare(sql));
	entry = hash_search(state->statements, &key, HASH_ENTER, NULL);
	entry->plan = plan;
	return plan;
}

/* Whether somebody could see in which order a statement takes its rows. */
static bool
order_is_seen(const DjkRouteState *state, DjkRouteSql kind)
{
	bool		seen = state->ordered;

	if (kind <= DJK_SQL_UPSERT || kind == DJK_SQL_INSERT_MISSING)
	{
		seen |= state->counting_excluded;
		for (int c = 0; c < state->ncolumns; c++)
			seen |= state->columns[c].counting_default;
	}
	return seen && is_join(state, kind);
}

/*
 * Whether it looks for rows in partitions, of which any could have each: that is for
 * the planner to weigh.  Where their order is seen a deletion is a statement of its own.
 */
static bool
is_scattered(const DjkRouteState *state, DjkRouteSql kind)
{
	return kind == DJK_SQL_DELETE_REFERRED && djk_referrers_have_partitions(state);
}

/*
 * Makes the plan, if there is none that is still valid: in order, without the joins that
 * hash or sort the batch or look up its rows for each one of the target.  Not
 * around the execution, since triggers' queries are planned in it.  Its cost is no
 * measure then, so nothing is compiled for it.
 */
static void
make_plan(SPIPlanPtr plan, bool in_order)
{
	static const char *const others[] = {"jit", "enable_hashjoin", "enable_mergejoin", "enable_seqscan"};
	int			guc_level = NewGUCNestLevel();
	CachedPlan *cached;

	for (int i = 0; i < (in_order ? lengthof(others) : 1); i++)
		(void) set_config_option(others[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	if (cached != NULL)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(false, guc_level);
}

static void
execute(SPIPlanPtr plan, bool keep_result)
{
	SPIExecuteOptions options = {0};
	int			result;

	options.must_return_tuples = false;
	if (!keep_result)
		options.dest = None_Receiver;
	result = SPI_execute_plan_extended(plan, &options);
	if (result < 0)
		elog(ERROR, "could not execute a statement of a route: %s", SPI_result_code_string(result));
}

/*
 * Of rows that are read one after the other the last that was read, which is the one
 * at hand; -1 if none was or all were: by a hash, by a sort, or because it is a check
 * behind them that has failed.  Each scan has a read pointer of its own, the first
 * (0) is nobody's; a pointer that is new follows those that there are.
 */
static int
last_row_read(Tuplestorestate *rows, int nrows)
{
	int			nscans = tuplestore_alloc_read_pointer(rows, 0);
	int			first = nrows;

	for (int scan = 1; scan < nscans; scan++)
	{
		int			left = 0;

		tuplestore_select_read_pointer(rows, scan);
		while (tuplestore_advance(rows, true))
			left++;
		first = Min(first, nrows - left);
	}
	return first > 0 && first < nrows ? first - 1 : -1;
}

/* Notes which row a statement was at when it failed. */
static void
execute_over(DjkRouteState *state, SPIPlanPtr plan, Tuplestorestate *rows, int nrows, bool keep_result)
{
	PG_TRY();
	{
		execute(plan, keep_result);
	}
	PG_CATCH();
	{
		state->at_hand.failed = last_row_read(rows, nrows);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

uint64
djk_route_sql_run_told(DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present,
					   Tuplestorestate *rows, int nrows,
					   void (*take) (HeapTuple tuple, TupleDesc desc, void *arg), void *arg)
{
	SPIPlanPtr	plan;
	bool		looked_up;
	uint64		processed = 0;
	int			guc_level = djk_route_state_enter(state);

	djk_spi_connect();
	djk_spi_register_rows(DJK_ROWS_RELATION, InvalidOid, state->rows_desc, rows, Min(nrows, PLANNED_ROWS_MAX));
	state->running.now = true;
	state->running.kind = kind;
	state->running.present = present;
	looked_up = is_looked_up(state, kind, nrows);
	plan = get_plan(state, kind, present, looked_up);
	if (plan != NULL)
	{
		bool		in_order = (looked_up || order_is_seen(state, kind)) && !is_scattered(state, kind);

		/* Of how many rows refer to others the planner knows little. */
		if (in_order || kind == DJK_SQL_DELETE_REFERRED)
			make_plan(plan, in_order);
		execute_over(state, plan, rows, nrows, take != NULL);
		processed = SPI_processed;
		for (uint64 i = 0; take != NULL && i < processed; i++)
			take(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, arg);
	}
	SPI_finish();
	djk_route_state_leave(guc_level);

	state->running.now = false;
	state->rows_written += nrows;
	return processed;
}

/* ---------- expressions and handlers ---------- */

static char *
build_call(const DjkRouteState *state)
{
	switch (state->handler_kind)
	{
		case DJK_HANDLER_JSONB:
			return psprintf("SELECT %s(value) FROM %s", state->handler_sql, DJK_INPUT_RELATION);
		case DJK_HANDLER_MESSAGE:
			return psprintf("SELECT %s(djk_message) FROM %s", state->handler_sql, DJK_INPUT_RELATION);
		case DJK_HANDLER_MESSAGES:
			/* not even once where there is none */
			return psprintf("SELECT %s(pg_catalog.array_agg(djk_message ORDER BY djk_ord)) FROM %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0",
							state->handler_sql, DJK_INPUT_RELATION);
	}
	pg_unreachable();
}


static void
prepare_input_plan(DjkRouteState *state)
{
	if (state->input_plan == NULL)
		state->input_plan = djk_plan_keep(state, djk_expressions_prepare(state));
}

const DjkReads *
djk_route_sql_reads(DjkRouteState *state)
{
	if (!state->has_expressions)
		return &state->reads;
	if (!djk_expressions_are_planned(state))
	{
		Tuplestorestate *empty = tuplestore_begin_heap(false, false, 64);

		djk_route_sql_evaluate(state, empty, 0);
		SPI_finish();
		tuplestore_end(empty);
	}
	djk_expressions_note_reads(state);
	return &state->reads;
}

/*
 * A plan that is made again is not looked at again: a function may return a set
 * by now, and its rows could be taken for those of other messages.
 */
pg_noreturn void
djk_route_sql_throw_set(const DjkRouteState *state)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("filter and columns of route " INT64_FORMAT " do not give one row for each message",
					state->route->id),
			 errdetail("A function in them returns a set.")));
}

void
djk_route_sql_evaluate(DjkRouteState *state, Tuplestorestate *input, int nrows)
{
	int			guc_level = djk_route_state_enter(state);

	djk_spi_connect();
	djk_spi_register_rows(DJK_INPUT_RELATION, InvalidOid, state->input_desc, input, Min(nrows, PLANNED_ROWS_MAX));
	prepare_input_plan(state);
	execute_over(state, state->input_plan, input, nrows, true);
	if (SPI_processed != (uint64) nrows)
		djk_route_sql_throw_set(state);
	djk_expressions_require_types(state, SPI_tuptable->tupdesc);
	djk_route_state_leave(guc_level);
}

void
djk_route_sql_call(DjkRouteState *state, Tuplestorestate *input, int nrows)
{
	int			guc_level = djk_route_state_enter(state);

	djk_spi_connect();
	djk_spi_register_rows(DJK_INPUT_RELATION, InvalidOid, state->input_desc, input, Min(nrows, PLANNED_ROWS_MAX));
	if (state->call_plan == NULL)
		state->call_plan = djk_plan_keep(state, djk_plan_prepare(build_call(state)));
	execute_over(state, state->call_plan, input, nrows, false);
	SPI_finish();
	djk_route_state_leave(guc_level);
}

void
djk_route_sql_try_empty(DjkRouteState *state)
{
	Tuplestorestate *empty = tuplestore_begin_heap(false, false, 64);

	if (state->has_expressions)
	{
		djk_route_sql_evaluate(state, empty, 0);
		SPI_finish();
	}
	if (state->handler_sql != NULL)
		djk_route_sql_call(state, empty, 0);
	if (state->running.now)
		(void) djk_route_sql_run(state, state->running.kind, state->running.present, empty, 0);
	tuplestore_end(empty);
}

/* What a deletion does to other tables is wrong for none of its own. */
static void
check_deletion(DjkRouteState *state, Tuplestorestate *empty)
{
	int			guc_level = djk_route_state_enter(state);

	djk_catalog_look_at("on_referenced");
	djk_spi_connect();
	djk_spi_register_rows(DJK_ROWS_RELATION, InvalidOid, state->rows_desc, empty, 0);
	(void) get_plan(state, DJK_SQL_DELETE_REFERRED, NULL, false);
	SPI_finish();
	djk_route_state_leave(guc_level);
}

void
djk_route_sql_check(DjkRouteState *state)
{
	Tuplestorestate *empty = tuplestore_begin_heap(false, false, 64);

	if (state->referrers != NIL)
		check_deletion(state, empty);
	if (state->has_expressions)
	{
		djk_route_sql_evaluate(state, empty, 0);
		SPI_finish();
	}
	if (state->handler_sql != NULL)
	{
		int			guc_level = djk_route_state_enter(state);

		djk_spi_connect();
		djk_spi_register_rows(DJK_INPUT_RELATION, InvalidOid, state->input_desc, empty, 0);
		state->call_plan = djk_plan_keep(state, djk_plan_prepare(build_call(state)));
		SPI_finish();
		djk_route_state_leave(guc_level);
	}
	tuplestore_end(empty);
}
