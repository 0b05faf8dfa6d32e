/*-------------------------------------------------------------------------
 *
 * run_read.c
 *	  Reads in this session what a consumer would read next.
 *
 * Assigns by hand and joins no group: see run.c.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_read.h"

#include "apply/writer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/start.h"
#include "base/topic.h"
#include "kafka/error.h"
#include "miscadmin.h"
#include "sql/run_again.h"
#include "state/catalog.h"
#include "state/offset.h"
#include "state/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define QUEUE_KBYTES	8192
#define BATCH_MESSAGES	1000

struct DjkRunPartition
{
	DjkPosition at;
	int64		end;			/* high watermark at the start */
};

typedef struct DjkRunPartition RunPartition;

/* ---------- partitions ---------- */

static RunPartition *
add_partition(DjkRun *run, const char *topic, const DjkOffsetRow *row)
{
	RunPartition *partition;

	if (run->npartitions == run->partitions_size)
	{
		run->partitions_size = Max(run->partitions_size * 2, 16);
		run->partitions = run->partitions == NULL ?
			palloc(run->partitions_size * sizeof(RunPartition)) :
			repalloc(run->partitions, run->partitions_size * sizeof(RunPartition));
	}
	partition = &run->partitions[run->npartitions++];
	djk_position_make_key(&partition->at.key, topic, row->partition);
	djk_position_clear(&partition->at);
	djk_offset_take(row, &partition->at);
	return partition;
}

/* Resolves where a row starts, and stores it. */
static void
resolve(DjkRun *run, RunPartition *partition, const char *start_at)
{
	DjkStart	start = djk_start_parse(start_at);
	DjkTopicPartition asked = {0};
	DjkError	error = {0};
	DjkIdentity identity;
	pg_uuid_t	incarnation;

	asked.topic = partition->at.key.topic;
	asked.partition = partition->at.key.partition;
	if (start.kind == DJK_START_GROUP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("djkafka_run belongs to no group, so it cannot start where one stopped"),
				 errhint("Let the consumer's worker start once, or use djkafka_seek.")));
	if (!djk_consumer_resolve_start(run->client.consumer, &asked, 1, &start,
									djk_client_left_ms(&run->client), &error))
		djk_client_throw(&run->client, &error);
	if (asked.error.sqlstate != 0)
		djk_error_throw(&asked.error);
	djk_catalog_enter(&identity);
	(void) djk_offset_resolve(partition->at.offset_id, partition->at.generation, asked.offset, run->cluster_id,
							  run->client.embedded && djk_embedded_incarnation(&incarnation) ? &incarnation : NULL);
	djk_catalog_leave(&identity);
	partition->at.next_offset = partition->at.expected = asked.offset;
	djk_position_move(&partition->at, DJK_POSITION_RESOLVED);
}

/* A lock on an offset row that is not to be had: somebody is working there. */
static void
tell_lock(void *topic)
{
	if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
		return;
	errmsg("a partition of topic \"%s\" is just being read by somebody else", (char *) topic);
	errdetail("A worker of the consumer, another djkafka_run or a djkafka_replay holds its offset.");
	errhint("Try again, or stop the workers with djkafka_pause.");
}

static DjkOffsetRow *
lock_rows(DjkRun *run, const char *topic, const int *numbers, int n, int *nrows)
{
	ErrorContextCallback callback = {error_context_stack, tell_lock, pstrdup(topic)};
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkOffsetRow *rows;

	djk_catalog_enter(&identity);
	djk_offset_create(run->consumer->id, topic, n, run->consumer->start_from);
	error_context_stack = &callback;
	rows = djk_offset_load(run->consumer->id, topic, numbers, n, true, context, nrows);
	error_context_stack = callback.previous;
	djk_catalog_leave(&identity);
	return rows;
}

