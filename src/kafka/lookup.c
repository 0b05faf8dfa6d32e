/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Questions to the cluster that wait for an answer.
 *
 * Each is asked in a thread of its own (djk_handle_call), so the process
 * answers interrupts meanwhile; the thread asks again while brokers are merely
 * out of reach, until the time is over.  Ends of partitions are asked for as
 * the "offset for a time", for which the protocol knows two special times: one
 * request for any number of partitions, and unlike the library's own look-up
 * of watermarks it keeps to its timeout in every version.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer.h"

#include <unistd.h>

#include "base/clock.h"
#include "kafka/consumer_int.h"
#include "kafka/error.h"

/* Pause between two tries, in µs. */
#define RETRY_US			50000

/* The library should have given up by itself when this much more has passed. */
#define GRACE_MS			2000

typedef struct Lookup Lookup;

/* malloc'd: the thread may outlive whoever asked. */
struct Lookup
{
	rd_kafka_t *rk;
	rd_kafka_resp_err_t (*ask) (Lookup *lookup, int timeout_ms);
	int			timeout_ms;
	rd_kafka_resp_err_t code;

	rd_kafka_topic_partition_list_t *list;	/* asked and answered in place */
	rd_kafka_topic_t *topic;
	const struct rd_kafka_metadata *metadata;
	char	   *cluster_id;
	const char *described;		/* topic whose id is asked for */
	char	   *topic_id;		/* malloc'd */
};

static Lookup *
create_lookup(DjkConsumer *consumer, rd_kafka_resp_err_t (*ask) (Lookup *, int), int timeout_ms)
{
	Lookup	   *lookup = calloc(1, sizeof(Lookup));

	if (lookup == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	lookup->rk = consumer->handle->rk;
	lookup->ask = ask;
	lookup->timeout_ms = timeout_ms;
	lookup->code = RD_KAFKA_RESP_ERR__TIMED_OUT;
	return lookup;
}

static void
discard_lookup(void *arg)
{
	Lookup	   *lookup = arg;

	if (lookup->list != NULL)
		rd_kafka_topic_partition_list_destroy(lookup->list);
	if (lookup->metadata != NULL)
		rd_kafka_metadata_destroy(lookup->metadata);
	if (lookup->topic != NULL)
		rd_kafka_topic_destroy(lookup->topic);
	if (lookup->cluster_id != NULL)
		rd_kafka_mem_free(lookup->rk, lookup->cluster_id);
	if (lookup->topic_id != NULL)
		free(lookup->topic_id);
	free(lookup);
}

/* In the thread. */
static void
run_lookup(void *arg)
{
	Lookup	   *lookup = arg;
	double		until = djk_clock_ms() + lookup->timeout_ms;

	for (;;)
	{
		double		left = until - djk_clock_ms();

		lookup->code = lookup->ask(lookup, (int) Max(left, 1));
		if (djk_kafka_error_classify(lookup->code) != DJK_KAFKA_RETRIABLE ||
			until - djk_clock_ms() <= RETRY_US / 1000)
			break;
		usleep(RETRY_US);
	}
}

/*
 * Asks; the caller discards what it gets.  NULL with *error if there was no
 * answer; 'lookup' is gone then.
 */
static Lookup *
ask_cluster(DjkConsumer *consumer, Lookup *lookup, DjkError *error)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;

	if (djk_handle_call(consumer->handle, run_lookup, discard_lookup, lookup,
						lookup->timeout_ms + GRACE_MS))
	{
		code = lookup->code;
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			return lookup;
		discard_lookup(lookup);
	}
	djk_kafka_error_fill(error, code, NULL);
	return NULL;
}

static rd_kafka_resp_err_t
ask_offsets(Lookup *lookup, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *answer = rd_kafka_topic_partition_list_copy(lookup->list);
	rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(lookup->rk, answer, timeout_ms);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		rd_kafka_topic_partition_list_destroy(lookup->list);
		lookup->list = answer;
	}
	else
		rd_kafka_topic_partition_list_destroy(answer);
	return code;
}

static rd_kafka_resp_err_t
ask_committed(Lookup *lookup, int timeout_ms)
{
	return rd_kafka_committed(lookup->rk, lookup->list, timeout_ms);
}

static rd_kafka_resp_err_t
ask_metadata(Lookup *lookup, int timeout_ms)
{
	return rd_kafka_metadata(lookup->rk, lookup->topic == NULL, lookup->topic,
							 &lookup->metadata, timeout_ms);
}

