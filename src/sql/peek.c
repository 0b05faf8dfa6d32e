/*-------------------------------------------------------------------------
 *
 * peek.c
 *	  djkafka_peek(): looks at messages without touching an offset.
 *
 * The end is what each partition held when the call began; only where nothing
 * lies between start and end ('latest') does it wait for what comes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/message_row.h"
#include "base/start.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "base/error.h"
#include "kafka/error.h"
#include "miscadmin.h"
#include "sql/client.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define QUEUE_KBYTES	8192

PG_FUNCTION_INFO_V1(djkafka_peek);

typedef struct Peek
{
	DjkClient	client;
	ReturnSetInfo *rsinfo;
	TupleDesc	message_desc;
	Oid			header_type;
	MemoryContext message_context;
	int			wanted;			/* messages still wanted */

	DjkTopicPartition *partitions;	/* offset: where reading begins */
	int64	   *ends;			/* of each partition */
	bool	   *done;
	int			npartitions;
	int			nleft;			/* partitions that are not done */
	bool		follow;			/* wait for what comes */
} Peek;

static void
require_start(const DjkStart *start)
{
	if (start->kind == DJK_START_GROUP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("djkafka_peek belongs to no group"),
				 errhint("Use earliest, latest, an offset, -N for the last N, or a time.")));
}

static void
throw_first_error(const DjkTopicPartition *partitions, int n)
{
	for (int i = 0; i < n; i++)
		if (partitions[i].error.sqlstate != 0)
			djk_error_throw(&partitions[i].error);
}

/* Fills partitions, ends and done; a start outside the partition becomes its nearest end. */
static void
find_range(Peek *peek, const char *topic, int partition, const DjkStart *start)
{
	DjkConsumer *consumer = peek->client.consumer;
	DjkTopicPartition *ends;
	DjkTopicPartition *lows;
	DjkError	error = {0};
	int			n;

	peek->partitions = djk_client_partitions(&peek->client, topic, partition, &n);
	ends = palloc(n * sizeof(DjkTopicPartition));
	lows = palloc(n * sizeof(DjkTopicPartition));
	memcpy(ends, peek->partitions, n * sizeof(DjkTopicPartition));
	memcpy(lows, peek->partitions, n * sizeof(DjkTopicPartition));
	if (!djk_consumer_offsets_for_time(consumer, ends, n, DJK_OFFSET_LATEST,
									   djk_client_left_ms(&peek->client), &error) ||
		!djk_consumer_offsets_for_time(consumer, lows, n, DJK_OFFSET_EARLIEST,
									   djk_client_left_ms(&peek->client), &error) ||
		!djk_consumer_resolve_start(consumer, peek->partitions, n, start,
									djk_client_left_ms(&peek->client), &error))
		djk_client_throw(&peek->client, &error);
	throw_first_error(ends, n);
	throw_first_error(lows, n);
	throw_first_error(peek->partitions, n);

	peek->npartitions = n;
	peek->follow = start->kind == DJK_START_LATEST;
	peek->ends = palloc(n * sizeof(int64));
	peek->done = palloc0(n * sizeof(bool));
	peek->nleft = n;
	for (int i = 0; i < n; i++)
	{
		peek->ends[i] = ends[i].offset;
		if (!peek->follow)
			peek->partitions[i].offset = Min(Max(peek->partitions[i].offset, lows[i].offset),
											 ends[i].offset);
	}
}

static void
set_done(Peek *peek, int partition)
{
	for (int i = 0; i < peek->npartitions; i++)
		if (peek->partitions[i].partition == partition && !peek->done[i])
		{
			peek->done[i] = true;
			peek->nleft--;
		}
}

static int64
end_of(const Peek *peek, int partition)
{
	for (int i = 0; i < peek->npartitions; i++)
		if (peek->partitions[i].partition == partition)
			return peek->ends[i];
	return 0;
}

