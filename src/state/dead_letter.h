/*-------------------------------------------------------------------------
 *
 * dead_letter.h
 *	  Rows of djkafka_dead_letter, and of the log of what was done with them.
 *
 * Every function runs between djk_catalog_enter() and leave.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_DEAD_LETTER_H
#define DJK_DEAD_LETTER_H

#include "base/djk.h"
#include "base/message.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

/* ---------- writing and reading (dead_letter.c) ---------- */

/*
 * Writes one message with its error.  'headers' is a djkafka_header[] Datum, or 0
 * for none; 'not_sent' says why it did not go to a topic, if it should have.  It was
 * tried so often, first then; 0: now.
 */
extern void djk_dead_letter_write(int64 consumer_id, const char *consumer, int64 route_id,
								  const DjkBatchPartition *partition, const DjkMessage *message,
								  Datum headers, const DjkError *error, const char *context,
								  const char *not_sent, int attempts, TimestampTz first_failed_at);

/* Which letters: all that is given must hold. */
typedef struct DjkLetterFilter
{
	Datum		ids;			/* bigint[]; 0: any */
	int64		consumer_id;	/* 0: any */
	const char *consumer;		/* the name it had, where there is none; NULL: any */
	const char *topic;			/* NULL: any */
	const char *sqlstate;		/* or its class; NULL: any */
	TimestampTz since;			/* became a letter then, or later; 0: ever */
	TimestampTz until;			/* before then; 0: ever */
	int64		max_letters;	/* 0: all */
} DjkLetterFilter;

typedef struct DjkLetterList
{
	int64	   *ids;			/* in order of consumer, copy, topic, partition, offset */
	int64	   *consumer_ids;
	int64	   *copies;			/* 1, or more if its message was read, and failed, before it */
	int			n;
} DjkLetterList;

/* Those that there are now, without a lock; in 'context'. */
extern void djk_dead_letter_find(const DjkLetterFilter *filter, DjkLetterList *list, MemoryContext context);

/* Locks the offset rows of their partitions, as a batch does: what is read of these waits for us. */
extern void djk_dead_letter_lock_offsets(const int64 *ids, int n);

/* A row, as it was when its message could not be applied, or as it was edited. */
typedef struct DjkDeadLetter
{
	int64		id;
	int64		consumer_id;
	char	   *consumer;
	char	   *topic;
	int			partition;
	int64		offset;
	int64		timestamp_ms;	/* DJK_TIMESTAMP_NONE if Kafka had none */
	Datum		key;			/* bytea, 0: null */
	Datum		value;
	Datum		headers;		/* djkafka_header[], 0: none */
	bool		is_overtaken;	/* a newer message of its key has been applied, or may have been */
	int64		newer_offset;	/* … at this offset; DJK_NEWER_UNKNOWN */
} DjkDeadLetter;

/* The topic was made again: whatever has been read of it since is newer. */
#define DJK_NEWER_UNKNOWN	INT64CONST(-1)

/*
 * Reads letters, and locks them if they are to be settled, from the first id on: DjkDeadLetter *,
 * in the same order, in 'context'.  Those that are gone are left out.  No more once there are so many bytes;
 * *nread is how many ids were looked at.
 */
extern List *djk_dead_letter_load(const int64 *ids, int n, Size max_bytes, bool lock, MemoryContext context, int *nread);

/* Whether a consumer of this id, which may be gone, has left any, as of now. */
extern bool djk_dead_letter_is_left(int64 consumer_id);

/*
 * Between who writes letters under an id, and holds no offsets of its consumer
 * (shared), and who makes a consumer of it, until their transactions end: the second
 * knows of the first.
 */
extern void djk_dead_letter_lock_id(int64 consumer_id, LOCKMODE mode);

/* ---------- what becomes of them (dead_letter_settle.c) ---------- */

typedef struct DjkLetterOutcome
{
	int64		id;
	const char *result;
	bool		gone;
	bool		failed;			/* it was tried in vain: */
	int64		route_id;		/* … by this route, 0: none */
	DjkError	error;			/* … and with this error; also of one that was refused */
	const char *context;
} DjkLetterOutcome;

/* Logs what became of letters that are locked, removes those that are gone, and keeps the errors of those that failed. */
extern void djk_dead_letter_settle(const char *action, const char *reason, const DjkLetterOutcome *outcomes, int n);

/* Removes letters and logs why; returns how many of them there were. */
extern int	djk_dead_letter_discard(const int64 *ids, int n, const char *reason);

/* Logs that one was changed, or deleted, by hand: as it was before. */
extern void djk_dead_letter_log_change(const char *action, int64 id, bool with_bytes);

/*
 * Removes some of those that are older than djkafka.dead_letter_retention, or more than
 * djkafka.max_dead_letters, with an event for each consumer.  Returns whether there may be more.
 */
extern bool djk_dead_letter_expire(void);

/* Removes what is older than djkafka.event_retention from the log. */
extern void djk_dead_letter_trim_log(void);

/* ---------- newer messages of their keys (dead_letter_newer.c) ---------- */

/* The hashes by which a letter is found: of its partition, and of its key. */
extern int64 djk_dead_letter_partition_hash(int64 consumer_id, const char *topic, int partition);
extern int64 djk_dead_letter_key_hash(const char *key, int len);

/* A letter of one of the keys asked for. */
typedef struct DjkLetterKey
{
	int64		id;
	int64		offset;
	int			message;		/* of those asked for, by its number */
} DjkLetterKey;

/* Gives the hashes of all letters of a partition, which has this hash, that may be overtaken. */
extern void djk_dead_letter_each_hash(int64 watched, void (*take) (void *arg, int64 hash), void *arg);

/* Those of the partition with the keys of messages, which have these hashes, up to an offset, in CurrentMemoryContext. */
extern DjkLetterKey *djk_dead_letter_find_keys(int64 consumer_id, const DjkBatchPartition *partition,
											   const DjkMessage *const *messages, const int64 *hashes, int nmessages,
											   int64 last_offset, int *nletters);

/* The partition of an offset row begins again in another topic. */
extern void djk_dead_letter_begin_again(int64 offset_id);

/* Of each, a newer message has been applied. */
extern void djk_dead_letter_set_newer(const int64 *ids, const int64 *newer_offsets, int n);

#endif							/* DJK_DEAD_LETTER_H */
