/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  A consumer worker tries again what waits for a row that it refers to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_WAITING_H
#define DJK_WAITING_H

#include "consumer/member.h"

/*
 * Tries some of what waits, if it is time: no transaction may be open, and no
 * batch collected.  Not where Kafka, which has heard of us last at 'polled_at',
 * comes first.
 */
extern void djk_waiting_turn(DjkConsumerWorker *worker, TimestampTz polled_at);

/* Rows were written, perhaps what something waits for. */
extern void djk_waiting_note_rows(DjkConsumerWorker *worker);

/* What a batch has left of a partition. */
extern void djk_waiting_note_partition(DjkConsumerWorker *worker, const DjkBatchPartition *partition);

/* Until the next turn at most; a limit where nothing waits. */
extern long djk_waiting_ms(const DjkConsumerWorker *worker, long limit_ms);

#endif							/* DJK_WAITING_H */
