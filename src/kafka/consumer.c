/*-------------------------------------------------------------------------
 *
 * consumer.c
 *	  A consumer of librdkafka: its configuration, its group, its assignment.
 *
 * The library's own offset machinery is off, and auto.offset.reset=error: it
 * never chooses a position.  What it fetches ahead is bounded twice: by bytes
 * (the cap), and by a small number of messages, because each small message
 * costs the library some 500 bytes besides its own, because all partitions
 * share one queue, in which a busy topic would delay a quiet one, and because
 * the library counts the bytes of values alone: where keys or headers are large
 * the number is what keeps to the cap (consumer/share.c).
 *
 * A consumer without a group (peek, run, topics) still needs a group id, for
 * the library's assign() insists on one.  It never subscribes, so it never
 * joins; brokers are at most asked who coordinates that name.
 *
 * poll.c reads the queue, lookup.c asks the cluster.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer.h"

#include "base/clock.h"
#include "kafka/conf.h"
#include "kafka/consumer_int.h"
#include "kafka/error.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define GROUPLESS_ID		"djkafka-reader"

/*
 * What one answer of a broker may hold, as a part of the cap: the library looks
 * at the cap only before it asks, and what comes is compressed.
 */
#define FETCH_PART			16
#define FETCH_MIN_BYTES		DJK_ANSWER_BYTES
#define FETCH_MAX_BYTES		(16 * 1024 * 1024)
#define MESSAGE_MAX_BYTES	(1024 * 1024)

/* What an administrator may override. */
static void
set_defaults(rd_kafka_conf_t *conf, bool embedded)
{
	djk_conf_set_defaults(conf);
	/*
	 * Look-ups and commits stand in line behind a fetch that waits for messages,
	 * on the same connection: so it waits for less than the library's half second.
	 */
	djk_conf_set(conf, "fetch.wait.max.ms", "250");
	djk_conf_set_if_known(conf, "fetch.queue.backoff.ms", "20");

	/*
	 * The embedded broker waits for a member that is gone as long as its session
	 * lasts.  It lets the first member of a group wait for 3 s without counting
	 * that as a sign of life, so a session cannot be shorter.
	 */
	if (embedded)
	{
		djk_conf_set(conf, "session.timeout.ms", "4000");
		djk_conf_set(conf, "heartbeat.interval.ms", "500");
	}
}

static void
set_enforced(rd_kafka_conf_t *conf, bool embedded)
{
	djk_conf_set_enforced(conf);
	djk_conf_add_debug(conf, "topic");	/* see take_log() */
	djk_conf_set(conf, "enable.auto.commit", "false");
	djk_conf_set(conf, "enable.auto.offset.store", "false");
	djk_conf_set(conf, "auto.offset.reset", "error");
	djk_conf_set(conf, "enable.partition.eof", "true");
	djk_conf_set(conf, "isolation.level", "read_committed");
	/* The embedded broker makes topics at first use, and the library says so each time. */
	djk_conf_set(conf, "allow.auto.create.topics", embedded ? "true" : "false");
}

/* Reads back a number that somebody may have set. */
static int64
get_int(rd_kafka_conf_t *conf, const char *name)
{
	char		text[64];
	size_t		size = sizeof(text);

	if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK)
		return PG_INT64_MAX;
	return strtoll(text, NULL, 10);
}

/* The library's defaults are far beyond the cap; smaller wishes are kept. */
static void
set_memory(rd_kafka_conf_t *conf, int queue_kbytes, int queue_messages, int share_bytes)
{
	int64		fetch = (int64) queue_kbytes * 1024 / FETCH_PART;

	fetch = Min(Max(fetch, FETCH_MIN_BYTES), FETCH_MAX_BYTES);
	djk_conf_set_int(conf, "queued.max.messages.kbytes", queue_kbytes);
	djk_conf_set_int(conf, "queued.min.messages",
					 Min(get_int(conf, "queued.min.messages"), queue_messages));
	djk_conf_set_int(conf, "fetch.max.bytes",
					 Min(get_int(conf, "fetch.max.bytes"), fetch));
	djk_conf_set_int(conf, "fetch.message.max.bytes",
					 Min(get_int(conf, "fetch.message.max.bytes"), share_bytes));
	/* The library raises fetch.max.bytes to this one. */
	djk_conf_set_int(conf, "message.max.bytes",
					 Min(get_int(conf, "message.max.bytes"), MESSAGE_MAX_BYTES));
}

static int
queue_messages(const DjkConsumerConfig *config)
{
	return config->queue_messages ? config->queue_messages : DJK_QUEUE_MESSAGES;
}

