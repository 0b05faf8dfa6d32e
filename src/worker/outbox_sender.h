/*-------------------------------------------------------------------------
 *
 * outbox_sender.h
 *	  What the files of the outbox worker share.
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

/* How long Kafka has acknowledged nothing, see outbox_stall.c; zero at first. */
typedef struct DjkStall
{
	int			in_flight;
	TimestampTz since;			/* no answer, though Kafka can be asked */
	TimestampTz looked_at;
} DjkStall;

typedef struct DjkSender
{
	DjkWorkerArgs args;
	MemoryContext life;
	MemoryContext cycle;		/* reset with each turn of the loop */
	DjkHome		home;
	DjkConnection connection;
	DjkOutbox  *outbox;
	DjkProducer *producer;		/* NULL: none, or spent */
	MemoryContext producer_context;
	HTAB	   *topics;			/* of DjkOutboxTopic */
	int			nheld;			/* topics that are held */
	long		topics_kept;	/* how many there were when the others were forgotten */
	DjkOutboxBatch batch;		/* claimed and not confirmed, nmessages = 0: none */
	MemoryContext spare;		/* the memory of the next batch */
	DjkOutboxBatch ahead;		/* what was read of it; context NULL: that was not tried yet */
	uint8	   *suspicion;		/* of each message, see outbox_send.c */
	int			attempt;		/* failures to send, in a row */
	int			vain;			/* exactly_once: transactions in a row that failed and taught nothing */
	bool		stalled;		/* the last piece was given up for a topic that is held now */
	bool		ready;			/* exactly_once: transactions can begin */
	DjkState	state;
	char		denial[256];	/* what was said when the connection was refused last */
	TimestampTz denied_at;		/* 0: not since the last answer */
	bool		unconfirmed;	/* something of the batch may be in Kafka */
	bool		delivered;		/* all of it has its answers */
	bool		knows_number;	/* exactly_once: outbox->carried is what Kafka names */
	bool		carrier_checked;	/* exactly_once: the carrier topic exists */
	char		denied_carrier[DJK_TOPIC_MAX + 1];	/* the last one that could not be read, or "" */
	TimestampTz known_at;		/* when that was asked or told last, */
	int64		known_number;	/* and what it was */
	const char *leaving;		/* why, once the batch has been sent; NULL: no */
	TimestampTz leaving_since;
	bool		held_turn;		/* whether held messages are to come next */
	TimestampTz busy_at;		/* end of the last batch */
	TimestampTz rotated_at;
	TimestampTz trimmed_at;
	int			tidied;			/* how often since then */
} DjkSender;

/* The table's entry, made if it is new. */
extern DjkOutboxTopic *djk_sender_topic(DjkSender *sender, const char *name);
extern void djk_sender_hold_topic(DjkSender *sender, DjkOutboxTopic *topic, const char *reason);
extern void djk_sender_release_topic(DjkSender *sender, DjkOutboxTopic *topic);

/* Ends the process; its supervisor starts another if one is wanted. */
pg_noreturn extern void djk_sender_leave(DjkSender *sender, const char *reason);

/* Interrupts, settings, a wish to leave: between transactions of the server. */
extern void djk_sender_housekeep(DjkSender *sender);

/* Sets the state; a change is an event. */
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

/*
 * Sends the batch's messages that are PENDING until each has an answer that is
 * final: DONE, REFUSED by itself, or BLOCKED.  False if first the producer is
 * spent or a topic stalls, or (stop_at_failure) an answer is not DONE.
 */
extern bool djk_sender_send(DjkSender *sender, bool stop_at_failure);

/* Takes what the library has to say: answers, errors, log lines. */
extern void djk_sender_take_events(DjkSender *sender);

/* What is left to find out about the batch: less with each answer, and with each suspect. */
extern int	djk_sender_count_unknown(const DjkSender *sender);

/* Checks the topics of the PENDING messages; BLOCKED are those that cannot be written to. */
extern void djk_sender_check_topics(DjkSender *sender);

/*
 * Holds the topics of the PENDING messages between two indexes, all handed
 * over, that Kafka does not take.  True if there is one: then what is in flight
 * is to be given up.  (exactly_once: true if the transaction has failed; of a
 * topic that is not taken only the state tells.)
 */
extern bool djk_sender_hold_stalled(DjkSender *sender, DjkStall *stall, int first, int end);

/* Sends the batch, in the one way or the other; returns when it can be confirmed. */
extern void djk_sender_deliver(DjkSender *sender);
extern void djk_sender_deliver_exactly_once(DjkSender *sender);

/*
 * exactly_once: to be called with each claim, before it is stored.  Where Kafka
 * is to be asked for its number before the batch is sent, the claim says so.
 */
extern void djk_sender_note_claim(DjkSender *sender);

/* exactly_once: transactions can begin, and what an earlier producer left undecided is ended. */
extern void djk_sender_require_ready(DjkSender *sender);

/* exactly_once: adds the batch's number to the transaction. */
extern DjkTransactionResult djk_sender_carry(DjkSender *sender, DjkError *error);

/* Whether an error of a transaction is that a topic may not be written to, or the carrier not be read. */
extern bool djk_sender_is_denial(const DjkError *error);

/*
 * exactly_once, in a transaction that has failed: whether that is for a topic
 * that may not be written to.  *error if it is.
 */
extern bool djk_sender_is_denied(DjkSender *sender, DjkError *error);

/*
 * Ends that transaction and holds the topics of the PENDING messages that may
 * not be written to.  True if there is one: its messages are BLOCKED.
 */
extern bool djk_sender_block_denied(DjkSender *sender, const DjkError *reason);

/* exactly_once: what became of a batch that was claimed before a crash. */
extern void djk_sender_recover(DjkSender *sender);

/*
 * Confirms the batch that has been sent and claims the next, now of new
 * messages and now of held ones.  Returns whether there may be more to do.
 */
extern bool djk_sender_turn(DjkSender *sender);
/* Reads the next batch while Kafka works on this one, once a batch. */
extern void djk_sender_read_ahead(DjkSender *sender);
/* Confirms it and claims nothing. */
extern void djk_sender_confirm(DjkSender *sender);
/* Makes 'next' the batch; the memory of the one before is the spare. */
extern void djk_sender_swap_batches(DjkSender *sender, const DjkOutboxBatch *next);

/* What synchronous_commit must be for what is sent next: NULL if it is that already. */
extern const char *djk_sender_durable(void);

/* A transaction that writes the position and nothing else, durably. */
extern void djk_sender_store(DjkSender *sender);

#endif							/* DJK_OUTBOX_SENDER_H */
