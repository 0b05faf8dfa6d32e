/*-------------------------------------------------------------------------
 *
 * outbox_worker.c
 *	  From the outbox to Kafka: one process for each database and server.
 *
 * A turn of the loop is one transaction and one batch: the transaction
 * confirms the batch that Kafka has acknowledged and claims the next, and it
 * is committed durably before anything of that is sent.  Since an asynchronous
 * commit of another session is seen before it is durable, and its record lies
 * before ours in the log, what we send cannot be lost by a crash any more.
 *
 * Killed anywhere, nothing is lost: a batch that was claimed and not confirmed
 * is sent again, or found in Kafka by its number (outbox_exact.c).
 *
 * The worker runs no code of users and connects as the bootstrap superuser.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_sender.h"

#include <signal.h>
#include <time.h>

#include "access/xact.h"
#include "apply/retry.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "common/pg_prng.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define IDLE_WAIT_MS		60000
#define RETRY_BASE_MS		100
#define DESTROY_MS			1000
#define CLOSE_TIMEOUT_MS	3000
#define LAST_BATCH_MS		10000
#define TERMINATION_SECONDS	4		/* below the 5 s that DROP DATABASE (FORCE) waits */
#define DENIAL_MS			60000	/* the library repeats itself twice as often */
#define ROTATE_EVERY_MS		1000	/* while there is work */
#define TIDY_SOON_MS		5000	/* after it */
#define TRIM_EVERY_MS		60000
#define MAX_NEW_TOPICS		10000

/* How large the current table is when it is left: while there is work, soon after it. */
#define ROTATE_BUSY_KB		(32 * 1024)
#define ROTATE_SOON_KB		1024

PGDLLEXPORT void djkafka_outbox_worker_main(Datum arg);

static DjkSender *this_sender = NULL;

/* Busy: what is sent is not confirmed yet, or is about to be sent. */
static volatile sig_atomic_t is_busy = false;
static volatile sig_atomic_t is_terminated = false;
static timer_t last_call;
static bool has_last_call = false;

/* ---------- leaving ---------- */

static void
close_producer(int code, Datum arg)
{
	if (this_sender != NULL && this_sender->producer != NULL)
	{
		DjkProducer *producer = this_sender->producer;

		this_sender->producer = NULL;
		djk_producer_destroy(producer, CLOSE_TIMEOUT_MS);
	}
}

/*
 * pg_terminate_backend() and a shutdown: in mid-batch they are a wish to leave,
 * so that nothing is sent twice for them.  A second one is obeyed at once.  The
 * server signals once, and the worker may wait for something of the server's, a
 * lock or a standby, that knows of no wishes: so the second comes by itself.
 */
static void
handle_sigterm(SIGNAL_ARGS)
{
	static const struct itimerspec delay = {.it_value = {.tv_sec = TERMINATION_SECONDS}};
	int			saved_errno = errno;

	if (is_busy && !is_terminated && has_last_call && timer_settime(last_call, 0, &delay, NULL) == 0)
	{
		is_terminated = true;
		SetLatch(MyLatch);
	}
	else
		die(postgres_signal_arg);
	errno = saved_errno;
}

/*
 * Only armed by the handler: a timeout of the server's cannot be, and would wake
 * an idle worker.  Without such a timer no signal is put off.
 */
static void
create_last_call(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};

	has_last_call = timer_create(CLOCK_MONOTONIC, &event, &last_call) == 0;
}

void
djk_sender_leave(DjkSender *sender, const char *reason)
{
	ereport(LOG, (errmsg("djkafka outbox worker leaves: %s", reason)));
	djk_slot_set_leaving(djk_slot_mine(), DJK_LEFT_WANTED);
	djk_slot_set_state(djk_slot_mine(), DJK_STATE_STARTING, reason, NULL);
	proc_exit(0);
}

/* NULL: none. */
static const char *
reason_to_leave(void)
{
	if (djk_worker_housekeep())
		return "the settings were reloaded";
	if (is_terminated)
		return "it was told to end";
	if (djk_slot_leave_asked(djk_slot_mine()))
		return "nothing is to be sent from here any more";
	return djk_worker_connection_changed() ? "the server or its user mapping has changed" : NULL;
}

/*
 * What Kafka has and we have not confirmed would be sent again, so a batch on
 * its way is waited for, if Kafka answers and it does not take long; one that
 * has all its answers is left to be confirmed.
 */
