/*-------------------------------------------------------------------------
 *
 * consumer_int.h
 *	  What the files of the consumer share; for kafka/ only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_CONSUMER_INT_H
#define DJK_KAFKA_CONSUMER_INT_H

#include "kafka/consumer.h"
#include "kafka/handle.h"

/* Brokers that a kick reaches; more than that wake by themselves within a second. */
#define DJK_KICK_BROKERS	64

/* A message that the caller holds: the library's event, to be destroyed once. */
typedef struct Held
{
	rd_kafka_event_t *event;	/* NULL: the slot is free */
	const rd_kafka_message_t *message;
	struct DjkConsumer *consumer;
	struct Held *next_free;
} Held;

typedef struct HeldChunk
{
	struct HeldChunk *next;
	Held		slots[FLEXIBLE_ARRAY_MEMBER];
} HeldChunk;

/* See wake_fetchers() in poll.c. */
typedef struct Kick
{
	bool		wanted;			/* the library is too old to do it itself */
	int			taken;			/* messages and bytes since the last kick */
	int64		taken_bytes;
	int			every;
	int64		every_bytes;
	const rd_kafka_topic_t *last_topic;
	int			last_partition;
	int			nbrokers;
	struct
	{
		int32_t		broker;
		int32_t		partition;
		char		topic[DJK_TOPIC_MAX + 1];
	}			brokers[DJK_KICK_BROKERS];
} Kick;

struct DjkConsumer
{
	DjkHandle  *handle;
	MemoryContext context;		/* the owner's */
	bool		in_group;		/* false: a group id only because the library wants one */
	bool		cooperative;
	int			nowned;			/* partitions that the group counts as ours */
	bool		revoking;		/* a REVOKE waits for the caller's answer */

	/* the event that is not a message, until the next poll */
	rd_kafka_event_t *event;
	MemoryContext event_context;
	bool		event_context_used;

	/* messages that the caller holds */
	HeldChunk  *chunks;
	Held	   *free_slots;

	Kick		kick;
};

/* The list in the library's form; malloc'd, destroy it. */
extern rd_kafka_topic_partition_list_t *djk_consumer_list(const DjkTopicPartition *partitions, int n);

/* Gives every held message and the current event back. */
extern void djk_consumer_release_all(void *consumer);

/* What the brokers tell of a topic, copied. */
extern void djk_topic_info_fill(DjkTopicInfo *info, const struct rd_kafka_metadata_topic *found);

#endif							/* DJK_KAFKA_CONSUMER_INT_H */
