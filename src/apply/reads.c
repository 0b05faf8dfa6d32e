/*-------------------------------------------------------------------------
 *
 * reads.c
 *	  What an expression may read besides its message.
 *
 * A filter or a mapped column may look something up, in a table that the batch
 * itself writes: the version that a row has, the id of a parent.  Then a message
 * must see what those before it have written, and be evaluated when they are
 * (stretch.c).  That is slower by far, so it is found out which expressions can
 * read at all: those that name a table, and those that call a function which
 * might.  A function is believed to be IMMUTABLE if it says so; of the server's
 * own, those that are volatile may see what is written (currval, query_to_xml),
 * but for a few.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/reads.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Of the server's own that are volatile: what gives numbers or a time, or changes settings, which last as long as the evaluation. */
static bool
is_blind(Oid function)
{
	static const char *const blind[] = {
		"nextval", "random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp",
		"timeofday", "set_config"
	};
	const char *name = get_func_name(function);

	for (int i = 0; name != NULL && i < lengthof(blind); i++)
	{
		if (strcmp(name, blind[i]) == 0)
			return true;
	}
	return false;
}

static bool
may_read_plainly(Oid function)
{
	switch (function)
	{
			/* They say that they are stable. */
		case F_TABLE_TO_XML:
		case F_TABLE_TO_XML_AND_XMLSCHEMA:
		case F_SCHEMA_TO_XML:
		case F_SCHEMA_TO_XML_AND_XMLSCHEMA:
		case F_DATABASE_TO_XML:
		case F_DATABASE_TO_XML_AND_XMLSCHEMA:
			return true;
		default:
			break;
	}
	if (!OidIsValid(function))
		return false;
	if (function >= FirstUnpinnedObjectId)
		return func_volatile(function) != PROVOLATILE_IMMUTABLE;
	return func_volatile(function) == PROVOLATILE_VOLATILE && !is_blind(function);
}

/* An aggregate itself is always said to be immutable. */
static bool
aggregate_may_read(Oid aggregate)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Form_pg_aggregate form;
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return true;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	found = may_read_plainly(form->aggtransfn) || may_read_plainly(form->aggfinalfn) ||
		may_read_plainly(form->aggmtransfn) || may_read_plainly(form->aggminvtransfn) ||
		may_read_plainly(form->aggmfinalfn);
	ReleaseSysCache(tuple);
	return found;
}

static bool
may_read(Oid function, void *context)
{
	if (function >= FirstUnpinnedObjectId && get_func_prokind(function) == PROKIND_AGGREGATE)
		return aggregate_may_read(function);
	return may_read_plainly(function);
}

static void
collect_relation(const RangeTblEntry *rte, DjkReads *reads)
{
	switch (rte->relkind)
	{
		case RELKIND_RELATION:
			/* what is written to a child or a partition is read here too */
			if (has_subclass(rte->relid))
				reads->anything = true;
			else
				reads->tables = list_append_unique_oid(reads->tables, rte->relid);
			break;
		case RELKIND_MATVIEW:
		case RELKIND_VIEW:		/* the rule's own; what it stands for is beside it */
			break;
		default:
			reads->anything = true;
	}
}

/* ---------- checks of domains ---------- */

typedef bool (*Walker) (Node *node, void *context);

/* What 'walk' is given: its checks may make values of a type that the walk has come by, or is within. */
typedef struct Walk
{
	Walker		walk;
	List	   *types;			/* OIDs of those that it has been to */
	DjkReads   *reads;
	DjkSight	sight;
} Walk;

static void
walk_checks(Oid domain, Walk *walk)
{
	/* The type cache knows it for as long as its context lasts. */
	DomainConstraintRef *checks = palloc0(sizeof(DomainConstraintRef));
	ListCell   *lc;

	InitDomainConstraintRef(domain, checks, CurrentMemoryContext, false);
	foreach(lc, checks->constraints)
		(void) walk->walk((Node *) ((const DomainConstraintState *) lfirst(lc))->check_expr, walk);
}

/* Those that are evaluated when a value of a type is made, within it too. */
static void
walk_checks_of_type(Oid type, Walk *walk)
{
	Oid			base = getBaseType(type);
	Oid			within = get_element_type(base);
	TupleDesc	desc;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (list_member_oid(walk->types, type))
		return;
	walk->types = lappend_oid(walk->types, type);
	if (base != type)
		walk_checks(type, walk);
	if (!OidIsValid(within))
		within = get_multirange_range(base);
	if (!OidIsValid(within))
		within = get_range_subtype(base);
	if (OidIsValid(within))
		walk_checks_of_type(within, walk);
	if (OidIsValid(within) || !OidIsValid(get_typ_typrelid(base)))
		return;
	desc = lookup_rowtype_tupdesc_copy(base, -1);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			walk_checks_of_type(TupleDescAttr(desc, i)->atttypid, walk);
	}
	FreeTupleDesc(desc);
}

