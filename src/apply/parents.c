/*-------------------------------------------------------------------------
 *
 * parents.c
 *	  What a batch does to the rows that a foreign key refers to.
 *
 * A foreign key that is deferred is checked when all of a batch has been written, its
 * parents too.  So that a row lacks its parent then says what becomes of its message
 * alone only where no other message has taken that away; and that of two messages
 * which wait neither can be applied alone only where none needs the other.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/parents.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Who refers to more is taken to refer to all. */
#define TABLES_MAX		1000

bool
djk_parents_are_bare(Oid table)
{
	Relation	rel = table_open(table, NoLock);
	bool		bare = rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rules == NULL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		bare &= trigger->tgisinternal && trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN;
	}
	table_close(rel, NoLock);
	return bare && SessionReplicationRole == SESSION_REPLICATION_ROLE_ORIGIN;
}

/* ---------- who takes parents away ---------- */

/* Whether rows of a table may be those of another, by whatever name they are written. */
static bool
may_be_one(Oid table, Oid other)
{
	return table == other || get_rel_relispartition(table) || get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE;
}

static bool
keeps_keys(const DjkRouteState *state, const DjkReference *reference)
{
	AttrNumber	columns[INDEX_MAX_KEYS];

	for (int i = 0; i < reference->ncolumns; i++)
		columns[i] = reference->columns[i].parent_column;
	return djk_reference_keeps(state, reference->parent, columns, reference->ncolumns);
}

/* Whether messages of a route take no parent away, 'deletes' of which some may be deletions. */
static bool
leaves_parents(const DjkRouteState *state, bool deletes, const DjkReference *reference)
{
	if (state == NULL || state->target_sql == NULL || !djk_parents_are_bare(state->route->target))
		return false;
	if (deletes && state->cascades)
		return false;
	return !may_be_one(state->route->target, reference->parent) || (!deletes && keeps_keys(state, reference));
}

bool
djk_parents_stay(const DjkApply *apply, int from, int to, const DjkReference *reference)
{
	int			nroutes = apply->consumer->nroutes;
	bool	   *writes = palloc0(Max(nroutes, 1) * sizeof(bool));
	bool	   *deletes = palloc0(Max(nroutes, 1) * sizeof(bool));
	bool		stay = true;

	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];

		if (work->fate != DJK_FATE_APPLIED)
			continue;
		writes[work->route] = true;
		deletes[work->route] |= work->row.is_delete;
	}
	for (int r = 0; r < nroutes && stay; r++)
		stay = !writes[r] || leaves_parents(apply->states[r], deletes[r], reference);
	pfree(writes);
	pfree(deletes);
	return stay;
}

/* ---------- who refers to whom ---------- */

/* The table whose constraints a partition has, too. */
static Oid
whole_of(Oid table)
{
	return get_rel_relispartition(table) ? llast_oid(get_partition_ancestors(table)) : table;
}

static List *
add_referred(List *tables, Oid table, Relation constraints)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_FOREIGN)
			tables = list_append_unique_oid(tables, whole_of(form->confrelid));
	}
	systable_endscan(scan);
	return tables;
}

bool
djk_parents_refer_to(Oid table, Oid other)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	List	   *tables = NIL;
	bool		refer = false;

	other = whole_of(other);
	table = whole_of(table);
	for (int i = 0; !refer && OidIsValid(table); i++)
	{
		CHECK_FOR_INTERRUPTS();
		tables = add_referred(tables, table, constraints);
		table = i < list_length(tables) ? list_nth_oid(tables, i) : InvalidOid;
		refer = table == other || i == TABLES_MAX;
	}
	table_close(constraints, AccessShareLock);
	list_free(tables);
	return refer;
}
