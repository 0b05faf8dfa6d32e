/*-------------------------------------------------------------------------
 *
 * consumer_worker.c
 *	  One member of a consumer's group: from Kafka's queue to COMMIT.
 *
 * The loop never has a transaction open while it waits for Kafka, and never
 * calls Kafka while a transaction is open.  It owns every position: what the
 * library delivers below the expected offset is dropped, and a jump above it is
 * believed only when it comes again after a seek back.
 *
 * A definition that changes makes the worker leave; its supervisor starts it
 * again.  As a static member of the group it keeps its partitions meanwhile.
 * When it is not wanted any more it unsubscribes, or its partitions would stay
 * with nobody until the session times out.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/xact.h"
#include "apply/apply.h"
#include "apply/retry.h"
#include "base/compat.h"
#include "base/settings.h"
#include "common/pg_prng.h"
#include "kafka/consumer.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/consumer_row.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/position.h"
#include "worker/worker.h"

#define CLOSE_TIMEOUT_MS		3000
#define UNSUBSCRIBE_TIMEOUT_MS	5000
#define LOOKUP_TIMEOUT_MS		5000
#define IDLE_WAIT_MS			60000
#define RETRY_SOON_MS			1000
#define RETRY_BASE_MS			100
#define COLLECT_MS				50		/* a batch is not collected for longer */
#define PUBLISH_EVERY_MS		500
#define PROOF_MS				2000
#define MAX_POLL_INTERVAL_MS	300000	/* the library's default */

PGDLLEXPORT void djkafka_consumer_worker_main(Datum arg);

typedef struct ConsumerWorker
{
	DjkWorkerArgs args;
	MemoryContext life;
	MemoryContext cycle;		/* reset with each turn of the loop */
	DjkConsumerRow *row;
	DjkHome		home;
	DjkConnection connection;
	DjkConsumer *kafka;
	DjkApply   *apply;
	DjkPositions *positions;
	int			max_poll_ms;

	/* the batch being collected */
	DjkBatch	batch;
	int			messages_size;
	int			partitions_size;
	DjkPosition **batch_positions;	/* by the batch's partition */

	/* after a transient error */
	int			attempt;
	TimestampTz retry_at;		/* 0: not waiting */
	TimestampTz published_at;
	bool		subscribed;

	/*
	 * The predecessor failed: what it said stays shown until a batch succeeds,
	 * or there is nothing to do for a while.
	 */
	bool		proving;
	TimestampTz assigned_at;
} ConsumerWorker;

static ConsumerWorker *this_worker = NULL;

/* ---------- leaving ---------- */

static void
close_consumer(int code, Datum arg)
{
	if (this_worker != NULL && this_worker->kafka != NULL)
	{
		DjkConsumer *kafka = this_worker->kafka;

		this_worker->kafka = NULL;
		djk_consumer_destroy(kafka, CLOSE_TIMEOUT_MS);
	}
}

static void
leave(ConsumerWorker *worker, bool for_good, const char *reason)
{
	ereport(LOG,
			(errmsg("djkafka consumer \"%s\", worker %d, leaves: %s",
					worker->row ? worker->row->name : "", worker->args.worker, reason)));
	if (for_good && worker->subscribed)
		djk_consumer_unsubscribe(worker->kafka, UNSUBSCRIBE_TIMEOUT_MS);
	djk_slot_set_leaving(djk_slot_mine(), DJK_LEFT_WANTED);
	djk_slot_set_state(djk_slot_mine(), for_good ? DJK_STATE_STOPPED : DJK_STATE_STARTING, reason, NULL);
	proc_exit(0);
}

/* What a wake-up may mean: asked to leave, or the definition has changed. */
static void
check_definition(ConsumerWorker *worker)
{
	DjkIdentity identity;
	int64		revision;

	if (djk_slot_leave_asked(djk_slot_mine()))
		leave(worker, true, "the consumer is not to run here any more");
	djk_worker_begin(&identity);
	revision = djk_consumer_row_revision(worker->row->id);
	djk_worker_commit(&identity);
	if (revision < 0)
		leave(worker, true, "the consumer was paused or dropped");
	if (revision != worker->row->revision)
		leave(worker, false, "the consumer's definition has changed");
}

