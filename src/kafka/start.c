/*-------------------------------------------------------------------------
 *
 * start.c
 *	  Where a wish such as "earliest" or a time is in each of some partitions.
 *
 * The library asks all of them or none: where one has no leader, or its leader
 * does not answer, it waits for that until the time is over.  So whoever must
 * not wait asks for the partitions of each leader apart, and takes each answer
 * as it comes.
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

typedef rd_kafka_topic_partition_list_t PartitionList;

/* malloc'd: the thread may outlive whoever asked. */
typedef struct Look
{
	rd_kafka_t *rk;
	DjkStart	start;
	int			timeout_ms;
	double		until;
	rd_kafka_resp_err_t code;
	PartitionList *list;		/* asked and answered in place */
} Look;

struct DjkStartLook
{
	DjkCall    *call;
	Look	   *look;
};

/* ---------- in the thread ---------- */

static int
left_ms(const Look *look)
{
	return (int) Max(look->until - djk_clock_ms(), 1);
}

/* Whether another try is worth it; waits before it. */
static bool
tries_again(const Look *look, rd_kafka_resp_err_t code)
{
	if (djk_kafka_error_classify(code) != DJK_KAFKA_RETRIABLE || look->until - djk_clock_ms() <= RETRY_US / 1000)
		return false;
	usleep(RETRY_US);
	return true;
}

/* Fills the list with the offsets of a time, or of one of the two that stand for the ends. */
static rd_kafka_resp_err_t
ask_times(const Look *look, PartitionList *list, int64 time)
{
	for (;;)
	{
		PartitionList *copy = rd_kafka_topic_partition_list_copy(list);
		rd_kafka_resp_err_t code;

		for (int i = 0; i < copy->cnt; i++)
			copy->elems[i].offset = time;
		code = rd_kafka_offsets_for_times(look->rk, copy, left_ms(look));
		for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
		{
			list->elems[i].offset = copy->elems[i].offset;
			list->elems[i].err = copy->elems[i].err;
		}
		rd_kafka_topic_partition_list_destroy(copy);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR || !tries_again(look, code))
			return code;
	}
}

/* The same for those of the look that have no offset and no error yet. */
static rd_kafka_resp_err_t
ask_open(Look *look, int64 time)
{
	PartitionList *open = rd_kafka_topic_partition_list_new(look->list->cnt);
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
	int			n = 0;

	for (int i = 0; i < look->list->cnt; i++)
	{
		const rd_kafka_topic_partition_t *each = &look->list->elems[i];

		if (each->err == RD_KAFKA_RESP_ERR_NO_ERROR && each->offset < 0)
			rd_kafka_topic_partition_list_add(open, each->topic, each->partition);
	}
	if (open->cnt > 0)
		code = ask_times(look, open, time);
	for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < look->list->cnt; i++)
	{
		rd_kafka_topic_partition_t *each = &look->list->elems[i];

		if (each->err != RD_KAFKA_RESP_ERR_NO_ERROR || each->offset >= 0)
			continue;
		each->offset = open->elems[n].offset;
		each->err = open->elems[n++].err;
	}
	rd_kafka_topic_partition_list_destroy(open);
	return code;
}

static rd_kafka_resp_err_t
ask_committed(Look *look)
{
	rd_kafka_resp_err_t code;

	do
		code = rd_kafka_committed(look->rk, look->list, left_ms(look));
	while (code != RD_KAFKA_RESP_ERR_NO_ERROR && tries_again(look, code));
	return code;
}