void
djk_sender_housekeep(DjkSender *sender)
{
	const char *reason = reason_to_leave();
	TimestampTz now = djk_clock_now();

	if (sender->leaving == NULL && reason != NULL)
	{
		sender->leaving = reason;
		sender->leaving_since = now;
	}
	if (sender->leaving == NULL || (sender->unconfirmed && sender->delivered))
		return;
	if (!sender->unconfirmed || (sender->state != DJK_STATE_RUNNING && sender->state != DJK_STATE_STARTING) ||
		TimestampDifferenceExceeds(sender->leaving_since, now, LAST_BATCH_MS))
		djk_sender_leave(sender, sender->leaving);
}

/* ---------- states ---------- */

void
djk_sender_set_state(DjkSender *sender, DjkState state, const char *reason, const char *hint)
{
	sender->state = state;
	if (djk_slot_set_state(djk_slot_mine(), state, reason, hint) == DJK_CHANGE_STATE)
		djk_worker_tell_state("outbox", state, reason, 0, NULL);
}

/* Whether the credentials were refused lately. */
static bool
is_denied(const DjkSender *sender)
{
	return sender->denied_at != 0 &&
		!TimestampDifferenceExceeds(sender->denied_at, djk_clock_now(), DENIAL_MS);
}

void
djk_sender_set_unreachable(DjkSender *sender, const char *reason, const char *hint)
{
	DjkState	state = DJK_STATE_UNREACHABLE;

	if (is_denied(sender))
	{
		state = DJK_STATE_BROKEN;
		reason = sender->denial;
		hint = sender->outbox->server == NULL
			? "Check djkafka.security_protocol, djkafka.sasl_mechanism and the credentials in the settings."
			: "Check the options of the server, and the user mapping of the server's owner.";
	}
	djk_sender_set_state(sender, state, reason, hint);
}

void
djk_sender_back_off(DjkSender *sender, DjkState state, const DjkError *error)
{
	int64		delay = djk_retry_delay_ms(++sender->attempt, RETRY_BASE_MS,
										   (int64) djk_max_retry_interval_s * 1000,
										   pg_prng_double(&pg_global_prng_state));
	TimestampTz until = djk_clock_now() + delay * 1000;

	if (state == DJK_STATE_UNREACHABLE)
	{
		/* The library may have said why. */
		djk_sender_take_events(sender);
		djk_sender_set_unreachable(sender, error->message, error->hint);
		djk_slot_set_error(djk_slot_mine(), sender->state == DJK_STATE_BROKEN ? sender->denial : error->message);
	}
	else
	{
		djk_sender_set_state(sender, state, error->message, error->hint);
		djk_slot_set_error(djk_slot_mine(), error->message);
	}
	djk_slot_set_retry(djk_slot_mine(), sender->attempt, djk_clock_to_timestamp(until));
	djk_worker_report_idle("waiting before a retry");
	for (;;)
	{
		TimestampTz now = djk_clock_now();

		if (now >= until)
			break;
		djk_worker_wait(-1, (until - now) / 1000 + 1, "DjkafkaRetry");
		djk_sender_housekeep(sender);
	}
	djk_slot_set_retry(djk_slot_mine(), sender->attempt, 0);
}

/* ---------- the producer ---------- */

char *
djk_sender_transactional_id(DjkSender *sender)
{
	return psprintf("djkafka-outbox-%s-" INT64_FORMAT,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&sender->home.id))),
					sender->outbox->id);
}

void
djk_sender_require_producer(DjkSender *sender)
{
	DjkProducerConfig config = {0};
	MemoryContext old;

	if (sender->producer != NULL)
		return;
	sender->producer_context = AllocSetContextCreate(sender->life, "djkafka producer", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(sender->producer_context);
	config.properties = sender->connection.properties;
	config.nproperties = sender->connection.nproperties;
	config.client_id = "djkafka-outbox";
	config.transactional_id = sender->connection.exactly_once ? djk_sender_transactional_id(sender) : NULL;
	config.queue_kbytes = DJK_OUTBOX_QUEUE_KBYTES;
	config.embedded = sender->connection.embedded;
	sender->producer = djk_producer_create(sender->producer_context, &config);
	sender->ready = false;
	MemoryContextSwitchTo(old);
}

void
djk_sender_drop_producer(DjkSender *sender)
{
	DjkProducer *producer = sender->producer;

	if (producer == NULL)
		return;
	sender->producer = NULL;
	sender->denied_at = 0;
	djk_producer_destroy(producer, DESTROY_MS);
	MemoryContextDelete(sender->producer_context);
	sender->producer_context = NULL;
}

/* ---------- housekeeping of the tables ---------- */

static void
rotate(int at_least_kb)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_outbox_rotate(at_least_kb);
	djk_worker_commit_as(&identity, "off");
}