/* Of the rows of a topic that are locked, those that can be read. */
static void
take_row(DjkRun *run, const char *topic, DjkOffsetRow *row)
{
	DjkIdentity identity;
	char	   *mismatch = djk_offset_mismatch(row, run->client.embedded, run->cluster_id);
	RunPartition *partition;

	djk_catalog_enter(&identity);
	(void) djk_offset_begin_life(row, run->client.embedded);
	djk_catalog_leave(&identity);
	if (row->needs_decision || mismatch != NULL)
	{
		ereport(WARNING,
				(errcode(DJK_ERRCODE_NEEDS_DECISION),
				 errmsg("partition %d of topic \"%s\" needs a decision and is left out", row->partition, topic),
				 mismatch ? errdetail_internal("%s", mismatch) : 0,
				 errhint("Decide with djkafka_seek(consumer, topic, start_at, partition).")));
		return;
	}
	/* Whoever calls this sees what becomes of the messages. */
	row->storms = false;
	partition = add_partition(run, topic, row);
	if (row->next_offset == DJK_OFFSET_UNRESOLVED)
		resolve(run, partition, row->start_at);
}

static void
load_topic(DjkRun *run, const char *topic)
{
	int			n;
	DjkTopicPartition *known = djk_client_partitions(&run->client, topic, -1, &n);
	int		   *numbers = palloc(n * sizeof(int));
	DjkOffsetRow *rows;
	int			nrows;

	for (int i = 0; i < n; i++)
		numbers[i] = known[i].partition;
	rows = lock_rows(run, topic, numbers, n, &nrows);
	for (int i = 0; i < nrows; i++)
		take_row(run, topic, &rows[i]);
}

static bool
is_loaded(const DjkRun *run, const char *topic)
{
	for (int i = 0; i < run->npartitions; i++)
	{
		if (strcmp(run->partitions[i].at.key.topic, topic) == 0)
			return true;
	}
	return false;
}

static void
load_pattern(DjkRun *run, const char *pattern)
{
	DjkTopicInfo *topics;
	int			ntopics;
	DjkError	error = {0};

	if (!djk_consumer_topics(run->client.consumer, NULL, &topics, &ntopics, djk_client_left_ms(&run->client), &error))
		djk_client_throw(&run->client, &error);
	for (int i = 0; i < ntopics; i++)
	{
		if (!is_loaded(run, topics[i].name) &&
			djk_topic_matches(pattern, topics[i].name))
			load_topic(run, topics[i].name);
	}
}

/* A partition is not the one that was read: this is for a worker, or for a person. */
static void
leave_out(DjkRun *run, RunPartition *partition, const char *what)
{
	char	   *reason = djk_offset_new_topic(what);
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	if (run->consumer->new_topic_is_read)
		(void) djk_offset_restart(partition->at.offset_id, partition->at.generation);
	else
		djk_offset_stop(partition->at.offset_id, partition->at.generation, reason);
	djk_catalog_leave(&identity);
	djk_position_move(&partition->at, DJK_POSITION_STOPPED);
	partition->at.anchoring = false;
	partition->at.parked = 0;
	partition->end = partition->at.expected;
	ereport(WARNING,
			(errcode(DJK_ERRCODE_NEEDS_DECISION),
			 errmsg("partition %d of topic \"%s\" is left out", partition->at.key.partition, partition->at.key.topic),
			 errdetail_internal("%s", reason),
			 run->consumer->new_topic_is_read ? errhint("The next one reads it from its beginning.") :
			 errhint("Decide with djkafka_seek(consumer, topic, start_at, partition).")));
}

static void
assign_all(DjkRun *run)
{
	DjkTopicPartition *list = palloc0(run->npartitions * sizeof(DjkTopicPartition));
	int			n = 0;

	for (int i = 0; i < run->npartitions; i++)
	{
		DjkPosition *position = &run->partitions[i].at;

		if (!djk_position_is_ready(position))
			continue;
		djk_position_move(position, DJK_POSITION_FETCHING);
		djk_position_begin(position);
		list[n].topic = position->key.topic;
		list[n].partition = position->key.partition;
		list[n++].offset = djk_position_start(position);
	}
	djk_consumer_assign(run->client.consumer, list, n);
}