static void
housekeep(ConsumerWorker *worker)
{
	if (djk_worker_housekeep())
		leave(worker, false, "the settings were reloaded");
	if (djk_wake_taken())
		check_definition(worker);
}

static void
set_state(ConsumerWorker *worker, DjkState state, const char *reason, const char *hint)
{
	djk_worker_set_state(state, reason, hint, worker->row->id, worker->row->name);
}

static void
set_running(ConsumerWorker *worker)
{
	if (worker->retry_at == 0 && worker->positions->trouble == NULL && !worker->proving)
		set_state(worker, DJK_STATE_RUNNING, NULL, NULL);
}

/* ---------- starting ---------- */

static int
max_poll_interval(const DjkConnection *connection)
{
	for (int i = 0; i < connection->nproperties; i++)
	{
		if (strcmp(connection->properties[i].name, "max.poll.interval.ms") == 0)
			return Max(pg_strtoint32(connection->properties[i].value), 1000);
	}
	return MAX_POLL_INTERVAL_MS;
}

static void
load_definition(ConsumerWorker *worker)
{
	DjkIdentity identity;
	DjkProperty *options;
	MemoryContext old;

	djk_worker_start_transaction();
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_catalog_enter(&identity);
	worker->row = djk_consumer_row_load(worker->args.consumer_id, worker->life);
	djk_home_load(&worker->home);
	djk_catalog_leave(&identity);
	if (worker->row == NULL || !worker->row->enabled || !worker->row->is_home || worker->row->nroutes == 0)
		leave(worker, true, "the consumer is not to run");
	if (worker->row->owner != worker->args.owner)
		leave(worker, false, "the consumer has another owner");

	old = MemoryContextSwitchTo(worker->life);
	options = palloc0(Max(worker->row->noptions, 1) * sizeof(DjkProperty));
	for (int i = 0; i < worker->row->noptions; i++)
	{
		options[i].name = worker->row->option_names[i];
		options[i].value = worker->row->option_values[i];
	}
	djk_connection_load(worker->row->server, worker->row->owner, options, worker->row->noptions,
						&worker->connection);
	worker->max_poll_ms = max_poll_interval(&worker->connection);
	worker->apply = djk_apply_create(worker->row, worker->life, worker->max_poll_ms / 3);
	MemoryContextSwitchTo(old);

	djk_apply_require_routes(worker->apply);
	PopActiveSnapshot();
	CommitTransactionCommand();
	djk_slot_set_revision(djk_slot_mine(), worker->row->revision);
}

static char *
instance_prefix(ConsumerWorker *worker)
{
	char	   *home = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&worker->home.id)));

	return psprintf("djkafka-%s-" INT64_FORMAT "-", home, worker->row->id);
}

static void
create_consumer(ConsumerWorker *worker)
{
	DjkConsumerConfig config = {0};
	MemoryContext old = MemoryContextSwitchTo(worker->life);

	config.properties = worker->connection.properties;
	config.nproperties = worker->connection.nproperties;
	config.group_id = worker->row->group_id;
	/* The embedded broker knows no static members: one that died would hold up the group. */
	if (!worker->connection.embedded)
		config.group_instance_id = psprintf("%s%d", instance_prefix(worker), worker->args.worker);
	config.embedded = worker->connection.embedded;
	config.client_id = psprintf("djkafka-%s-%d", worker->row->name, worker->args.worker);
	config.assignment_strategy = worker->row->assignment;
	config.queue_kbytes = djk_queue_size_kb;
	worker->kafka = djk_consumer_create(worker->life, &config);
	worker->positions = djk_positions_create(worker->row, worker->kafka, worker->connection.embedded, worker->life);
	MemoryContextSwitchTo(old);
	before_shmem_exit(close_consumer, (Datum) 0);
}

