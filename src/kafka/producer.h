/*-------------------------------------------------------------------------
 *
 * producer.h
 *	  One librdkafka producer, idempotent or transactional.
 *
 * A DjkProducer is owned by a memory context, as a consumer is.  Nothing here
 * may be called with a PostgreSQL transaction open, and no call blocks longer
 * than DJK_KAFKA_SLICE_MS without CHECK_FOR_INTERRUPTS.
 *
 * The producer is idempotent and gapless: messages of a partition arrive in
 * the order they were sent, and if a broker refuses one for good none after it
 * is DONE (some may have arrived nevertheless, if the refusal was the
 * partition's first: they are FAILED).  The producer is spent then (djk_producer_spent()): the caller
 * makes a new one and sends again what was not acknowledged.  A transactional
 * one is not spent by that, its transaction is to be aborted; it may
 * begin another one after that unless djk_producer_has_purged().  Either is spent
 * where the library calls a message delivered and knows no offset of it: it has
 * concluded that from the answer to a later one, and may be wrong.
 *
 * The library sends the messages of a partition in groups, and a broker
 * answers a group as one: a message that is REFUSED by a broker, or BLOCKED by
 * a missing right, takes its neighbours along, which get the same answer.  Only
 * what is refused while it is in flight alone is known to be at fault, so the
 * caller sends such messages again one at a time.  What djk_producer_send()
 * itself refuses (longer than message.max.bytes, no such partition) is that
 * message's own fault, and costs neither the others nor the producer.
 *
 * A topic that is BLOCKED stays so, and all that is sent to it is answered at
 * once, until djk_producer_check_topic() finds it: else a later message could
 * overtake an earlier one.  Other topics are not concerned.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_PRODUCER_H
#define DJK_KAFKA_PRODUCER_H

#include "base/djk.h"
#include "base/message.h"
#include "base/property.h"

typedef struct DjkProducer DjkProducer;

typedef struct DjkProducerConfig
{
	const DjkProperty *properties;	/* already checked against the allow-list */
	int			nproperties;
	const char *client_id;
	const char *transactional_id;	/* NULL: no transactions */
	int			queue_kbytes;	/* cap of what the library holds for us, in kB */
	bool		embedded;		/* the embedded broker, which lacks what newer brokers can */
} DjkProducerConfig;

/* What the library said beside delivery reports. */
typedef enum DjkProducerEventKind
{
	DJK_PRODUCER_NONE,			/* the queue is empty: wait on the fd */
	DJK_PRODUCER_DELIVERED,		/* reports were taken: answers are in the messages */
	DJK_PRODUCER_ERROR,			/* error: e.g. no broker answers; the library goes on trying */
	DJK_PRODUCER_LOG			/* a line of the library: log_level, log_text */
} DjkProducerEventKind;

typedef struct DjkProducerEvent
{
	DjkProducerEventKind kind;
	DjkError	error;			/* strings valid until the next poll */
	bool		unreachable;	/* ERROR: no broker answers */
	bool		is_cause;		/* ERROR: why a broker does not answer */
	bool		denied;			/* ERROR: a broker, or we, end the connection over who the other is */
	int			log_level;
	const char *log_text;
} DjkProducerEvent;

/* Creates a producer in 'context'.  ERROR DJK_ERRCODE_PROPERTY or DJK_ERRCODE_KAFKA. */
extern DjkProducer *djk_producer_create(MemoryContext context, const DjkProducerConfig *config);

/* What is in flight is given up: its messages are not touched any more. */
extern void djk_producer_destroy(DjkProducer *producer, int timeout_ms);

/* The same without the end: messages that are in flight may go away, whatever becomes of them. */
extern void djk_producer_forget(DjkProducer *producer);

/* The pipe that becomes readable when the queue goes from empty to non-empty. */
extern int	djk_producer_fd(DjkProducer *producer);
extern void djk_producer_drain_fd(DjkProducer *producer);

