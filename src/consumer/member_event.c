/*-------------------------------------------------------------------------
 *
 * member_event.c
 *	  What Kafka tells a consumer worker: messages, rebalances, errors.
 *
 * Messages are collected into a batch.  A rebalance that takes partitions throws
 * the batch away: what was collected belongs to the next owner.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/member_event.h"

#include "base/clock.h"
#include "base/text.h"
#include "state/offset.h"
#include "utils/timestamp.h"
#include "consumer/coverage.h"
#include "consumer/leader.h"

#define PROBE_TIMEOUT_MS	1000

static void
fetch_and_tell(DjkConsumerWorker *worker)
{
	if (worker->retry_at == 0)
		djk_positions_fetch(worker->positions);
	else
		djk_positions_settle(worker->positions);
	djk_positions_publish(worker->positions, worker->args.worker);
	if (worker->positions->trouble != NULL)
		djk_member_set_state(worker, DJK_STATE_UNREACHABLE, worker->positions->trouble,
							 DJK_BROKERS_HINT);
	else if (djk_positions_count(worker->positions) > 0)
		djk_member_set_running(worker);
}

void
djk_member_load_and_fetch(DjkConsumerWorker *worker)
{
	djk_positions_load(worker->positions);
	worker->resolved_at = djk_clock_now();
	worker->refetch_since = 0;
	fetch_and_tell(worker);
}

void
djk_member_take_answers(DjkConsumerWorker *worker)
{
	if (djk_positions_take_answers(worker->positions))
		fetch_and_tell(worker);
}

/*
 * A partition of a topic that no route takes is not read, so its offset stays.
 * It was given to us by the rules of an earlier definition, or because the
 * library's idea of a pattern is wider than ours.
 */
static int
leave_out_unwanted(DjkConsumerWorker *worker, const DjkConsumerEvent *event, DjkTopicPartition *wanted)
{
	int			n = 0;

	for (int i = 0; i < event->npartitions; i++)
	{
		const DjkTopicPartition *partition = &event->partitions[i];

		if (djk_consumer_row_wants(worker->row, partition->topic))
			wanted[n++] = *partition;
		else
			ereport(LOG,
					(errmsg("djkafka consumer \"%s\" does not read partition %d of topic \"%s\", which no route takes",
							worker->row->name, partition->partition, partition->topic)));
	}
	return n;
}

static void
take_assignment(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkTopicPartition *wanted = palloc(Max(event->npartitions, 1) * sizeof(DjkTopicPartition));
	int			n = leave_out_unwanted(worker, event, wanted);

	ereport(LOG,
			(errmsg("djkafka consumer \"%s\", worker %d, was assigned %d partitions",
					worker->row->name, worker->args.worker, event->npartitions)));
	worker->assigned_at = worker->proof_from = djk_clock_now();
	djk_coverage_doubt(worker);
	/* The embedded broker cannot be asked. */
	worker->coverage.covered = worker->connection.embedded;
	djk_positions_add(worker->positions, wanted, n);
	djk_member_load_and_fetch(worker);
	djk_member_set_running(worker);
}

/* What was collected of a partition that goes belongs to its next owner. */
static void
take_revocation(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkSlotStatus status;
	DjkLeaving	leaving;

	djk_coverage_doubt(worker);
	if (djk_slot_get(worker->args.slot, worker->args.generation, &status, &leaving) &&
		status.state == DJK_STATE_RUNNING)
		djk_member_set_state(worker, DJK_STATE_STARTING, "the group shares out its partitions", NULL);
	djk_collect_clear(&worker->collector);
	djk_positions_suspend(worker->positions);
	djk_positions_remove(worker->positions, event->partitions, event->npartitions);
	djk_positions_rewind(worker->positions);
	if (djk_consumer_is_cooperative(worker->kafka) && worker->retry_at == 0)
		djk_positions_fetch(worker->positions);
}

/* What is fetched is fetched again, from where the rows stand. */
static void
refetch(DjkConsumerWorker *worker)
{
	djk_collect_clear(&worker->collector);
	djk_positions_rewind(worker->positions);
	djk_positions_suspend(worker->positions);
	djk_member_load_and_fetch(worker);
}

/* A partition does not go on here: what still comes of it is not taken. */
static void
leave_to_refetch(DjkConsumerWorker *worker, DjkPosition *position)
{
	djk_positions_leave(position);
	if (worker->refetch_since == 0)
		worker->refetch_since = djk_clock_now();
}