/* Only partitions that have something to read; the others are done. */
static void
assign_range(Peek *peek)
{
	DjkTopicPartition *wanted = palloc(peek->npartitions * sizeof(DjkTopicPartition));
	int			n = 0;

	for (int i = 0; i < peek->npartitions; i++)
		if (peek->follow || peek->partitions[i].offset < peek->ends[i])
			wanted[n++] = peek->partitions[i];
		else
			set_done(peek, peek->partitions[i].partition);
	if (n > 0)
		djk_consumer_assign(peek->client.consumer, wanted, n);
}

static void
put_message(Peek *peek, const DjkConsumerEvent *event)
{
	MemoryContext saved = MemoryContextSwitchTo(peek->message_context);
	DjkHeader  *headers;
	int			nheaders = djk_consumer_headers(&event->message, CurrentMemoryContext, &headers);
	Datum		message = djk_message_datum(peek->message_desc, peek->header_type, event->topic,
											event->partition, &event->message, headers, nheaders);
	HeapTupleData tuple;

	tuple.t_data = DatumGetHeapTupleHeader(message);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuplestore_puttuple(peek->rsinfo->setResult, &tuple);
	MemoryContextSwitchTo(saved);
	MemoryContextReset(peek->message_context);
	peek->wanted--;
}

static void
handle_event(Peek *peek, DjkConsumerEvent *event)
{
	switch (event->kind)
	{
		case DJK_CONSUMER_MESSAGE:
			if (peek->follow || event->offset < end_of(peek, event->partition))
				put_message(peek, event);
			if (!peek->follow && event->offset + 1 >= end_of(peek, event->partition))
				set_done(peek, event->partition);
			djk_consumer_release(event->message.source);
			break;
		case DJK_CONSUMER_EOF:
			/* The last offsets before the end may be no messages. */
			if (!peek->follow)
				set_done(peek, event->partition);
			break;
		case DJK_CONSUMER_PARTITION_ERROR:
			if (event->error_class != DJK_KAFKA_RETRIABLE)
				djk_error_throw(&event->error);
			break;
		case DJK_CONSUMER_ERROR:
			if (event->error_class == DJK_KAFKA_FATAL || event->error_class == DJK_KAFKA_DENIED)
				djk_error_throw(&event->error);
			break;
		default:
			break;
	}
}

static void
read_messages(Peek *peek)
{
	while (peek->wanted > 0 && peek->nleft > 0 && !djk_client_expired(&peek->client))
	{
		DjkConsumerEvent event;

		if (djk_consumer_poll(peek->client.consumer, &event))
			handle_event(peek, &event);
		else
			djk_client_wait(&peek->client);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
require_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"topic", "max_messages", NULL, "start_at", NULL, "timeout"};

	for (int i = 0; i < lengthof(names); i++)
		if (names[i] != NULL && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	if (PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_messages must not be negative")));
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative")));
}

/* (topic text, max_messages int, partition int, start_at text, server text, timeout interval) */
Datum
djkafka_peek(PG_FUNCTION_ARGS)
{
	Peek		peek = {0};
	DjkStart	start;

	require_arguments(fcinfo);
	start = djk_start_parse(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	require_start(&start);
	InitMaterializedSRF(fcinfo, 0);

	peek.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	peek.message_desc = BlessTupleDesc(peek.rsinfo->setDesc);
	peek.header_type = djk_catalog_type("djkafka_header");
	peek.wanted = PG_GETARG_INT32(1);
	peek.message_context = AllocSetContextCreate(CurrentMemoryContext, "djkafka peek message",
												 ALLOCSET_DEFAULT_SIZES);

	djk_client_open(&peek.client, PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4)),
					NULL, 0, QUEUE_KBYTES, PG_GETARG_INTERVAL_P(5));
	find_range(&peek, text_to_cstring(PG_GETARG_TEXT_PP(0)),
			   PG_ARGISNULL(2) ? -1 : PG_GETARG_INT32(2), &start);
	assign_range(&peek);
	read_messages(&peek);
	if (peek.wanted > 0 && peek.nleft > 0 && !peek.follow)
		ereport(NOTICE,
				(errmsg("djkafka_peek ran out of time before it came to the end of the topic"),
				 errhint("Give it a longer timeout.")));
	djk_client_close(&peek.client);
	return (Datum) 0;
}
