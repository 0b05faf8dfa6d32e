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
 * Their plan would outlive the size it was made for, so it is made anew when
 * what was written through it has doubled.  Where the order of rows can be seen,
 * the batch's is kept: a join that takes them as they come is the only one left
 * to the planner.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/statement.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"

/* Beyond this many plans, a topic of ever changing fields starts over. */
#define STATEMENTS_MAX		64

/* A join plan is kept at least for so many rows. */
#define REPLAN_ROWS_MIN		10000

/* Rows the planner is told at most, so that it prefers the index. */
#define PLANNED_ROWS_MAX	100

typedef struct StatementKey
{
	DjkStatementKind kind;
	int			nwords;
	bitmapword	words[(MaxHeapAttributeNumber + BITS_PER_BITMAPWORD - 1) / BITS_PER_BITMAPWORD];
} StatementKey;

typedef struct StatementEntry
{
	StatementKey key;
	SPIPlanPtr	plan;
} StatementEntry;

/* ---------- plans ---------- */

static void
register_relation(const char *name, TupleDesc desc, Tuplestorestate *store, int nrows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = (char *) name;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = Min(nrows, PLANNED_ROWS_MAX);
	enr->reldata = store;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register relation \"%s\"", name);
}

/* Keeps a plan until djk_statements_free(), or until forget(). */
static SPIPlanPtr
keep(DjkRouteState *state, SPIPlanPtr plan)
{
	MemoryContext old;

	SPI_keepplan(plan);
	old = MemoryContextSwitchTo(state->context);
	state->plans = lappend(state->plans, plan);
	MemoryContextSwitchTo(old);
	return plan;
}

static void
forget(DjkRouteState *state, SPIPlanPtr plan)
{
	state->plans = list_delete_ptr(state->plans, plan);
	SPI_freeplan(plan);
}

static SPIPlanPtr
prepare(const char *sql)
{
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	return plan;
}

static bool
is_join(DjkStatementKind kind)
{
	return kind >= DJK_STATEMENT_UPDATE;
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
		if (joins_only && !is_join(entry->key.kind))
			continue;
		if (entry->plan != NULL)
			forget(state, entry->plan);
		hash_search(state->statements, &entry->key, HASH_REMOVE, NULL);
	}
}

/* Also while the context goes away: its children, the hash table's, are gone then. */
void
djk_statements_free(DjkRouteState *state)
{
	ListCell   *lc;

	foreach(lc, state->plans)
		SPI_freeplan(lfirst(lc));
	state->plans = NIL;
}