void
djk_member_refetch(DjkConsumerWorker *worker)
{
	if (worker->refetch_since != 0 &&
		TimestampDifferenceExceeds(worker->refetch_since, djk_clock_now(), DJK_MEMBER_REFETCH_MS))
		refetch(worker);
}

/* A partition is not the one that was read. */
static void
take_new_topic(DjkConsumerWorker *worker, DjkPosition *position, const char *what)
{
	char	   *reason = djk_offset_new_topic(what);

	if (worker->row->new_topic_is_read)
		djk_positions_restart(worker->positions, position, reason);
	else
		djk_positions_stop(worker->positions, position, reason);
	leave_to_refetch(worker, position);
}

/* Where a partition ends, if Kafka answers at once. */
static bool
find_end(DjkConsumerWorker *worker, const DjkPosition *position, int64 *end)
{
	int64		low;
	DjkError	error = {0};

	return djk_consumer_watermarks(worker->kafka, position->key.topic, position->key.partition, &low, end,
								   PROBE_TIMEOUT_MS, &error);
}

void
djk_member_look_for_short(DjkConsumerWorker *worker)
{
	DjkPosition *position = djk_positions_find_short(worker->positions);
	int64		end;

	if (position == NULL)
		return;
	/* The library does not tell of this end again. */
	if (!find_end(worker, position, &end))
		position->short_since = djk_clock_now();
	else if (end > position->anchor.offset)
		position->short_since = 0;
	else
		take_new_topic(worker, position,
					   psprintf("it ends at offset " INT64_FORMAT ", and offset " INT64_FORMAT " has been applied", end,
								position->anchor.offset));
}

/* An offset does not exist: of the anchor, of which nobody says that it still must, or what comes next. */
static void
take_out_of_range(DjkConsumerWorker *worker, DjkPosition *position, const char *what)
{
	int64		end;

	if (position->anchoring)
	{
		position->anchor.offset = -1;
		leave_to_refetch(worker, position);
	}
	else if (find_end(worker, position, &end) && end < position->expected)
		take_new_topic(worker, position,
					   psprintf("it ends at offset " INT64_FORMAT ", and what comes next is offset " INT64_FORMAT, end,
								position->expected));
	else
	{
		djk_positions_stop(worker->positions, position,
						   psprintf("offset " INT64_FORMAT " is not in the partition any more: %s",
									position->expected, what));
		leave_to_refetch(worker, position);
	}
}

static void
take_message(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkPosition *position = djk_positions_find(worker->positions, event->topic, event->partition);

	if (!djk_collect_message(&worker->collector, position, event) && position != NULL &&
		position->state == DJK_POSITION_FETCHING && position->reborn)
		take_new_topic(worker, position,
					   psprintf("at offset " INT64_FORMAT " there is another message than the one that was applied",
								position->anchor.offset));
}

/*
 * The library tells it once, and nothing when it is over: coverage.c tries again,
 * until a message or the end of the partition comes.
 */
static void
take_denial(DjkConsumerWorker *worker, DjkPosition *position, const DjkConsumerEvent *event)
{
	djk_text_copy(worker->fetch_denied, event->error.message, sizeof(worker->fetch_denied));
	worker->fetch_hint = event->error_class == DJK_KAFKA_DENIED ? DJK_DENIED_HINT : DJK_UNREADABLE_HINT;
	djk_slot_set_error(djk_slot_mine(), event->error.message);
	if (position->denied)
		return;
	position->denied = true;
	worker->coverage.covered = false;
	djk_coverage_look_soon(worker);
	ereport(LOG,
			(errmsg("partition %d of topic \"%s\": %s", event->partition, event->topic, event->error.message)));
}

static void
take_partition_error(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkPosition *position = djk_positions_find(worker->positions, event->topic, event->partition);

	switch (event->error_class)
	{
		case DJK_KAFKA_OUT_OF_RANGE:
			if (position == NULL || position->state != DJK_POSITION_FETCHING)
				return;
			take_out_of_range(worker, position, event->error.message);
			break;
		case DJK_KAFKA_UNKNOWN_TOPIC:
			/* Should it come back, it may be another one. */
			if (djk_positions_trust(worker->positions, event->topic))
				refetch(worker);
			djk_member_wait_for_topic(worker, event->topic);
			break;
		case DJK_KAFKA_DENIED:
		case DJK_KAFKA_OTHER:	/* a batch that cannot be unpacked, or a broker that cannot read it */
			if (position != NULL && position->state == DJK_POSITION_FETCHING)
			{
				take_denial(worker, position, event);
				return;
			}
			/* FALLTHROUGH */
		default:
			ereport(LOG,
					(errmsg("partition %d of topic \"%s\": %s", event->partition, event->topic, event->error.message)));
			break;
	}
}

