/*-------------------------------------------------------------------------
 *
 * row_types.c
 *	  The row types that values of a target's columns are made of.
 *
 * A route's state knows the attributes of each as they were when it was built.
 * ALTER TYPE does not touch the tables with columns of the type, and locks
 * nothing that we hold; so the state must hear of it by itself, or a new
 * attribute would be left out as if it were none.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/row_types.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

typedef struct RowType
{
	Oid			relid;			/* in pg_class */
	TupleDesc	desc;
} RowType;

bool
djk_row_types_have(const List *types, Oid relid)
{
	ListCell   *lc;

	foreach(lc, types)
	{
		if (((const RowType *) lfirst(lc))->relid == relid)
			return true;
	}
	return false;
}

static List *
add_type(List *found, Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);
	Oid			relid = get_typ_typrelid(base);
	RowType    *row_type;

	check_stack_depth();
	if (OidIsValid(element))
		return add_type(found, element);
	if (!OidIsValid(relid) || djk_row_types_have(found, relid))
		return found;

	row_type = palloc(sizeof(RowType));
	row_type->relid = relid;
	row_type->desc = lookup_rowtype_tupdesc_copy(base, -1);
	found = lappend(found, row_type);
	for (int i = 0; i < row_type->desc->natts; i++)
	{
		if (!TupleDescAttr(row_type->desc, i)->attisdropped)
			found = add_type(found, TupleDescAttr(row_type->desc, i)->atttypid);
	}
	return found;
}

List *
djk_row_types_of(TupleDesc columns)
{
	List	   *found = NIL;

	for (int i = 0; i < columns->natts; i++)
	{
		if (!TupleDescAttr(columns, i)->attisdropped)
			found = add_type(found, TupleDescAttr(columns, i)->atttypid);
	}
	return found;
}

bool
djk_row_types_are_current(const List *types)
{
	ListCell   *lc;
	bool		current = true;

	foreach(lc, types)
	{
		const RowType *row_type = lfirst(lc);
		TupleDesc	desc = lookup_rowtype_tupdesc(row_type->desc->tdtypeid, -1);

		current = current && equalTupleDescs(row_type->desc, desc);
		ReleaseTupleDesc(desc);
	}
	return current;
}

bool
djk_row_types_equal(const List *a, const List *b)
{
	ListCell   *x;
	ListCell   *y;

	if (list_length(a) != list_length(b))
		return false;
	forboth(x, a, y, b)
	{
		const RowType *of_a = lfirst(x);
		const RowType *of_b = lfirst(y);

		if (of_a->relid != of_b->relid || !equalTupleDescs(of_a->desc, of_b->desc))
			return false;
	}
	return true;
}