static void
trim_delivery(void)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_outbox_trim_delivery(djk_delivery_retention_s);
	djk_worker_commit_as(&identity, "off");
}

/*
 * Who may produce may name any number of topics, and both we and the library
 * remember each: begin again with those that are held.
 */
static void
forget_topics(DjkSender *sender)
{
	HASH_SEQ_STATUS scan;
	DjkOutboxTopic *topic;

	djk_sender_drop_producer(sender);
	hash_seq_init(&scan, sender->topics);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		topic->checked = false;
		if (!topic->held)
			hash_search(sender->topics, topic->name, HASH_REMOVE, NULL);
	}
	sender->topics_kept = hash_get_num_entries(sender->topics);
}

/* After a batch, now and then. */
static void
tidy(DjkSender *sender)
{
	TimestampTz now = djk_clock_now();

	if (hash_get_num_entries(sender->topics) > sender->topics_kept + MAX_NEW_TOPICS)
		forget_topics(sender);

	if (TimestampDifferenceExceeds(sender->rotated_at, now, ROTATE_EVERY_MS))
	{
		rotate(ROTATE_BUSY_KB);
		sender->rotated_at = now;
	}
	if (djk_delivery_retention_s > 0 && TimestampDifferenceExceeds(sender->trimmed_at, now, TRIM_EVERY_MS))
	{
		trim_delivery();
		sender->trimmed_at = now;
	}
}

/* When nothing has come for a while; a table that is left then can go at once. */
static void
tidy_idle(DjkSender *sender, int at_least_kb)
{
	rotate(at_least_kb);
	rotate(PG_INT32_MAX);
	if (djk_delivery_retention_s > 0)
		trim_delivery();
}

/* ---------- the loop ---------- */

/* Until the next held topic is to be asked for. */
static long
held_wait_ms(DjkSender *sender)
{
	TimestampTz now = djk_clock_now();
	long		wait = IDLE_WAIT_MS;
	HASH_SEQ_STATUS scan;
	DjkOutboxTopic *topic;

	if (sender->nheld == 0)
		return wait;
	hash_seq_init(&scan, sender->topics);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		if (topic->held)
			wait = Min(wait, Max((topic->next_check - now) / 1000, 0) + 1);
	}
	return wait;
}

/*
 * Waits for a wake-up.  The tables are tidied soon after the last batch if
 * they have grown, and after a minute whatever their size.
 */
static void
wait_idle(DjkSender *sender)
{
	TimestampTz now = djk_clock_now();
	long		idle = (now - sender->busy_at) / 1000;
	long		due = sender->tidied == 0 ? TIDY_SOON_MS : IDLE_WAIT_MS;

	if (!is_denied(sender))
		djk_sender_set_state(sender, DJK_STATE_RUNNING, NULL, NULL);
	if (sender->tidied < 2 && idle >= due)
	{
		tidy_idle(sender, sender->tidied == 0 ? ROTATE_SOON_KB : 1);
		sender->tidied++;
		return;
	}
	is_busy = false;
	djk_worker_report_idle("waiting for messages");
	djk_worker_rest(sender->producer ? djk_producer_fd(sender->producer) : -1,
					Min(held_wait_ms(sender), sender->tidied < 2 ? due - idle + 1 : IDLE_WAIT_MS), "DjkafkaOutbox");
	if (sender->producer)
		djk_sender_take_events(sender);
}

static void
deliver(DjkSender *sender)
{
	djk_worker_report_busy("sending a batch");
	is_busy = true;
	sender->unconfirmed = true;
	sender->delivered = false;
	if (sender->connection.exactly_once)
		djk_sender_deliver_exactly_once(sender);
	else
		djk_sender_deliver(sender);
	sender->delivered = true;
}

static void
run_loop(DjkSender *sender)
{
	for (;;)
	{
		bool		more;

		MemoryContextReset(sender->cycle);
		MemoryContextSwitchTo(sender->cycle);
		djk_sender_housekeep(sender);
		if (sender->leaving != NULL)
		{
			djk_sender_confirm(sender);
			djk_sender_leave(sender, sender->leaving);
		}
		(void) djk_wake_taken();
		is_busy = true;
		more = djk_sender_turn(sender);
		if (sender->batch.nmessages > 0)
		{
			deliver(sender);
			tidy(sender);
			sender->busy_at = djk_clock_now();
			sender->tidied = 0;
		}
		else if (!more)
			wait_idle(sender);
	}
}

/* ---------- the process ---------- */

