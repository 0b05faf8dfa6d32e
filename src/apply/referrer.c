/*-------------------------------------------------------------------------
 *
 * referrer.c
 *	  Which foreign keys on_referenced of a route is about.
 *
 * Those that refuse the deletion of a row of the target; with cascade those that
 * would refuse what goes along, and so on, in circles too.  What the database takes
 * along by itself (ON DELETE CASCADE) is followed for what refuses that, and left
 * to the database.
 *
 * A table is written by the consumer's owner, and so its triggers run with his
 * rights.  Whoever may refer to the target could lend himself these, so only tables
 * count that are the target's owner's, his own, or a superuser's: whoever owns the
 * target has these rights anyway.  What refers to it in other tables refuses the
 * deletion as ever.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/referrer.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

typedef struct Search
{
	Oid			target_owner;
	bool		cascades;
	Relation	triggers;		/* pg_trigger */
	List	   *tables;			/* OIDs of all whose rows may go */
	List	   *found;			/* DjkReferrer * */
} Search;

/* ---------- a foreign key ---------- */

static List *
with_partitions(Oid table)
{
	return get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE ? find_all_inheritors(table, NoLock, NULL) :
		list_make1_oid(table);
}

/* None of the tables is locked while it is described, and only what refers to the target itself is kept from being dropped by that. */
static char *
require_name(char *name)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a table of a foreign key was dropped while it was looked at")));
	return name;
}

static char *
table_name(Oid table)
{
	char	   *name = require_name(get_rel_name(table));

	return quote_qualified_identifier(require_name(get_namespace_name(get_rel_namespace(table))), name);
}

/* A foreign key of a table that is no partitioned one says nothing of what inherits from it. */
static char *
table_sql(Oid table)
{
	return psprintf("%s%s", get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ", table_name(table));
}

/*
 * Both sides are columns with collations of their own, of which SQL would choose none: the
 * referred one's counts as in the foreign key's own check where equal values may differ.
 */
static char *
side_sql(const char *alias, Oid table, AttrNumber column, Oid collation)
{
	char	   *name = psprintf("%s.%s", alias, quote_identifier(get_attname(table, column, false)));

	return OidIsValid(collation) ? psprintf("(%s COLLATE %s)", name, generate_collation_name(collation)) : name;
}

static void
append_match(StringInfo match, const DjkReferrer *referrer, AttrNumber child, AttrNumber parent, Oid equal)
{
	Oid			child_type;
	Oid			parent_type;
	int32		typmod;
	Oid			child_collation;
	Oid			parent_collation;
	Oid			collation = InvalidOid;

	get_atttypetypmodcoll(referrer->table, child, &child_type, &typmod, &child_collation);
	get_atttypetypmodcoll(referrer->referred, parent, &parent_type, &typmod, &parent_collation);
	if (child_collation != parent_collation && OidIsValid(child_collation) && OidIsValid(parent_collation))
		collation = get_collation_isdeterministic(parent_collation) ? child_collation : parent_collation;
	if (match->len > 0)
		appendStringInfoString(match, " AND ");
	generate_operator_clause(match, side_sql("p", referrer->referred, parent, collation), parent_type, equal,
							 side_sql("c", referrer->table, child, InvalidOid), child_type);
}

static DjkReferrer *
describe(HeapTuple tuple)
{
	Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	DjkReferrer *referrer = palloc0(sizeof(DjkReferrer));
	AttrNumber	child_columns[INDEX_MAX_KEYS];
	AttrNumber	parent_columns[INDEX_MAX_KEYS];
	Oid			operators[INDEX_MAX_KEYS];
	StringInfoData match;
	int			n;

	referrer->constraint = constraint->oid;
	referrer->parent_constraint = constraint->conparentid;
	referrer->table = constraint->conrelid;
	referrer->tables = with_partitions(constraint->conrelid);
	referrer->table_sql = table_sql(constraint->conrelid);
	referrer->referred = constraint->confrelid;
	referrer->referred_sql = table_sql(constraint->confrelid);
	referrer->referred_is_one = get_rel_relkind(constraint->confrelid) != RELKIND_PARTITIONED_TABLE;
	referrer->goes_by_itself = constraint->confdeltype == FKCONSTR_ACTION_CASCADE;
	DeconstructFkConstraintRow(tuple, &n, child_columns, parent_columns, operators, NULL, NULL, NULL, NULL);
	initStringInfo(&match);
	for (int i = 0; i < n; i++)
	{
		append_match(&match, referrer, child_columns[i], parent_columns[i], operators[i]);
		referrer->columns = lappend(referrer->columns, get_attname(constraint->conrelid, child_columns[i], false));
	}
	referrer->match = match.data;
	return referrer;
}

/* ---------- all of them ---------- */

static bool
is_trusted(const Search *search, const DjkReferrer *referrer)
{
	ListCell   *lc;

	foreach(lc, referrer->tables)
	{
		Oid			owner = djk_table_owner(lfirst_oid(lc));

		if (owner != search->target_owner && owner != GetUserId() && !superuser_arg(owner))
			return false;
	}
	return true;
}

static bool
is_found(const Search *search, Oid constraint)
{
	ListCell   *lc;

	foreach(lc, search->found)
	{
		if (((const DjkReferrer *) lfirst(lc))->constraint == constraint)
			return true;
	}
	return false;
}

/* A foreign key over times (PERIOD) is refused by something else than an equal key. */
static void
add(Search *search, Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	DjkReferrer *referrer;

	if (!HeapTupleIsValid(tuple))
		return;
	if (!DJK_IS_TEMPORAL((Form_pg_constraint) GETSTRUCT(tuple)) && !is_found(search, constraint))
	{
		referrer = describe(tuple);
		if (is_trusted(search, referrer))
		{
			search->found = lappend(search->found, referrer);
			if (search->cascades || referrer->goes_by_itself)
				search->tables = list_concat_unique_oid(search->tables, referrer->tables);
		}
	}
	ReleaseSysCache(tuple);
}

/* What refers to a table is known by the triggers that this has got for it. */
static void
look_at(Search *search, Oid table)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(search->triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger->tgfoid == F_RI_FKEY_NOACTION_DEL || trigger->tgfoid == F_RI_FKEY_RESTRICT_DEL ||
			trigger->tgfoid == F_RI_FKEY_CASCADE_DEL)
			add(search, trigger->tgconstraint);
	}
	systable_endscan(scan);
}

