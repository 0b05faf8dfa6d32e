/*-------------------------------------------------------------------------
 *
 * apply.h
 *	  A batch of messages becomes rows, offsets and dead letters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_APPLY_H
#define DJK_APPLY_H

#include "base/djk.h"
#include "base/message.h"
#include "base/registry.h"
#include "datatype/timestamp.h"
#include "state/consumer_row.h"

typedef struct DjkApply DjkApply;

/* Whether something waits for rows of a table that nobody has watched yet. */
extern bool djk_apply_awaits_more(const DjkApply *apply);

/*
 * Whoever commits rows of the tables that something waits for rings from now on
 * (state/awaited.h).  Whether any was not watched before.  Needs a transaction.
 */
extern bool djk_apply_watch(DjkApply *apply);

/* Nothing waits any more. */
extern void djk_apply_unwatch(DjkApply *apply);

/*
 * Whether routes have changed since djk_apply_note_trying(): what waits may have been tried
 * by what they were.
 */
extern bool djk_apply_is_changed(const DjkApply *apply);

/* Nothing waits, or all that does is tried from now on. */
extern void djk_apply_note_trying(DjkApply *apply);

typedef enum DjkApplyStatus
{
	DJK_APPLY_DONE,
	DJK_APPLY_PAUSED,			/* so far: Kafka is to be asked before the rest is fetched again */
	DJK_APPLY_TRANSIENT,		/* what is left waits and is tried again */
	DJK_APPLY_BROKEN,			/* the definition does not fit the database */
	DJK_APPLY_DOUBTFUL,			/* the same, or one message: waits and is tried again */
	DJK_APPLY_STOPPED,			/* a message failed under on_error = stop */
	DJK_APPLY_HELD,				/* a message is tried again later, and its partition waits for it */
	DJK_APPLY_NO_SCHEMA,		/* a message names a schema that is to be fetched */
	DJK_APPLY_STORM				/* too many have failed: the partition of the last that is decided has stopped */
} DjkApplyStatus;

typedef struct DjkApplyResult
{
	DjkApplyStatus status;
	int			decided;		/* messages whose fate is committed, from the first on */
	int			failed_at;		/* the message at which the definition failed; -1: not known */
	int			tries;			/* of DOUBTFUL and TRANSIENT: so many in a row have come to nothing there */
	int			tries_left;		/* of DOUBTFUL and TRANSIENT, before a message gets its fate */
	int64		applied;
	int64		key_only;		/* … which had no field but the key */
	int64		filtered;
	int64		duplicates;
	int64		stale;
	int64		dead;
	int64		skipped;
	int64		parked;			/* that wait for a row they refer to, or for another try */
	int			attempt;		/* of HELD: the try that is next, */
	TimestampTz due_at;			/* … and when */
	bool		is_logged;		/* … and whether its route wants that in the log */
	const DjkSchemaKey *schema; /* of NO_SCHEMA; lives until the next batch */
	DjkError	error;			/* unless DONE; lives until the next batch */
} DjkApplyResult;

/* Adds what became of a batch's messages to the counters of 'total'. */
extern void djk_apply_add_counts(DjkApplyResult *total, const DjkApplyResult *result);

/*
 * An apply lives in its own child of 'parent'.  time_limit_ms bounds one
 * transaction (0: no bound).  'consumer' must outlive it.
 */
extern DjkApply *djk_apply_create(const DjkConsumerRow *consumer, MemoryContext parent, int time_limit_ms);

/* Frees it with the routes' plans; after an ERROR its parent context does all but the plans. */
extern void djk_apply_destroy(DjkApply *apply);

/*
 * Builds the state of every route, so that a definition that does not fit is
 * found before a message is read.  Needs a transaction and a snapshot; ERROR.
 */
extern void djk_apply_require_routes(DjkApply *apply);

/*
 * Between batches, with no transaction open: makes the states of routes again that were
 * invalidated, as the consumer's owner, whose code may be run for that.  One that cannot
 * be made is left to the next batch.
 */
extern void djk_apply_renew_routes(DjkApply *apply);

/*
 * Applies a batch in transactions of its own: no transaction may be open.
 * Moves batch->partitions[].next_offset as it commits, and sets 'lost' of
 * partitions that are not ours any more.  Does not throw for what concerns the
 * messages or the database; the caller looks at the status.
 */
extern void djk_apply_batch(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result);

/*
 * The same inside the caller's transaction, for djkafka_run: each piece in a
 * subtransaction.  Throws transient errors, and ERRORs for a broken definition.
 */
extern void djk_apply_inside(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result);

/*
 * Whether what is being written right now is written for a consumer: between
 * the begin of a batch's transaction and its end, triggers and deferred
 * constraints included.
 */
extern bool djk_apply_is_running(void);

#endif							/* DJK_APPLY_H */