static Oid
connecting_role(const char *server)
{
	ForeignServer *found;

	if (server == NULL)
		return BOOTSTRAP_SUPERUSERID;
	found = GetForeignServerByName(server, true);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", server),
				 errhint("Create it again, or end it for good: UPDATE djkafka_outbox_server SET enabled = false WHERE server = %s.",
						 quote_literal_cstr(server))));
	return found->owner;
}

static void
load_definition(DjkSender *sender)
{
	DjkIdentity identity;
	MemoryContext old;
	Oid			role;
	char	  **topics;
	int			ntopics;

	djk_worker_begin(&identity);
	sender->outbox = djk_outbox_load(sender->args.consumer_id, sender->life);
	djk_home_load(&sender->home);
	if (!djk_worker_is_listed())
		djk_sender_leave(sender, "the database is not in djkafka.databases");
	if (sender->outbox == NULL || !sender->outbox->enabled || !sender->outbox->is_home)
		djk_sender_leave(sender, "nothing is to be sent from here");
	topics = djk_outbox_held_topics(sender->outbox, &ntopics);
	for (int i = 0; i < ntopics; i++)
		djk_sender_hold_topic(sender, djk_sender_topic(sender, topics[i]), "messages were held before");
	djk_catalog_leave(&identity);

	old = MemoryContextSwitchTo(sender->life);
	role = connecting_role(sender->outbox->server);
	djk_worker_watch_connection(sender->outbox->server, role);
	djk_connection_load(sender->outbox->server, role, NULL, 0, &sender->connection);
	MemoryContextSwitchTo(old);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(sender->cycle);

	/* It plays transactions, but forgets the numbers that they carry: nothing could be found out later. */
	if (sender->connection.embedded && sender->connection.exactly_once)
	{
		ereport(LOG, (errmsg("djkafka's outbox sends at least once: the embedded broker can do no more")));
		sender->connection.exactly_once = false;
	}
}

/*
 * A batch that a worker before us has claimed and not confirmed.  It is confirmed
 * by itself: if what comes next cannot be claimed, ever, it is not sent each time.
 */
static void
resume_claimed(DjkSender *sender)
{
	DjkOutboxBatch batch = {.context = sender->spare};
	DjkIdentity identity;

	if (sender->outbox->batch == sender->outbox->confirmed)
		return;
	djk_worker_begin(&identity);
	djk_outbox_read_claimed(sender->outbox, &batch);
	djk_worker_commit(&identity);
	djk_sender_swap_batches(sender, &batch);
	if (sender->connection.exactly_once)
		djk_sender_recover(sender);
	/* Nor can reading ahead fail before. */
	sender->ahead.context = sender->spare;
	deliver(sender);
	djk_sender_confirm(sender);
}

static HTAB *
create_topics(MemoryContext context)
{
	HASHCTL		info = {0};

	info.keysize = DJK_TOPIC_MAX + 1;
	info.entrysize = sizeof(DjkOutboxTopic);
	info.hcxt = context;
	return hash_create("djkafka outbox topics", 64, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* The outbox is read by its indexes, whatever its statistics say; every plan is for all batches. */
static void
choose_plans(void)
{
	SetConfigOption("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_SESSION);
}

static void
run_outbox_worker(void *arg)
{
	DjkSender  *sender = arg;

	sender->args = djk_worker_args();
	djk_slot_attach(sender->args.slot, sender->args.generation);
	BackgroundWorkerInitializeConnectionByOid(sender->args.database, InvalidOid, 0);
	create_last_call();
	sender->life = AllocSetContextCreate(TopMemoryContext, "djkafka outbox worker", ALLOCSET_DEFAULT_SIZES);
	sender->cycle = AllocSetContextCreate(sender->life, "djkafka outbox cycle", ALLOCSET_DEFAULT_SIZES);
	sender->batch.context = AllocSetContextCreate(sender->life, "djkafka outbox batch", ALLOCSET_DEFAULT_SIZES);
	sender->spare = AllocSetContextCreate(sender->life, "djkafka outbox batch", ALLOCSET_DEFAULT_SIZES);
	sender->topics = create_topics(sender->life);
	MemoryContextSwitchTo(sender->cycle);
	SetConfigOption("application_name", "djkafka outbox", PGC_USERSET, PGC_S_SESSION);
	choose_plans();
	before_shmem_exit(close_producer, (Datum) 0);

	load_definition(sender);
	resume_claimed(sender);
	run_loop(sender);
}

void
djkafka_outbox_worker_main(Datum arg)
{
	djk_worker_init();
	pqsignal(SIGTERM, handle_sigterm);
	this_sender = MemoryContextAllocZero(TopMemoryContext, sizeof(DjkSender));
	djk_worker_run(run_outbox_worker, this_sender);
}