/* Whether rows that go by this one are referred to by another that is left. */
static bool
leads_on(const List *referrers, const DjkReferrer *referrer)
{
	ListCell   *lc;

	foreach(lc, referrers)
	{
		const DjkReferrer *other = lfirst(lc);

		if (other != referrer && list_member_oid(referrer->tables, other->referred))
			return true;
	}
	return false;
}

/*
 * Without those of a partition that its partitioned table has too, and those of
 * the database's own that lead to none of ours.
 */
static List *
needed(const Search *search)
{
	List	   *left = NIL;
	bool		fewer = true;
	bool		any = false;
	ListCell   *lc;

	foreach(lc, search->found)
	{
		if (!is_found(search, ((DjkReferrer *) lfirst(lc))->parent_constraint))
			left = lappend(left, lfirst(lc));
	}
	while (fewer)
	{
		fewer = false;
		foreach(lc, left)
		{
			DjkReferrer *referrer = lfirst(lc);

			if (!referrer->goes_by_itself || leads_on(left, referrer))
				continue;
			left = foreach_delete_current(left, lc);
			fewer = true;
		}
	}
	foreach(lc, left)
		any |= !((DjkReferrer *) lfirst(lc))->goes_by_itself;
	return any ? left : NIL;
}

/* ---------- rights ---------- */

/* A right to a table, or to UPDATE the columns that refer. */
static bool
has_right(const DjkReferrer *referrer, AclMode mode)
{
	ListCell   *lc;

	if (pg_class_aclcheck(referrer->table, GetUserId(), mode) == ACLCHECK_OK)
		return true;
	foreach(lc, referrer->columns)
	{
		AttrNumber	column = get_attnum(referrer->table, lfirst(lc));

		if (mode != ACL_UPDATE || pg_attribute_aclcheck(referrer->table, column, GetUserId(), mode) != ACLCHECK_OK)
			return false;
	}
	return true;
}

