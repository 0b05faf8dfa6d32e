/*-------------------------------------------------------------------------
 *
 * held.h
 *	  Partitions that wait until a message of theirs is tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_HELD_H
#define DJK_HELD_H

#include "consumer/member.h"

/*
 * The batch being collected has come to a message that its partition waits for:
 * that is written down, and what is left of the batch is what there is of other
 * partitions.
 */
extern void djk_held_begin(DjkConsumerWorker *worker, const DjkApplyResult *result);

/* Partitions whose time has come are read again. */
extern void djk_held_end(DjkConsumerWorker *worker);

/* How long the worker may sleep, 'limit_ms' at most. */
extern long djk_held_ms(const DjkConsumerWorker *worker, long limit_ms);

#endif							/* DJK_HELD_H */