/* A live member of the group that is not ours; NULL if there is none. */
static char *
find_foreign_member(ConsumerWorker *worker, bool *answered)
{
	DjkGroupMember *members;
	int			nmembers;
	DjkError	error;
	char	   *prefix = instance_prefix(worker);
	char	   *ours = psprintf("djkafka-%s-", worker->row->name);

	*answered = djk_consumer_group_members(worker->kafka, worker->row->group_id, &members, &nmembers,
										   LOOKUP_TIMEOUT_MS, &error);
	for (int i = 0; *answered && i < nmembers; i++)
	{
		const char *instance = members[i].group_instance_id;
		const char *client = members[i].client_id ? members[i].client_id : "";

		if (instance != NULL ? strncmp(instance, prefix, strlen(prefix)) != 0 :
			strncmp(client, ours, strlen(ours)) != 0)
			return psprintf("client \"%s\" at %s", client, members[i].host ? members[i].host : "an unknown host");
	}
	return NULL;
}

/*
 * A group belongs to one database: nothing is read while somebody else works in
 * it.  The embedded broker cannot tell.
 */
static void
wait_for_group(ConsumerWorker *worker)
{
	while (!worker->connection.embedded)
	{
		bool		answered;
		char	   *foreign;

		MemoryContextReset(worker->cycle);
		housekeep(worker);
		foreign = find_foreign_member(worker, &answered);
		if (answered && foreign == NULL)
			return;
		if (answered)
			set_state(worker, DJK_STATE_FOREIGN_MEMBER,
					  psprintf("%s is a member of group \"%s\"", foreign, worker->row->group_id),
					  "Stop it; the consumer then goes on by itself. Or use another group_id.");
		else
			set_state(worker, DJK_STATE_UNREACHABLE, "no broker answers",
					  "Check bootstrap_servers, the network and the brokers.");
		djk_worker_report_idle("waiting for the group");
		djk_worker_wait(-1, RETRY_SOON_MS, "DjkafkaGroup");
	}
}

static void
subscribe(ConsumerWorker *worker)
{
	const char **topics = palloc(worker->row->nroutes * sizeof(char *));
	int			n = 0;

	for (int i = 0; i < worker->row->nroutes; i++)
	{
		bool		known = false;

		for (int j = 0; j < n && !known; j++)
			known = strcmp(topics[j], worker->row->routes[i].topic) == 0;
		if (!known)
			topics[n++] = worker->row->routes[i].topic;
	}
	djk_consumer_subscribe(worker->kafka, topics, n);
	worker->subscribed = true;
}

/* ---------- the batch ---------- */

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	return djk_consumer_headers(message, this_worker->cycle, headers);
}

static void
clear_batch(ConsumerWorker *worker)
{
	for (int i = 0; i < worker->batch.nmessages; i++)
		djk_consumer_release(worker->batch.messages[i].source);
	for (int i = 0; i < worker->batch.npartitions; i++)
	{
		if (worker->batch_positions[i] != NULL)
			worker->batch_positions[i]->batch_index = -1;
	}
	worker->batch.nmessages = worker->batch.npartitions = 0;
	worker->batch.bytes = 0;
}

static DjkBatchPartition *
enter_partition(ConsumerWorker *worker, DjkPosition *position)
{
	DjkBatch   *batch = &worker->batch;
	DjkBatchPartition *partition;

	if (position->batch_index >= 0)
		return &batch->partitions[position->batch_index];
	if (batch->npartitions == worker->partitions_size)
	{
		worker->partitions_size = Max(worker->partitions_size * 2, 16);
		if (batch->partitions == NULL)
		{
			batch->partitions = MemoryContextAlloc(worker->life, worker->partitions_size * sizeof(DjkBatchPartition));
			worker->batch_positions = MemoryContextAlloc(worker->life, worker->partitions_size * sizeof(DjkPosition *));
		}
		else
		{
			batch->partitions = repalloc(batch->partitions, worker->partitions_size * sizeof(DjkBatchPartition));
			worker->batch_positions = repalloc(worker->batch_positions, worker->partitions_size * sizeof(DjkPosition *));
		}
	}
	position->batch_index = batch->npartitions++;
	worker->batch_positions[position->batch_index] = position;
	partition = &batch->partitions[position->batch_index];
	memset(partition, 0, sizeof(*partition));
	partition->topic = position->key.topic;
	partition->partition = position->key.partition;
	partition->offset_id = position->offset_id;
	partition->generation = position->generation;
	partition->next_offset = position->next_offset;
	partition->high_watermark = -1;
	return partition;
}

