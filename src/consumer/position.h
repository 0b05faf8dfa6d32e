/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Where a consumer worker stands in each partition it has been given.
 *
 * The group gives a partition; its row is loaded; where it begins is resolved;
 * and it is fetched (DjkPositionState).  A worker that waits after a transient
 * error fetches nothing at all.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_POSITION_H
#define DJK_POSITION_H

#include "base/djk.h"

#include "kafka/collect.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"

typedef struct DjkPositions
{
	const DjkConsumerRow *consumer;
	DjkConsumer *kafka;
	HTAB	   *table;			/* DjkPosition by DjkPositionKey */
	DjkPosition *last;			/* found last: messages come in runs */
	bool		embedded;
	char	   *cluster_id;		/* NULL until known */
	MemoryContext context;		/* as long as this lives */
	bool		unresolved;		/* something waits for Kafka: resolve again */
	List	   *questions;		/* that Kafka was asked and has not answered */
	int64		nquestions;		/* so far */
	bool		anchoring;		/* something may be read from its anchor */
	bool		waiting;		/* messages may wait for rows that they refer to, or for another try */
	TimestampTz held_until;		/* the first that is held is to be read again then; 0: none is held */
	bool		waiting_unseen; /* … and of a partition that is new nobody has looked for what */
	bool		unanswered;		/* a rebalance that was not answered yet */
	const char *trouble;		/* why something is unresolved, or NULL */
	char		trouble_text[512];
} DjkPositions;

extern DjkPositions *djk_positions_create(const DjkConsumerRow *consumer, DjkConsumer *kafka, bool embedded,
										  MemoryContext context);

extern DjkPosition *djk_positions_find(DjkPositions *positions, const char *topic, int partition);

/* The group gave or took partitions. */
extern void djk_positions_add(DjkPositions *positions, const DjkTopicPartition *partitions, int n);
extern void djk_positions_remove(DjkPositions *positions, const DjkTopicPartition *partitions, int n);

/*
 * Loads and resolves what is not yet: asks Kafka outside of any transaction,
 * and stores inside of short ones.  What could not be asked stays unresolved;
 * what is not answered at once is answered later, when the consumer's fd becomes
 * readable: true if there was an answer, so that there may be more to fetch.
 */
extern void djk_positions_load(DjkPositions *positions);
extern bool djk_positions_take_answers(DjkPositions *positions);

/* An event about one partition; inside a transaction. */
extern void djk_positions_tell(DjkPositions *positions, const DjkPosition *position, const char *kind,
							   const char *state, const char *reason);

/*
 * Tells the library what to fetch, each partition from 'expected', if that is
 * not what it fetches already.
 */
extern void djk_positions_fetch(DjkPositions *positions);

/* Answers a rebalance with nothing, if one was not answered: the group does not wait for us. */
extern void djk_positions_settle(DjkPositions *positions);

/* The library fetches nothing; membership stays. */
extern void djk_positions_suspend(DjkPositions *positions);

/* All positions back to what their rows say, after a batch that was thrown away. */
extern void djk_positions_rewind(DjkPositions *positions);

/* A position is back at what its row says, and is not fetched before its time, though that may have come already; */
extern void djk_positions_hold(DjkPositions *positions, DjkPosition *position);

/* … and those whose time has come may be. */
extern void djk_positions_release(DjkPositions *positions, TimestampTz now);

/* Whether what comes next of some partition has been tried in vain, and will be again. */
extern bool djk_positions_in_vain(const DjkPositions *positions);

/* Stops one partition until a person decides. */
extern void djk_positions_stop(DjkPositions *positions, DjkPosition *position, const char *reason);

/* One has been stopped, by a batch, because too many of its messages fail. */
extern void djk_positions_note_storm(DjkPositions *positions, DjkPosition *position);

/* Begins at the beginning of one that was made again. */
extern void djk_positions_restart(DjkPositions *positions, DjkPosition *position, const char *reason);

/* Of the positions that are so, the one that is named; NULL if none is. */
extern DjkPosition *djk_positions_first(const DjkPositions *positions, bool (*is_so) (DjkPosition *position, void *arg),
										void *arg);

/* Whether something of a topic is fetched as if the topic were the one that was read. */
extern bool djk_positions_trust(const DjkPositions *positions, const char *topic);

/* One that seems to have ended before its anchor for a while, or NULL. */
extern DjkPosition *djk_positions_find_short(DjkPositions *positions);

/* Sends the library to where those are, so that it tells again what becomes of them. */
extern void djk_positions_try_denied(DjkPositions *positions);

/* What the library still delivers of it is not taken. */
extern void djk_positions_leave(DjkPosition *position);

/* Forgets a row that somebody else moved, so that it is loaded again. */
extern void djk_positions_reload(DjkPositions *positions, DjkPosition *position);

extern int	djk_positions_count(const DjkPositions *positions);

/* Shows all positions in shared memory. */
extern void djk_positions_publish(DjkPositions *positions, int worker);

#endif							/* DJK_POSITION_H */
