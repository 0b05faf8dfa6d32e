/*-------------------------------------------------------------------------
 *
 * producer_topic.c
 *	  Topics that a producer has sent to.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer.h"

#include "common/hashfn.h"
#include "kafka/producer_int.h"
#include "utils/memutils.h"

static DjkProducerTopic **
bucket_of(DjkProducer *producer, const char *name)
{
	return &producer->topics[hash_bytes((const unsigned char *) name, strlen(name)) % DJK_TOPIC_BUCKETS];
}

DjkProducerTopic *
djk_producer_find_topic(DjkProducer *producer, const char *name)
{
	DjkProducerTopic *topic = producer->last_topic;

	if (topic != NULL && strcmp(topic->name, name) == 0)
		return topic;
	for (topic = *bucket_of(producer, name); topic != NULL; topic = topic->next)
		if (strcmp(topic->name, name) == 0)
			break;
	if (topic != NULL)
		producer->last_topic = topic;
	return topic;
}

static void
forget_failures(DjkProducerTopic *topic)
{
	for (int p = 0; p < DJK_FAILED_PARTITIONS; p++)
		topic->failed[p] = DJK_NONE_FAILED;
}

DjkProducerTopic *
djk_producer_get_topic(DjkProducer *producer, const char *name)
{
	DjkProducerTopic *topic = djk_producer_find_topic(producer, name);
	DjkProducerTopic **bucket;

	if (topic != NULL)
		return topic;
	topic = MemoryContextAlloc(producer->context, offsetof(DjkProducerTopic, name) + strlen(name) + 1);
	strcpy(topic->name, name);
	topic->blocked = RD_KAFKA_RESP_ERR_NO_ERROR;
	forget_failures(topic);
	topic->rkt = rd_kafka_topic_new(producer->handle->rk, name, NULL);
	if (topic->rkt == NULL)
	{
		pfree(topic);
		return NULL;
	}
	bucket = bucket_of(producer, name);
	topic->next = *bucket;
	*bucket = topic;
	return topic;
}

void
djk_producer_forget_failures(DjkProducer *producer)
{
	if (!producer->failed)
		return;
	for (int i = 0; i < DJK_TOPIC_BUCKETS; i++)
	{
		for (DjkProducerTopic *topic = producer->topics[i]; topic != NULL; topic = topic->next)
			forget_failures(topic);
	}
	producer->failed = false;
}

void
djk_producer_release_topics(DjkProducer *producer)
{
	for (int i = 0; i < DJK_TOPIC_BUCKETS; i++)
	{
		for (DjkProducerTopic *topic = producer->topics[i]; topic != NULL; topic = topic->next)
			rd_kafka_topic_destroy(topic->rkt);
		producer->topics[i] = NULL;
	}
	producer->last_topic = NULL;
}