/*
 * Whether what comes at 'offset' follows what was there.  A first jump is
 * sought back to: what an earlier assignment left in the queue must not pass
 * for a gap.
 */
static bool
accept_offset(ConsumerWorker *worker, DjkPosition *position, int64 offset)
{
	if (offset == position->expected || position->verified)
		return true;
	if (position->jump_to == offset)
	{
		position->verified = true;
		return true;
	}
	position->jump_to = offset;
	djk_positions_seek(worker->positions, position);
	return false;
}

static void
take_message(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkBatch   *batch = &worker->batch;
	DjkPosition *position = djk_positions_find(worker->positions, event->topic, event->partition);
	DjkMessage *message;

	if (position == NULL || !position->fetching || event->offset < position->expected ||
		!accept_offset(worker, position, event->offset))
	{
		djk_consumer_release(event->message.source);
		return;
	}
	(void) enter_partition(worker, position);
	if (batch->nmessages == worker->messages_size)
	{
		worker->messages_size = Max(worker->messages_size * 2, 1024);
		batch->messages = batch->messages == NULL ?
			MemoryContextAllocHuge(worker->life, worker->messages_size * sizeof(DjkMessage)) :
			repalloc_huge(batch->messages, worker->messages_size * sizeof(DjkMessage));
	}
	message = &batch->messages[batch->nmessages++];
	*message = event->message;
	message->partition = position->batch_index;
	message->offset = event->offset;
	batch->bytes += message->value_len + message->key_len;
	position->expected = event->offset + 1;
}

/* The end of a partition: what lies between it and what we have is no message. */
static void
take_eof(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkPosition *position = djk_positions_find(worker->positions, event->topic, event->partition);

	if (position == NULL || !position->fetching)
		return;
	position->high_watermark = Max(position->high_watermark, event->offset);
	if (event->offset <= position->expected || !accept_offset(worker, position, event->offset))
		return;
	(void) enter_partition(worker, position);
	position->expected = event->offset;
}

/* ---------- rebalances and errors ---------- */

static void
load_and_fetch(ConsumerWorker *worker)
{
	djk_positions_load(worker->positions);
	if (worker->retry_at == 0)
		djk_positions_fetch(worker->positions);
	djk_positions_publish(worker->positions, worker->args.worker);
	if (worker->positions->trouble != NULL)
		set_state(worker, DJK_STATE_UNREACHABLE, worker->positions->trouble,
				  "Check the brokers; the worker goes on by itself.");
	else if (djk_positions_count(worker->positions) > 0)
		set_running(worker);
}

static void
take_assignment(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	ereport(LOG,
			(errmsg("djkafka consumer \"%s\", worker %d, was assigned %d partitions",
					worker->row->name, worker->args.worker, event->npartitions)));
	worker->assigned_at = GetCurrentTimestamp();
	djk_positions_add(worker->positions, event->partitions, event->npartitions);
	load_and_fetch(worker);
	set_running(worker);
}

/* What was collected of a partition that goes belongs to its next owner. */
static void
take_revocation(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	clear_batch(worker);
	djk_positions_suspend(worker->positions);
	djk_positions_remove(worker->positions, event->partitions, event->npartitions);
	djk_positions_rewind(worker->positions);
	if (djk_consumer_is_cooperative(worker->kafka) && worker->retry_at == 0)
		djk_positions_fetch(worker->positions);
}