static void
make_key(StatementKey *key, DjkStatementKind kind, const Bitmapset *present)
{
	memset(key, 0, sizeof(*key));
	key->kind = kind;
	if (present != NULL && kind < DJK_STATEMENT_DELETE)
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
get_plan(DjkRouteState *state, DjkStatementKind kind, const Bitmapset *present)
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

	make_key(&key, kind, present);
	entry = hash_search(state->statements, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->plan;

	if (hash_get_num_entries(state->statements) >= STATEMENTS_MAX)
		free_statements(state, false);
	sql = djk_statement_sql(state, kind, present);
	if (sql != NULL)
		plan = keep(state, prepare(sql));
	entry = hash_search(state->statements, &key, HASH_ENTER, NULL);
	entry->plan = plan;
	return plan;
}

/* Whether somebody could see in which order a statement takes its rows. */
static bool
order_is_seen(const DjkRouteState *state, DjkStatementKind kind)
{
	bool		seen = state->ordered;

	if (kind == DJK_STATEMENT_INSERT_MISSING)
	{
		seen |= state->counting_excluded;
		for (int c = 0; c < state->ncolumns; c++)
			seen |= state->columns[c].counting_default;
	}
	return seen && is_join(kind);
}

/*
 * Makes the plan, if there is none that is still valid, without the joins that
 * hash or sort the batch or look up its rows for each one of the target.  Not
 * around the execution, since triggers' queries are planned in it.
 */
static void
plan_in_order(SPIPlanPtr plan)
{
	static const char *const others[] = {"enable_hashjoin", "enable_mergejoin", "enable_seqscan"};
	int			guc_level = NewGUCNestLevel();
	CachedPlan *cached;

	for (int i = 0; i < lengthof(others); i++)
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

uint64
djk_statement_run_told(DjkRouteState *state, DjkStatementKind kind, const Bitmapset *present,
					   Tuplestorestate *rows, int nrows,
					   void (*take) (HeapTuple tuple, TupleDesc desc, void *arg), void *arg)
{
	SPIPlanPtr	plan;
	uint64		processed = 0;
	int			guc_level = djk_route_state_enter(state);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	register_relation(DJK_ROWS_RELATION, state->rows_desc, rows, nrows);
	state->running = true;
	state->running_kind = kind;
	state->running_present = present;
	plan = get_plan(state, kind, present);
	if (plan != NULL)
	{
		if (order_is_seen(state, kind))
			plan_in_order(plan);
		execute(plan, take != NULL);
		processed = SPI_processed;
		for (uint64 i = 0; take != NULL && i < processed; i++)
			take(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, arg);
	}
	SPI_finish();
	djk_route_state_leave(guc_level);

	state->running = false;
	state->rows_written += nrows;
	return processed;
}

/* ---------- expressions and handlers ---------- */

/* The column that an expression fills. */
static const DjkColumn *
column_of(const DjkRouteState *state, int expression)
{
	for (int c = 0; c < state->ncolumns; c++)
	{
		if (state->columns[c].expression == expression)
			return &state->columns[c];
	}
	elog(ERROR, "no column for expression %d", expression);
}

/*
 * When a column's expression counts.  Of a message that the filter leaves out,
 * and of one that is a deletion but for the key, it must not fail the message,
 * nor cost a number of a sequence.  (A tombstone of which the filter says
 * nothing belongs to a mirror.)  NULL: always.
 */
static const char *
expression_condition(const DjkRouteState *state, const DjkColumn *column)
{
	bool		mirror = state->route->operation == DJK_OPERATION_MIRROR;
	bool		for_delete = mirror && column->is_key;

	if (state->route->filter == NULL)
		return for_delete ? NULL : "NOT djk_delete";
	if (for_delete)
		return "djk_filter OR djk_filter IS NULL AND djk_tombstone";
	return mirror ? "(djk_filter OR djk_filter IS NULL AND djk_tombstone) AND NOT djk_delete" :
		"djk_filter AND NOT djk_delete";
}

/*
 * Filter and expressions as one query.  The casts name types as those without a
 * typmod are named: "character" would be a character(1) and cut the value.
 * OFFSET 0 keeps the planner from copying the filter to where it is used.
 */
static char *
build_evaluation(const DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT djk_ord, %s", route->filter ? "djk_filter" : "NULL::boolean");
	for (int i = 0; i < route->ncolumns; i++)
	{
		const DjkColumn *column = column_of(state, i);
		const char *condition = expression_condition(state, column);

		appendStringInfo(&sql, ",\n%s%s%s CAST((%s\n) AS %s)%s",
						 condition ? "CASE WHEN " : "", condition ? condition : "", condition ? " THEN" : "",
						 route->column_expressions[i],
						 format_type_extended(column->type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
						 condition ? " END" : "");
	}
	if (route->filter != NULL)
		appendStringInfo(&sql, "\nFROM (SELECT *, (%s\n) AS djk_filter FROM %s OFFSET 0) AS %s", route->filter,
						 DJK_INPUT_RELATION, DJK_INPUT_RELATION);
	else
		appendStringInfo(&sql, "\nFROM %s", DJK_INPUT_RELATION);
	return sql.data;
}

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

/* A SELECT of so many columns from one relation that gives a row for each of its rows. */
static bool
gives_row_for_row(const Query *query, int ncolumns)
{
	const RangeTblEntry *rte = query->rtable != NIL ? linitial(query->rtable) : NULL;

	if (query->commandType != CMD_SELECT || list_length(query->targetList) != ncolumns || rte == NULL ||
		query->jointree->quals != NULL || list_length(query->jointree->fromlist) != 1 ||
		query->setOperations != NULL || query->limitCount != NULL || query->distinctClause != NIL ||
		query->hasTargetSRFs || query->hasAggs || query->hasWindowFuncs)
		return false;
	return rte->rtekind != RTE_SUBQUERY || gives_row_for_row(rte->subquery, DJK_INPUT_COLUMNS + 1);
}

/*
 * An expression may be any SQL that gives one value a message.  A string that
 * closes the parenthesis, or what gives more or fewer rows, is refused.
 */
static void
require_one_row_each(SPIPlanPtr plan, int ncolumns)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	CachedPlanSource *source = linitial(sources);

	if (list_length(sources) != 1 || list_length(source->query_list) != 1 ||
		!gives_row_for_row(linitial(source->query_list), ncolumns))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("filter and columns must each be one SQL expression")));
}

static void
tell_expression(void *what)
{
	errcontext("%s of the route", (char *) what);
}

static void
require_type(const char *what, Oid type, Oid required)
{
	if (getBaseType(type) != required)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s is of type %s, not %s", what, format_type_be(type), format_type_be(required)),
				 errhint("Compare it with something, or cast it.")));
}

/*
 * Together with the others the server would name what stands beside an
 * aggregate, which is ours; so each is looked at alone first.
 */
static void
check_expression(const char *expression, char *what, Oid required_type)
{
	ErrorContextCallback callback = {error_context_stack, tell_expression, what};
	SPIPlanPtr	plan;
	CachedPlanSource *source;
	Query	   *query;

	if (expression == NULL)
		return;
	error_context_stack = &callback;
	plan = prepare(psprintf("SELECT (%s\n) FROM %s", expression, DJK_INPUT_RELATION));
	source = linitial(SPI_plan_get_plan_sources(plan));
	query = list_length(source->query_list) == 1 ? linitial(source->query_list) : NULL;
	if (query != NULL && (query->hasTargetSRFs || query->hasAggs || query->hasWindowFuncs))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot contain aggregates, window functions or functions that return sets", what),
				 errdetail("It is evaluated for each message alone."),
				 errhint("Put them into a sub-select.")));
	if (query != NULL && OidIsValid(required_type))
		require_type(what, exprType((Node *) ((TargetEntry *) linitial(query->targetList))->expr), required_type);
	error_context_stack = callback.previous;
	SPI_freeplan(plan);
}

