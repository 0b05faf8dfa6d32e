/*-------------------------------------------------------------------------
 *
 * kafka_test.c
 *	  SQL functions that drive kafka/ by hand, for tests only.
 *
 * Consumers live in slots of the session, from one call to the next.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "driver.h"
#include "fmgr.h"
#include "kafka/conf.h"
#include "kafka/consumer.h"
#include "kafka/error.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "catalog/pg_type.h"

#define SLOTS 8

static struct
{
	MemoryContext context;
	DjkConsumer *consumer;
}			slots[SLOTS];

PG_FUNCTION_INFO_V1(djkafka_test_kafka_open);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_close);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_assign);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_drain);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_lookup);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_text);

static DjkConsumer *
get_consumer(FunctionCallInfo fcinfo)
{
	int			slot = PG_GETARG_INT32(0);

	if (slot < 0 || slot >= SLOTS || slots[slot].consumer == NULL)
		elog(ERROR, "no consumer in slot %d", slot);
	return slots[slot].consumer;
}

/* (slot, bootstrap, group, instance, strategy, queue_kb, names text[], values text[] [, share_bytes]) */
Datum
djkafka_test_kafka_open(PG_FUNCTION_ARGS)
{
	int			slot = PG_GETARG_INT32(0);
	DjkConsumerConfig config = {0};

	if (slots[slot].context == NULL)
		slots[slot].context = AllocSetContextCreate(TopMemoryContext, "kafka test", ALLOCSET_DEFAULT_SIZES);
	config.properties = driver_properties(fcinfo, 6, &config.nproperties);
	config.group_id = driver_text(fcinfo, 2);
	config.group_instance_id = driver_text(fcinfo, 3);
	config.assignment_strategy = driver_text(fcinfo, 4);
	config.queue_kbytes = PG_GETARG_INT32(5);
	config.share_bytes = PG_NARGS() > 8 ? PG_GETARG_INT32(8) : 0;
	slots[slot].consumer = djk_consumer_create(slots[slot].context, &config);
	PG_RETURN_VOID();
}

/* (slot, timeout_ms, by_reset) → milliseconds it took */
Datum
djkafka_test_kafka_close(PG_FUNCTION_ARGS)
{
	int			slot = PG_GETARG_INT32(0);
	TimestampTz start = GetCurrentTimestamp();

	if (!PG_GETARG_BOOL(2))
		djk_consumer_destroy(get_consumer(fcinfo), PG_GETARG_INT32(1));
	slots[slot].consumer = NULL;
	MemoryContextReset(slots[slot].context);
	PG_RETURN_INT32((int32) TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()));
}

/* (slot, how, topic, partitions int[], offset) */
Datum
djkafka_test_kafka_assign(PG_FUNCTION_ARGS)
{
	char	   *how = driver_text(fcinfo, 1);
	Datum	   *numbers;
	int			n;
	DjkTopicPartition *partitions;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), INT4OID, 4, true, TYPALIGN_INT, &numbers, NULL, &n);
	partitions = palloc0((n + 1) * sizeof(DjkTopicPartition));
	for (int i = 0; i < n; i++)
	{
		partitions[i].topic = driver_text(fcinfo, 2);
		partitions[i].partition = DatumGetInt32(numbers[i]);
		partitions[i].offset = PG_GETARG_INT64(4);
	}
	if (strcmp(how, "assign") == 0)
		djk_consumer_assign(get_consumer(fcinfo), partitions, n);
	else if (strcmp(how, "more") == 0)
		djk_consumer_assign_more(get_consumer(fcinfo), partitions, n);
	else if (strcmp(how, "less") == 0)
		djk_consumer_assign_less(get_consumer(fcinfo), partitions, n);
	else if (strcmp(how, "seek") == 0)
		djk_consumer_seek(get_consumer(fcinfo), partitions, n);
	else if (strcmp(how, "advise") == 0)
		djk_consumer_advise(get_consumer(fcinfo), partitions, n);
	else
		elog(ERROR, "what is %s?", how);
	PG_RETURN_VOID();
}

