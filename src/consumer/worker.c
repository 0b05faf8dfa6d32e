/*-------------------------------------------------------------------------
 *
 * worker.c
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
 * with nobody until the session times out; and when what it joined the group
 * with has changed, or the group would give it what it had.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/xact.h"
#include "apply/writer.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/transaction.h"
#include "kafka/pattern.h"
#include "miscadmin.h"
#include "state/crash_mark.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "consumer/coverage.h"
#include "consumer/failure.h"
#include "consumer/ghosts.h"
#include "consumer/group.h"
#include "consumer/held.h"
#include "consumer/member_event.h"
#include "consumer/schemas.h"
#include "consumer/waiting.h"

/* The group was told before; what takes longer ends with the process. */
#define CLOSE_TIMEOUT_MS		300
#define LOOKUP_TIMEOUT_MS		5000
#define IDLE_WAIT_MS			60000
#define RETRY_SOON_MS			1000
#define COLLECT_MS				50	/* a batch is not collected for longer */
#define PUBLISH_EVERY_MS		500
#define PROOF_MS				2000
#define CLEAR_TRIES				3
#define OFFSETS_TOPIC			"__consumer_offsets"
#define MAX_POLL_INTERVAL_MS	300000	/* the library's default */

PGDLLEXPORT void djkafka_consumer_worker_main(Datum arg);

static DjkConsumerWorker *this_worker = NULL;

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

pg_noreturn static void
leave(DjkConsumerWorker *worker, bool for_good, const char *reason)
{
	ereport(LOG,
			(errmsg("djkafka consumer \"%s\", worker %d, leaves: %s",
					worker->row ? worker->row->name : "", worker->args.worker, reason)));
	if (for_good && worker->subscribed)
		djk_group_leave(worker);
	djk_slot_set_leaving(djk_slot_mine(), DJK_LEFT_WANTED);
	djk_slot_set_state(djk_slot_mine(), for_good ? DJK_STATE_STOPPED : DJK_STATE_STARTING, reason, NULL);
	proc_exit(0);
}

/* The group is to share out its partitions again; the state stays what it is. */
pg_noreturn static void
join_again(DjkConsumerWorker *worker, const char *reason)
{
	ereport(LOG,
			(errmsg("djkafka consumer \"%s\", worker %d, joins its group again: %s",
					worker->row->name, worker->args.worker, reason)));
	djk_group_leave(worker);
	djk_slot_set_leaving(djk_slot_mine(), DJK_LEFT_WANTED);
	proc_exit(0);
}

/* What a wake-up may mean: asked to leave, or the definition has changed. */
static void
check_definition(DjkConsumerWorker *worker)
{
	DjkIdentity identity;
	int64		revision;
	Oid			extension;
	DjkConsumerRow *now;

	if (djk_slot_leave_asked(djk_slot_mine()))
		leave(worker, true, "the consumer is not to run here any more");
	djk_worker_begin(&identity);
	revision = djk_consumer_row_revision(worker->row, worker->args.worker);
	now = revision == worker->row->revision ? NULL : djk_consumer_row_load(worker->row->id, worker->cycle);
	extension = djk_catalog_extension();
	djk_worker_commit(&identity);
	if (extension != worker->extension)
		leave(worker, true, "the extension was made again");
	if (revision < 0)
		leave(worker, true, "the consumer was paused or dropped, or has fewer workers");
	if (revision != worker->row->revision)
	{
		if (worker->subscribed && now != NULL && !djk_group_same_membership(worker->row, now))
			djk_group_leave(worker);
		leave(worker, false, "the consumer's definition has changed");
	}
}

static void
housekeep(DjkConsumerWorker *worker)
{
	if (djk_worker_housekeep())
		leave(worker, false, "the settings were reloaded");
	if (djk_wake_taken())
		check_definition(worker);
	if (djk_worker_connection_changed())
		leave(worker, false, "the server or its user mapping has changed");
}

/* ---------- starting ---------- */

static int
max_poll_interval(const DjkConnection *connection)
{
	const char *value = djk_connection_value(connection, "max.poll.interval.ms");

	return value != NULL ? Max(pg_strtoint32(value), 1000) : MAX_POLL_INTERVAL_MS;
}

