/*-------------------------------------------------------------------------
 *
 * client.c
 *	  A Kafka consumer inside one SQL call.
 *
 * It holds the caller's transaction open while it waits, in slices and up to
 * the timeout, and touches neither a group nor an offset.  Its memory context
 * is a child of the call's, so an ERROR ends it.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/client.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/error.h"
#include "kafka/error.h"
#include "kafka/handle.h"
#include "miscadmin.h"
#include "state/connection.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What an answer may hold of a partition; how many there are is known only once there is a client. */
#define SHARE_BYTES	(128 * 1024)

/* In floating point: no interval that a person can write overflows it. */
int64
djk_client_interval_us(const Interval *interval, const char *name)
{
	double		us = (double) interval->time +
		((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	if (us <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero", name)));
	return (int64) Min(us, (double) DJK_CLIENT_MAX_DAYS * USECS_PER_DAY);
}

void
djk_client_open(DjkClient *client, const char *server,
				const DjkProperty *options, int noptions,
				int queue_kbytes, const Interval *timeout)
{
	DjkConsumerConfig config = {0};
	DjkConnection connection;

	client->until = djk_clock_now() + djk_client_interval_us(timeout, "timeout");
	djk_connection_load(server, GetUserId(), options, noptions, &connection);
	client->embedded = connection.embedded;
	client->registry = djk_connection_value(&connection, "registry.url");
	config.properties = connection.properties;
	config.nproperties = connection.nproperties;
	config.queue_kbytes = queue_kbytes;
	config.share_bytes = SHARE_BYTES;
	config.embedded = connection.embedded;
	client->context = AllocSetContextCreate(CurrentMemoryContext, "djkafka client", ALLOCSET_DEFAULT_SIZES);
	client->consumer = djk_consumer_create(client->context, &config);
}

void
djk_client_close(DjkClient *client)
{
	MemoryContextDelete(client->context);
	client->consumer = NULL;
}

int
djk_client_left_ms(const DjkClient *client)
{
	return (int) Max(TimestampDifferenceMilliseconds(djk_clock_now(), client->until), 1);
}

bool
djk_client_expired(const DjkClient *client)
{
	return djk_clock_now() >= client->until;
}

void
djk_client_wait(DjkClient *client)
{
	static uint32 event = 0;

	if (event == 0)
		event = djk_wait_event_new("DjkafkaClient");
	(void) WaitLatchOrSocket(MyLatch,
							 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 djk_consumer_fd(client->consumer),
							 Min(djk_client_left_ms(client), DJK_KAFKA_SLICE_MS), event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	djk_consumer_drain_fd(client->consumer);
}

/* The last of the library's errors that says why no broker answers; its strings are the call's. */
static void
find_cause(DjkClient *client, DjkError *cause, bool *denied)
{
	DjkConsumerEvent event;

	memset(cause, 0, sizeof(*cause));
	*denied = false;
	while (djk_consumer_poll(client->consumer, &event))
	{
		if (event.kind == DJK_CONSUMER_MESSAGE)
			djk_consumer_release(event.message.source);
		if (event.kind != DJK_CONSUMER_ERROR || event.unreachable ||
			(event.error_class != DJK_KAFKA_DENIED && (*denied || event.error_class != DJK_KAFKA_RETRIABLE)))
			continue;
		*denied = event.error_class == DJK_KAFKA_DENIED;
		*cause = event.error;
		cause->message = pstrdup(event.error.message);
		cause->detail = NULL;
		cause->hint = event.error.hint ? pstrdup(event.error.hint) : NULL;
	}
}

void
djk_client_throw(DjkClient *client, const DjkError *error)
{
	DjkError	thrown = *error;
	DjkError	cause;
	bool		denied;

	if (error->sqlstate == DJK_ERRCODE_UNREACHABLE)
	{
		find_cause(client, &cause, &denied);
		if (denied)
			thrown = cause;
		else if (cause.message != NULL)
			thrown.detail = cause.message;
	}
	djk_error_throw(&thrown);
}

static void
require_topic_name(const char *topic)
{
	if (topic[0] != '\0' && strlen(topic) <= DJK_TOPIC_MAX)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid name of a topic"),
			 errdetail("It must have 1 to %d characters.", DJK_TOPIC_MAX)));
}

static void
require_partition(const char *topic, int wanted, int npartitions)
{
	if (wanted < npartitions)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("topic \"%s\" has no partition %d", topic, wanted),
			 errdetail("It has %d, counted from 0.", npartitions)));
}

DjkTopicPartition *
djk_client_partitions(DjkClient *client, const char *topic, int wanted, int *n)
{
	DjkTopicPartition *partitions;
	DjkTopicInfo *topics;
	DjkError	error = {0};
	int			ntopics;

	require_topic_name(topic);
	if (!djk_consumer_topics(client->consumer, topic, &topics, &ntopics, djk_client_left_ms(client), &error))
		djk_client_throw(client, &error);
	if (ntopics == 0 || topics[0].error.sqlstate != 0 || topics[0].npartitions == 0)
		ereport(ERROR,
				(errcode(ntopics > 0 && topics[0].error.sqlstate != 0 ? topics[0].error.sqlstate
						 : ERRCODE_UNDEFINED_OBJECT),
				 errmsg("could not find topic \"%s\" in Kafka", topic),
				 ntopics > 0 && topics[0].error.message ? errdetail("Kafka says: %s.", topics[0].error.message) : 0,
				 errhint("See djkafka_topics() for the topics that exist.")));
	require_partition(topic, wanted, topics[0].npartitions);

	*n = wanted >= 0 ? 1 : topics[0].npartitions;
	partitions = palloc0(*n * sizeof(DjkTopicPartition));
	for (int i = 0; i < *n; i++)
	{
		partitions[i].topic = pstrdup(topic);
		partitions[i].partition = wanted >= 0 ? wanted : i;
	}
	return partitions;
}