static void
require_right(const DjkRouteState *state, const DjkReferrer *referrer, AclMode mode, const char *name)
{
	Oid			table = referrer->table;

	if (has_right(referrer, mode))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(table)),
			 errdetail("Its rows refer to those of %s: with on_referenced the route needs the right to %s.",
					   state->target_sql, name),
			 errhint("GRANT %s ON %s TO %s, or set on_referenced to \"wait\".", name, table_name(table),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* A right to some columns of the target, with which other routes do, does not reach to where its rows are. */
static void
require_places(const DjkRouteState *state)
{
	if (pg_class_aclcheck(state->route->target, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(state->route->target)),
			 errdetail("With on_referenced the route needs the right to SELECT from the whole table."),
			 errhint("GRANT SELECT ON %s TO %s, or set on_referenced to \"wait\".", state->target_sql,
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

static void
require_rights(const DjkRouteState *state)
{
	bool		cascades = state->route->on_referenced == DJK_REFERENCED_CASCADE;
	ListCell   *lc;

	if (state->referrers != NIL)
		require_places(state);
	foreach(lc, state->referrers)
	{
		const DjkReferrer *referrer = lfirst(lc);

		require_right(state, referrer, ACL_SELECT, "SELECT");
		if (!referrer->goes_by_itself)
			require_right(state, referrer, cascades ? ACL_DELETE : ACL_UPDATE, cascades ? "DELETE" : "UPDATE");
	}
}

/* ---------- the whole ---------- */

/* A view's rows are referred to by nothing, and have no places. */
static void
require_table(const DjkRouteState *state)
{
	if (!state->is_view)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("on_referenced needs a table, and %s is none", state->target_sql),
			 errhint("Set on_referenced of the route to \"wait\", or name the table as its target.")));
}

static List *
find(const DjkRouteState *state, Relation rel)
{
	Search		search = {0};

	search.target_owner = rel->rd_rel->relowner;
	search.cascades = state->route->on_referenced == DJK_REFERENCED_CASCADE;
	search.tables = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	search.triggers = table_open(TriggerRelationId, AccessShareLock);
	for (int i = 0; i < list_length(search.tables); i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_at(&search, list_nth_oid(search.tables, i));
	}
	table_close(search.triggers, AccessShareLock);
	return needed(&search);
}

void
djk_referrers_build(DjkRouteState *state, Relation rel)
{
	if (state->route->on_referenced == DJK_REFERENCED_WAIT)
		return;
	djk_catalog_look_at("on_referenced");
	require_table(state);
	state->referrers = find(state, rel);
	require_rights(state);
}

bool
djk_referrers_have_partitions(const DjkRouteState *state)
{
	ListCell   *lc;

	foreach(lc, state->referrers)
	{
		if (list_length(((const DjkReferrer *) lfirst(lc))->tables) > 1)
			return true;
	}
	return false;
}

void
djk_referrers_lock(const DjkRouteState *state)
{
	ListCell   *lc;

	foreach(lc, state->referrers)
	{
		const DjkReferrer *referrer = lfirst(lc);

		LockRelationOid(referrer->table, referrer->goes_by_itself ? AccessShareLock : RowExclusiveLock);
	}
	djk_referrers_require_same(state);
}

/* Whether they are the same tables, by the same names, as a look at the catalog finds now. */
static bool
find_same(const DjkRouteState *state)
{
	Relation	rel = table_open(state->route->target, AccessShareLock);
	DjkRouteState now = *state;
	bool		same;

	now.target_sql = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	now.referrers = find(state, rel);
	table_close(rel, AccessShareLock);
	same = list_length(now.referrers) == list_length(state->referrers) && strcmp(now.target_sql, state->target_sql) == 0;
	for (int i = 0; same && i < list_length(now.referrers); i++)
	{
		const DjkReferrer *a = list_nth(now.referrers, i);
		const DjkReferrer *b = list_nth(state->referrers, i);

		same = a->constraint == b->constraint && a->table == b->table && a->referred == b->referred;
	}
	return same && strcmp(djk_referrers_sql(&now, ""), djk_referrers_sql(state, "")) == 0;
}

static bool
are_same(const DjkRouteState *state)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka referrers", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	bool		same = find_same(state);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return same;
}

/* What is altered by the messages themselves is so again at each try: only what makes a difference may fail them. */
void
djk_referrers_require_same(const DjkRouteState *state)
{
	AcceptInvalidationMessages();
	if (!state->valid && !are_same(state))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a table that refers to %s was altered while messages were applied", state->target_sql)));
}
