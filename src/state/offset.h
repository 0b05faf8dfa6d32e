/*-------------------------------------------------------------------------
 *
 * offset.h
 *	  Rows of djkafka_offset: where each partition stands.
 *
 * Every function runs between djk_catalog_enter() and leave.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OFFSET_H
#define DJK_OFFSET_H

#include "base/djk.h"
#include "base/message.h"
#include "base/position.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

typedef struct DjkOffsetRow
{
	int64		id;
	char	   *topic;
	int			partition;
	int64		generation;
	int64		next_offset;	/* or DJK_OFFSET_UNRESOLVED */
	char	   *start_at;		/* NULL once resolved */
	bool		needs_decision;
	bool		storms;			/* too many have failed: it has stopped */
	bool		has_incarnation;
	pg_uuid_t	incarnation;	/* of the embedded broker */
	char	   *cluster_id;		/* NULL: not known yet */
	DjkAnchor	anchor;
	int64		parked;
	char	   *topic_id;		/* NULL: not known */
	int64		held_offset;	/* -1: see DjkPosition */
	int			held_attempt;
	TimestampTz held_until;
} DjkOffsetRow;

/* What one batch did to one partition. */
typedef struct DjkOffsetAdvance
{
	int64		id;
	int			partition;		/* index into the batch's */
	int64		next_offset;
	int64		applied;
	int64		key_only;		/* … which had no field but the key */
	int64		superseded;		/* … which waited when a later deletion of their row was */
	int64		cascaded;		/* rows of other messages that went, or references that became null, with theirs */
	int64		filtered;
	int64		duplicates;
	int64		stale;
	int64		dead;
	int64		dead_sent;		/* … which went to a topic */
	int64		gaps;
	int64		skipped;
	int64		parked;			/* more, or fewer */
	int64		retried;
	int64		retries;		/* that were made */
	int64		high_watermark; /* -1: unknown */
	int64		last_timestamp_ms;	/* DJK_TIMESTAMP_NONE: leave */
	int64		from_offset;	/* what the row held when it was locked */
	int64		generation;
	int64		skip_offset;	/* the same; -1: none */
	DjkRecent	recent;			/* with these messages */
	DjkAnchor	anchor;			/* offset -1: leave */
} DjkOffsetAdvance;

/*
 * Rows of a topic's partitions, locked FOR NO KEY UPDATE in order of
 * partition: waits for an earlier owner's last commit.  With nowait an
 * ERROR lock_not_available instead.  In 'context'; partitions without a row
 * are left out.
 */
extern DjkOffsetRow *djk_offset_load(int64 consumer_id, const char *topic, const int *partitions,
									 int npartitions, bool nowait, MemoryContext context, int *count);

/*
 * Makes the missing rows of partitions 0 .. npartitions - 1.  A topic without
 * any row is new, and all start at 'start_from'; partitions found later start
 * at their beginning.
 */
extern void djk_offset_create(int64 consumer_id, const char *topic, int npartitions, const char *start_from);

/* How many partitions the consumer has rows for. */
extern int	djk_offset_count(int64 consumer_id);

/*
 * Why a row's offsets are not those of the brokers that answer: a reason for a
 * person, in CurrentMemoryContext, or NULL.  'cluster_id' may be NULL where the
 * row has none either, and on the embedded broker.
 */
extern char *djk_offset_mismatch(const DjkOffsetRow *row, bool embedded, const char *cluster_id);

/* That a partition is not the one that was read, by 'what' shows it; in CurrentMemoryContext. */
extern char *djk_offset_new_topic(const char *what);

/* Stores where an unresolved row starts; false if it was sought meanwhile. */
extern bool djk_offset_resolve(int64 id, int64 generation, int64 offset, const char *cluster_id,
							   const pg_uuid_t *incarnation);

/*
 * A row of another life of the embedded broker than the present one begins again,
 * and so does what was read of it: true then.
 */
extern bool djk_offset_begin_life(DjkOffsetRow *row, bool embedded);

/* Into the position that it is of, which was given. */
extern void djk_offset_take(const DjkOffsetRow *row, DjkPosition *position);

/*
 * Locks the rows of a batch in order and sets 'lost' of the partitions whose
 * row is gone or says something else.  Returns how many are still ours.
 */
extern int	djk_offset_fence(DjkBatch *batch);

/*
 * Moves offsets and counters: one statement.  ERROR if code of the owner's has
 * moved or deleted a row since it was locked, in this very transaction.
 */
extern void djk_offset_advance(const DjkOffsetAdvance *advances, int n);

/* Stops a partition until a person decides. */
extern void djk_offset_stop(int64 id, int64 generation, const char *reason);

/*
 * The partition waits for a message that failed, and is tried again as attempt
 * number so and so; false if the row is not what the worker knows.
 */
extern bool djk_offset_hold(int64 id, int64 generation, int64 next_offset, int64 held_offset, int attempt,
							TimestampTz due_at, const DjkError *error);

/* A partition has stopped because too many of its messages fail; what it says. */
extern void djk_offset_storm(int64 id, const char *reason);

/* All of a consumer that have go on, and count from zero again; returns how many. */
extern int	djk_offset_calm(int64 consumer_id);

/* Which topic the offsets of some rows belong to, by its id. */
extern void djk_offset_note_topic(const DjkOffsetRow *rows, int n, const char *topic_id);

/* Begins again at the beginning, as a topic that was made again is read; false if it was sought meanwhile. */
extern bool djk_offset_restart(int64 id, int64 generation);

/*
 * Stores a wish for the partitions of a topic (partition < 0: all known);
 * counters start again.  Returns how many rows it changed.
 */
extern int	djk_offset_seek(int64 consumer_id, const char *topic, int partition, const char *start_at);

#endif							/* DJK_OFFSET_H */