static rd_kafka_conf_t *
create_conf(const DjkConsumerConfig *config)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	/* What is set later wins. */
	set_defaults(conf, config->embedded);
	djk_conf_apply(conf, config->properties, config->nproperties, DJK_SCOPE_CONSUMER);
	set_memory(conf, config->queue_kbytes, queue_messages(config),
			   config->share_bytes ? config->share_bytes : DJK_SHARE_MIN_BYTES);
	set_enforced(conf, config->embedded);
	djk_conf_set(conf, "group.id", config->group_id ? config->group_id : GROUPLESS_ID);
	if (config->skip_internal)
		djk_conf_set(conf, "topic.blacklist", "^__");
	if (config->group_instance_id != NULL)
		djk_conf_set(conf, "group.instance.id", config->group_instance_id);
	if (config->client_id != NULL)
		djk_conf_set(conf, "client.id", config->client_id);
	if (config->assignment_strategy != NULL)
		djk_conf_set(conf, "partition.assignment.strategy", config->assignment_strategy);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR |
							 RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_LOG);
	return conf;
}

static void
init_kick(DjkConsumer *consumer, const DjkConsumerConfig *config)
{
	Kick	   *kick = &consumer->kick;

	kick->wanted = djk_kafka_library_version() < DJK_KAFKA_VERSION_QUEUE_BACKOFF;
	kick->every = queue_messages(config) / 4;
	kick->every_bytes = (int64) config->queue_kbytes * 1024 / 4;
}

/*
 * The library connects to nobody until it asks for its group's coordinator: at
 * once, when it does not know the brokers yet, and then when a second has passed
 * or somebody has asked it for anything.
 */
static void
connect_soon(DjkConsumer *consumer)
{
	rd_kafka_topic_partition_list_t *assigned = NULL;

	if (consumer->in_group && rd_kafka_assignment(consumer->handle->rk, &assigned) == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_topic_partition_list_destroy(assigned);
}

DjkConsumer *
djk_consumer_create(MemoryContext context, const DjkConsumerConfig *config)
{
	DjkConsumer *consumer = MemoryContextAllocZero(context, sizeof(DjkConsumer));

	consumer->context = context;
	consumer->in_group = config->group_id != NULL;
	consumer->cooperative = config->assignment_strategy != NULL &&
		strcmp(config->assignment_strategy, "cooperative-sticky") == 0;
	consumer->event_context = AllocSetContextCreate(context, "djkafka consumer event",
													ALLOCSET_SMALL_SIZES);
	init_kick(consumer, config);
	consumer->handle = djk_handle_create(context, RD_KAFKA_CONSUMER, create_conf(config));

	/*
	 * A static member says no goodbye: the group keeps its partitions for it.
	 */
	consumer->handle->leave_group = config->group_id != NULL && config->group_instance_id == NULL;
	consumer->handle->release = djk_consumer_release_all;
	consumer->handle->release_arg = consumer;
	connect_soon(consumer);
	return consumer;
}

void
djk_consumer_destroy(DjkConsumer *consumer, int timeout_ms)
{
	djk_handle_destroy(consumer->handle, timeout_ms);
}

rd_kafka_topic_partition_list_t *
djk_consumer_list(const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);

	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, partitions[i].topic,
										  partitions[i].partition)->offset = partitions[i].offset;
	return list;
}

void
djk_consumer_subscribe(DjkConsumer *consumer, const char *const *topics, int ntopics)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(ntopics);
	rd_kafka_resp_err_t code;

	Assert(consumer->in_group);
	for (int i = 0; i < ntopics; i++)
		rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
	code = rd_kafka_subscribe(consumer->handle->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		djk_kafka_error_throw(code, NULL, "subscribe to Kafka topics");
}

/*
 * Only from incremental_unassign()'s list what is really assigned: it refuses
 * the list as a whole otherwise, and the group would wait for us for ever.
 */
