/*-------------------------------------------------------------------------
 *
 * topics.c
 *	  djkafka_topics(): what a Kafka cluster holds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "kafka/error.h"
#include "sql/client.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define QUEUE_KBYTES	1024

PG_FUNCTION_INFO_V1(djkafka_topics);

/* All partitions of all topics, in their order. */
static DjkTopicPartition *
list_partitions(const DjkTopicInfo *topics, int ntopics, int *n)
{
	DjkTopicPartition *partitions;
	int			count = 0;

	for (int i = 0; i < ntopics; i++)
		count += topics[i].npartitions;
	partitions = palloc0(Max(count, 1) * sizeof(DjkTopicPartition));
	*n = 0;
	for (int i = 0; i < ntopics; i++)
		for (int p = 0; p < topics[i].npartitions; p++)
		{
			partitions[*n].topic = topics[i].name;
			partitions[*n].partition = p;
			(*n)++;
		}
	return partitions;
}

/* One topic after the other, so that one without a leader does not hide the rest. */
static void
look_up_each(DjkClient *client, DjkTopicPartition *partitions, int n, int64 which)
{
	int			end;

	for (int i = 0; i < n; i = end)
	{
		DjkError	error = {0};

		for (end = i + 1; end < n && strcmp(partitions[end].topic, partitions[i].topic) == 0;)
			end++;
		if (!djk_client_expired(client) &&
			djk_consumer_offsets_for_time(client->consumer, partitions + i, end - i, which,
										  Min(djk_client_left_ms(client), DJK_KAFKA_SLICE_MS), &error))
			continue;
		for (int j = i; j < end; j++)
			partitions[j].offset = DJK_OFFSET_UNKNOWN;
	}
}

static DjkTopicPartition *
look_up_ends(DjkClient *client, const DjkTopicPartition *partitions, int n, int64 which)
{
	DjkTopicPartition *ends = palloc(Max(n, 1) * sizeof(DjkTopicPartition));
	DjkError	error = {0};

	memcpy(ends, partitions, n * sizeof(DjkTopicPartition));
	if (n > 0 &&
		!djk_consumer_offsets_for_time(client->consumer, ends, n, which,
									   Max(djk_client_left_ms(client) / 3, 1), &error))
		look_up_each(client, ends, n, which);
	return ends;
}

static void
put_rows(ReturnSetInfo *rsinfo, const DjkTopicPartition *lows, const DjkTopicPartition *highs, int n)
{
	for (int i = 0; i < n; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {false, false, lows[i].offset < 0, highs[i].offset < 0};

		values[0] = CStringGetTextDatum(lows[i].topic);
		values[1] = Int32GetDatum(lows[i].partition);
		values[2] = Int64GetDatum(lows[i].offset);
		values[3] = Int64GetDatum(highs[i].offset);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* (server text, topic text, timeout interval) */
Datum
djkafka_topics(PG_FUNCTION_ARGS)
{
	char	   *server = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *topic = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	DjkClient	client;
	DjkTopicPartition *partitions;
	int			n;

	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	djk_client_open(&client, server, NULL, 0, QUEUE_KBYTES, PG_GETARG_INTERVAL_P(2));
	if (topic != NULL)
		partitions = djk_client_partitions(&client, topic, -1, &n);
	else
	{
		DjkTopicInfo *topics;
		DjkError	error = {0};
		int			ntopics;

		if (!djk_consumer_topics(client.consumer, NULL, &topics, &ntopics,
								 djk_client_left_ms(&client), &error))
			djk_client_throw(&client, &error);
		partitions = list_partitions(topics, ntopics, &n);
	}
	put_rows((ReturnSetInfo *) fcinfo->resultinfo,
			 look_up_ends(&client, partitions, n, DJK_OFFSET_EARLIEST),
			 look_up_ends(&client, partitions, n, DJK_OFFSET_LATEST), n);
	djk_client_close(&client);
	return (Datum) 0;
}
