/*-------------------------------------------------------------------------
 *
 * kafka_test.c
 *	  SQL functions that drive kafka/ by hand, for tests only.
 *
 * Consumers live in slots of the session, so one session can play the members
 * of a group.  djkafka_test_kafka_poll() tells each event as a line of text and
 * answers rebalances by assigning what it was given from offset 0, unless told
 * otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <librdkafka/rdkafka.h>

#include "driver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kafka/conf.h"
#include "kafka/consumer.h"
#include "kafka/consumer_int.h"
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
PG_FUNCTION_INFO_V1(djkafka_test_kafka_subscribe);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_unsubscribe);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_assign);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_poll);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_drain);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_lookup);
PG_FUNCTION_INFO_V1(djkafka_test_kafka_seek_check);
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

Datum
djkafka_test_kafka_subscribe(PG_FUNCTION_ARGS)
{
	Datum	   *topics;
	char	  **names;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &topics, NULL, &n);
	names = palloc(n * sizeof(char *));
	for (int i = 0; i < n; i++)
		names[i] = TextDatumGetCString(topics[i]);
	djk_consumer_subscribe(get_consumer(fcinfo), (const char *const *) names, n);
	PG_RETURN_VOID();
}

Datum
djkafka_test_kafka_unsubscribe(PG_FUNCTION_ARGS)
{
	DjkConsumer *consumer = get_consumer(fcinfo);

	djk_consumer_unsubscribe(consumer);
	for (int ms = 0; !djk_consumer_decline_all(consumer) && ms < PG_GETARG_INT32(1); ms += 10)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10000);
	}
	PG_RETURN_VOID();
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

static void
answer(DjkConsumer *consumer, DjkConsumerEvent *event, bool subset)
{
	int			n = event->npartitions;

	for (int i = 0; i < n; i++)
		event->partitions[i].offset = 0;
	if (subset)
		n = n / 2;
	if (djk_consumer_is_cooperative(consumer))
	{
		if (event->kind == DJK_CONSUMER_ASSIGN)
			djk_consumer_assign_more(consumer, event->partitions, n);
		else
			djk_consumer_assign_less(consumer, event->partitions, event->npartitions);
	}
	else
		djk_consumer_assign(consumer, event->partitions, event->kind == DJK_CONSUMER_ASSIGN ? n : 0);
}

static char *
describe(DjkConsumerEvent *event)
{
	static const char *const kinds[] = {"none", "message", "eof", "assign", "revoke", "partition_error", "error", "log"};
	static const char *const classes[] = {"fatal", "retriable", "out_of_range", "unknown_topic", "denied", "other"};
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, kinds[event->kind]);
	switch (event->kind)
	{
		case DJK_CONSUMER_MESSAGE:
			appendStringInfo(&s, " %s/%d@" INT64_FORMAT " ", event->topic, event->partition, event->offset);
			appendStringInfo(&s, "%.*s=%.*s", event->message.key_len, event->message.key ? event->message.key : "",
							 event->message.value_len, event->message.value ? event->message.value : "");
			{
				DjkHeader  *headers;
				int			n = djk_consumer_headers(&event->message, CurrentMemoryContext, &headers);

				for (int i = 0; i < n; i++)
					appendStringInfo(&s, " [%.*s:%.*s]", headers[i].name_len, headers[i].name,
									 headers[i].value_len, headers[i].value ? headers[i].value : "");
			}
			break;
		case DJK_CONSUMER_EOF:
			appendStringInfo(&s, " %s/%d@" INT64_FORMAT, event->topic, event->partition, event->offset);
			break;
		case DJK_CONSUMER_ASSIGN:
		case DJK_CONSUMER_REVOKE:
			for (int i = 0; i < event->npartitions; i++)
				appendStringInfo(&s, " %s/%d", event->partitions[i].topic, event->partitions[i].partition);
			break;
		case DJK_CONSUMER_PARTITION_ERROR:
			appendStringInfo(&s, " %s/%d@" INT64_FORMAT, event->topic, event->partition, event->offset);
			/* fall through */
		case DJK_CONSUMER_ERROR:
			appendStringInfo(&s, " %s %s: %s", classes[event->error_class],
							 unpack_sql_state(event->error.sqlstate), event->error.message);
			break;
		case DJK_CONSUMER_LOG:
			appendStringInfo(&s, " %d %s", event->log_level, event->log_text);
			break;
		default:
			break;
	}
	return s.data;
}

/* (slot, timeout_ms, max_events, answer: all, half, none; logs bool) → setof text */
Datum
djkafka_test_kafka_poll(PG_FUNCTION_ARGS)
{
	DjkConsumer *consumer = get_consumer(fcinfo);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz start = GetCurrentTimestamp();
	int			max = PG_GETARG_INT32(2);
	char	   *how = driver_text(fcinfo, 3);

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	while (max > 0 && !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), PG_GETARG_INT32(1)))
	{
		DjkConsumerEvent event;
		Datum		value;
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		if (!djk_consumer_poll(consumer, &event))
		{
			(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH,
									 djk_consumer_fd(consumer), 100, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			djk_consumer_drain_fd(consumer);
			continue;
		}
		if (event.kind == DJK_CONSUMER_LOG && !PG_GETARG_BOOL(4))
			continue;
		value = CStringGetTextDatum(describe(&event));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
		max--;
		if (event.kind == DJK_CONSUMER_MESSAGE)
			djk_consumer_release(event.message.source);
		if ((event.kind == DJK_CONSUMER_ASSIGN || event.kind == DJK_CONSUMER_REVOKE) && strcmp(how, "none") != 0)
			answer(consumer, &event, strcmp(how, "half") == 0);
	}
	return (Datum) 0;
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
				elog(WARNING, "%s", describe(&event));
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

/*
 * (slot, how, topic, rounds) → how often the first message after going back to
 * an offset was not the one at that offset.  All partitions must be assigned.
 */
Datum
djkafka_test_kafka_seek_check(PG_FUNCTION_ARGS)
{
	DjkConsumer *consumer = get_consumer(fcinfo);
	bool		seek = strcmp(driver_text(fcinfo, 1), "seek") == 0;
	char	   *topic = driver_text(fcinfo, 2);
	int			wrong = 0;

	for (int round = 0; round < PG_GETARG_INT32(3); round++)
	{
		DjkTopicPartition back = {0};
		int			seen = 0;
		DjkConsumerEvent event;

		back.topic = topic;
		back.offset = random() % 5000;
		if (seek)
			djk_consumer_seek(consumer, &back, 1);
		else
			djk_consumer_assign(consumer, &back, 1);
		while (seen < 1 + random() % 3000)
		{
			CHECK_FOR_INTERRUPTS();
			if (!djk_consumer_poll(consumer, &event))
				continue;
			if (event.kind != DJK_CONSUMER_MESSAGE)
				continue;
			if (event.offset != back.offset + seen)
			{
				if (wrong++ < 5)
					elog(WARNING, "round %d: got " INT64_FORMAT " instead of " INT64_FORMAT,
						 round, event.offset, back.offset + seen);
				djk_consumer_release(event.message.source);
				break;
			}
			seen++;
			djk_consumer_release(event.message.source);
		}
	}
	PG_RETURN_INT32(wrong);
}

/* (bytes bytea without NUL) -> text */
Datum
djkafka_test_kafka_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(djk_kafka_text(text_to_cstring((text *) PG_GETARG_BYTEA_PP(0)))));
}
