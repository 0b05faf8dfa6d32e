/*-------------------------------------------------------------------------
 *
 * route_constraints.c
 *	  What a target puts where a column is absent, and what it may refuse.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_target.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/compat.h"
#include "catalog/dependency.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rowsecurity.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

/* Bytes of a row that every kind of index takes. */
#define INDEX_ROW_SAFE		(BLCKSZ / 4)

static DjkColumn *
column_by_name(DjkRouteState *state, const char *name)
{
	int			c = djk_route_state_column(state, name);

	return c >= 0 ? &state->columns[c] : NULL;
}

/* A column whose absence may fail an INSERT though the row is there: the row need not be as the default would make it. */
static void
need(DjkRouteState *state, const DjkColumn *column)
{
	if (column != NULL)
		state->needed = bms_add_member(state->needed, column - state->columns);
	else
		state->needed_excluded = true;
}

/*
 * What the table computes by itself may look at rows: then nobody's may change
 * places, and where it sees none of its own statement, each is a statement.  It
 * may count, too.
 */
static void
look(DjkRouteState *state, Node *expression)
{
	DjkSight	sight = djk_reads_sight(expression);

	djk_counters_collect(expression, &state->counters);
	if (sight == DJK_SIGHT_NONE)
		return;
	state->ordered = state->meets = true;
	state->alone |= sight == DJK_SIGHT_STATEMENT;
}

/* Whether each message that is not just inserted brings the column. */
static bool
is_of_key(const DjkRouteState *state, Relation rel, Form_pg_attribute att)
{
	const DjkRouteRow *route = state->route;
	Bitmapset  *key;

	for (int i = 0; i < route->nkey_columns; i++)
	{
		if (strcmp(route->key_columns[i], NameStr(att->attname)) == 0)
			return true;
	}
	if (route->nkey_columns > 0 || route->operation == DJK_OPERATION_INSERT)
		return false;
	key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	return bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, key);
}

/* Whether a default's function may refuse to give a value, or give none, for reasons of its own. */
static bool
may_refuse(Oid function, void *context)
{
	if (function == F_CURRENT_SETTING_TEXT || function == F_CURRENT_SETTING_TEXT_BOOL)
		return true;
	return function >= FirstUnpinnedObjectId && !djk_reads_is_in_c(function);
}

static bool
may_fail(Node *expression, void *context)
{
	if (expression == NULL)
		return false;
	return check_functions_in_node(expression, may_refuse, NULL) || expression_tree_walker(expression, may_fail, context);
}

/* What an INSERT puts where a column is absent. */
static void
fill_default(DjkRouteState *state, Relation rel, Form_pg_attribute att)
{
	DjkColumn  *column = column_by_name(state, NameStr(att->attname));
	Node	   *expression = build_column_default(rel, att->attnum);
	bool		counting = expression != NULL && contain_volatile_functions(expression);

	if (is_of_key(state, rel, att))
		djk_counters_collect(expression, &state->counters);
	else
		look(state, expression);
	if (may_fail(expression, NULL))
		need(state, column);
	if (column == NULL)
	{
		state->counting_excluded |= counting;
		return;
	}
	column->counting_default = counting;
	if (expression != NULL)
		expression = eval_const_expressions(NULL, expression);
	if (get_typtype(att->atttypid) == TYPTYPE_DOMAIN || (expression != NULL && !IsA(expression, Const)))
	{
		if (!counting && djk_reads_sight(expression) == DJK_SIGHT_NONE)
			column->stable_default = (Expr *) expression;
		return;
	}
	column->constant_default = true;
	column->default_is_null = expression == NULL || ((Const *) expression)->constisnull;
	if (!column->default_is_null)
		column->default_value = ((Const *) expression)->constvalue;
}

static void
constrain(DjkRouteState *state, Relation rel, AttrNumber attnum)
{
	DjkColumn  *column = NULL;

	state->constrained = true;
	if (attnum > 0)
		column = column_by_name(state, NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname));
	if (column != NULL)
		column->constrained = true;
	for (int c = 0; attnum <= 0 && c < state->ncolumns; c++)
		state->columns[c].constrained = true;
}