static void
start_fetching(DjkRun *run)
{
	DjkTopicPartition *ends;
	DjkError	error = {0};

	for (int i = 0; i < run->consumer->nroutes; i++)
	{
		const char *topic = run->consumer->routes[i].topic;

		if (topic[0] == '^')
			load_pattern(run, topic);
		else if (!is_loaded(run, topic))
			load_topic(run, topic);
	}
	ends = palloc0(Max(run->npartitions, 1) * sizeof(DjkTopicPartition));
	for (int i = 0; i < run->npartitions; i++)
	{
		ends[i].topic = run->partitions[i].at.key.topic;
		ends[i].partition = run->partitions[i].at.key.partition;
	}
	if (run->npartitions > 0 &&
		!djk_consumer_offsets_for_time(run->client.consumer, ends, run->npartitions, DJK_OFFSET_LATEST,
									   djk_client_left_ms(&run->client), &error))
		djk_client_throw(&run->client, &error);
	for (int i = 0; i < run->npartitions; i++)
	{
		if (ends[i].error.sqlstate != 0)
			djk_error_throw(&ends[i].error);
		run->partitions[i].end = run->partitions[i].at.high_watermark = ends[i].offset;
		if (ends[i].offset <= run->partitions[i].at.anchor.offset)
			leave_out(run, &run->partitions[i],
					  psprintf("it ends at offset " INT64_FORMAT ", and offset " INT64_FORMAT " has been applied",
							   ends[i].offset, run->partitions[i].at.anchor.offset));
	}
	if (run->npartitions > 0)
		assign_all(run);
}

/* ---------- batches ---------- */

static bool
is_full(const DjkRun *run)
{
	return run->collector.batch.nmessages >= BATCH_MESSAGES ||
		(run->max_messages >= 0 && run->taken >= run->max_messages);
}

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	return djk_consumer_headers(message, CurrentMemoryContext, headers);
}

/* Given messages, in batches of as many as a worker of the consumer would take. */
static void
flush(DjkRun *run)
{
	DjkCollector *collector = &run->collector;

	if (collector->batch.npartitions == 0)
		return;
	djk_collect_close(collector);
	run->take(run, &collector->batch);
	for (int i = 0; i < collector->batch.npartitions; i++)
		djk_position_settle(collector->positions[i], &collector->batch.partitions[i]);
	djk_collect_clear(collector);
}

/* What waits, also what did before this run: all of it, or what may have found its row since. */
static void
try_again(DjkRun *run, bool all)
{
	DjkPosition **positions = palloc(Max(run->npartitions, 1) * sizeof(DjkPosition *));

	for (int i = 0; i < run->npartitions; i++)
		positions[i] = &run->partitions[i].at;
	djk_run_again(run->apply, positions, run->npartitions, all, run->consumer->batch_bytes, &run->total);
	run->total.parked = 0;
	for (int i = 0; i < run->npartitions; i++)
		run->total.parked += positions[i]->parked;
}

/* ---------- reading ---------- */

static RunPartition *
find_partition(DjkRun *run, const char *topic, int number)
{
	for (int i = 0; i < run->npartitions; i++)
	{
		if (run->partitions[i].at.key.partition == number && strcmp(run->partitions[i].at.key.topic, topic) == 0)
			return &run->partitions[i];
	}
	return NULL;
}

/*
 * Until the end of what was there: whatever comes of later says that nothing is
 * left before.
 */
static void
take_end(DjkRun *run, RunPartition *partition, const DjkConsumerEvent *event)
{
	DjkConsumerEvent end = *event;

	if (run->until_eof && partition != NULL)
		end.offset = Min(end.offset, partition->end);
	(void) djk_collect_eof(&run->collector, partition ? &partition->at : NULL, &end);
}

static void
take_message(DjkRun *run, const DjkConsumerEvent *event)
{
	RunPartition *partition = find_partition(run, event->topic, event->partition);

	if (run->until_eof && partition != NULL && event->offset >= partition->end)
	{
		take_end(run, partition, event);
		djk_consumer_release(event->message.source);
	}
	else if (djk_collect_message(&run->collector, partition ? &partition->at : NULL, event))
	{
		run->taken++;
		run->last_message_at = djk_clock_now();
	}
	else if (partition != NULL && partition->at.state == DJK_POSITION_FETCHING && partition->at.reborn)
		leave_out(run, partition,
				  psprintf("at offset " INT64_FORMAT " there is another message than the one that was applied",
						   partition->at.anchor.offset));
}

