/*-------------------------------------------------------------------------
 *
 * row_types.h
 *	  The row types that values of a target's columns are made of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROW_TYPES_H
#define DJK_ROW_TYPES_H

#include "base/djk.h"

#include "access/tupdesc.h"
#include "nodes/pg_list.h"

/*
 * Those that lie in a relation's columns: in themselves, their bases, elements
 * and attributes.  In CurrentMemoryContext.
 */
extern List *djk_row_types_of(TupleDesc columns);

/* Whether one of them is that of a relation in pg_class.  Reads no catalog. */
extern bool djk_row_types_have(const List *types, Oid relid);

/* Whether none of them has been altered since. */
extern bool djk_row_types_are_current(const List *types);

/* Whether values that were made for one list can be taken for those of the other. */
extern bool djk_row_types_equal(const List *a, const List *b);

#endif							/* DJK_ROW_TYPES_H */