static void
constrain_by_check(DjkRouteState *state, Relation rel, const char *expression)
{
	Node	   *check = stringToNode(expression);
	Bitmapset  *attributes = NULL;
	int			x = -1;

	look(state, check);
	pull_varattnos(check, 1, &attributes);
	while ((x = bms_next_member(attributes, x)) >= 0)
		constrain(state, rel, x + FirstLowInvalidHeapAttributeNumber);
}

/* A partition takes rows within its bounds alone, by whichever way they come. */
static void
constrain_by_bounds(DjkRouteState *state, Relation rel)
{
	Bitmapset  *attributes = NULL;
	int			x = -1;

	if (!rel->rd_rel->relispartition)
		return;
	pull_varattnos((Node *) RelationGetPartitionQual(rel), 1, &attributes);
	while ((x = bms_next_member(attributes, x)) >= 0)
		constrain(state, rel, x + FirstLowInvalidHeapAttributeNumber);
}

/* What is generated may be refused, and is computed before a conflict is found. */
static void
need_for_generated(DjkRouteState *state, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; desc->constr != NULL && i < desc->constr->num_defval; i++)
	{
		const		AttrDefault *definition = &desc->constr->defval[i];
		Bitmapset  *attributes = NULL;
		int			x = -1;

		if (TupleDescAttr(desc, definition->adnum - 1)->attgenerated == '\0')
			continue;
		pull_varattnos(stringToNode(definition->adbin), 1, &attributes);
		while ((x = bms_next_member(attributes, x)) >= 0)
		{
			AttrNumber	attnum = x + FirstLowInvalidHeapAttributeNumber;

			if (attnum > 0)
				need(state, column_by_name(state, NameStr(TupleDescAttr(desc, attnum - 1)->attname)));
		}
	}
}

static bool
is_deferred(Form_pg_constraint constraint)
{
	return constraint->condeferred;
}

/* Whether a foreign key changes rows, or refuses to, together with those that they refer to; which is never deferred. */
static bool
acts_at_once(Form_pg_constraint constraint)
{
	return constraint->confdeltype != FKCONSTR_ACTION_NOACTION || constraint->confupdtype != FKCONSTR_ACTION_NOACTION;
}

static bool
constraint_is(Oid constraint, bool (*kind) (Form_pg_constraint constraint))
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		is = HeapTupleIsValid(tuple) && kind((Form_pg_constraint) GETSTRUCT(tuple));

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return is;
}

/* The list is the relcache's own, which may throw it away at any look into the catalog. */
static void
constrain_by_references(DjkRouteState *state, Relation rel)
{
	List	   *keys = copyObject(RelationGetFKeyList(rel));
	ListCell   *lc;

	foreach(lc, keys)
	{
		const ForeignKeyCacheInfo *key = lfirst(lc);
		bool		deferred = constraint_is(key->conoid, is_deferred);
		bool		acts = constraint_is(key->conoid, acts_at_once);

		state->form = hash_combine64(state->form, key->conoid);
		state->follows |= acts;
		state->alone |= (acts || !deferred) && key->confrelid == RelationGetRelid(rel);
		if (deferred)
			continue;
		for (int i = 0; i < key->nkeys; i++)
			constrain(state, rel, key->conkey[i]);
		state->meets = true;
	}
}

/*
 * An index refuses what does not fit a third of a page, of whatever kind it is;
 * some of it is compressed before.
 */
static void
constrain_by_size(DjkRouteState *state, Relation rel, const FormData_pg_index *index)
{
	int			limit = INDEX_ROW_SAFE / index->indnatts;

	for (int i = 0; i < index->indnatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];
		DjkColumn  *column = attnum > 0 ?
			column_by_name(state, NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname)) : NULL;

		if (column != NULL && (column->index_limit == 0 || column->index_limit > limit))
			column->index_limit = limit;
	}
}

