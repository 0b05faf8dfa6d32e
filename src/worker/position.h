/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Where a consumer worker stands in each partition it has been given.
 *
 * A position goes through
 *
 *		assigned	the group gave us the partition
 *		loaded		its offset row is known and locked once, so an earlier owner
 *					is done with it
 *		resolved	next_offset is an offset (start_from has been looked up)
 *		fetching	the library fetches it from 'expected'
 *
 * and may be stopped on the way (needs_decision).  Only what is assigned and
 * resolved is fetched, and a worker that waits after a transient error fetches
 * nothing at all.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_POSITION_H
#define DJK_POSITION_H

#include "base/djk.h"

#include "kafka/collect.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "utils/hsearch.h"

typedef struct DjkPositions
{
	const DjkConsumerRow *consumer;
	DjkConsumer *kafka;
	HTAB	   *table;			/* DjkPosition by DjkPositionKey */
	DjkPosition *last;			/* found last: messages come in runs */
	bool		embedded;
	char	   *cluster_id;		/* NULL until known */
	bool		unresolved;		/* something waits for Kafka: resolve again */
	bool		unanswered;		/* a rebalance that was not answered yet */
	const char *trouble;		/* why, or NULL */
} DjkPositions;

extern DjkPositions *djk_positions_create(const DjkConsumerRow *consumer, DjkConsumer *kafka, bool embedded,
										  MemoryContext context);

extern DjkPosition *djk_positions_find(DjkPositions *positions, const char *topic, int partition);

/* The group gave or took partitions. */
extern void djk_positions_add(DjkPositions *positions, const DjkTopicPartition *partitions, int n);
extern void djk_positions_remove(DjkPositions *positions, const DjkTopicPartition *partitions, int n);

/*
 * Loads and resolves what is not yet: asks Kafka outside of any transaction,
 * and stores inside of short ones.  What could not be asked stays unresolved.
 */
extern void djk_positions_load(DjkPositions *positions);

/*
 * Tells the library what to fetch, each partition from 'expected', if that is
 * not what it fetches already.
 */
extern void djk_positions_fetch(DjkPositions *positions);
/* The library fetches nothing; membership stays. */
extern void djk_positions_suspend(DjkPositions *positions);

/* All positions back to what their rows say, after a batch that was thrown away. */
extern void djk_positions_rewind(DjkPositions *positions);

/* Stops one partition until a person decides. */
extern void djk_positions_stop(DjkPositions *positions, DjkPosition *position, const char *reason);
/* Forgets a row that somebody else moved, so that it is loaded again. */
extern void djk_positions_reload(DjkPositions *positions, DjkPosition *position);

extern int	djk_positions_count(const DjkPositions *positions);
/* Shows all positions in shared memory. */
extern void djk_positions_publish(DjkPositions *positions, int worker);

#endif							/* DJK_POSITION_H */