static void
check_expressions(const DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;

	check_expression(route->filter, pstrdup("filter"), BOOLOID);
	for (int i = 0; i < route->ncolumns; i++)
		check_expression(route->column_expressions[i],
						 psprintf("expression for column \"%s\"", route->column_names[i]), InvalidOid);
}

/* CASE makes of a domain, whose value has passed its cast by then, the type that it is one of. */
static bool
is_value_of(Oid type, const DjkColumn *column)
{
	return type == column->type || type == getBaseType(column->type);
}

/*
 * The values are taken as what the casts of build_evaluation() make of them,
 * but the text of an expression may have closed its cast.  Looked at with each
 * result, because a plan may be made anew with other types.
 */
static void
require_types(const DjkRouteState *state, TupleDesc desc)
{
	bool		fits = desc->natts == state->route->ncolumns + 2 &&
		TupleDescAttr(desc, 0)->atttypid == INT4OID && TupleDescAttr(desc, 1)->atttypid == BOOLOID;

	for (int i = 0; fits && i < state->route->ncolumns; i++)
		fits = is_value_of(TupleDescAttr(desc, i + 2)->atttypid, column_of(state, i));
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("filter and columns must each be one SQL expression")));
}

static void
collect_reads(DjkRouteState *state, SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	MemoryContext old = MemoryContextSwitchTo(state->context);

	djk_reads_collect(linitial(source->query_list), &state->reads);
	MemoryContextSwitchTo(old);
}

static void
prepare_input_plan(DjkRouteState *state)
{
	SPIPlanPtr	plan;

	if (state->input_plan != NULL)
		return;
	check_expressions(state);
	plan = prepare(build_evaluation(state));
	require_one_row_each(plan, state->route->ncolumns + 2);
	state->input_plan = keep(state, plan);
	collect_reads(state, plan);
}

const DjkReads *
djk_statement_reads(DjkRouteState *state)
{
	Tuplestorestate *empty;

	if (!state->has_expressions || state->input_plan != NULL)
		return &state->reads;
	empty = tuplestore_begin_heap(false, false, 64);
	djk_statement_evaluate(state, empty, 0);
	SPI_finish();
	tuplestore_end(empty);
	return &state->reads;
}

/*
 * A plan that is made anew is not looked at again: a function may return a set
 * by now, and its rows could be taken for those of other messages.
 */
pg_noreturn void
djk_statement_throw_set(const DjkRouteState *state)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("filter and columns of route " INT64_FORMAT " do not give one row for each message",
					state->route->id),
			 errdetail("A function in them returns a set.")));
}

void
djk_statement_evaluate(DjkRouteState *state, Tuplestorestate *input, int nrows)
{
	int			guc_level = djk_route_state_enter(state);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	register_relation(DJK_INPUT_RELATION, state->input_desc, input, nrows);
	prepare_input_plan(state);
	execute(state->input_plan, true);
	if (SPI_processed != (uint64) nrows)
		djk_statement_throw_set(state);
	require_types(state, SPI_tuptable->tupdesc);
	djk_route_state_leave(guc_level);
}

void
djk_statement_call(DjkRouteState *state, Tuplestorestate *input, int nrows)
{
	int			guc_level = djk_route_state_enter(state);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	register_relation(DJK_INPUT_RELATION, state->input_desc, input, nrows);
	if (state->call_plan == NULL)
		state->call_plan = keep(state, prepare(build_call(state)));
	execute(state->call_plan, false);
	SPI_finish();
	djk_route_state_leave(guc_level);
}

void
djk_statement_try_empty(DjkRouteState *state)
{
	Tuplestorestate *empty = tuplestore_begin_heap(false, false, 64);

	if (state->has_expressions)
	{
		djk_statement_evaluate(state, empty, 0);
		SPI_finish();
	}
	if (state->handler_sql != NULL)
		djk_statement_call(state, empty, 0);
	if (state->running)
		(void) djk_statement_run(state, state->running_kind, state->running_present, empty, 0);
	tuplestore_end(empty);
}

void
djk_statement_check(DjkRouteState *state)
{
	Tuplestorestate *empty = tuplestore_begin_heap(false, false, 64);

	if (state->has_expressions)
	{
		djk_statement_evaluate(state, empty, 0);
		SPI_finish();
	}
	if (state->handler_sql != NULL)
	{
		int			guc_level = djk_route_state_enter(state);

		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "could not connect to SPI");
		register_relation(DJK_INPUT_RELATION, state->input_desc, empty, 0);
		state->call_plan = keep(state, prepare(build_call(state)));
		SPI_finish();
		djk_route_state_leave(guc_level);
	}
	tuplestore_end(empty);
}
