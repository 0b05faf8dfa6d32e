/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  The filter, deleted_when and the mapped columns of a route as one query.
 *
 * They are evaluated together, over all candidates of a batch (statement.c).
 * Each of them is looked at alone first: what is wrong is then told by its
 * name, and a string that is more than one expression is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/expression.h"

#include "apply/plan.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "state/row.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"

/* ---------- the query ---------- */

/* The column that an expression fills. */
static const DjkColumn *
column_of(const DjkRouteState *state, int expression)
{
	for (int c = 0; c < state->ncolumns; c++)
	{
		if (state->columns[c].source == DJK_SOURCE_EXPRESSION && state->columns[c].expression == expression)
			return &state->columns[c];
	}
	elog(ERROR, "no column for expression %d", expression);
}

/*
 * Which messages are the route's.  A tombstone of which the filter says nothing
 * belongs to a mirror.  NULL: all.
 */
static const char *
taken_condition(const DjkRouteState *state)
{
	if (state->route->filter == NULL)
		return NULL;
	return state->route->operation == DJK_OPERATION_MIRROR ?
		"djk_filter OR djk_filter IS NULL AND djk_tombstone" : "djk_filter";
}

/* The name of what says that a message deletes its row. */
static const char *
deletion(const DjkRouteState *state)
{
	return state->route->deleted_when != NULL ? "djk_gone" : "djk_delete";
}

/*
 * When a column's expression counts.  Of a message that the filter leaves out,
 * and of one that is a deletion but for the key, it must not fail the message,
 * nor cost a number of a sequence.  NULL: always.
 */
static const char *
row_condition(const DjkRouteState *state, const DjkColumn *column)
{
	const char *taken = taken_condition(state);
	const char *deleted = deletion(state);

	if (state->route->operation == DJK_OPERATION_MIRROR && column->for_delete)
		return taken;
	return taken == NULL ? psprintf("NOT %s", deleted) : psprintf("(%s) AND NOT %s", taken, deleted);
}

/* The same, and that the message speaks of the column: else it may have nothing for the expression. */
static const char *
expression_condition(const DjkRouteState *state, const DjkColumn *column)
{
	const char *condition = row_condition(state, column);

	if (!djk_mapping_is_conditional(column->mapping))
		return condition;
	return psprintf("%s%s%s%s.djk_given[%d]", condition ? "(" : "", condition ? condition : "",
					condition ? ") AND " : "", DJK_INPUT_RELATION, column->expression + 1);
}

/* The value of an expression, of a type; null where it does not count. */
static void
append_value(StringInfo sql, const DjkRouteState *state, int expression, const char *type)
{
	const char *condition = expression_condition(state, column_of(state, expression));

	appendStringInfo(sql, "%s%s%s CAST((%s\n) AS %s)%s",
					 condition ? "CASE WHEN " : "", condition ? condition : "", condition ? " THEN" : "",
					 state->expressions[expression]->expression, type, condition ? " END" : "");
}

/* What is looked up, as columns of a sub-select: djk_lookup_1, … */
static void
append_wanted(StringInfo sql, const DjkRouteState *state)
{
	for (int i = 0; i < state->nexpressions; i++)
	{
		const DjkLookup *lookup = state->expressions[i]->lookup;

		if (lookup == NULL)
			continue;
		appendStringInfoString(sql, ",\n");
		append_value(sql, state, i, lookup->type_sql);
		appendStringInfo(sql, " AS djk_lookup_%d", lookup->number + 1);
	}
}

static char *
wanted_name(const DjkLookup *lookup)
{
	return psprintf("%s.djk_lookup_%d", DJK_INPUT_RELATION, lookup->number + 1);
}

/*
 * What the expressions are evaluated over: the messages, with what the filter
 * and then deleted_when say of each, and then what is looked up.  OFFSET 0 keeps
 * the planner from copying them to where they are used.
 */
static char *
build_source(const DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;
	const char *taken = taken_condition(state);
	char	   *source = DJK_INPUT_RELATION;
	StringInfoData wanted;

	if (route->filter != NULL)
		source = psprintf("(SELECT *, (%s\n) AS djk_filter FROM %s OFFSET 0) AS %s", route->filter,
						  source, DJK_INPUT_RELATION);
	if (route->deleted_when != NULL)
		source = psprintf("(SELECT *, CASE WHEN djk_delete THEN true WHEN %s THEN (%s\n) IS TRUE ELSE false END AS djk_gone FROM %s OFFSET 0) AS %s",
						  taken ? taken : "true", route->deleted_when, source, DJK_INPUT_RELATION);
	if (state->nlookups == 0)
		return source;
	initStringInfo(&wanted);
	append_wanted(&wanted, state);
	return psprintf("(SELECT *%s FROM %s OFFSET 0) AS %s", wanted.data, source, DJK_INPUT_RELATION);
}