/* The anchor is out of range, of which nobody says that it must be there still. */
static bool
forget_anchor(DjkRun *run, const DjkConsumerEvent *event)
{
	RunPartition *partition = find_partition(run, event->topic, event->partition);

	if (partition == NULL || !partition->at.anchoring)
		return false;
	flush(run);
	partition->at.anchor.offset = -1;
	for (int i = 0; i < run->npartitions; i++)
		run->partitions[i].at.expected = run->partitions[i].at.next_offset;
	assign_all(run);
	return true;
}

/* What does not pass by itself; of a partition also what the library has no name for, like a batch that it cannot unpack. */
static bool
is_in_the_way(DjkConsumerEvent *event)
{
	if (event->error_class == DJK_KAFKA_RETRIABLE)
		return false;
	if (event->error_class != DJK_KAFKA_OTHER)
		return true;
	if (event->error.hint == NULL)
		event->error.hint = pstrdup(DJK_UNREADABLE_HINT);
	return event->kind == DJK_CONSUMER_PARTITION_ERROR;
}

static void
take_event(DjkRun *run, DjkConsumerEvent *event)
{
	switch (event->kind)
	{
		case DJK_CONSUMER_MESSAGE:
			take_message(run, event);
			break;
		case DJK_CONSUMER_EOF:
			take_end(run, find_partition(run, event->topic, event->partition), event);
			break;
		case DJK_CONSUMER_PARTITION_ERROR:
		case DJK_CONSUMER_ERROR:
			if (event->error_class == DJK_KAFKA_OUT_OF_RANGE && forget_anchor(run, event))
				break;
			if (is_in_the_way(event))
				djk_error_throw(&event->error);
			break;
		default:
			break;
	}
}

static bool
at_eof(const DjkRun *run)
{
	for (int i = 0; i < run->npartitions; i++)
	{
		if (run->partitions[i].at.expected < run->partitions[i].end || run->partitions[i].at.anchoring)
			return false;
	}
	return true;
}

/* Why the run is over; NULL if it is not. */
static const char *
end_reason(const DjkRun *run)
{
	if (run->max_messages >= 0 && run->taken >= run->max_messages)
		return "max_messages";
	if (run->until_eof && at_eof(run))
		return "eof";
	if (run->idle_us > 0 && djk_clock_now() - run->last_message_at >= run->idle_us)
		return "idle";
	if (djk_client_expired(&run->client))
		return "timeout";
	return NULL;
}

/* Whether a route bounds what waits of a key, so that its messages need the room of those that have found their row. */
static bool
is_bounded(const DjkConsumerRow *consumer)
{
	for (int i = 0; i < consumer->nroutes; i++)
	{
		if (djk_route_row_bounds_lanes(&consumer->routes[i]))
			return true;
	}
	return false;
}

const char *
djk_run_read(DjkRun *run, const Interval *timeout)
{
	DjkProperty *options = palloc0(Max(run->consumer->noptions, 1) * sizeof(DjkProperty));
	const char *reason;

	for (int i = 0; i < run->consumer->noptions; i++)
	{
		options[i].name = run->consumer->option_names[i];
		options[i].value = run->consumer->option_values[i];
	}
	djk_client_open(&run->client, run->consumer->server, options, run->consumer->noptions, QUEUE_KBYTES, timeout);
	djk_writers_use(run->apply, run->client.registry);
	if (!run->client.embedded)
		run->cluster_id = djk_consumer_cluster_id(run->client.consumer, djk_client_left_ms(&run->client));
	start_fetching(run);
	run->collector.kafka = run->client.consumer;
	run->collector.context = CurrentMemoryContext;
	run->collector.batch.load_headers = load_headers;
	run->makes_room = run->tries_waiting && is_bounded(run->consumer);
	if (run->makes_room)
		try_again(run, true);
	run->last_message_at = djk_clock_now();

	while ((reason = end_reason(run)) == NULL)
	{
		DjkConsumerEvent event;

		CHECK_FOR_INTERRUPTS();
		if (!is_full(run) && djk_consumer_poll(run->client.consumer, &event))
		{
			take_event(run, &event);
			continue;
		}
		if (run->collector.batch.npartitions > 0)
		{
			flush(run);
			if (run->makes_room)
				try_again(run, false);
		}
		else
			djk_client_wait(&run->client);
	}
	flush(run);
	if (run->tries_waiting)
		try_again(run, true);
	djk_client_close(&run->client);
	return reason;
}
