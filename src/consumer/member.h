/*-------------------------------------------------------------------------
 *
 * member.h
 *	  A consumer worker as a member of its group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MEMBER_H
#define DJK_MEMBER_H

#include "base/djk.h"

#include "apply/again.h"
#include "apply/apply.h"
#include "kafka/collect.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/consumer_row.h"
#include "consumer/position.h"
#include "consumer/share.h"
#include "worker/worker.h"

typedef struct DjkLeader DjkLeader;

/* What waits for rows that it refers to, or for another try: waiting.c. */
typedef struct DjkWaiting
{
	DjkAgainCursor at;			/* in the round */
	DjkAgainCursor from;		/* … before its last batch */
	TimestampTz round;			/* since when; 0: none is under way */
	TimestampTz begun;			/* the last one */
	TimestampTz due;			/* of the next round, if it is for rows that come from anybody */
	TimestampTz next;			/* a try is due then, by the time of day; 0: none that is known */
	TimestampTz deadline;		/* something has waited for too long then, by the time of day; 0: none that is known */
	long		interval_ms;	/* between rounds that nobody asks for */
	bool		blind;			/* a row may have come since the round began, and nobody has told */
	bool		unwatched;		/* something waits for what nobody wakes us for */
	bool		news;			/* batches have brought such, or rows, since the round began */
	bool		lacks;			/* something waits for such a row, or behind what does, as far as is known */
	TimestampTz pause;			/* no turn of a round before, */
	TimestampTz due_pause;		/* … and none for what is due */
	bool		helped;			/* the round has, so far */
	bool		left;			/* something did wait in this round */
	bool		schemas;		/* one was settled that some of it lacked */
} DjkWaiting;

/* Whether all that a worker subscribes to is given to somebody: coverage.c. */
typedef struct DjkCoverage
{
	bool		covered;
	DjkGroupLook *look;			/* that waits for an answer; NULL: none */
	bool		doubted;		/* something happened since it was asked */
	TimestampTz look_at;		/* the next one */
	TimestampTz differs_since;	/* 0: it does not */
	int			rejoins;		/* in a row */
} DjkCoverage;

typedef struct DjkConsumerWorker
{
	DjkWorkerArgs args;
	MemoryContext life;
	MemoryContext cycle;		/* reset with each turn of the loop */
	DjkConsumerRow *row;
	Oid			extension;		/* that the row is of */
	DjkHome		home;
	DjkConnection connection;
	DjkConsumer *kafka;
	DjkApply   *apply;
	DjkPositions *positions;
	DjkShare	share;
	int			max_poll_ms;

	DjkCollector collector;		/* of the next batch */

	/* after a transient error */
	int			attempt;
	TimestampTz retry_at;		/* 0: not waiting */

	DjkWaiting	waiting;

	TimestampTz published_at;
	TimestampTz resolved_at;	/* last look at what is unresolved */
	bool		subscribed;
	const char **topics;		/* that it subscribes to, patterns among them; each once */
	int			ntopics;

	DjkCoverage coverage;

	/* schemas that partitions wait for: schemas.c */
	struct DjkHttpAccess *registry; /* NULL: none is configured */
	List	   *wanted;
	char		registry_trouble[DJK_REASON_SIZE];	/* why none answers, or "" */
	const char *registry_hint;

	List	   *leaders;		/* DjkLeader, of the brokers that lead our partitions: leader.c */

	/*
	 * The predecessor failed: what it said stays shown until a batch succeeds,
	 * or there is nothing to do for a while.
	 */
	bool		proving;
	TimestampTz proof_from;		/* since when nothing has failed; 0: nothing was read yet */
	TimestampTz assigned_at;

	bool		unreachable;	/* all brokers are gone, as far as is known */
	char		group_denied[DJK_REASON_SIZE];	/* what was said when we could not join, or "" */
	const char *fetch_hint;		/* what helps against that */
	char		fetch_denied[DJK_REASON_SIZE];	/* what was said of the last partition that may not be read, or "" */
	char		lost_connection[DJK_REASON_SIZE];	/* what was said of the last one, or "" */
	TimestampTz refetch_since;	/* a partition is to begin elsewhere; 0: none */
} DjkConsumerWorker;

/* The state that is shown; running only if nothing speaks against it. */
extern void djk_member_set_state(DjkConsumerWorker *worker, DjkState state, const char *reason, const char *hint);
extern void djk_member_set_running(DjkConsumerWorker *worker);

/* A transaction has come through: what was tried in vain is over, unless something of it waits still. */
extern void djk_member_note_success(DjkConsumerWorker *worker);

/* Says that a topic does not exist yet, or that none matches the pattern. */
extern void djk_member_wait_for_topic(DjkConsumerWorker *worker, const char *topic);

#endif							/* DJK_MEMBER_H */
