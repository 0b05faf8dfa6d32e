/*-------------------------------------------------------------------------
 *
 * route_key.c
 *	  By what a route tells the rows of its target apart, and their versions.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_target.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "apply/route_names.h"
#include "base/operator.h"
#include "catalog/pg_index.h"
#include "state/row.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/* ---------- the key ---------- */

static void
add_key(DjkRouteState *state, const char *name)
{
	for (int i = 0; i < state->ncolumns; i++)
	{
		DjkColumn  *column = &state->columns[i];
		TypeCacheEntry *type;

		if (strcmp(column->name, name) != 0)
			continue;
		type = lookup_type_cache(column->type, TYPECACHE_HASH_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO);
		if (!OidIsValid(type->eq_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("key column \"%s\" is of type %s, which has no equality operator", name,
							format_type_be(column->type))));
		column->is_key = column->for_delete = true;
		column->equal = &type->eq_opr_finfo;
		column->hash = OidIsValid(type->hash_proc_finfo.fn_oid) ? &type->hash_proc_finfo : NULL;
		column->equal_operator = djk_operator_sql(type->eq_opr);
		column->compared_as = djk_operator_cast(column->type);
		state->keys[state->nkeys++] = i;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("key column \"%s\" of \"%s\" cannot be written by the route", name, state->target_sql),
			 errhint("Add it to include, take it out of exclude, or name other key_columns.")));
}

static bool
index_matches(Relation rel, Form_pg_index index, char **names, int n)
{
	if (index->indnkeyatts != n)
		return false;
	for (int i = 0; i < n; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];

		if (attnum <= 0 ||
			!djk_route_names(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname), names, n))
			return false;
	}
	return true;
}

/*
 * Whether a column of the index tells values apart as '=' does, by which messages
 * of one key are known: all collations do that are deterministic.
 */
static bool
compares_alike(Relation index, int number, const DjkColumn *key)
{
	Oid			type = index->rd_opcintype[number];
	Oid			collation = index->rd_indcollation[number];

	if (get_opfamily_member(index->rd_opfamily[number], type, type, BTEqualStrategyNumber) !=
		lookup_type_cache(key->type, TYPECACHE_EQ_OPR)->eq_opr)
		return false;
	return collation == key->collation || !OidIsValid(collation) || !OidIsValid(key->collation) ||
		(get_collation_isdeterministic(collation) && get_collation_isdeterministic(key->collation));
}

/*
 * Looks at the unique indexes: finds the one of the wanted key (by names, or
 * the primary key), and counts the others, which forbid merging.  *unfit is one
 * of that key by which PostgreSQL resolves no conflict, or InvalidOid.
 */
static void
scan_indexes(DjkRouteState *state, Relation rel, bool *found, Oid *unfit, int *others)
{
	const DjkRouteRow *route = state->route;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		nulls_are_keys = false;

	*found = false;
	*unfit = InvalidOid;
	*others = 0;
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		plain = form->indisunique && form->indisvalid &&
			RelationGetIndexPredicate(index) == NIL && RelationGetIndexExpressions(index) == NIL;
		bool		is_key;

		if (route->nkey_columns > 0)
			is_key = plain && index_matches(rel, form, route->key_columns, route->nkey_columns);
		else
			is_key = form->indisprimary;

		/* Unique and an exclusion constraint: WITHOUT OVERLAPS. */
		if (is_key && (!form->indimmediate || form->indisexclusion))
			*unfit = form->indexrelid;
		else if (is_key && !*found)
		{
			*found = true;
			nulls_are_keys = form->indnullsnotdistinct;
			for (int i = 0; i < form->indnkeyatts && state->nkeys == i; i++)
			{
				add_key(state, NameStr(TupleDescAttr(RelationGetDescr(rel),
													 form->indkey.values[i] - 1)->attname));
				state->ordered |= !compares_alike(index, i, &state->columns[state->keys[i]]);
			}
		}
		if (!is_key && (form->indisunique || form->indisexclusion))
			(*others)++;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	for (int i = 0; i < state->nkeys; i++)
		state->columns[state->keys[i]].null_is_key = nulls_are_keys && !state->columns[state->keys[i]].not_null;
}

static void
refuse_key(const DjkRouteState *state, Oid index)
{
	Relation	rel = index_open(index, AccessShareLock);
	bool		deferrable = !rel->rd_index->indimmediate;

	index_close(rel, AccessShareLock);
	if (deferrable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("the key of \"%s\" is a deferrable constraint", state->target_sql),
				 errdetail("PostgreSQL cannot resolve conflicts by a deferrable constraint."),
				 errhint("Name other key_columns, or make the constraint NOT DEFERRABLE.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("the key of \"%s\" is a constraint WITHOUT OVERLAPS", state->target_sql),
			 errdetail("PostgreSQL cannot resolve conflicts by a constraint WITHOUT OVERLAPS."),
			 errhint("Name other key_columns, or use operation => 'insert'.")));
}