static void
load_definition(DjkConsumerWorker *worker)
{
	DjkIdentity identity;
	DjkProperty *options;
	MemoryContext old;

	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_catalog_enter(&identity);
	worker->row = djk_consumer_row_load(worker->args.object_id, worker->life);
	worker->extension = djk_catalog_extension();
	if (worker->row != NULL)
		djk_share_begin(&worker->share, worker->row);
	djk_home_load(&worker->home);
	djk_catalog_leave(&identity);

	/* A worker that is started just as its supervisor leaves hears of it from nobody else. */
	if (!djk_worker_is_listed())
		leave(worker, true, "the database is not in djkafka.databases");
	if (worker->row == NULL || !worker->row->enabled || !worker->row->is_home || worker->row->nroutes == 0 ||
		worker->args.worker > worker->row->workers)
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
	djk_worker_watch_connection(worker->row->server, worker->row->owner);
	djk_connection_load(worker->row->server, worker->row->owner, options, worker->row->noptions,
						&worker->connection);
	worker->max_poll_ms = max_poll_interval(&worker->connection);
	worker->apply = djk_apply_create(worker->row, worker->life, worker->max_poll_ms / 3);
	djk_writers_use(worker->apply, djk_connection_value(&worker->connection, "registry.url"));
	MemoryContextSwitchTo(old);

	djk_apply_require_routes(worker->apply);
	PopActiveSnapshot();
	CommitTransactionCommand();
	djk_slot_set_revision(djk_slot_mine(), worker->row->revision);
	djk_crash_attach(djk_slot_mine(), worker->extension, worker->row->id, worker->row->revision);
}

static void
create_consumer(DjkConsumerWorker *worker)
{
	DjkConsumerConfig config = {0};
	MemoryContext old = MemoryContextSwitchTo(worker->life);

	config.properties = worker->connection.properties;
	config.nproperties = worker->connection.nproperties;
	config.group_id = worker->row->kafka_group;
	config.group_instance_id = djk_group_instance(worker);
	config.embedded = worker->connection.embedded;
	config.client_id = psprintf("djkafka-%s-%d", worker->row->kafka_name, worker->args.worker);
	config.assignment_strategy = djk_group_strategies(worker->row->assignment);
	config.queue_kbytes = djk_queue_size_kb;
	config.queue_messages = worker->share.queue_messages;
	config.share_bytes = worker->share.bytes;
	config.skip_internal = !djk_consumer_row_reads_internal(worker->row);
	worker->kafka = djk_consumer_create(worker->life, &config);
	worker->collector.kafka = worker->kafka;
	worker->collector.context = worker->life;
	worker->positions = djk_positions_create(worker->row, worker->kafka, worker->connection.embedded, worker->life);
	MemoryContextSwitchTo(old);
	before_shmem_exit(close_consumer, (Datum) 0);
}

/* Each topic and pattern of the routes once. */
static void
list_topics(DjkConsumerWorker *worker)
{
	worker->topics = MemoryContextAlloc(worker->life, worker->row->nroutes * sizeof(char *));
	for (int i = 0; i < worker->row->nroutes; i++)
	{
		const char *topic = worker->row->routes[i].topic;
		bool		known = false;

		for (int j = 0; j < worker->ntopics && !known; j++)
			known = strcmp(worker->topics[j], topic) == 0;
		if (known)
			continue;
		worker->topics[worker->ntopics++] = topic;
		if (topic[0] == '^')
			djk_pattern_require(topic, DJK_ERRCODE_BROKEN);
	}
}

/* Why nobody answers, as far as the library has told. */
typedef struct Cause
{
	char	   *text;			/* in the worker's life; NULL: nothing yet */
	bool		denied;
} Cause;

/* Before it has joined the library has nothing to tell but errors and log lines. */
static void
note_cause(DjkConsumerWorker *worker, Cause *cause)
{
	DjkConsumerEvent event;

	djk_consumer_drain_fd(worker->kafka);
	while (djk_consumer_poll(worker->kafka, &event))
	{
		if (event.kind != DJK_CONSUMER_ERROR || event.error_class == DJK_KAFKA_FATAL)
			djk_member_take_event(worker, &event);
		else if (!event.unreachable)
		{
			if (cause->text != NULL)
				pfree(cause->text);
			cause->text = MemoryContextStrdup(worker->life, event.error.message);
			cause->denied = event.error_class == DJK_KAFKA_DENIED;
			djk_member_note_denial(worker, &event);
			djk_slot_set_error(djk_slot_mine(), cause->text);
		}
	}
}

