/*-------------------------------------------------------------------------
 *
 * producer_int.h
 *	  What the files of the producer share; for kafka/ only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_PRODUCER_INT_H
#define DJK_KAFKA_PRODUCER_INT_H

#include "kafka/handle.h"
#include "kafka/producer.h"

#define DJK_TOPIC_BUCKETS	256

/* Partitions of a topic are told apart modulo this: one too many costs a duplicate. */
#define DJK_FAILED_PARTITIONS	64
#define DJK_NONE_FAILED			PG_UINT64_MAX

/* A topic that something was sent to. */
typedef struct DjkProducerTopic
{
	struct DjkProducerTopic *next;	/* of its bucket */
	rd_kafka_topic_t *rkt;
	rd_kafka_resp_err_t blocked;	/* why nothing more of it is sent, 0 = it is */
	uint64		failed[DJK_FAILED_PARTITIONS];	/* of a partition, the first of what is in flight that was not delivered */
	char		name[FLEXIBLE_ARRAY_MEMBER];
} DjkProducerTopic;

/* An event that was taken off the queue on the way to delivery reports. */
typedef struct DjkLaidAside
{
	struct DjkLaidAside *next;
	rd_kafka_event_t *event;
} DjkLaidAside;

struct DjkProducer
{
	DjkHandle  *handle;
	MemoryContext context;		/* the owner's */
	DjkProducerConfig config;	/* a copy */
	bool		spreads_empty_keys; /* by its partitioner, which takes them for none */

	/* Not a hash table of the server's: that would be gone when our context is. */
	DjkProducerTopic *topics[DJK_TOPIC_BUCKETS];
	DjkProducerTopic *last_topic;

	/*
	 * What the library is given instead of an address: the number of a slot,
	 * plus one.  A slot is taken until its report comes, so a message whose
	 * memory is gone is merely an empty slot.
	 */
	DjkOutgoing **slots;
	uint64	   *ordinals;		/* of their messages, in the order of sending */
	uint64		last_ordinal;
	int		   *free_slots;		/* a stack */
	int			nslots;
	int			nfree;

	/* events beside reports, in order, and whether reports were taken unasked */
	DjkLaidAside *aside_first;
	DjkLaidAside *aside_last;
	int			naside;
	bool		reported;

	/* the event that is shown, until the next poll */
	rd_kafka_event_t *event;
	MemoryContext event_context;

	/* why it is spent */
	rd_kafka_resp_err_t fatal;
	char		fatal_text[512];
	char		fatal_detail[96];

	/* whether something in flight, of any topic, was not delivered */
	bool		failed;

	/* whether the library has taken something of the transaction out of its queue again */
	bool		purged;
};

/* --- producer_answer.c --- */

/* What becomes of a message that 'code' was said about. */
extern DjkDelivery djk_producer_classify(rd_kafka_resp_err_t code, int partition);

/* Fills in the answer of a message; the strings are never freed. */
extern void djk_producer_answer(DjkOutgoing *message, rd_kafka_resp_err_t code);

/* The producer is spent: whether Kafka has the message that 'report' calls delivered is not known. */
extern void djk_producer_doubt(DjkProducer *producer, const rd_kafka_message_t *report);

/* --- producer_topic.c --- */

/* NULL if nothing was ever sent to it. */
extern DjkProducerTopic *djk_producer_find_topic(DjkProducer *producer, const char *name);

/* NULL if the library refuses the name. */
extern DjkProducerTopic *djk_producer_get_topic(DjkProducer *producer, const char *name);

/* Nothing that comes from now on was sent before what failed. */
extern void djk_producer_forget_failures(DjkProducer *producer);

/* Gives the library's own of all of them back. */
extern void djk_producer_release_topics(DjkProducer *producer);

/* --- producer_poll.c --- */

/* Takes all reports that are there and keeps everything else for later. */
extern void djk_producer_take_reports(DjkProducer *producer);

/* Gives every event back. */
extern void djk_producer_release_events(DjkProducer *producer);

#endif							/* DJK_KAFKA_PRODUCER_INT_H */