/*
 * Filter and expressions as one query, and as text what was looked up.  The
 * casts name types as those without a typmod are named: "character" would be a
 * character(1) and cut the value.
 */
static char *
build_evaluation(const DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT djk_ord, %s, %s", route->filter ? "djk_filter" : "NULL::boolean", deletion(state));
	for (int i = 0; i < state->nexpressions; i++)
	{
		const DjkLookup *lookup = state->expressions[i]->lookup;
		char	   *type = format_type_extended(column_of(state, i)->type, -1,
												FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

		appendStringInfoString(&sql, ",\n");
		if (lookup == NULL)
			append_value(&sql, state, i, type);
		else
			appendStringInfo(&sql, "CAST((%s) AS %s)", djk_lookup_sql(lookup, wanted_name(lookup)), type);
	}
	for (int i = 0; i < state->nexpressions; i++)
	{
		if (state->expressions[i]->lookup != NULL)
			appendStringInfo(&sql, ", CAST(%s AS pg_catalog.text)", wanted_name(state->expressions[i]->lookup));
	}
	appendStringInfo(&sql, "\nFROM %s", build_source(state));
	return sql.data;
}

/* ---------- what is refused ---------- */

static int
result_width(const DjkRouteState *state)
{
	return DJK_RESULT_EXPRESSIONS - 1 + state->nexpressions + state->nlookups;
}

/*
 * A SELECT of so many columns from one relation that gives a row for each of its
 * rows, so many such SELECTs deep, whose columns are 'widths' from the innermost.
 */
static bool
gives_row_for_row(const Query *query, int ncolumns, const int *widths, int depth)
{
	const RangeTblEntry *rte = query->rtable != NIL ? linitial(query->rtable) : NULL;

	if (query->commandType != CMD_SELECT || list_length(query->targetList) != ncolumns || rte == NULL ||
		query->jointree->quals != NULL || list_length(query->jointree->fromlist) != 1 ||
		query->setOperations != NULL || query->limitCount != NULL || query->distinctClause != NIL ||
		query->hasTargetSRFs || query->hasAggs || query->hasWindowFuncs)
		return false;
	if (depth == 0)
		return rte->rtekind != RTE_SUBQUERY;
	return rte->rtekind == RTE_SUBQUERY &&
		gives_row_for_row(rte->subquery, widths[depth - 1], widths, depth - 1);
}

/*
 * An expression may be any SQL that gives one value a message.  A string that
 * closes the parenthesis, or what gives more or fewer rows, is refused.
 */
static void
require_one_row_each(const DjkRouteState *state, SPIPlanPtr plan)
{
	const DjkRouteRow *route = state->route;
	int			width = DJK_INPUT_COLUMNS;
	int			widths[3];
	int			depth = 0;
	List	   *sources = SPI_plan_get_plan_sources(plan);
	CachedPlanSource *source = linitial(sources);

	if (route->filter != NULL)
		widths[depth++] = ++width;
	if (route->deleted_when != NULL)
		widths[depth++] = ++width;
	if (state->nlookups > 0)
		widths[depth++] = width += state->nlookups;
	if (list_length(sources) != 1 || list_length(source->query_list) != 1 ||
		!gives_row_for_row(linitial(source->query_list), result_width(state), widths, depth))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("filter, deleted_when and columns must each be one SQL expression")));
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

/* What an expression decides. */
typedef enum Part
{
	PART_FILTER,				/* whether the message is the route's */
	PART_ROW,					/* which row it is about, and whether that is deleted */
	PART_COLUMN
} Part;

/* In the state's context, which SPI does not leave in place. */
static void
collect_uses(DjkRouteState *state, Query *query, Part part, DjkUses *uses)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);
	DjkUses		key = {0};

	memset(uses, 0, sizeof(*uses));
	if (query != NULL && list_length(query->rtable) == 1)
	{
		djk_uses_collect(query, DJK_INPUT_VALUE, uses);
		djk_uses_collect(query, DJK_INPUT_KEY, &key);
	}
	else						/* it will be refused, or takes what it likes */
	{
		uses->columns = bms_add_range(NULL, 0, DJK_INPUT_COLUMNS - 1);
		uses->whole = key.whole = true;
	}
	djk_uses_add(&state->key_uses, &key);
	djk_uses_add(&state->uses, uses);
	if (part != PART_COLUMN)
		djk_uses_add(&state->deciding, uses);
	if (part == PART_FILTER)
	{
		djk_uses_add(&state->taking, uses);
		djk_uses_add(&state->taking_key, &key);
	}
	for (int i = 0; i < DJK_INPUT_COLUMNS; i++)
		state->input_used[i] |= bms_is_member(i, uses->columns);
	MemoryContextSwitchTo(old);
}