static void
tell_unanswered(DjkConsumerWorker *worker, const DjkError *error, const Cause *cause)
{
	if (cause->denied)
		djk_member_set_state(worker, DJK_STATE_BROKEN, cause->text, DJK_DENIED_HINT);
	else if (error->sqlstate != DJK_ERRCODE_UNREACHABLE)
		djk_member_set_state(worker, DJK_STATE_BROKEN, error->message, error->hint);
	else
		djk_member_set_state(worker, DJK_STATE_UNREACHABLE,
							 psprintf("no broker answers at %s%s%s", djk_connection_value(&worker->connection, "bootstrap.servers"),
									  cause->text ? ": " : "", cause->text ? cause->text : ""),
							 DJK_UNREACHABLE_HINT);
}

/*
 * A group belongs to one database: nothing is read while somebody else works in
 * it.  What an earlier definition left in it is cleared away.  The embedded
 * broker cannot tell.
 */
static void
wait_for_group(DjkConsumerWorker *worker)
{
	int			cleared = 0;
	Cause		cause = {0};

	while (!worker->connection.embedded)
	{
		DjkGroupView *view;
		char	   *foreign;

		MemoryContextReset(worker->cycle);
		MemoryContextSwitchTo(worker->cycle);
		housekeep(worker);
		view = djk_consumer_look(worker->kafka, worker->row->kafka_group, worker->topics, worker->ntopics,
								 LOOKUP_TIMEOUT_MS);
		note_cause(worker, &cause);
		foreign = djk_group_foreign_member(worker, view);
		if (view->answered && foreign == NULL)
		{
			if (cleared++ < CLEAR_TRIES + worker->row->workers && djk_ghosts_clear(worker, view))
				continue;
			return;
		}
		if (view->answered)
			djk_member_set_state(worker, DJK_STATE_FOREIGN_MEMBER,
								 psprintf("%s is a member of group \"%s\"", foreign, worker->row->group_id),
								 "Stop it; the consumer then goes on by itself. Or use another group_id.");
		else
			tell_unanswered(worker, &view->error, &cause);
		djk_worker_report_idle("waiting for the group");
		djk_worker_wait(-1, RETRY_SOON_MS, "DjkafkaGroup");
	}
}

static void
subscribe(DjkConsumerWorker *worker)
{
	djk_consumer_subscribe(worker->kafka, worker->topics, worker->ntopics);
	worker->subscribed = true;
}

/* ---------- the loop's steps ---------- */

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	return djk_consumer_headers(message, CurrentMemoryContext, headers);
}

/*
 * Takes what is queued, up to the batch's bounds.  Returns true if the queue
 * may hold more.
 */
static bool
fetch(DjkConsumerWorker *worker)
{
	DjkConsumerEvent event;
	TimestampTz started = 0;
	int			taken = 0;

	djk_consumer_drain_fd(worker->kafka);
	djk_share_note_queue(&worker->share, djk_consumer_queued(worker->kafka));
	while (worker->collector.batch.nmessages < worker->row->batch_messages &&
		   worker->collector.batch.bytes < (Size) worker->row->batch_bytes)
	{
		if (!djk_consumer_poll(worker->kafka, &event))
			return false;
		djk_member_take_event(worker, &event);
		if ((++taken & 1023) == 0)
		{
			TimestampTz now = djk_clock_now();

			CHECK_FOR_INTERRUPTS();
			if (started == 0)
				started = now;
			else if (TimestampDifferenceExceeds(started, now, COLLECT_MS))
				return true;
		}
	}
	return true;
}

/*
 * Kafka is told after the commit, for lag tools alone.  What it is told becomes
 * a message of OFFSETS_TOPIC, so that of reading that topic it is not.
 */