static void
keep_assigned(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_topic_partition_list_t *assigned = NULL;

	if (rd_kafka_assignment(rk, &assigned) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	for (int i = list->cnt - 1; i >= 0; i--)
		if (rd_kafka_topic_partition_list_find(assigned, list->elems[i].topic,
											   list->elems[i].partition) == NULL)
			rd_kafka_topic_partition_list_del_by_idx(list, i);
	rd_kafka_topic_partition_list_destroy(assigned);
}

/* Consumes 'error'. */
static void
require_done(rd_kafka_error_t *error, const char *action)
{
	rd_kafka_resp_err_t code;
	char		text[256];

	if (error == NULL)
		return;
	code = rd_kafka_error_code(error);
	strlcpy(text, rd_kafka_error_string(error), sizeof(text));
	rd_kafka_error_destroy(error);
	djk_kafka_error_throw(code, text, action);
}

/*
 * The library stops what is taken from it some time later, and aborts the process
 * if a partition is given and taken again before that.  A stop is asked for and
 * answered within its main thread, so after two questions that this thread has
 * answered all are over.
 */
static void
wait_for_stops(rd_kafka_t *rk)
{
	for (int i = 0; i < 2; i++)
	{
		rd_kafka_topic_partition_list_t *assigned = NULL;

		if (rd_kafka_assignment(rk, &assigned) == RD_KAFKA_RESP_ERR_NO_ERROR)
			rd_kafka_topic_partition_list_destroy(assigned);
	}
}

void
djk_consumer_assign(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = NULL;
	rd_kafka_resp_err_t code;

	/*
	 * No list at all gives the assignment back to the group; an empty one is an
	 * assignment of nothing, after which the group counts us as settled.
	 */
	if (n > 0 || !consumer->revoking)
		list = djk_consumer_list(partitions, n);
	consumer->revoking = false;
	consumer->kick.nbrokers = 0;
	consumer->kick.last_topic = NULL;
	code = rd_kafka_assign(consumer->handle->rk, list);
	wait_for_stops(consumer->handle->rk);
	if (list != NULL)
		rd_kafka_topic_partition_list_destroy(list);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		djk_kafka_error_throw(code, NULL, "assign partitions");
}

void
djk_consumer_assign_more(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = djk_consumer_list(partitions, n);
	rd_kafka_error_t *error = rd_kafka_incremental_assign(consumer->handle->rk, list);

	rd_kafka_topic_partition_list_destroy(list);
	require_done(error, "assign partitions");
}

void
djk_consumer_assign_less(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = djk_consumer_list(partitions, n);
	rd_kafka_error_t *error;

	consumer->revoking = false;
	consumer->kick.nbrokers = 0;
	consumer->kick.last_topic = NULL;
	keep_assigned(consumer->handle->rk, list);
	error = rd_kafka_incremental_unassign(consumer->handle->rk, list);
	wait_for_stops(consumer->handle->rk);
	rd_kafka_topic_partition_list_destroy(list);
	require_done(error, "give back partitions");
}

void
djk_consumer_seek(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = djk_consumer_list(partitions, n);
	rd_kafka_error_t *error = rd_kafka_seek_partitions(consumer->handle->rk, list, 0);

	rd_kafka_topic_partition_list_destroy(list);
	require_done(error, "seek");
}

/* Of what the library does not know nothing is to be said. */
void
djk_consumer_pause(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = djk_consumer_list(partitions, n);

	(void) rd_kafka_pause_partitions(consumer->handle->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

void
djk_consumer_resume(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list = djk_consumer_list(partitions, n);

	(void) rd_kafka_resume_partitions(consumer->handle->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

bool
djk_consumer_is_cooperative(DjkConsumer *consumer)
{
	return consumer->cooperative;
}

bool
djk_consumer_is_revoking(DjkConsumer *consumer)
{
	return consumer->revoking;
}

/* Answers a rebalance with nothing: we are about to leave. */
static void
decline(DjkConsumer *consumer, rd_kafka_event_t *event)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_error_t *error = NULL;

	if (!consumer->cooperative)
	{
		rd_kafka_assign(consumer->handle->rk, NULL);
		return;
	}
	if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
	{
		list = rd_kafka_topic_partition_list_copy(rd_kafka_event_topic_partition_list(event));
		keep_assigned(consumer->handle->rk, list);
		error = rd_kafka_incremental_unassign(consumer->handle->rk, list);
	}
	else
	{
		list = rd_kafka_topic_partition_list_new(0);
		error = rd_kafka_incremental_assign(consumer->handle->rk, list);
	}
	rd_kafka_topic_partition_list_destroy(list);
	if (error != NULL)
		rd_kafka_error_destroy(error);
}

void
djk_consumer_unsubscribe(DjkConsumer *consumer)
{
	djk_consumer_release_all(consumer);
	rd_kafka_unsubscribe(consumer->handle->rk);
}

/*
 * A rebalance that is under way is finished first: the library waits for the
 * answer to what it gives, and leaves after that.
 */
bool
djk_consumer_decline_all(DjkConsumer *consumer)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(consumer->handle->queue, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
		{
			decline(consumer, event);
			if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
				consumer->nowned = 0;
		}
		rd_kafka_event_destroy(event);
	}
	return consumer->nowned == 0;
}

int64
djk_consumer_queued(DjkConsumer *consumer)
{
	return (int64) rd_kafka_queue_length(consumer->handle->queue);
}

int
djk_consumer_fd(DjkConsumer *consumer)
{
	return consumer->handle->fds[0];
}

void
djk_consumer_drain_fd(DjkConsumer *consumer)
{
	djk_handle_drain_fd(consumer->handle);
}

void
djk_consumer_advise(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list;

	if (n == 0 || !consumer->in_group)
		return;
	list = djk_consumer_list(partitions, n);
	/* What fails comes as an event; nothing depends on it. */
	rd_kafka_commit(consumer->handle->rk, list, 1);
	rd_kafka_topic_partition_list_destroy(list);
}

int64
djk_consumer_high_watermark(DjkConsumer *consumer, const char *topic, int partition)
{
	int64_t		low = -1;
	int64_t		high = -1;

	if (rd_kafka_get_watermark_offsets(consumer->handle->rk, topic, partition,
									   &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return -1;
	return high < 0 ? -1 : high;
}