/*
 * Together with the others the server would name what stands beside an
 * aggregate, which is ours; so each is looked at alone first.
 */
static void
check_expression(DjkRouteState *state, const char *expression, char *what, Oid required_type, Part part,
				 DjkUses *uses)
{
	ErrorContextCallback callback = {error_context_stack, tell_expression, what};
	SPIPlanPtr	plan;
	CachedPlanSource *source;
	Query	   *query;

	error_context_stack = &callback;
	plan = djk_plan_prepare(psprintf("SELECT (%s\n) FROM %s", expression, DJK_INPUT_RELATION));
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
	collect_uses(state, query, part, uses);
	SPI_freeplan(plan);
}

static void
check_expressions(DjkRouteState *state)
{
	DjkUses		ignored;

	djk_catalog_look_at("filter");
	if (state->route->filter != NULL)
		check_expression(state, state->route->filter, pstrdup("filter"), BOOLOID, PART_FILTER, &ignored);
	djk_catalog_look_at("deleted_when");
	if (state->route->deleted_when != NULL)
		check_expression(state, state->route->deleted_when, pstrdup("deleted_when"), BOOLOID, PART_ROW, &ignored);
	djk_catalog_look_at("columns");
	for (int i = 0; i < state->nexpressions; i++)
	{
		DjkMapping *mapping = state->expressions[i];

		check_expression(state, mapping->expression, psprintf("expression for column \"%s\"", mapping->column),
						 InvalidOid, column_of(state, i)->for_delete ? PART_ROW : PART_COLUMN, &mapping->uses);
	}
}

bool
djk_expressions_check_lookups(const DjkRouteState *state, HeapTuple tuple, TupleDesc desc, DjkError *error)
{
	for (int i = 0; i < state->nexpressions; i++)
	{
		const DjkLookup *lookup = state->expressions[i]->lookup;
		bool		found;
		bool		isnull;
		Datum		wanted;

		if (lookup == NULL || lookup->missing_is_null)
			continue;
		(void) SPI_getbinval(tuple, desc, DJK_RESULT_EXPRESSIONS + i, &isnull);
		found = !isnull;
		wanted = SPI_getbinval(tuple, desc, DJK_RESULT_EXPRESSIONS + state->nexpressions + lookup->number, &isnull);
		if (found || isnull)
			continue;
		djk_lookup_describe_missing(lookup, TextDatumGetCString(wanted), error);
		return false;
	}
	return true;
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
 * result, because a plan may be made again with other types.
 */
void
djk_expressions_require_types(const DjkRouteState *state, TupleDesc desc)
{
	bool		fits = desc->natts == result_width(state) &&
		TupleDescAttr(desc, DJK_RESULT_ORD - 1)->atttypid == INT4OID &&
		TupleDescAttr(desc, DJK_RESULT_FILTER - 1)->atttypid == BOOLOID &&
		TupleDescAttr(desc, DJK_RESULT_DELETE - 1)->atttypid == BOOLOID;

	for (int i = 0; fits && i < state->nexpressions; i++)
		fits = is_value_of(TupleDescAttr(desc, DJK_RESULT_EXPRESSIONS - 1 + i)->atttypid, column_of(state, i));
	for (int i = DJK_RESULT_EXPRESSIONS - 1 + state->nexpressions; fits && i < desc->natts; i++)
		fits = TupleDescAttr(desc, i)->atttypid == TEXTOID;
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("filter, deleted_when and columns must each be one SQL expression")));
}

SPIPlanPtr
djk_expressions_prepare(DjkRouteState *state)
{
	SPIPlanPtr	plan;

	check_expressions(state);
	plan = djk_plan_prepare(build_evaluation(state));
	require_one_row_each(state, plan);
	return plan;
}

bool
djk_expressions_are_planned(const DjkRouteState *state)
{
	const CachedPlanSource *source;

	if (state->input_plan == NULL)
		return false;
	source = linitial(SPI_plan_get_plan_sources(state->input_plan));
	return source->is_valid && source->gplan != NULL && source->gplan->is_valid;
}

void
djk_expressions_note_reads(DjkRouteState *state)
{
	const CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(state->input_plan));
	MemoryContext old;

	if (source->generation == state->reads_generation)
		return;
	old = MemoryContextSwitchTo(state->context);
	djk_reads_collect(linitial(source->query_list), &state->reads);
	MemoryContextSwitchTo(old);
	state->reads_generation = source->generation;
}