/*
 * Hands messages to the library, from the first on, as many as its queue
 * takes; returns how many.  Bytes are copied, the structs must stay where they
 * are until they are answered: djk_producer_poll() fills in the answers, and so
 * does any other call here.  A message that is refused at once is answered and
 * counts as handed over; a producer that is spent answers all with FAILED.
 * Strings of errors are never freed.
 */
extern int	djk_producer_send(DjkProducer *producer, DjkOutgoing *messages, int n);

/*
 * Takes the next event; never blocks.  False (NONE): wait on the fd.
 */
extern bool djk_producer_poll(DjkProducer *producer, DjkProducerEvent *event);

/* Messages handed over and not answered yet. */
extern int	djk_producer_in_flight(const DjkProducer *producer);

/*
 * True once nothing more can be delivered by this producer; *error (may be
 * NULL) says why, strings of the producer.  Messages in flight may yet be
 * acknowledged: poll for a moment before it is destroyed, or they come twice.
 */
extern bool djk_producer_spent(DjkProducer *producer, DjkError *error);

/* What is known of a topic after a look at it. */
typedef struct DjkTopicLook
{
	int			npartitions;
	bool		leaderless;		/* a partition has no leader: it cannot be written to now */
	DjkError	error;			/* unless DONE; strings in CurrentMemoryContext */
} DjkTopicLook;

/*
 * Asks whether a topic can be written to: DJK_DELIVERY_DONE if so, BLOCKED if
 * it does not exist, is refused or lacks a leader (a broker that makes topics
 * by itself, or chooses leaders, is given the time), FAILED if nobody answers.
 * Whether we have the right to write is not known before we try.
 */
extern DjkDelivery djk_producer_check_topic(DjkProducer *producer, const char *topic, int timeout_ms,
											DjkTopicLook *look);

/* Asks once and changes nothing: also while messages of the topic are in flight. */
extern DjkDelivery djk_producer_look_at_topic(DjkProducer *producer, const char *topic, int timeout_ms,
											  DjkTopicLook *look);

/* Whether any broker answers. */
extern bool djk_producer_finds_broker(DjkProducer *producer, int timeout_ms);

/* --- transactions --- */

typedef enum DjkTransactionResult
{
	DJK_TRANSACTION_OK,
	DJK_TRANSACTION_RETRY,		/* the same call again, later */
	DJK_TRANSACTION_ABORT,		/* abort, then the batch again */
	DJK_TRANSACTION_SPENT		/* make a new producer (fenced: leave) */
} DjkTransactionResult;

/* Fences earlier producers of the same name and ends what they left undecided; first of all calls. */
extern DjkTransactionResult djk_producer_init_transactions(DjkProducer *producer, int timeout_ms, DjkError *error);
extern DjkTransactionResult djk_producer_begin(DjkProducer *producer, DjkError *error);

/* Commits 'number' as the offset of 'group' in a partition, with the transaction; 'note' is its metadata. */
extern DjkTransactionResult djk_producer_carry(DjkProducer *producer, const char *group, const char *topic,
											   int partition, int64 number, const char *note,
											   int timeout_ms, DjkError *error);

/* All messages must have been answered before. */
extern DjkTransactionResult djk_producer_commit(DjkProducer *producer, int timeout_ms, DjkError *error);
extern DjkTransactionResult djk_producer_abort(DjkProducer *producer, int timeout_ms, DjkError *error);

/*
 * After that: whether messages were given up that waited to be sent, perhaps again.
 * If any of them was sent before, what this producer sends next may be taken for it
 * and be lost: make another one.
 */
extern bool djk_producer_has_purged(const DjkProducer *producer);

/*
 * The number that the last committed transaction carried, -1 if there is none,
 * and its note, NULL if it had none.  False with *error if it could not be asked.
 */
extern bool djk_producer_carried(DjkProducer *producer, const char *group, const char *topic, int partition,
								 int64 *number, char **note, int timeout_ms, DjkError *error);

/* Names of the library's errors that deliveries are answered with are Kafka's own, e.g. "MSG_SIZE_TOO_LARGE". */

#endif							/* DJK_KAFKA_PRODUCER_H */
