/*-------------------------------------------------------------------------
 *
 * sender.h
 *	  What all steps of the outbox worker need: its state, its producer, patience.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_SENDER_H
#define DJK_OUTBOX_SENDER_H

#include "base/compat.h"
#include "base/djk.h"

#include "kafka/producer.h"
#include "state/connection.h"
#include "state/outbox.h"
#include "utils/hsearch.h"
#include "worker/worker.h"

/* What is known of a topic; in the table from its first message on. */
typedef struct DjkOutboxTopic
{
	char		name[DJK_TOPIC_MAX + 1];	/* hash key */
	bool		checked;		/* it could be written to */
	bool		held;			/* its messages are set aside until what is held has been sent */
	bool		silent;			/* held although Kafka knows nothing against it */
	bool		leaderless;		/* as of looked_at */
	TimestampTz looked_at;
	int			attempt;		/* checks in vain, in a row */
	TimestampTz next_check;		/* while held */
} DjkOutboxTopic;

/* The connection to Kafka. */
typedef struct DjkSenderLink
{
	DjkProducer *producer;		/* NULL: none, or spent */
	MemoryContext context;
	int			attempt;		/* failures to send, in a row */
	char		denial[256];	/* what was said when the connection was refused last */
	TimestampTz denied_at;		/* 0: not since the last answer */
	bool		lost;			/* no broker, as far as is known: asked for now and then */
	char		loss[256];		/* what was said when the last one went */
	TimestampTz asked_at;
	char		cause[256];		/* what was said of the last connection that failed since the last answer */
} DjkSenderLink;

typedef struct DjkSenderTopics
{
	HTAB	   *table;			/* of DjkOutboxTopic */
	int			nheld;
	long		kept;			/* how many there were when the others were forgotten */
	bool		held_turn;		/* whether held messages are to come next */
} DjkSenderTopics;

/* Which follows which: djk_sender_move_batch(), and drawn in design.md. */
typedef enum DjkBatchState
{
	DJK_BATCH_NONE,				/* or it is confirmed */
	DJK_BATCH_CLAIMED,			/* durably; nothing of it has been sent by this process */
	DJK_BATCH_IN_FLIGHT,		/* something of it may be in Kafka */
	DJK_BATCH_DELIVERED			/* all of it has its answers */
} DjkBatchState;

/* The batch at hand, and the next. */
typedef struct DjkSenderWork
{
	DjkOutboxBatch batch;		/* nmessages = 0: none, or nothing is left of it to send */
	DjkBatchState state;		/* of the batch */
	MemoryContext spare;		/* the memory of the next batch */
	DjkOutboxBatch ahead;		/* what was read of it; context NULL: that was not tried yet */
	uint8	   *suspicion;		/* of each message, see piece.c */
	bool		tried;			/* see trial.c */
	bool		stalled;		/* the last piece was given up for a topic that is held now */
} DjkSenderWork;

/* What exactly_once needs beside. */
typedef struct DjkSenderExact
{
	bool		ready;			/* transactions can begin */
	int			vain;			/* transactions in a row that failed and taught nothing */
	bool		knows_number;	/* outbox->carried is what Kafka names */
	TimestampTz known_at;		/* when that was asked or told last, */
	int64		known_number;	/* and what it was */
	bool		carrier_checked;	/* the carrier topic exists */
	char		denied_carrier[DJK_TOPIC_MAX + 1];	/* the last one that could not be read, or "" */
} DjkSenderExact;

typedef struct DjkSenderTidy
{
	TimestampTz busy_at;		/* end of the last batch */
	TimestampTz rotated_at;
	TimestampTz trimmed_at;
	int			rounds;			/* since the last batch */
} DjkSenderTidy;

typedef struct DjkSender
{
	DjkWorkerArgs args;
	MemoryContext life;
	MemoryContext cycle;		/* reset with each turn of the loop */
	DjkHome		home;
	DjkConnection connection;
	DjkOutbox  *outbox;
	DjkState	state;
	const char *leaving;		/* why, once the batch has been sent; NULL: no */
	TimestampTz leaving_since;
	DjkSenderLink link;
	DjkSenderTopics topics;
	DjkSenderWork work;
	DjkSenderExact exact;
	DjkSenderTidy tidy;
} DjkSender;

/* The only place where the state of the batch changes. */
extern void djk_sender_move_batch(DjkSender *sender, DjkBatchState to);

/* Sets the state that is shown; a change is an event. */
extern void djk_sender_set_state(DjkSender *sender, DjkState state, const char *reason, const char *hint);

/*
 * Kafka does not answer, or does not answer us: BROKEN with the reason where
 * the credentials were refused lately, else UNREACHABLE with the one given.
 */
extern void djk_sender_set_unreachable(DjkSender *sender, const char *reason, const char *hint);

/* Waits before something is tried again, longer each time. */
extern void djk_sender_back_off(DjkSender *sender, DjkState state, const DjkError *error);

/* Names the outbox to Kafka; palloc'd. */
extern char *djk_sender_transactional_id(DjkSender *sender);

/* Makes the producer if there is none; destroys it. */
extern void djk_sender_require_producer(DjkSender *sender);
extern void djk_sender_drop_producer(DjkSender *sender);

/* Takes what the library has to say: answers, errors, log lines. */
extern void djk_sender_take_events(DjkSender *sender);

/*
 * With nothing to send: asks for a broker now and then if there is none, for a
 * second at most, and says whether there is one.  *wait_ms is lowered to when it
 * is asked for next.
 */
extern bool djk_sender_has_broker(DjkSender *sender, long *wait_ms);

/* Whether the credentials were refused lately. */
extern bool djk_sender_is_refused(const DjkSender *sender);

/* The producer is closed when the process ends, however it does. */
extern void djk_sender_close_at_exit(DjkSender *sender);

#endif							/* DJK_OUTBOX_SENDER_H */