static void
advise(DjkConsumerWorker *worker)
{
	DjkTopicPartition *list = palloc0(worker->collector.batch.npartitions * sizeof(DjkTopicPartition));
	int			n = 0;

	for (int i = 0; i < worker->collector.batch.npartitions; i++)
	{
		const DjkBatchPartition *partition = &worker->collector.batch.partitions[i];

		if (partition->lost || strcmp(partition->topic, OFFSETS_TOPIC) == 0)
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
settle_positions(DjkConsumerWorker *worker)
{
	for (int i = 0; i < worker->collector.batch.npartitions; i++)
	{
		const DjkBatchPartition *partition = &worker->collector.batch.partitions[i];
		DjkPosition *position = worker->collector.positions[i];

		djk_position_settle(position, partition);
		djk_waiting_note_partition(worker, partition);
		if (partition->lost)
			djk_positions_reload(worker->positions, position);
	}
}

/* ---------- batches that fail ---------- */

/* Before what is left of a batch is fetched again, Kafka hears of us. */
static void
fetch_again(DjkConsumerWorker *worker)
{
	djk_positions_rewind(worker->positions);
	djk_positions_suspend(worker->positions);
	worker->retry_at = djk_clock_now();
}

/* What is left of its partition is thrown out of the batch, and of the others it is applied. */
static void
stop_storm(DjkConsumerWorker *worker, const DjkApplyResult *result)
{
	const DjkMessage *last = &worker->collector.batch.messages[result->decided - 1];

	djk_positions_note_storm(worker->positions, worker->collector.positions[last->partition]);
	djk_collect_drop(&worker->collector, result->decided, last->partition);
}

/* What has passed before one partition had to be left out: disturbances of before are over. */
static void
note_progress(DjkConsumerWorker *worker, const DjkApplyResult *result)
{
	if (result->decided > 0)
		djk_member_note_success(worker);
}

static void
finish_batch(DjkConsumerWorker *worker, const DjkApplyResult *result)
{
	settle_positions(worker);
	if (result->applied > 0)
		djk_waiting_note_rows(worker);
	if (result->decided > 0 || worker->collector.batch.nmessages == 0)
	{
		djk_slot_add_batch(djk_slot_mine(), result->decided);
		advise(worker);
	}
	switch (result->status)
	{
		case DJK_APPLY_PAUSED:
			fetch_again(worker);
			if (result->decided == 0)
				break;
			/* FALLTHROUGH */
		case DJK_APPLY_DONE:
			djk_member_note_success(worker);
			break;
		case DJK_APPLY_TRANSIENT:
		case DJK_APPLY_DOUBTFUL:
			djk_failure_wait(worker, &worker->collector.batch, result);
			break;
		case DJK_APPLY_HELD:
			djk_held_begin(worker, result);
			note_progress(worker, result);
			break;
		case DJK_APPLY_STORM:
			stop_storm(worker, result);
			note_progress(worker, result);
			break;
		case DJK_APPLY_NO_SCHEMA:
			djk_schemas_want(worker, result);
			note_progress(worker, result);
			break;
		case DJK_APPLY_BROKEN:
		case DJK_APPLY_STOPPED:
			djk_failure_throw(worker, &worker->collector.batch, result);
	}
}

/*
 * Whether there is more of a batch when one of its partitions has been left out.  What is left when
 * Kafka has not heard of us for long is fetched again: each partition may take as long as a batch.
 */
static bool
goes_on(DjkConsumerWorker *worker, const DjkApplyResult *result, TimestampTz started)
{
	bool		is_rest = result->status == DJK_APPLY_HELD || result->status == DJK_APPLY_STORM ||
		result->status == DJK_APPLY_NO_SCHEMA;

	if (!is_rest || !djk_collect_has_more(&worker->collector))
		return false;
	if (!TimestampDifferenceExceeds(started, djk_clock_now(), worker->max_poll_ms / 3))
		return true;
	fetch_again(worker);
	return false;
}

static void
apply_batch(DjkConsumerWorker *worker)
{
	TimestampTz started = djk_clock_now();
	DjkApplyResult result;

	djk_collect_close(&worker->collector);
	djk_share_note_batch(&worker->share, &worker->collector.batch);
	if (djk_share_queue_is_wrong(&worker->share))
		leave(worker, false, psprintf("by the size of keys and headers it reads up to %d messages ahead from now on",
									  djk_slot_share(djk_slot_mine()).messages));
	djk_worker_report_busy("applying a batch");
	djk_slot_note_work(worker->max_poll_ms / 3);
	do
	{
		djk_apply_batch(worker->apply, &worker->collector.batch, &result);
		MemoryContextSwitchTo(worker->cycle);
		finish_batch(worker, &result);
	} while (goes_on(worker, &result, started));
	djk_collect_clear(&worker->collector);
}

static void
publish_now_and_then(DjkConsumerWorker *worker, bool idle)
{
	TimestampTz now = djk_clock_now();

	if (!idle && !TimestampDifferenceExceeds(worker->published_at, now, PUBLISH_EVERY_MS))
		return;
	worker->published_at = now;
	djk_positions_publish(worker->positions, worker->args.worker);
}

static long
idle_wait_ms(const DjkConsumerWorker *worker)
{
	long		wait = Min(IDLE_WAIT_MS, worker->max_poll_ms / 3);

	wait = Min(wait, djk_coverage_wait_ms(worker));
	if (worker->positions->unresolved || worker->proving || (worker->unreachable && worker->connection.embedded))
		wait = Min(wait, RETRY_SOON_MS);
	if (worker->refetch_since != 0)
		wait = Min(wait, DJK_MEMBER_REFETCH_MS);
	if (worker->retry_at != 0)
		wait = Min(wait, Max((worker->retry_at - djk_clock_now()) / 1000, 0) + 1);
	return djk_schemas_ms(worker, djk_held_ms(worker, djk_waiting_ms(worker, wait)));
}

/* With nothing to do a while after the assignment or a retry, the fault seems to be gone. */
static void
end_proof(DjkConsumerWorker *worker)
{
	if (!worker->proving || worker->proof_from == 0 || worker->retry_at != 0 ||
		!TimestampDifferenceExceeds(worker->proof_from, djk_clock_now(), PROOF_MS))
		return;
	worker->proving = false;
	djk_member_set_running(worker);
}

static void
wait_for_messages(DjkConsumerWorker *worker)
{
	TimestampTz started = djk_clock_now();

	djk_worker_report_idle("waiting for messages");
	djk_worker_rest(djk_consumer_fd(worker->kafka), idle_wait_ms(worker), "DjkafkaFetch");
	djk_share_note_wait(&worker->share, djk_clock_now() - started);
}

static void
run_loop(DjkConsumerWorker *worker)
{
	TimestampTz polled_at;
	bool		more = true;
	const char *reason;

	for (;;)
	{
		MemoryContextReset(worker->cycle);
		MemoryContextSwitchTo(worker->cycle);
		housekeep(worker);
		if (worker->retry_at != 0 && djk_clock_now() >= worker->retry_at)
			djk_failure_retry_now(worker);
		else if (worker->positions->unresolved &&
				 TimestampDifferenceExceeds(worker->resolved_at, djk_clock_now(), RETRY_SOON_MS))
			djk_member_load_and_fetch(worker);
		djk_schemas_turn(worker);
		djk_held_end(worker);

		polled_at = djk_clock_now();
		more = fetch(worker);
		if (worker->collector.batch.npartitions > 0)
			apply_batch(worker);
		djk_waiting_turn(worker, polled_at);
		djk_member_look_for_short(worker);
		djk_member_refetch(worker);
		if (djk_share_is_wrong(&worker->share, worker->positions))
			leave(worker, false, psprintf("it asks for %d kB of a partition at once from now on",
										  djk_slot_share(djk_slot_mine()).bytes / 1024));
		publish_now_and_then(worker, !more);
		/* After the pipe was drained, for answers wake by it. */
		djk_member_take_answers(worker);
		if ((reason = djk_coverage_turn(worker)) != NULL)
			join_again(worker, reason);
		if (!more)
		{
			end_proof(worker);
			djk_member_look_for_brokers(worker);
			wait_for_messages(worker);
		}
	}
}

/* ---------- the process ---------- */

/* How often the processes before this one joined the group again, in vain so far. */
static int
rejoins_before(const DjkWorkerArgs *args)
{
	DjkSlotStatus status;
	DjkLeaving	leaving;

	return djk_slot_get(args->slot, args->generation, &status, &leaving) &&
		status.state == DJK_STATE_UNASSIGNED ? status.attempt : 0;
}

static void
run_consumer_worker(void *arg)
{
	DjkConsumerWorker *worker = arg;

	worker->args = djk_worker_args();
	worker->proving = djk_slot_failed_before(worker->args.slot);
	worker->coverage.rejoins = rejoins_before(&worker->args);
	djk_worker_attach(&worker->args);
	BackgroundWorkerInitializeConnectionByOid(worker->args.database, worker->args.owner, DJK_BGWORKER_FLAGS);
	worker->life = AllocSetContextCreate(TopMemoryContext, "djkafka consumer worker", ALLOCSET_DEFAULT_SIZES);
	worker->cycle = AllocSetContextCreate(worker->life, "djkafka consumer cycle", ALLOCSET_DEFAULT_SIZES);
	worker->collector.batch.load_headers = load_headers;
	MemoryContextSwitchTo(worker->cycle);

	load_definition(worker);
	MemoryContextSwitchTo(worker->cycle);
	SetConfigOption("application_name",
					psprintf("djkafka %s %d", worker->row->name, worker->args.worker), PGC_USERSET, PGC_S_SESSION);
	list_topics(worker);
	create_consumer(worker);
	djk_schemas_open(worker);
	wait_for_group(worker);
	subscribe(worker);
	run_loop(worker);
}

void
djkafka_consumer_worker_main(Datum arg)
{
	djk_worker_init();
	this_worker = MemoryContextAllocZero(TopMemoryContext, sizeof(DjkConsumerWorker));
	djk_worker_run(run_consumer_worker, this_worker);
}