/*
 * Expressions of an index may refuse a row, and any index a large value.  What is
 * unique at the end of each statement lets rows pass together that it refuses one
 * by one.
 */
static void
constrain_by_indexes(DjkRouteState *state, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (RelationGetIndexExpressions(index) != NIL || RelationGetIndexPredicate(index) != NIL)
			constrain(state, rel, InvalidAttrNumber);
		constrain_by_size(state, rel, index->rd_index);
		if (!index->rd_index->indimmediate)
			state->alone |= !constraint_is(get_index_constraint(RelationGetRelid(index)), is_deferred);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
}

/* Whether it lets rows of a statement pass together that it refuses one by one. */
static bool
is_of_statement(Form_pg_constraint constraint, const List *tables)
{
	switch (constraint->contype)
	{
		case CONSTRAINT_PRIMARY:
		case CONSTRAINT_UNIQUE:
		case CONSTRAINT_EXCLUSION:
			return constraint->condeferrable && !constraint->condeferred;
		case CONSTRAINT_FOREIGN:
			return (!constraint->condeferred || acts_at_once(constraint)) && list_member_oid(tables, constraint->confrelid);
		default:
			return false;
	}
}

static bool
has_constraint_of_statement(Relation catalog, Oid relid, const List *tables)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = is_of_statement((Form_pg_constraint) GETSTRUCT(tuple), tables);
	systable_endscan(scan);
	return found;
}

/* Partitions and children may have constraints of their own.  They are not locked: a statement locks those it needs. */
static void
constrain_by_children(DjkRouteState *state, Relation rel)
{
	Relation	catalog;
	List	   *tables;
	ListCell   *lc;

	if (!rel->rd_rel->relhassubclass)
		return;
	tables = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	state->tables = list_concat(state->tables, tables);
	catalog = table_open(ConstraintRelationId, AccessShareLock);
	foreach(lc, tables)
	{
		CHECK_FOR_INTERRUPTS();
		state->alone = state->alone || has_constraint_of_statement(catalog, lfirst_oid(lc), tables);
	}
	table_close(catalog, AccessShareLock);
}

/* ---------- what goes or changes with its rows ---------- */

bool
djk_route_constraints_publishes(Oid function)
{
	const char *name = get_func_name(function);
	Oid			extension;
	Oid			schema;

	return name != NULL && strcmp(name, "djkafka_publish_trigger") == 0 &&
		djk_catalog_find(&extension, &schema) && get_func_namespace(function) == schema;
}

typedef struct Followers
{
	Relation	triggers;		/* pg_trigger */
	bool		taken;			/* what would refuse that a row is deleted follows too */
	List	   *tables;			/* the tables themselves, and behind them what is changed with them */
	bool		returns;		/* one of the first is changed with another */
	bool		seen;			/* one of the others has triggers of the user's */
	bool		stable;			/* one of any has such that see no row of their statement */
} Followers;

/* Whether it is the action of a foreign key that refers to the table. */
static bool
is_action(Oid function)
{
	switch (function)
	{
		case F_RI_FKEY_CASCADE_DEL:
		case F_RI_FKEY_CASCADE_UPD:
		case F_RI_FKEY_SETNULL_DEL:
		case F_RI_FKEY_SETNULL_UPD:
		case F_RI_FKEY_SETDEFAULT_DEL:
		case F_RI_FKEY_SETDEFAULT_UPD:
			return true;
		default:
			return false;
	}
}

/* Whether it is what refuses that a row of the table is deleted, which on_referenced may take along. */
static bool
is_refusal(Oid function)
{
	return function == F_RI_FKEY_NOACTION_DEL || function == F_RI_FKEY_RESTRICT_DEL;
}

