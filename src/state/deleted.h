/*-------------------------------------------------------------------------
 *
 * deleted.h
 *	  SQL on djkafka_deleted: the versions of rows that are gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_DELETED_H
#define DJK_DELETED_H

#include "base/djk.h"

/* A row that is gone, as text; version NULL: nothing is remembered of it. */
typedef struct DjkDeleted
{
	const char *key;
	char	   *version;
} DjkDeleted;

/* All between djk_catalog_enter() and leave. */

/* Fills in the versions, in 'context', of what was deleted no more than 'keep_s' seconds ago. */
extern void djk_deleted_find(int64 route_id, int64 keep_s, DjkDeleted *rows, int n, MemoryContext context);

/*
 * Remembers the versions of rows that were deleted just now; and forgets some
 * that were more than 'keep_s' seconds ago.
 */
extern void djk_deleted_remember(int64 route_id, const DjkDeleted *rows, int n, int64 keep_s);

/* Forgets all versions of a route. */
extern void djk_deleted_forget(int64 route_id);

#endif							/* DJK_DELETED_H */
