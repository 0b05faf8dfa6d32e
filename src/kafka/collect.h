/*-------------------------------------------------------------------------
 *
 * collect.h
 *	  From a consumer's events to a batch: what is taken of each partition.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_COLLECT_H
#define DJK_KAFKA_COLLECT_H

#include "base/djk.h"

#include "base/position.h"
#include "kafka/consumer.h"

typedef struct DjkCollector
{
	DjkConsumer *kafka;
	MemoryContext context;		/* of the arrays */
	DjkBatch	batch;
	DjkPosition **positions;	/* by the batch's partition */
	int			messages_size;
	int			partitions_size;
} DjkCollector;

/*
 * Takes a message, or the end of a partition, if it follows what was there;
 * else it is given back, and false returned.  'position' may be NULL: not ours.
 */
extern bool djk_collect_message(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event);
extern bool djk_collect_eof(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event);

/* Writes into the batch how far each of its partitions goes. */
extern void djk_collect_close(DjkCollector *collector);

/*
 * Of a batch that is decided up to a message what else there is of a partition is
 * thrown away: what is left is the rest of the others.
 */
extern void djk_collect_drop(DjkCollector *collector, int decided, int partition);

/* The same, and nothing else is thrown away. */
extern void djk_collect_drop_decided(DjkCollector *collector, int decided);

/* Whether a batch has still something to move. */
extern bool djk_collect_has_more(const DjkCollector *collector);

/* Gives the batch's messages back and empties it. */
extern void djk_collect_clear(DjkCollector *collector);

#endif							/* DJK_KAFKA_COLLECT_H */