static void
take_partition_error(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	DjkPosition *position = djk_positions_find(worker->positions, event->topic, event->partition);

	switch (event->error_class)
	{
		case DJK_KAFKA_OUT_OF_RANGE:
			if (position == NULL || position->stopped || !position->fetching)
				return;
			djk_positions_stop(worker->positions, position,
							   psprintf("offset " INT64_FORMAT " is not in the partition any more: %s",
										position->expected, event->error.message));
			clear_batch(worker);
			djk_positions_rewind(worker->positions);
			djk_positions_suspend(worker->positions);
			djk_positions_fetch(worker->positions);
			break;
		case DJK_KAFKA_UNKNOWN_TOPIC:
			set_state(worker, DJK_STATE_WAITING_FOR_TOPIC,
					  psprintf("topic \"%s\" does not exist", event->topic),
					  "Create it; it is picked up within seconds.");
			break;
		default:
			ereport(LOG,
					(errmsg("partition %d of topic \"%s\": %s", event->partition, event->topic, event->error.message)));
			break;
	}
}

static void
take_error(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	switch (event->error_class)
	{
		case DJK_KAFKA_FATAL:
			ereport(ERROR,
					(errcode(DJK_ERRCODE_KAFKA),
					 errmsg("the Kafka client failed: %s", event->error.message)));
			break;
		case DJK_KAFKA_UNKNOWN_TOPIC:
			set_state(worker, DJK_STATE_WAITING_FOR_TOPIC, event->error.message,
					  "Create the topic; it is picked up within seconds.");
			break;
		case DJK_KAFKA_DENIED:
			set_state(worker, DJK_STATE_BROKEN, event->error.message,
					  "Check the user mapping of the server, and the ACLs of the topic and the group.");
			break;
		case DJK_KAFKA_RETRIABLE:
			if (event->error.sqlstate == DJK_ERRCODE_UNREACHABLE)
				set_state(worker, DJK_STATE_UNREACHABLE, event->error.message,
						  "Check bootstrap_servers, the network and the brokers.");
			break;
		default:
			ereport(LOG, (errmsg("djkafka consumer \"%s\": %s", worker->row->name, event->error.message)));
			break;
	}
	djk_slot_set_error(djk_slot_mine(), event->error.message);
}

static void
take_event(ConsumerWorker *worker, const DjkConsumerEvent *event)
{
	switch (event->kind)
	{
		case DJK_EVENT_MESSAGE:
			take_message(worker, event);
			break;
		case DJK_EVENT_EOF:
			take_eof(worker, event);
			break;
		case DJK_EVENT_ASSIGN:
			take_assignment(worker, event);
			break;
		case DJK_EVENT_REVOKE:
			take_revocation(worker, event);
			break;
		case DJK_EVENT_PARTITION_ERROR:
			take_partition_error(worker, event);
			break;
		case DJK_EVENT_ERROR:
			take_error(worker, event);
			break;
		case DJK_EVENT_LOG:
			ereport(event->log_level <= 3 ? LOG : DEBUG1,
					(errmsg_internal("djkafka consumer \"%s\": %s", worker->row->name, event->log_text)));
			break;
		case DJK_EVENT_NONE:
			break;
	}
}

/* ---------- the loop's steps ---------- */

/*
 * Takes what is queued, up to the batch's bounds.  Returns true if the queue
 * may hold more.
 */
static bool
fetch(ConsumerWorker *worker)
{
	DjkConsumerEvent event;
	TimestampTz started = 0;
	int			taken = 0;

	djk_consumer_drain_fd(worker->kafka);
	while (worker->batch.nmessages < worker->row->batch_messages &&
		   worker->batch.bytes < (Size) worker->row->batch_bytes)
	{
		if (!djk_consumer_poll(worker->kafka, &event))
			return false;
		take_event(worker, &event);
		if ((++taken & 1023) == 0)
		{
			TimestampTz now = GetCurrentTimestamp();

			CHECK_FOR_INTERRUPTS();
			if (started == 0)
				started = now;
			else if (TimestampDifferenceExceeds(started, now, COLLECT_MS))
				return true;
		}
	}
	return true;
}