/* Whether something of a change is left when the row is deleted: whatever it calls, or rows that lose their reference to it. */
static bool
tells_change(Form_pg_trigger trigger)
{
	return trigger->tgfoid == F_RI_FKEY_SETNULL_UPD || trigger->tgfoid == F_RI_FKEY_SETDEFAULT_UPD ||
		(!trigger->tgisinternal && !djk_route_constraints_publishes(trigger->tgfoid));
}

/* Whether a trigger, or its condition, has the snapshot of its statement, of which it then sees no row: what is STABLE has. */
static bool
sees_before_statement(Relation triggers, HeapTuple tuple)
{
	bool		isnull;
	Datum		condition;

	if (func_volatile(((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid) == PROVOLATILE_STABLE)
		return true;
	condition = heap_getattr(tuple, Anum_pg_trigger_tgqual, RelationGetDescr(triggers), &isnull);
	return !isnull && djk_reads_sight(stringToNode(TextDatumGetCString(condition))) == DJK_SIGHT_STATEMENT;
}

/* What refers to one of the tables, the number-th, and is changed with it; the first 'own' are the target's own. */
static void
follow(Followers *followers, int number, int own)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(list_nth_oid(followers->tables, number)));
	scan = systable_beginscan(followers->triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		follows = is_action(trigger->tgfoid) || (followers->taken && is_refusal(trigger->tgfoid));
		List	   *changed = follows ? find_all_inheritors(trigger->tgconstrrelid, NoLock, NULL) : NIL;
		ListCell   *lc;

		if (number >= own && !trigger->tgisinternal && !djk_route_constraints_publishes(trigger->tgfoid))
			followers->seen = true;
		if (!trigger->tgisinternal && !followers->stable)
			followers->stable = sees_before_statement(followers->triggers, tuple);
		foreach(lc, changed)
		{
			for (int i = 0; i < own; i++)
				followers->returns |= list_nth_oid(followers->tables, i) == lfirst_oid(lc);
		}
		followers->tables = list_concat_unique_oid(followers->tables, changed);
	}
	systable_endscan(scan);
}

/* Whether a change of the table's rows is seen by more than these, or by what changes with them of others: *tables, with its own. */
static bool
is_change_seen(Relation triggers, Oid table, List **tables)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		seen = false;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (!seen && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		seen = tells_change(trigger);
		if (trigger->tgfoid == F_RI_FKEY_CASCADE_UPD)
			*tables = list_concat_unique_oid(*tables, find_all_inheritors(trigger->tgconstrrelid, NoLock, NULL));
	}
	systable_endscan(scan);
	return seen;
}

/* A deletion takes along what refers to its row, whatever was before; a change may leave traces there. */
static bool
any_change_seen(Relation rel)
{
	List	   *tables = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	bool		seen = false;

	for (int i = 0; i < list_length(tables) && !seen; i++)
	{
		CHECK_FOR_INTERRUPTS();
		seen = is_change_seen(triggers, list_nth_oid(tables, i), &tables);
	}
	table_close(triggers, AccessShareLock);
	return seen;
}

/* None of the tables is locked: a statement locks what it needs. */
static Followers
find_followers(DjkRouteState *state, Relation rel, bool taken)
{
	Followers	followers = {.taken = taken};
	int			own;

	followers.tables = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	own = list_length(followers.tables);
	followers.triggers = table_open(TriggerRelationId, AccessShareLock);
	for (int i = 0; i < list_length(followers.tables); i++)
	{
		CHECK_FOR_INTERRUPTS();
		follow(&followers, i, own);
	}
	table_close(followers.triggers, AccessShareLock);
	state->tables = list_concat_unique_oid(state->tables, followers.tables);
	state->cascades |= list_length(followers.tables) > own;
	return followers;
}

/*
 * Foreign keys take other rows along when those of the table go, or change: then
 * triggers of others may look at them, and rows of its own may go with them, by
 * however many tables.  What on_referenced takes along goes with deletions alone,
 * which are a statement each then.
 */
