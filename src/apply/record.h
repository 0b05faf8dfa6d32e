/*-------------------------------------------------------------------------
 *
 * record.h
 *	  What a batch did, written in its own transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RECORD_H
#define DJK_RECORD_H

#include "apply/work.h"
#include "state/offset.h"

/*
 * Locks the offset rows of the batch; messages of partitions that are not ours
 * any more get the fate LOST, and one of [from, to) that is to be skipped gets
 * SKIPPED.  Returns false if no partition is ours.
 */
extern bool djk_record_fence(DjkApply *apply, int from, int to);

/*
 * Writes dead letters, moves the offsets behind message to - 1 and queues the
 * notifications.  The advances (palloc'd in batch_context, one per partition
 * that moved) are for djk_record_committed().
 */
extern DjkOffsetAdvance *djk_record_write(DjkApply *apply, int from, int to, int *nadvances);

/* After the commit of [from, to): the batch's partitions now begin where their rows do. */
extern void djk_record_committed(DjkApply *apply, int from, int to, const DjkOffsetAdvance *advances, int n);

#endif							/* DJK_RECORD_H */
