/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  From the outbox to Kafka: one process for each database and server.
 *
 * A turn of the loop is one transaction and one batch: the transaction
 * confirms the batch that Kafka has acknowledged and claims the next, and it
 * is committed durably before anything of that is sent.  Since an asynchronous
 * commit of another session is seen before it is durable, and its record lies
 * before ours in the log, what we send cannot be lost by a crash any more.
 *
 * Killed anywhere, nothing is lost: a batch that was claimed and not confirmed
 * is sent again, or found in Kafka by its number (exact.c).
 *
 * The worker runs no code of users and connects as the bootstrap superuser.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/sender.h"

#include "access/xact.h"
#include "base/compat.h"
#include "catalog/pg_authid.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "outbox/deliver.h"
#include "outbox/exact.h"
#include "outbox/leave.h"
#include "outbox/number.h"
#include "outbox/tidy.h"
#include "outbox/topic.h"
#include "outbox/turn.h"

#define IDLE_WAIT_MS		60000

PGDLLEXPORT void djkafka_outbox_worker_main(Datum arg);

/* ---------- the loop ---------- */

static void
wait_idle(DjkSender *sender)
{
	long		wait = IDLE_WAIT_MS;

	if (djk_sender_has_broker(sender, &wait) && !djk_sender_is_refused(sender))
		djk_sender_set_state(sender, DJK_STATE_RUNNING, NULL, NULL);
	if (djk_sender_tidy_idle(sender, &wait))
		return;
	djk_sender_set_busy(false);
	djk_worker_report_idle("waiting for messages");
	djk_worker_rest(sender->link.producer ? djk_producer_fd(sender->link.producer) : -1,
					djk_sender_held_wait_ms(sender, wait), "DjkafkaOutbox");
	if (sender->link.producer)
		djk_sender_take_events(sender);
}

static void
deliver(DjkSender *sender)
{
	djk_worker_report_busy("sending a batch");
	djk_sender_set_busy(true);
	djk_sender_move_batch(sender, DJK_BATCH_IN_FLIGHT);
	if (sender->connection.exactly_once)
		djk_sender_deliver_exactly_once(sender);
	else
		djk_sender_deliver(sender);
	djk_sender_move_batch(sender, DJK_BATCH_DELIVERED);
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
		djk_sender_set_busy(true);
		more = djk_sender_turn(sender);
		if (sender->work.batch.nmessages > 0)
		{
			deliver(sender);
			djk_sender_tidy(sender);
			djk_sender_tidy_later(sender);
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
	sender->outbox = djk_outbox_load(sender->args.object_id, sender->life);
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
	DjkOutboxBatch batch = {.context = sender->work.spare};
	DjkIdentity identity;

	if (sender->outbox->batch == sender->outbox->confirmed)
		return;
	djk_worker_begin(&identity);
	djk_outbox_read_claimed(sender->outbox, &batch);
	djk_worker_commit(&identity);
	djk_sender_swap_batches(sender, &batch);
	djk_sender_move_batch(sender, DJK_BATCH_CLAIMED);
	if (sender->connection.exactly_once)
		djk_sender_recover(sender);
	/* Nor can reading ahead fail before. */
	sender->work.ahead.context = sender->work.spare;
	deliver(sender);
	djk_sender_confirm(sender);
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
	djk_worker_attach(&sender->args);
	BackgroundWorkerInitializeConnectionByOid(sender->args.database, InvalidOid, 0);
	djk_sender_catch_sigterm();
	sender->life = AllocSetContextCreate(TopMemoryContext, "djkafka outbox worker", ALLOCSET_DEFAULT_SIZES);
	sender->cycle = AllocSetContextCreate(sender->life, "djkafka outbox cycle", ALLOCSET_DEFAULT_SIZES);
	sender->work.batch.context = AllocSetContextCreate(sender->life, "djkafka outbox batch", ALLOCSET_DEFAULT_SIZES);
	sender->work.spare = AllocSetContextCreate(sender->life, "djkafka outbox batch", ALLOCSET_DEFAULT_SIZES);
	djk_sender_create_topics(sender);
	MemoryContextSwitchTo(sender->cycle);
	SetConfigOption("application_name", "djkafka outbox", PGC_USERSET, PGC_S_SESSION);
	choose_plans();
	djk_sender_close_at_exit(sender);

	load_definition(sender);
	resume_claimed(sender);
	run_loop(sender);
}

void
djkafka_outbox_worker_main(Datum arg)
{
	djk_worker_init();
	djk_worker_run(run_outbox_worker, MemoryContextAllocZero(TopMemoryContext, sizeof(DjkSender)));
}