/* The types of the values that a node makes, of text or JSON too, within whatever they are. */
static List *
made_types(const Node *node)
{
	switch (nodeTag(node))
	{
		case T_CoerceToDomain:
		case T_CoerceViaIO:
		case T_FuncExpr:
			return list_make1_oid(exprType(node));
		case T_RangeTblFunction:
			return list_copy(((const RangeTblFunction *) node)->funccoltypes);
		case T_TableFunc:
			return list_copy(((const TableFunc *) node)->coltypes);
		default:
			return NIL;
	}
}

static void
walk_checks_of_node(const Node *node, Walk *walk)
{
	List	   *types = made_types(node);
	ListCell   *lc;

	foreach(lc, types)
		walk_checks_of_type(lfirst_oid(lc), walk);
	list_free(types);
}

/* ---------- queries ---------- */

static bool
collect(Node *node, void *context)
{
	Walk	   *walk = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		const RangeTblEntry *rte = (const RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION)
			collect_relation(rte, walk->reads);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, collect, context, QTW_EXAMINE_RTES_BEFORE);
	walk->reads->anything |= check_functions_in_node(node, may_read, NULL);
	walk_checks_of_node(node, walk);
	return expression_tree_walker(node, collect, context);
}

void
djk_reads_collect(Query *query, DjkReads *reads)
{
	Walk		walk = {.walk = collect, .reads = reads};

	list_free(reads->tables);
	list_free(reads->counters.sequences);
	memset(reads, 0, sizeof(*reads));
	(void) collect((Node *) query, &walk);
	list_free(walk.types);
	djk_counters_collect((Node *) query, &reads->counters);
}

bool
djk_reads_by_type(Oid type)
{
	DjkReads	reads = {0};
	Walk		walk = {.walk = collect, .reads = &reads};

	walk_checks_of_type(type, &walk);
	list_free(walk.types);
	return reads.anything;
}

/* ---------- expressions of the target ---------- */

bool
djk_reads_is_in_c(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		in_c = HeapTupleIsValid(tuple) && ((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return in_c;
}

/* One that is stable is given the snapshot of its statement. */
static bool
see_by_function(Oid function, void *context)
{
	Walk	   *walk = context;

	if (!may_read(function, NULL) || djk_reads_is_in_c(function))
		return false;
	walk->sight = Max(walk->sight, func_volatile(function) == PROVOLATILE_STABLE ? DJK_SIGHT_STATEMENT : DJK_SIGHT_ROWS);
	return false;
}

static bool
see(Node *node, void *context)
{
	Walk	   *walk = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		walk->sight = Max(walk->sight, DJK_SIGHT_ROWS);
		return query_tree_walker((Query *) node, see, context, 0);
	}
	(void) check_functions_in_node(node, see_by_function, context);
	walk_checks_of_node(node, walk);
	return expression_tree_walker(node, see, context);
}

DjkSight
djk_reads_sight(Node *expression)
{
	Walk		walk = {.walk = see, .sight = DJK_SIGHT_NONE};

	(void) see(expression, &walk);
	list_free(walk.types);
	return walk.sight;
}

/* ---------- numbers and clocks ---------- */

/* Of a sequence that only the call knows. */
static bool
is_one_of_sequences(Oid function)
{
	return function == F_NEXTVAL || function == F_SETVAL_REGCLASS_INT8 || function == F_SETVAL_REGCLASS_INT8_BOOL;
}

/* What differs from call to call and has an order; which sequence a user's own takes numbers from is its secret. */
static bool
note_counting(Oid function, void *context)
{
	DjkCounters *counters = context;

	if (func_volatile(function) != PROVOLATILE_VOLATILE || function == F_GEN_RANDOM_UUID)
		return false;
	counters->clock = true;
	counters->anything |= is_one_of_sequences(function) ||
		(function >= FirstUnpinnedObjectId && !djk_reads_is_in_c(function));
	return false;
}

static bool
find_counter(Node *node, void *context)
{
	DjkCounters *counters = context;
	Node	   *sequence = NULL;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_counter, context, 0);
	if (IsA(node, NextValueExpr))
		counters->sequences = lappend_oid(counters->sequences, ((NextValueExpr *) node)->seqid);
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_NEXTVAL)
		sequence = linitial(((FuncExpr *) node)->args);
	if (sequence != NULL && IsA(sequence, Const))
	{
		counters->sequences = lappend_oid(counters->sequences, DatumGetObjectId(((Const *) sequence)->constvalue));
		return false;
	}
	(void) check_functions_in_node(node, note_counting, counters);
	return expression_tree_walker(node, find_counter, context);
}

void
djk_counters_collect(Node *expression, DjkCounters *counters)
{
	(void) find_counter(expression, counters);
}

bool
djk_counters_any(const DjkCounters *counters)
{
	return counters->clock || counters->anything || counters->sequences != NIL;
}

bool
djk_counters_meet(const DjkCounters *a, const DjkCounters *b)
{
	ListCell   *lc;

	if ((a->clock && b->clock) || (a->anything && djk_counters_any(b)) || (b->anything && djk_counters_any(a)))
		return true;
	foreach(lc, a->sequences)
	{
		if (list_member_oid(b->sequences, lfirst_oid(lc)))
			return true;
	}
	return false;
}