/* Kafka is told after the commit, for lag tools alone. */
static void
advise(ConsumerWorker *worker)
{
	DjkTopicPartition *list = palloc0(worker->batch.npartitions * sizeof(DjkTopicPartition));
	int			n = 0;

	for (int i = 0; i < worker->batch.npartitions; i++)
	{
		const DjkBatchPartition *partition = &worker->batch.partitions[i];

		if (partition->lost)
			continue;
		list[n].topic = pstrdup(partition->topic);
		list[n].partition = partition->partition;
		list[n++].offset = partition->next_offset;
	}
	if (n > 0)
		djk_consumer_advise(worker->kafka, list, n);
}

/* What the batch has done to the positions. */
static void
settle_positions(ConsumerWorker *worker)
{
	for (int i = 0; i < worker->batch.npartitions; i++)
	{
		const DjkBatchPartition *partition = &worker->batch.partitions[i];
		DjkPosition *position = worker->batch_positions[i];

		position->next_offset = partition->next_offset;
		if (partition->lost)
			djk_positions_reload(worker->positions, position);
	}
}

static void
wait_before_retry(ConsumerWorker *worker, const DjkApplyResult *result)
{
	int64		delay = djk_retry_delay_ms(++worker->attempt, RETRY_BASE_MS,
										   (int64) djk_max_retry_interval_s * 1000,
										   pg_prng_double(&pg_global_prng_state));

	worker->retry_at = GetCurrentTimestamp() + delay * 1000;
	djk_positions_rewind(worker->positions);
	djk_positions_suspend(worker->positions);
	djk_slot_set_retry(djk_slot_mine(), worker->attempt, worker->retry_at);
	djk_slot_set_error(djk_slot_mine(), result->error.message);
	djk_slot_set_state(djk_slot_mine(), DJK_STATE_BACKOFF, result->error.message, result->error.hint);
	ereport(LOG,
			(errmsg("djkafka consumer \"%s\" waits " INT64_FORMAT " ms before it tries a batch again: %s",
					worker->row->name, delay, result->error.message)));
}

static void
retry_now(ConsumerWorker *worker)
{
	worker->retry_at = 0;
	djk_slot_set_retry(djk_slot_mine(), worker->attempt, 0);
	load_and_fetch(worker);
}

static pg_attribute_noreturn() void
throw_result(const DjkApplyResult *result)
{
	ereport(ERROR,
			(errcode(DJK_ERRCODE_BROKEN),
			 errmsg("%s", result->error.message),
			 result->error.detail ? errdetail("%s", result->error.detail) : 0,
			 result->error.hint ? errhint("%s", result->error.hint) : 0));
}

static pg_attribute_noreturn() void
throw_stopped(const ConsumerWorker *worker, const DjkApplyResult *result)
{
	const DjkMessage *message;
	const DjkBatchPartition *partition;

	if (result->decided >= worker->batch.nmessages)
		throw_result(result);
	message = &worker->batch.messages[result->decided];
	partition = &worker->batch.partitions[message->partition];
	ereport(ERROR,
			(errcode(DJK_ERRCODE_BROKEN),
			 errmsg("topic \"%s\", partition %d, offset " INT64_FORMAT ": %s", partition->topic,
					partition->partition, message->offset, result->error.message),
			 result->error.detail ? errdetail("%s", result->error.detail) : 0,
			 errhint("%s%sThe route's on_error is stop: mend the cause, or go past the message with djkafka_seek.",
					 result->error.hint ? result->error.hint : "", result->error.hint ? " " : "")));
}

static void
finish_batch(ConsumerWorker *worker, const DjkApplyResult *result)
{
	settle_positions(worker);
	if (result->decided > 0 || worker->batch.nmessages == 0)
	{
		djk_slot_add_batch(djk_slot_mine(), result->decided);
		advise(worker);
	}
	switch (result->status)
	{
		case DJK_APPLY_DONE:
			worker->attempt = 0;
			worker->proving = false;
			set_running(worker);
			break;
		case DJK_APPLY_TRANSIENT:
			wait_before_retry(worker, result);
			break;
		case DJK_APPLY_BROKEN:
			throw_result(result);
		case DJK_APPLY_STOPPED:
			throw_stopped(worker, result);
	}
}