/*
 * A connection that is lost or cannot be made may be one of many: whether what
 * is ours can still be read is found out by looking (coverage.c, leader.c).
 */
static void
take_lost_connection(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	const char *cause = worker->lost_connection;

	if (!event->unreachable)
	{
		djk_text_copy(worker->lost_connection, event->error.message, sizeof(worker->lost_connection));
		djk_coverage_look_soon(worker);
		return;
	}
	djk_coverage_doubt(worker);
	djk_leaders_lost(worker);
	worker->unreachable = true;
	djk_member_set_state(worker, DJK_STATE_UNREACHABLE,
						 psprintf("no broker can be reached%s%s", cause[0] ? ": " : "", cause), DJK_UNREACHABLE_HINT);
}

void
djk_member_note_denial(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	if (strcmp(event->error.name, "GROUP_AUTHORIZATION_FAILED") == 0)
		djk_text_copy(worker->group_denied, event->error.message, sizeof(worker->group_denied));
}

static void
take_error(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	switch (event->error_class)
	{
		case DJK_KAFKA_FATAL:
			ereport(ERROR,
					(errcode(DJK_ERRCODE_KAFKA),
					 errmsg("the Kafka client failed: %s", event->error.message),
					 event->error.hint != NULL ? errhint("%s", event->error.hint) : 0));
			break;
		case DJK_KAFKA_UNKNOWN_TOPIC:
			djk_member_set_state(worker, DJK_STATE_WAITING_FOR_TOPIC, event->error.message,
								 "Create the topic; it is picked up within seconds.");
			break;
		case DJK_KAFKA_DENIED:
			djk_member_note_denial(worker, event);
			djk_member_set_state(worker, DJK_STATE_BROKEN, event->error.message,
								 DJK_DENIED_HINT);
			break;
		case DJK_KAFKA_RETRIABLE:
			take_lost_connection(worker, event);
			break;
		default:
			ereport(LOG, (errmsg("djkafka consumer \"%s\": %s", worker->row->name, event->error.message)));
			break;
	}
	djk_slot_set_error(djk_slot_mine(), event->error.message);
}

/* The library tells when the broker is gone, but not when it is back. */
void
djk_member_look_for_brokers(DjkConsumerWorker *worker)
{
	DjkTopicInfo *topics;
	int			ntopics;
	DjkError	error = {0};

	if (!worker->unreachable || !worker->connection.embedded ||
		(!djk_consumer_topics(worker->kafka, NULL, &topics, &ntopics, PROBE_TIMEOUT_MS, &error) &&
		 error.sqlstate == DJK_ERRCODE_UNREACHABLE))
		return;
	worker->unreachable = false;
	worker->coverage.covered = true;
	if (worker->assigned_at == 0)
		djk_member_set_state(worker, DJK_STATE_STARTING, NULL, NULL);
	else
		djk_member_set_running(worker);
}

void
djk_member_take_event(DjkConsumerWorker *worker, const DjkConsumerEvent *event)
{
	switch (event->kind)
	{
		case DJK_CONSUMER_MESSAGE:
			take_message(worker, event);
			break;
		case DJK_CONSUMER_EOF:
			(void) djk_collect_eof(&worker->collector,
								   djk_positions_find(worker->positions, event->topic, event->partition), event);
			break;
		case DJK_CONSUMER_ASSIGN:
			take_assignment(worker, event);
			break;
		case DJK_CONSUMER_REVOKE:
			take_revocation(worker, event);
			break;
		case DJK_CONSUMER_PARTITION_ERROR:
			take_partition_error(worker, event);
			break;
		case DJK_CONSUMER_ERROR:
			take_error(worker, event);
			break;
		case DJK_CONSUMER_DOUBT:
			if (djk_positions_trust(worker->positions, event->topic))
				refetch(worker);
			break;
		case DJK_CONSUMER_LOG:
			ereport(event->log_level <= 3 ? LOG : DEBUG1,
					(errmsg_internal("djkafka consumer \"%s\": %s", worker->row->name, event->log_text)));
			break;
		case DJK_CONSUMER_NONE:
			break;
	}
}