/* So many messages before the end, or the beginning if there are fewer. */
static rd_kafka_resp_err_t
ask_before_end(Look *look)
{
	PartitionList *lows = rd_kafka_topic_partition_list_copy(look->list);
	rd_kafka_resp_err_t code = ask_times(look, lows, DJK_OFFSET_EARLIEST);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		code = ask_open(look, DJK_OFFSET_LATEST);
	for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < lows->cnt; i++)
	{
		rd_kafka_topic_partition_t *each = &look->list->elems[i];

		if (lows->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
			each->err = lows->elems[i].err;
		else if (each->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			each->offset = Max(each->offset - look->start.value, lows->elems[i].offset);
	}
	rd_kafka_topic_partition_list_destroy(lows);
	return code;
}

static rd_kafka_resp_err_t
ask_start(Look *look)
{
	rd_kafka_resp_err_t code;

	switch (look->start.kind)
	{
		case DJK_START_EARLIEST:
			return ask_open(look, DJK_OFFSET_EARLIEST);
		case DJK_START_LATEST:
			return ask_open(look, DJK_OFFSET_LATEST);
		case DJK_START_TIME:
			/* After the last message a time is the end. */
			code = ask_open(look, look->start.value);
			return code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : ask_open(look, DJK_OFFSET_LATEST);
		case DJK_START_BEFORE_END:
			return ask_before_end(look);
		case DJK_START_GROUP:
			/* What the group left open starts at the beginning. */
			code = ask_committed(look);
			return code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : ask_open(look, DJK_OFFSET_EARLIEST);
		case DJK_START_OFFSET:
			for (int i = 0; i < look->list->cnt; i++)
				look->list->elems[i].offset = look->start.value;
			return RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	return RD_KAFKA_RESP_ERR__INVALID_ARG;
}

static void
run_look(void *arg)
{
	Look	   *look = arg;

	look->until = djk_clock_ms() + look->timeout_ms;
	look->code = ask_start(look);
}

static void
discard_look(void *arg)
{
	Look	   *look = arg;

	rd_kafka_topic_partition_list_destroy(look->list);
	free(look);
}

/* ---------- asking ---------- */

static Look *
create_look(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n, const DjkStart *start, int timeout_ms)
{
	Look	   *look = calloc(1, sizeof(Look));

	if (look == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	look->rk = consumer->handle->rk;
	look->start = *start;
	look->timeout_ms = timeout_ms;
	look->list = djk_consumer_list(partitions, n);
	for (int i = 0; i < n; i++)
		look->list->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
	return look;
}

static void
read_answer(const Look *look, DjkTopicPartition *partition, int i)
{
	const rd_kafka_topic_partition_t *answer = &look->list->elems[i];
	rd_kafka_resp_err_t code = look->code != RD_KAFKA_RESP_ERR_NO_ERROR ? look->code : answer->err;

	memset(&partition->error, 0, sizeof(DjkError));
	partition->offset = code == RD_KAFKA_RESP_ERR_NO_ERROR ? answer->offset : DJK_OFFSET_UNKNOWN;
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		djk_kafka_error_fill(&partition->error, code, NULL);
}

bool
djk_consumer_resolve_start(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
						   const DjkStart *start, int timeout_ms, DjkError *error)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
	Look	   *look;

	if (n == 0)
		return true;
	look = create_look(consumer, partitions, n, start, timeout_ms);
	if (djk_handle_call(consumer->handle, run_look, discard_look, look, timeout_ms + GRACE_MS))
	{
		code = look->code;
		for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < n; i++)
			read_answer(look, &partitions[i], i);
		discard_look(look);
	}
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		djk_kafka_error_fill(error, code, NULL);
	return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

DjkStartLook *
djk_consumer_start_look(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n,
						const DjkStart *start, int timeout_ms)
{
	DjkStartLook *started = MemoryContextAlloc(consumer->context, sizeof(DjkStartLook));

	started->look = create_look(consumer, partitions, n, start, timeout_ms);
	started->call = djk_handle_start(consumer->handle, run_look, discard_look, started->look);
	if (started->call != NULL)
		return started;
	pfree(started);
	return NULL;
}

DjkTopicPartition *
djk_consumer_start_take(DjkStartLook *started, int *n)
{
	Look	   *look = started->look;
	DjkTopicPartition *partitions;

	if (!djk_call_ended(started->call))
		return NULL;
	pfree(started);
	*n = look->list->cnt;
	partitions = palloc0(*n * sizeof(DjkTopicPartition));
	for (int i = 0; i < *n; i++)
	{
		partitions[i].topic = pstrdup(look->list->elems[i].topic);
		partitions[i].partition = look->list->elems[i].partition;
		read_answer(look, &partitions[i], i);
	}
	discard_look(look);
	return partitions;
}
