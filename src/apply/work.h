/*-------------------------------------------------------------------------
 *
 * work.h
 *	  A batch on its way through apply: the state its steps share.
 *
 * prepare.c assigns each message its route and decodes it, table.c and
 * function.c write, apply.c decides what is committed.  A step works on the
 * messages [from, to) of the batch; what an attempt allocates is thrown away
 * with it, fates and errors last as long as the batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_WORK_H
#define DJK_WORK_H

#include "base/djk.h"
#include "base/message.h"
#include "base/registry.h"

#include "apply/route_state.h"
#include "datatype/timestamp.h"
#include "state/consumer_row.h"
#include "state/parked.h"
#include "utils/tuplestore.h"

/* Tries in a row at a partition that came to nothing, before a lone message of it is given up. */
#define DJK_TRIES_DOUBTFUL	5
#define DJK_TRIES_TRANSIENT 20

/* The one fate of a message. */
typedef enum DjkFate
{
	DJK_FATE_PENDING,
	DJK_FATE_APPLIED,			/* superseded within its batch included */
	DJK_FATE_SUPERSEDED,		/* it waited, and a later deletion of its row was applied: lane.c */
	DJK_FATE_FILTERED,
	DJK_FATE_DUPLICATE,
	DJK_FATE_STALE,				/* its row is as new, or newer */
	DJK_FATE_DEAD,
	DJK_FATE_SKIPPED,
	DJK_FATE_PARKED,			/* waits for a row that it refers to, to be tried again, or behind one that does (park.c) */
	DJK_FATE_RETRIED,			/* is tried again from a topic, to which it was sent (retry_topic.c) */
	DJK_FATE_STOP,				/* failed under on_error = stop, or, with a time at which it is due, is tried again while its partition waits */
	DJK_FATE_LOST				/* its partition is not ours any more, or it has waited and its schema is not known (writer.c);
								 * in a rehearsal also: not to be tried (isolate.c) */
} DjkFate;

/* What a message does to what waits of its key before it. */
typedef enum DjkLaneEnd
{
	DJK_LANE_GOES_ON,
	DJK_LANE_SUPERSEDED,		/* it deletes the row, and is tried although others wait: nothing of these would be left */
	DJK_LANE_GIVEN_UP			/* there was no room for it: they are dead letters */
} DjkLaneEnd;

typedef struct DjkRow
{
	Datum	   *values;			/* by column of the route's state */
	bool	   *nulls;
	uint64		shape;			/* of the state that has made it */
	Bitmapset  *present;		/* shared: equal sets are one pointer within an attempt */
	int			partition;		/* of the batch, whose message it is of */
	bool		is_delete;
	int64		cascaded;		/* by on_referenced: rows that have gone with it, or references that became null */
	bool		is_new;			/* by insert_new, where that is asked: it was inserted */
	const DjkError *refused;	/* of what an expression uses, unless the message deletes; NULL: none */
	bool		unread;			/* the whole value is what is refused, whatever the message does */
	const DjkError *unprepared; /* why there is no row; NULL: there is one, or it is not known yet */
} DjkRow;

/* What a message that waits lacks: lack.c. */
typedef struct DjkLack
{
	DjkParkedLack row;
	bool		is_watched;		/* who writes such a row wakes the worker */
} DjkLack;

typedef struct DjkWork
{
	DjkFate		fate;
	int			route;			/* index into the consumer's routes; -1 none yet */
	bool		key_only;		/* no field of the message but those of its key has a column */
	bool		was_unprepared; /* its fate is for that, and is found again with each piece */
	bool		is_skipped;		/* djkafka_skip has asked for it: SKIPPED, unseen */
	DjkRow		row;			/* of a table's route, within an attempt */
	DjkError	error;			/* of DEAD, SKIPPED, STOP, PARKED, RETRIED; in batch_context */
	char	   *context;
	bool		is_sent;		/* of DEAD, RETRIED: to its topic */
	const char *not_sent;		/* … or why not; NULL: it was, or was not to be */
	bool		has_key;		/* of its route, or the message's own; noted where it matters: park.c */
	int64		lane;			/* of its route's state, */
	int64		key_hash;		/* … and of the key; DJK_PARKED_ANY_KEY */
	const bytea *row_key;		/* the key itself, where a deletion may supersede others of it; in batch_context; NULL: not known */
	DjkLaneEnd	lane_end;		/* of what waits of its key before it */
	bool		cannot_supersede;	/* it has failed */
	DjkLack		lack;			/* of PARKED, without a time */
	DjkSchemaKey *schema;		/* of STOP: it was written with this one, which was not fetched; NULL: it is not that */
	int			attempt;		/* of PARKED, RETRIED, STOP: the retry that it waits for, or has had last; 0: none */
	TimestampTz due_at;			/* of PARKED, RETRIED, STOP: it is tried again then; 0: not by itself */
} DjkWork;