static void
constrain_by_followers(DjkRouteState *state, Relation rel)
{
	Followers	followers = find_followers(state, rel, false);

	state->supersedes = state->supersedes && !any_change_seen(rel);
	state->alone |= followers.returns || followers.stable;
	state->ordered |= followers.seen;
	state->meets |= followers.seen;
	state->counters.anything |= followers.seen;
	if (state->route->on_referenced == DJK_REFERENCED_WAIT)
		return;
	followers = find_followers(state, rel, true);
	state->ordered |= followers.returns || followers.stable || followers.seen;
	state->meets |= followers.returns || followers.stable || followers.seen;
	state->counters.anything |= followers.seen;
}

/* The table that a view writes to by itself; InvalidOid if there is none. */
static Oid
table_of_view(Relation view)
{
	Query	   *query = view->rd_rel->relkind == RELKIND_VIEW ? get_view_query(view) : NULL;
	RangeTblEntry *entry;

	if (query == NULL || list_length(query->jointree->fromlist) != 1 ||
		!IsA(linitial(query->jointree->fromlist), RangeTblRef))
		return InvalidOid;
	entry = rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex, query->rtable);
	return entry->rtekind == RTE_RELATION ? entry->relid : InvalidOid;
}

static void
look_by_policies(DjkRouteState *state, Relation rel)
{
	ListCell   *lc;

	if (rel->rd_rsdesc == NULL)
		return;
	foreach(lc, rel->rd_rsdesc->policies)
	{
		const RowSecurityPolicy *policy = lfirst(lc);

		look(state, (Node *) policy->qual);
		look(state, (Node *) policy->with_check_qual);
	}
}

static void
look_by_defaults(DjkRouteState *state, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Node	   *expression;

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		expression = build_column_default(rel, att->attnum);
		look(state, expression);
	}
}

/* A table's rows may depend on each other, and on others, through views as well. */
static void
look_below_view(DjkRouteState *state, Relation rel)
{
	Oid			below = table_of_view(rel);
	Relation	table;
	TupleConstr *constr;

	check_stack_depth();
	if (!OidIsValid(below))
		return;
	look_by_defaults(state, rel);
	state->tables = lappend_oid(state->tables, below);
	table = relation_open(below, AccessShareLock);
	constr = RelationGetDescr(table)->constr;
	constrain_by_references(state, table);
	constrain_by_indexes(state, table);
	constrain_by_children(state, table);
	constrain_by_followers(state, table);
	look_by_defaults(state, table);
	look_by_policies(state, table);
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		look(state, stringToNode(constr->check[i].ccbin));
	look_below_view(state, table);
	relation_close(table, AccessShareLock);
}


/* A rule makes of a statement what it likes: neither rows nor their number are what was asked for. */
static void
require_no_rules(const DjkRouteState *state, Relation rel)
{
	if (state->is_view || rel->rd_rules == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" has a rule", state->target_sql),
			 errdetail("It rewrites what would be written."),
			 errhint("Make a trigger of it, or name another target.")));
}

/*
 * Which columns a constraint may refuse for their value: a value that a later
 * message of the batch replaces must be judged nevertheless.
 */
void
djk_route_constraints_build(DjkRouteState *state, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	TupleConstr *constr = desc->constr;

	require_no_rules(state, rel);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attgenerated != '\0')
			state->generated = lappend(state->generated, pstrdup(NameStr(att->attname)));
		else if (!att->attisdropped && !state->is_view)
			fill_default(state, rel, att);
	}
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		constrain_by_check(state, rel, constr->check[i].ccbin);
	if (rel->rd_rel->relrowsecurity || (constr != NULL && DJK_HAS_GENERATED(constr)))
		constrain(state, rel, InvalidAttrNumber);
	constrain_by_bounds(state, rel);
	need_for_generated(state, rel);
	look_by_policies(state, rel);
	constrain_by_references(state, rel);
	constrain_by_indexes(state, rel);
	constrain_by_children(state, rel);
	constrain_by_followers(state, rel);
	look_below_view(state, rel);
}
