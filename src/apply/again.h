/*-------------------------------------------------------------------------
 *
 * again.h
 *	  A batch of messages that waited: for a row they refer to, or for another try.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_AGAIN_H
#define DJK_AGAIN_H

#include "apply/apply.h"

/* Where the last batch of a round ended. */
typedef struct DjkAgainCursor
{
	int64		offset_id;
	int64		offset;
} DjkAgainCursor;

/*
 * What waits of partitions, from the cursor on, as a batch in CurrentMemoryContext; its
 * partitions are those given, by their offset_id.  It is what waits before their
 * again_end, and but for what is not due yet, and, unless again_all, for what certainly
 * lacks its parent still.  NULL: there is nothing, and if not *more nothing behind it;
 * else nobody has looked yet.  Needs a transaction.
 */
extern DjkBatch *djk_again_load(DjkApply *apply, DjkBatchPartition *partitions, int npartitions, DjkAgainCursor *cursor,
								int max_messages, Size max_bytes, bool *more);

/*
 * The same of what is due and of what waits behind it by its key.  'complete' is
 * false if that is not all that may have waited behind it.
 */
extern DjkBatch *djk_again_load_due(DjkBatchPartition *partitions, int npartitions, int max_messages, Size max_bytes,
									bool *complete);

#endif							/* DJK_AGAIN_H */
