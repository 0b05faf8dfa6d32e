/*-------------------------------------------------------------------------
 *
 * parked.h
 *	  Rows of djkafka_parked: messages that wait for a row they refer to, or for another try.
 *
 * Every function runs between djk_catalog_enter() and leave.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PARKED_H
#define DJK_PARKED_H

#include "base/djk.h"
#include "base/message.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* By what later messages are told to wait behind one that waits. */
typedef struct DjkParkedKey
{
	int64		offset_id;
	int64		lane;			/* 0: one that is not known any more, */
	int64		hash;			/* … or equal for equal keys, or DJK_PARKED_ANY_KEY */
	int64		offset;			/* of the first that waits with it */
} DjkParkedKey;

/* The hash of a key that is not known, and may be any; hashes are not negative. */
#define DJK_PARKED_ANY_KEY	INT64CONST(-1)

/* What a message waits for, as far as it is known: a row, or that rows go. */
typedef struct DjkParkedLack
{
	Oid			parent;			/* the row's table; invalid: not known */
	Oid			children;		/* … or that of the rows which refer to its own */
	const char *constraint;		/* that asks for it */
	const char *key;			/* the row's, JSON */
} DjkParkedLack;

typedef struct DjkParked
{
	int64		id;
	int64		route_id;
	bool		has_key;		/* else nothing waits behind it */
	DjkParkedKey key;
	const bytea *row_key;		/* NULL: not known */
	TimestampTz parked_at;
	bool		has_error;		/* it has failed; else it only waits behind another one */
	Oid			parent;			/* of what it lacks, */
	Oid			children;		/* … or of what holds it */
	char	   *constraint;
	const Jsonb *missing_key;	/* NULL: not known */
	int			attempt;
	TimestampTz due_at;			/* 0: it waits for something else */
	DjkMessage	message;		/* its partition is not set */
	DjkHeader  *headers;
	int			nheaders;
	Size		bytes;			/* of its key, value and headers in memory */
} DjkParked;

/* Why a message waits. */
typedef struct DjkParkedState
{
	int64		route_id;
	int64		lane;
	const int64 *key_hash;		/* NULL: nothing waits behind it */
	const bytea *row_key;		/* the key itself; NULL: no deletion supersedes it */
	const DjkError *error;		/* NULL: it waits behind another one */
	DjkParkedLack lack;
	int			attempt;
	TimestampTz due_at;
} DjkParkedState;

/* Messages that are to be kept, of offset rows that are locked. */
typedef struct DjkParkedRows DjkParkedRows;

/* In CurrentMemoryContext, which outlives what each of them needs. */
extern DjkParkedRows *djk_parked_rows_create(int64 consumer_id);

/* 'headers' is a djkafka_header[] Datum, or 0.  All is copied. */
extern void djk_parked_rows_add(DjkParkedRows *rows, const DjkBatchPartition *partition, const DjkMessage *message,
								Datum headers, const DjkParkedState *state);

/* Writes those that are not written yet, and frees the rows. */
extern void djk_parked_rows_write(DjkParkedRows *rows);

/* What is known of one that goes on waiting has changed; without an error it keeps the one it had. */
extern void djk_parked_update(int64 id, const DjkParkedState *state);

/* ERROR serialization_failure if one of them was not there any more. */
extern void djk_parked_delete(const int64 *ids, int n);

/* How many messages of a consumer wait. */
extern int64 djk_parked_count(int64 consumer_id);

/* What waits with a key. */
typedef struct DjkParkedLane
{
	int64		messages;
	int64		bytes;			/* of their keys and values */
	TimestampTz oldest;			/* since when the first of them waits; 0: there is none */
	bool		alike;			/* all are of the row for which it is asked, and have its key in Kafka */
} DjkParkedLane;

/* A message that makes an end of what waits with a key before it, the key's 'offset', or may. */
typedef struct DjkParkedEnd
{
	DjkParkedKey key;
	const char *message_key;	/* Kafka's; NULL: it has none */
	int			message_key_len;
	const bytea *row_key;		/* the key itself; NULL: not known */
} DjkParkedEnd;