/* ON CONFLICT takes all unique indexes on the key's columns, whichever was found first. */
static void
refuse_deferrable(const DjkRouteState *state, Relation rel)
{
	char	  **names = palloc(state->nkeys * sizeof(char *));
	List	   *indexes = RelationGetIndexList(rel);
	Oid			unfit = InvalidOid;
	ListCell   *lc;

	for (int i = 0; i < state->nkeys; i++)
		names[i] = state->columns[state->keys[i]].name;
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisunique && !form->indimmediate && index_matches(rel, form, names, state->nkeys))
			unfit = form->indexrelid;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (OidIsValid(unfit))
		refuse_key(state, unfit);
}

void
djk_route_key_build(DjkRouteState *state, Relation rel)
{
	const DjkRouteRow *route = state->route;
	bool		found;
	Oid			unfit;
	int			other_unique;

	djk_catalog_look_at("partial_deletes");
	if (route->partial_deletes && (route->operation != DJK_OPERATION_MIRROR || route->version_column != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partial_deletes needs operation \"mirror\" and no version_column"),
				 errhint("Set partial_deletes of the route to false.")));
	djk_catalog_look_at("key_columns");
	if (route->nkey_columns > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("cannot have more than %d key_columns", INDEX_MAX_KEYS),
				 errhint("Name those that identify a row: no unique constraint has more.")));
	state->keys = palloc0(INDEX_MAX_KEYS * sizeof(int));
	if (state->is_view)
	{
		for (int i = 0; i < route->nkey_columns; i++)
			add_key(state, route->key_columns[i]);
		if (state->nkeys == 0 && route->operation != DJK_OPERATION_INSERT)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("\"%s\" is not a table, so it has no primary key", state->target_sql),
					 errhint("Name the columns that identify a row with key_columns.")));
		return;
	}

	if (route->operation == DJK_OPERATION_INSERT)
	{
		for (int i = 0; i < route->nkey_columns; i++)
			add_key(state, route->key_columns[i]);
		return;
	}

	scan_indexes(state, rel, &found, &unfit, &other_unique);
	if (!found && OidIsValid(unfit))
		refuse_key(state, unfit);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 route->nkey_columns > 0 ?
				 errmsg("\"%s\" has no unique constraint on exactly the given key_columns", state->target_sql) :
				 errmsg("\"%s\" has no primary key", state->target_sql),
				 errhint("Add a unique constraint, name other key_columns, or use operation => 'insert'.")));
	refuse_deferrable(state, rel);
	state->ordered |= other_unique > 0;
	state->merge = !state->ordered && !state->alone && !route->partial_deletes;
	for (int i = 0; i < state->nkeys; i++)
	{
		if (state->columns[state->keys[i]].hash == NULL)
			state->merge = false;
	}
}

/* ---------- the version ---------- */

void
djk_route_version_build(DjkRouteState *state)
{
	char	   *name = state->route->version_column;
	TypeCacheEntry *type;
	DjkColumn  *column;

	state->version = -1;
	if (name == NULL)
		return;
	if (state->route->operation < DJK_OPERATION_UPSERT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version_column needs operation \"upsert\" or \"mirror\""),
				 errhint("Leave version_column null, or choose another operation.")));
	djk_route_require_columns(state, &name, 1, "version_column");
	state->version = djk_route_state_column(state, name);
	column = &state->columns[state->version];
	type = lookup_type_cache(column->type, TYPECACHE_CMP_PROC_FINFO | TYPECACHE_LT_OPR);
	if (column->is_key || column->always_identity || column->insert_only || !OidIsValid(type->cmp_proc_finfo.fn_oid) || !OidIsValid(type->lt_opr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" of \"%s\" cannot be a version_column", name, state->target_sql),
				 errdetail("It is in the key, is GENERATED ALWAYS AS IDENTITY, is mapped for new rows alone, or its type %s has no order.",
						   format_type_be(column->type)),
				 errhint("Name a column that grows with every change of its row, such as a number or a time.")));
	column->for_delete = true;
	column->compared_as = djk_operator_cast(column->type);
	state->version_compare = &type->cmp_proc_finfo;
	state->version_less = djk_operator_sql(type->lt_opr);
}
