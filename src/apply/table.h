/*-------------------------------------------------------------------------
 *
 * table.h
 *	  Rows of a batch into a table or view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TABLE_H
#define DJK_TABLE_H

#include "apply/work.h"

/* Writes prepared messages (indexes into the batch, in order) of one route. */
extern void djk_table_write(DjkApply *apply, DjkRouteState *state, const int *indexes, int n);

#endif							/* DJK_TABLE_H */
