/*-------------------------------------------------------------------------
 *
 * column.h
 *	  A column that is meant, but named in another way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_COLUMN_H
#define DJK_COLUMN_H

#include "access/tupdesc.h"

/*
 * What to say of a name that no column has: the column that has it but for case
 * and quotes, which options do not need as SQL does; else 'hint'.
 */
extern const char *djk_column_hint(TupleDesc desc, const char *name, const char *hint);

#endif							/* DJK_COLUMN_H */
