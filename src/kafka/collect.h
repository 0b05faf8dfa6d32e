/*-------------------------------------------------------------------------
 *
 * collect.h
 *	  From a consumer's events to a batch: where each partition stands, and
 *	  what is taken of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_COLLECT_H
#define DJK_KAFKA_COLLECT_H

#include "base/djk.h"

#include "datatype/timestamp.h"
#include "kafka/consumer.h"

typedef struct DjkPositionKey
{
	char		topic[DJK_TOPIC_MAX + 1];
	int			partition;
} DjkPositionKey;

/* One partition that is read; consumer/position.h tells of its life in a worker. */
typedef struct DjkPosition
{
	DjkPositionKey key;
	int64		offset_id;		/* 0: not loaded */
	int64		generation;
	int64		next_offset;	/* in the row, or DJK_OFFSET_UNRESOLVED */
	int64		expected;		/* of the next message */
	int64		high_watermark; /* -1: unknown */
	int			leader;			/* broker, as last looked up; negative: none */
	bool		heard;			/* something of it has come since leader.c looked last */
	bool		denied;			/* it may not be read, and nothing has come since that was told */
	int64		question;		/* that Kafka was asked about its start; 0: none */
	bool		assigned;		/* the library fetches it */
	bool		fetching;		/* … and what it delivers is wanted */
	bool		stopped;		/* needs_decision */
	bool		verified;		/* a jump of this assignment has been seen twice */
	int64		jump_to;		/* the jump seen once, -1: none */
	DjkAnchor	anchor;			/* the last message that was applied */
	bool		anchoring;		/* it is read from its anchor, which has not come yet */
	bool		reborn;			/* another message has come in the anchor's place: nothing more is taken */
	TimestampTz short_since;	/* the partition seems to end at or before the anchor; 0: it does not */
	int			vain;			/* see DjkBatchPartition */
	int			waiting_vain;	/* the same, of what waits for rows that it refers to */
	int64		parked;			/* messages of it that wait for a parent */
	int			batch_index;	/* in the batch being collected, -1: not in it */
} DjkPosition;

typedef struct DjkCollector
{
	DjkConsumer *kafka;
	MemoryContext context;		/* of the arrays */
	DjkBatch	batch;
	DjkPosition **positions;	/* by the batch's partition */
	int			messages_size;
	int			partitions_size;
} DjkCollector;

extern void djk_position_make_key(DjkPositionKey *key, const char *topic, int partition);
/* Where the library is to begin: at the anchor, if there is one. */
extern int64 djk_position_start(const DjkPosition *position);
/* The position as a partition of a batch. */
extern void djk_position_describe(const DjkPosition *position, DjkBatchPartition *partition);

/* Of two partitions the one that is named, if one is. */
extern bool djk_position_precedes(const DjkPosition *a, const DjkPosition *b);
/* It begins now. */
extern void djk_position_begin(DjkPosition *position);

/* All but the key as of a partition of which nothing is known yet. */
extern void djk_position_clear(DjkPosition *position);

/*
 * Takes a message, or the end of a partition, if it follows what was there;
 * else it is given back, and false returned.  'position' may be NULL: not ours.
 */
extern bool djk_collect_message(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event);
extern bool djk_collect_eof(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event);

/* Writes into the batch how far each of its partitions goes. */
extern void djk_collect_close(DjkCollector *collector);
/* Gives the batch's messages back and empties it. */
extern void djk_collect_clear(DjkCollector *collector);

#endif							/* DJK_KAFKA_COLLECT_H */
