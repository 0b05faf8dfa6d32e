/*-------------------------------------------------------------------------
 *
 * row.h
 *	  A message becomes a row of its route's target.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROW_H
#define DJK_ROW_H

#include "apply/work.h"

/*
 * Rows of messages: the expressions' values of one (from a result row of
 * djk_route_sql_evaluate(), copied to 'context'), then all else of many.
 */
extern void djk_row_start(DjkApply *apply, DjkRouteState *state, int message, HeapTuple tuple,
						  TupleDesc desc, MemoryContext context);

/* Whether a message has no value, as that of a table: SQL's null, or JSON's. */
extern bool djk_row_is_tombstone(const DjkRouteState *state, const DjkMessage *message);

/* Whether a message's value, its root entered, says that its row is gone; the last word counts. */
extern bool djk_row_says_deleted(const DjkRouteState *state, const DjkDecoded *decoded);

/* Makes equal sets of columns one pointer. */
extern Bitmapset *djk_row_share_present(DjkApply *apply, Bitmapset *present);

/* Evaluates what fills columns of the key of which a message does not speak. */
extern void djk_row_try_default_keys(DjkRouteState *state);

extern void djk_rows_build(DjkApply *apply, DjkRouteState *state, const int *indexes, int n);

#endif							/* DJK_ROW_H */