/* What waits with the key of each, in 'context'. */
extern DjkParkedLane *djk_parked_count_lanes(const DjkParkedEnd *ends, int n, MemoryContext context);

/* Of a partition, so many. */
typedef struct DjkParkedEnded
{
	int64		offset_id;
	int64		messages;
} DjkParkedEnded;

/* Deletes them, as far as they are of the message's row and have its key in Kafka; in CurrentMemoryContext as it was before enter. */
extern DjkParkedEnded *djk_parked_supersede(const DjkParkedEnd *ends, int n, MemoryContext context, int *nended);

/* The same, but makes dead letters of all of them. */
extern DjkParkedEnded *djk_parked_give_up_lanes(const DjkParkedEnd *ends, int n, const char *detail, const char *hint,
												MemoryContext context, int *nended);

/* What is told of a message that has not failed itself. */
#define DJK_PARKED_BEHIND	"the message waited behind an earlier one of its key"

/*
 * The keys that messages of partitions wait with, each below an offset of its
 * partition: of those wanted, each once and below its 'offset', and one of lane 0
 * where a message waits in another lane than those given.  Rows given as 'but' do not count.  In CurrentMemoryContext as it was before enter: 'context'.
 */
extern DjkParkedKey *djk_parked_keys(const int64 *offset_ids, const int64 *below, int npartitions,
									 const int64 *lanes, int nlanes, const DjkParkedKey *wanted, int nwanted,
									 const int64 *but, int nbut,
									 MemoryContext context, int *nkeys);

/* What is known of one that waits without its bytes. */
typedef struct DjkParkedPlace
{
	int64		id;
	int64		offset;
	int64		route_id;
	TimestampTz parked_at;
	bool		has_error;
	bool		is_due;			/* it had a time, which has come */
	Oid			parent;
	const char *constraint;
	const Jsonb *missing_key;
	int64		behind;			/* without an error: the first that waits with its key, before it; -1: none is known */
} DjkParkedPlace;

/*
 * What waits of a partition between two offsets, the first 'max' of it, in their order
 * and in 'context'.  What is not due at 'now' is left out, and if there is such
 * ('omits'), what is known to wait behind that.
 */
extern DjkParkedPlace *djk_parked_look(int64 offset_id, int64 after, int64 before, TimestampTz now, bool omits,
									   int max, MemoryContext context, int *n);

/*
 * Some of what waits, by partition and offset: DjkParked *, in 'context'.  No more
 * once there are so many bytes.
 */
extern List *djk_parked_load(const int64 *ids, int n, Size max_bytes, MemoryContext context);

/*
 * What is due at 'now', half of that number of messages at most and the oldest
 * first, with as many of those that wait behind them by their key; in the same
 * order.
 */
extern List *djk_parked_load_due(const int64 *offset_ids, int npartitions, TimestampTz now,
								 int max_messages, Size max_bytes, MemoryContext context);

/* When the first of each partition is due that is not due at 'after' already; 0: none is. */
extern void djk_parked_next_due(const int64 *offset_ids, int npartitions, TimestampTz after, TimestampTz *next_due);

typedef struct DjkParkedBefore
{
	int64		letter_id;
	int64		offset;			/* of the first one that waits */
} DjkParkedBefore;

/*
 * Of dead letters those before which, of the same key of Kafka's and in the same
 * partition, a message waits; in CurrentMemoryContext as it was before enter: 'context'.
 */
extern DjkParkedBefore *djk_parked_before_letters(const int64 *letter_ids, int n, MemoryContext context, int *nfound);

/*
 * The position of partitions is moved away: what waits of them becomes dead
 * letters.  Of an offset row; or of a topic, and all its partitions if negative.
 */
extern void djk_parked_give_up(int64 offset_id);
extern void djk_parked_give_up_topic(int64 consumer_id, const char *topic, int partition);

/* The same of a consumer that is dropped. */
extern void djk_parked_give_up_consumer(int64 consumer_id);

#endif							/* DJK_PARKED_H */