static void
apply_batch(ConsumerWorker *worker)
{
	DjkApplyResult result;

	for (int i = 0; i < worker->batch.npartitions; i++)
	{
		DjkPosition *position = worker->batch_positions[i];
		int64		high = djk_consumer_high_watermark(worker->kafka, position->key.topic, position->key.partition);

		position->high_watermark = Max(position->high_watermark, high);
		worker->batch.partitions[i].end_offset = position->expected;
		worker->batch.partitions[i].high_watermark = position->high_watermark;
	}
	djk_worker_report_busy("applying a batch");
	djk_apply_batch(worker->apply, &worker->batch, &result);
	MemoryContextSwitchTo(worker->cycle);
	finish_batch(worker, &result);
	clear_batch(worker);
}

static void
publish_now_and_then(ConsumerWorker *worker, bool idle)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!idle && !TimestampDifferenceExceeds(worker->published_at, now, PUBLISH_EVERY_MS))
		return;
	worker->published_at = now;
	djk_positions_publish(worker->positions, worker->args.worker);
}

static long
idle_wait_ms(const ConsumerWorker *worker)
{
	long		wait = Min(IDLE_WAIT_MS, worker->max_poll_ms / 3);

	if (worker->positions->unresolved || worker->proving)
		wait = Min(wait, RETRY_SOON_MS);
	if (worker->retry_at != 0)
		wait = Min(wait, Max((worker->retry_at - GetCurrentTimestamp()) / 1000, 0) + 1);
	return wait;
}

/* With nothing to do a while after the assignment, the fault seems to be gone. */
static void
end_proof(ConsumerWorker *worker)
{
	if (!worker->proving || worker->assigned_at == 0 ||
		!TimestampDifferenceExceeds(worker->assigned_at, GetCurrentTimestamp(), PROOF_MS))
		return;
	worker->proving = false;
	set_running(worker);
}

static void
run_loop(ConsumerWorker *worker)
{
	bool		more = true;

	for (;;)
	{
		MemoryContextReset(worker->cycle);
		MemoryContextSwitchTo(worker->cycle);
		housekeep(worker);
		if (worker->retry_at != 0 && GetCurrentTimestamp() >= worker->retry_at)
			retry_now(worker);
		else if (worker->positions->unresolved && !more)
			load_and_fetch(worker);

		more = fetch(worker);
		if (worker->batch.npartitions > 0)
			apply_batch(worker);
		publish_now_and_then(worker, !more);
		if (!more)
		{
			end_proof(worker);
			djk_worker_report_idle("waiting for messages");
			djk_worker_wait(djk_consumer_fd(worker->kafka), idle_wait_ms(worker), "DjkafkaFetch");
		}
	}
}

/* ---------- the process ---------- */

static void
run_consumer_worker(void *arg)
{
	ConsumerWorker *worker = arg;

	worker->args = djk_worker_args();
	worker->proving = djk_slot_failed_before(worker->args.slot);
	djk_slot_attach(worker->args.slot, worker->args.generation);
	BackgroundWorkerInitializeConnectionByOid(worker->args.database, worker->args.owner, DJK_BGWORKER_FLAGS);
	worker->life = AllocSetContextCreate(TopMemoryContext, "djkafka consumer worker", ALLOCSET_DEFAULT_SIZES);
	worker->cycle = AllocSetContextCreate(worker->life, "djkafka consumer cycle", ALLOCSET_DEFAULT_SIZES);
	worker->batch.load_headers = load_headers;
	MemoryContextSwitchTo(worker->cycle);

	load_definition(worker);
	MemoryContextSwitchTo(worker->cycle);
	SetConfigOption("application_name",
					psprintf("djkafka %s %d", worker->row->name, worker->args.worker), PGC_USERSET, PGC_S_SESSION);
	create_consumer(worker);
	wait_for_group(worker);
	subscribe(worker);
	run_loop(worker);
}

void
djkafka_consumer_worker_main(Datum arg)
{
	djk_worker_init();
	this_worker = MemoryContextAllocZero(TopMemoryContext, sizeof(ConsumerWorker));
	djk_worker_run(run_consumer_worker, this_worker);
}