static rd_kafka_resp_err_t
ask_cluster_id(Lookup *lookup, int timeout_ms)
{
	lookup->cluster_id = rd_kafka_clusterid(lookup->rk, timeout_ms);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

#ifdef RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT

/* Brokers before 2.8 give topics no id, but an empty one. */
#define NO_TOPIC_ID		"AAAAAAAAAAAAAAAAAAAAAA"

static void
take_topic_id(Lookup *lookup, rd_kafka_event_t *event)
{
	const rd_kafka_DescribeTopics_result_t *result = rd_kafka_event_DescribeTopics_result(event);
	const rd_kafka_TopicDescription_t **topics = NULL;
	size_t		ntopics = 0;
	const char *id;

	lookup->code = rd_kafka_event_error(event);
	if (lookup->code != RD_KAFKA_RESP_ERR_NO_ERROR || result == NULL)
		return;
	topics = rd_kafka_DescribeTopics_result_topics(result, &ntopics);
	if (ntopics != 1 || rd_kafka_TopicDescription_topic_id(topics[0]) == NULL)
		return;
	id = rd_kafka_Uuid_base64str(rd_kafka_TopicDescription_topic_id(topics[0]));
	if (id != NULL && strcmp(id, NO_TOPIC_ID) != 0)
		lookup->topic_id = strdup(id);
}

static rd_kafka_resp_err_t
ask_topic_id(Lookup *lookup, int timeout_ms)
{
	const char *names[1] = {lookup->described};
	rd_kafka_queue_t *queue = rd_kafka_queue_new(lookup->rk);
	rd_kafka_TopicCollection_t *topics = rd_kafka_TopicCollection_of_topic_names(names, 1);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(lookup->rk, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
	char		reason[256];
	rd_kafka_event_t *event;

	(void) rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason, sizeof(reason));
	rd_kafka_DescribeTopics(lookup->rk, topics, options, queue);
	event = rd_kafka_queue_poll(queue, timeout_ms);
	lookup->code = RD_KAFKA_RESP_ERR__TIMED_OUT;
	if (event != NULL)
	{
		take_topic_id(lookup, event);
		rd_kafka_event_destroy(event);
	}
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_TopicCollection_destroy(topics);
	rd_kafka_queue_destroy(queue);
	return lookup->code;
}

#endif

/* Both lists have the same order: the library answers in place. */
static void
copy_answer(DjkTopicPartition *partitions, int n, const rd_kafka_topic_partition_list_t *list)
{
	for (int i = 0; i < n; i++)
	{
		const rd_kafka_topic_partition_t *answer = &list->elems[i];

		memset(&partitions[i].error, 0, sizeof(DjkError));
		if (answer->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			partitions[i].offset = DJK_OFFSET_UNKNOWN;
			djk_kafka_error_fill(&partitions[i].error, answer->err, NULL);
		}
		else
			partitions[i].offset = answer->offset;
	}
}

static bool
look_up_offsets(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
				int64 timestamp_ms, int timeout_ms, DjkError *error)
{
	Lookup	   *lookup = create_lookup(consumer, ask_offsets, timeout_ms);

	lookup->list = djk_consumer_list(partitions, n);
	for (int i = 0; i < n; i++)
		lookup->list->elems[i].offset = timestamp_ms;
	lookup = ask_cluster(consumer, lookup, error);
	if (lookup == NULL)
		return false;
	copy_answer(partitions, n, lookup->list);
	discard_lookup(lookup);
	return true;
}

/* Where no message is that young, the answer is the end of the partition. */
static bool
resolve_ends(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
			 int timeout_ms, DjkError *error)
{
	DjkTopicPartition *ends = palloc(n * sizeof(DjkTopicPartition));
	int		   *where = palloc(n * sizeof(int));
	int			nends = 0;

	for (int i = 0; i < n; i++)
		if (partitions[i].error.sqlstate == 0 && partitions[i].offset < 0)
		{
			where[nends] = i;
			ends[nends++] = partitions[i];
		}
	if (nends > 0)
	{
		if (!look_up_offsets(consumer, ends, nends, DJK_OFFSET_LATEST, timeout_ms, error))
			return false;
		for (int i = 0; i < nends; i++)
			partitions[where[i]] = ends[i];
	}
	return true;
}

bool
djk_consumer_offsets_for_time(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
							  int64 timestamp_ms, int timeout_ms, DjkError *error)
{
	double		until = djk_clock_ms() + timeout_ms;

	if (n == 0)
		return true;
	if (!look_up_offsets(consumer, partitions, n, timestamp_ms, timeout_ms, error))
		return false;
	return resolve_ends(consumer, partitions, n, (int) Max(until - djk_clock_ms(), 1), error);
}

bool
djk_consumer_watermarks(DjkConsumer *consumer, const char *topic, int partition,
						int64 *low, int64 *high, int timeout_ms, DjkError *error)
{
	DjkTopicPartition wanted = {0};
	double		until = djk_clock_ms() + timeout_ms;

	*low = *high = DJK_OFFSET_UNKNOWN;
	wanted.topic = pstrdup(topic);
	wanted.partition = partition;
	if (!look_up_offsets(consumer, &wanted, 1, DJK_OFFSET_EARLIEST, timeout_ms, error))
		return false;
	if (wanted.error.sqlstate == 0)
	{
		*low = wanted.offset;
		if (!look_up_offsets(consumer, &wanted, 1, DJK_OFFSET_LATEST,
							 (int) Max(until - djk_clock_ms(), 1), error))
			return false;
		*high = wanted.offset;
	}
	if (wanted.error.sqlstate != 0)
		*error = wanted.error;
	return wanted.error.sqlstate == 0;
}

bool
djk_consumer_committed(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
					   int timeout_ms, DjkError *error)
{
	Lookup	   *lookup;

	if (n == 0)
		return true;
	lookup = create_lookup(consumer, ask_committed, timeout_ms);
	lookup->list = djk_consumer_list(partitions, n);
	lookup = ask_cluster(consumer, lookup, error);
	if (lookup == NULL)
		return false;
	copy_answer(partitions, n, lookup->list);
	for (int i = 0; i < n; i++)
	{
		const rd_kafka_topic_partition_t *answer = &lookup->list->elems[i];

		if (partitions[i].offset < 0)
			partitions[i].offset = DJK_OFFSET_UNKNOWN;
		partitions[i].metadata = answer->metadata_size > 0 ?
			pnstrdup(answer->metadata, answer->metadata_size) : NULL;
	}
	discard_lookup(lookup);
	return true;
}

char *
djk_consumer_cluster_id(DjkConsumer *consumer, int timeout_ms)
{
	Lookup	   *lookup = create_lookup(consumer, ask_cluster_id, timeout_ms);
	DjkError	error = {0};
	char	   *id;

	lookup = ask_cluster(consumer, lookup, &error);
	if (lookup == NULL)
		return NULL;
	id = lookup->cluster_id ? djk_kafka_text(lookup->cluster_id) : NULL;
	discard_lookup(lookup);
	return id;
}

void
djk_topic_info_fill(DjkTopicInfo *info, const struct rd_kafka_metadata_topic *found)
{
	info->name = djk_kafka_text(found->topic);
	info->npartitions = found->partition_cnt;
	info->leaders = palloc(Max(found->partition_cnt, 1) * sizeof(int));
	for (int i = 0; i < found->partition_cnt; i++)
		info->leaders[i] = -1;
	for (int i = 0; i < found->partition_cnt; i++)
	{
		if (found->partitions[i].id >= 0 && found->partitions[i].id < found->partition_cnt)
			info->leaders[found->partitions[i].id] = found->partitions[i].leader;
	}
	if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		djk_kafka_error_fill(&info->error, found->err, NULL);
}

char *
djk_consumer_topic_id(DjkConsumer *consumer, const char *topic, int timeout_ms)
{
#ifdef RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT
	Lookup	   *lookup = create_lookup(consumer, ask_topic_id, timeout_ms);
	DjkError	error = {0};
	char	   *id;

	/* The thread may outlive the caller's memory. */
	lookup->topic = rd_kafka_topic_new(lookup->rk, topic, NULL);
	lookup->described = lookup->topic ? rd_kafka_topic_name(lookup->topic) : NULL;
	if (lookup->described == NULL)
	{
		discard_lookup(lookup);
		return NULL;
	}
	lookup = ask_cluster(consumer, lookup, &error);
	if (lookup == NULL)
		return NULL;
	id = lookup->topic_id ? pstrdup(lookup->topic_id) : NULL;
	discard_lookup(lookup);
	return id;
#else
	return NULL;
#endif
}

bool
djk_consumer_topics(DjkConsumer *consumer, const char *topic, DjkTopicInfo **topics, int *ntopics,
					int timeout_ms, DjkError *error)
{
	Lookup	   *lookup;

	*topics = NULL;
	*ntopics = 0;
	lookup = create_lookup(consumer, ask_metadata, timeout_ms);
	if (topic != NULL)
		lookup->topic = rd_kafka_topic_new(lookup->rk, topic, NULL);
	lookup = ask_cluster(consumer, lookup, error);
	if (lookup == NULL)
		return false;
	*ntopics = lookup->metadata->topic_cnt;
	*topics = palloc0(Max(*ntopics, 1) * sizeof(DjkTopicInfo));
	for (int i = 0; i < *ntopics; i++)
		djk_topic_info_fill(&(*topics)[i], &lookup->metadata->topics[i]);
	discard_lookup(lookup);
	return true;
}