/* How what comes next is applied. */
typedef struct DjkManner
{
	bool		isolate;		/* the next transaction works by pieces */
	bool		single;			/* … and holds one message only */
	bool		rebuilt;		/* the routes' states are new already */
} DjkManner;

typedef struct DjkApply
{
	const DjkConsumerRow *consumer;
	DjkRouteState **states;		/* by route; NULL until first used */
	MemoryContext context;		/* lives as long as this */
	MemoryContext batch_context;	/* reset with each batch */
	MemoryContext attempt_context;	/* reset with each attempt at a piece of it */

	/* the batch at hand */
	DjkBatch   *batch;
	DjkWork    *work;			/* by message */
	List	   *presents;		/* Bitmapsets seen in this attempt */
	int			current;		/* message or -1, for errors' context */
	int			piece_from;		/* what is being applied, for the same */
	int			piece_to;
	int			current_route;	/* route whose SQL runs, or -1 */

	/* its transactions: apply.c, transaction.c */
	int			chunk_messages; /* most in one; less than the batch after one that failed by its size */
	int			chunk_successes;	/* in a row since that was lowered or raised */
	DjkManner	manner;			/* what a batch that had to pause had found out */
	int			time_limit_ms;	/* of each; 0 none */
	TimestampTz limit_at;		/* when the one at hand has reached it; 0: it has none */

	/* how it isolates: isolate.c */
	double		failure_gap;	/* messages between two that failed, on average; -1: none of the last transaction did */
	int			pieces;			/* of the last one that was isolated */

	/* whose fault an error is: judge.c */
	bool		inside;			/* in the caller's transaction: djkafka_run */
	bool	   *worked;			/* by route: has applied a message since this was made */
	int		   *doubtful_in_row;	/* by route: messages given up since then */
	bool		doubtful;		/* what is thrown as broken may be one message's fault: */
	int			failed_at;		/* this one, or -1 */

	/* partitions of which too much fails: storm.c */
	DjkRecent  *recent;			/* by partition of the batch: with what is being recorded */
	int			storm_end;		/* behind the message at which one is to stop; 0: none is */

	/* what waits: park.c */
	int			fence_from;		/* the first message of the transaction at hand */
	HTAB	   *parked_keys;	/* of the batch at hand; NULL: none are known */
	HTAB	   *parked_asked;	/* keys that were asked for in this transaction; NULL: none */
	int64	   *parked_lanes;	/* … in these lanes */
	int			nparked_lanes;
	List	   *awaited;		/* OIDs of tables that something waits for a row of; may be more than that */
	bool		awaits_more;	/* … and some that nobody has watched yet */
	int64		park_room;		/* for messages more; -1: not known yet */
	uint64	   *forms;			/* by route: of its last state; 0: it had none */
	bool		is_changed;		/* one is another than before, and what waits has not been tried since */

	struct DjkWriters *writers; /* schemas of messages: writer.c; NULL: no route needs them */
	struct DjkLetterSieve *letters; /* which keys dead letters may have: overtaken.c; NULL: not asked yet */

	/* which routes a topic has: a cache */
	HTAB	   *topics;
	int		   *levels;			/* by route: see order.c; NULL: all are one */
} DjkApply;

/* The routes that may take messages of a topic, by index; lives as long as 'apply'. */
extern Bitmapset *djk_work_routes(DjkApply *apply, const char *topic);

/* The state of a route, made at first use and when it was invalidated. */
extern DjkRouteState *djk_work_state(DjkApply *apply, int route);

/* The same between preparing and writing: ERROR if the rows' shape has changed. */
extern DjkRouteState *djk_work_state_prepared(DjkApply *apply, int route);

/* What a statement of a route reads next: those of the messages that are pending, in their order; lives as long as the attempt. */
extern void djk_work_at_hand(DjkApply *apply, DjkRouteState *state, const int *indexes, int n);

/* The message that a statement was at when it failed; -1: that is not known, and none need have been. */
extern int	djk_work_suspect(const DjkApply *apply);

/* A message has failed: its fate by its route's policy.  The error is copied. */
extern void djk_work_fail(DjkApply *apply, int message, const DjkError *error, const char *context);

/* The most tries in vain of the partitions that [from, to) is of. */
extern int	djk_work_vain(const DjkApply *apply, int from, int to);

/* Whether a partition of the batch had so many that what is transient is judged too. */
extern bool djk_work_is_impatient(const DjkApply *apply);

#endif							/* DJK_WORK_H */