static long
rss_anon_kb(void)
{
	FILE	   *f = fopen("/proc/self/status", "r");
	char		line[256];
	long		kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/*
 * (slot, messages, batch, us_per_batch) → "messages, ms, longest wait, peak RssAnon"
 * Reads in batches as a worker does, each followed by a pause that stands for
 * applying it.
 */
Datum
djkafka_test_kafka_drain(PG_FUNCTION_ARGS)
{
	DjkConsumer *consumer = get_consumer(fcinfo);
	int64		wanted = PG_GETARG_INT64(1);
	int			batch = PG_GETARG_INT32(2);
	int			pause_us = PG_GETARG_INT32(3);
	void	  **held = palloc(batch * sizeof(void *));
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz last = start;
	int64		taken = 0;
	int64		bytes = 0;
	long		longest = 0;
	long		peak = 0;
	int			batches = 0;

	while (taken < wanted)
	{
		int			n = 0;
		DjkConsumerEvent event;

		CHECK_FOR_INTERRUPTS();
		while (n < batch && djk_consumer_poll(consumer, &event))
		{
			if (event.kind == DJK_CONSUMER_MESSAGE)
			{
				bytes += event.message.value_len;
				held[n++] = event.message.source;
			}
			else if (event.kind == DJK_CONSUMER_PARTITION_ERROR || event.kind == DJK_CONSUMER_ERROR)
				elog(WARNING, "%s", event.error.message);
		}
		if (n == 0)
		{
			(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH,
									 djk_consumer_fd(consumer), 1000, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			djk_consumer_drain_fd(consumer);
			if (TimestampDifferenceExceeds(last, GetCurrentTimestamp(), 10000))
				elog(ERROR, "nothing came for 10 s after " INT64_FORMAT " messages", taken);
			continue;
		}
		longest = Max(longest, TimestampDifferenceMilliseconds(last, GetCurrentTimestamp()));
		if (pause_us > 0)
			pg_usleep(pause_us);
		for (int i = 0; i < n; i++)
			djk_consumer_release(held[i]);
		taken += n;
		if (batches++ % 16 == 0)
			peak = Max(peak, rss_anon_kb());
		last = GetCurrentTimestamp();
	}
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(INT64_FORMAT " messages, " INT64_FORMAT " bytes, %ld ms, longest wait %ld ms, RssAnon %ld kB, %d batches",
											  taken, bytes, TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()),
											  longest, peak, batches)));
}

/* (slot, what, topic, partition, timestamp, timeout_ms, group) → text */
Datum
djkafka_test_kafka_lookup(PG_FUNCTION_ARGS)
{
	DjkConsumer *consumer = get_consumer(fcinfo);
	char	   *what = driver_text(fcinfo, 1);
	char	   *topic = driver_text(fcinfo, 2);
	DjkTopicPartition one = {0};
	int			timeout = PG_GETARG_INT32(5);
	DjkError	error = {0};
	StringInfoData s;

	initStringInfo(&s);
	one.topic = topic;
	one.partition = PG_GETARG_INT32(3);
	if (strcmp(what, "watermarks") == 0)
	{
		int64		low;
		int64		high;

		if (djk_consumer_watermarks(consumer, topic, one.partition, &low, &high, timeout, &error))
			appendStringInfo(&s, INT64_FORMAT " to " INT64_FORMAT, low, high);
	}
	else if (strcmp(what, "time") == 0 || strcmp(what, "committed") == 0)
	{
		bool		ok = strcmp(what, "time") == 0
			? djk_consumer_offsets_for_time(consumer, &one, 1, PG_GETARG_INT64(4), timeout, &error)
			: djk_consumer_committed(consumer, &one, 1, timeout, &error);

		if (ok && one.error.sqlstate)
			error = one.error;
		else if (ok)
			appendStringInfo(&s, INT64_FORMAT, one.offset);
	}
	else if (strcmp(what, "topics") == 0)
	{
		DjkTopicInfo *topics;
		int			n;

		if (djk_consumer_topics(consumer, topic, &topics, &n, timeout, &error))
			for (int i = 0; i < n; i++)
				appendStringInfo(&s, "%s(%d%s) ", topics[i].name, topics[i].npartitions,
								 topics[i].error.sqlstate ? topics[i].error.message : "");
	}
	else if (strcmp(what, "members") == 0)
	{
		DjkGroupView *view = djk_consumer_look(consumer, driver_text(fcinfo, 6), NULL, 0, timeout);

		for (int i = 0; i < view->nmembers; i++)
			appendStringInfo(&s, "%s %s; ", view->members[i].client_id, view->members[i].member_id);
		error = view->error;
	}
	else if (strcmp(what, "high") == 0)
		appendStringInfo(&s, INT64_FORMAT, djk_consumer_high_watermark(consumer, topic, one.partition));
	else if (strcmp(what, "cluster") == 0)
		appendStringInfoString(&s, djk_consumer_cluster_id(consumer, timeout));
	if (error.sqlstate)
		appendStringInfo(&s, "error %s %s", unpack_sql_state(error.sqlstate), error.message);
	PG_RETURN_TEXT_P(cstring_to_text(s.data));
}

/* (bytes bytea without NUL) -> text */
Datum
djkafka_test_kafka_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(djk_kafka_text(text_to_cstring((text *) PG_GETARG_BYTEA_PP(0)))));
}
