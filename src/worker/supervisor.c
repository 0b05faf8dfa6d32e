/*-------------------------------------------------------------------------
 *
 * supervisor.c
 *	  One process a database: the workers of its consumers and of its outbox.
 *
 * It reconciles djkafka_consumer and djkafka_outbox_server with the workers
 * that run: starts what is missing, asks what is not wanted any more to leave,
 * and throttles what fails.  A worker whose consumer has changed leaves by
 * itself and is started again at once; one that failed waits, twice as long
 * each time, until its definition or the settings change or it has run for a
 * while.
 *
 * What it knows of a worker is in the worker's slot, so a supervisor that is
 * started again finds the workers of its predecessor.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "apply/retry.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/transaction.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/dead_letter.h"
#include "state/event.h"
#include "state/outbox.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define LOOK_AGAIN_MS			60000
#define RETRY_BASE_MS			1000
#define BROKEN_RETRY_MAX_MS		5000	/* so that what is fixed goes on soon */
#define HEALTHY_AFTER_MS		30000	/* a run this long forgets earlier failures */
#define EXPIRE_AGAIN_MS			100
#define TRIM_EVERY_MS			(3600 * 1000)

PGDLLEXPORT void djkafka_supervisor_main(Datum arg);

typedef struct Child
{
	DjkWorkerKind kind;			/* consumer or outbox */
	int64		object_id;		/* djkafka_consumer.id, or djkafka_outbox_server.id */
	int			worker;
	int			slot;
	uint32		generation;
	BackgroundWorkerHandle *handle; /* of the last start by us; NULL: none */
	bool		running;		/* as last seen */
	TimestampTz started_at;
	int			attempt;		/* failures in a row */
	TimestampTz next_start;		/* 0: at once */
	int64		revision;		/* the definition that failed */
	char		told[DJK_REASON_SIZE];	/* reason of the last event about a failure */
	DjkState	told_state;
	TimestampTz told_at;
	bool		wanted;
} Child;

/* A worker that should be. */
typedef struct Wanted
{
	DjkWorkerKind kind;
	int64		id;				/* of the consumer, or of the outbox's server */
	const char *name;			/* the same; NULL: the settings' connection */
	int			worker;
	Oid			owner;			/* InvalidOid: none, no code of users runs */
	int64		revision;
} Wanted;

typedef struct Supervisor
{
	DjkWorkerArgs args;
	List	   *children;
	MemoryContext cycle;		/* reset with each look */
	TimestampTz trimmed_at;		/* 0: not yet, a server may never run for as long as it takes */
	bool		expiring;		/* more dead letters are to be removed */
} Supervisor;

/* ---------- whether to be here at all ---------- */

static void
leave(const char *reason)
{
	ereport(LOG, (errmsg("djkafka supervisor leaves: %s", reason)));
	djk_slot_set_leaving(djk_slot_mine(), DJK_LEFT_WANTED);
	proc_exit(0);
}

/* Why a worker of this owner could not connect; NULL if it could. */
static const char *
owner_problem(Oid owner, const char **hint)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	const char *name;
	bool		can_login;

	*hint = NULL;
	if (!HeapTupleIsValid(tuple))
	{
		*hint = "Give the consumer one that exists with djkafka_alter_consumer(name, owner => ...).";
		return "the consumer's owner does not exist";
	}
	name = pstrdup(NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname));
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);

	if (!can_login && !DJK_OWNER_MAY_BE_NOLOGIN)
	{
		*hint = psprintf("ALTER ROLE %s LOGIN, or give the consumer another owner with djkafka_alter_consumer(name, owner => ...).",
						 quote_identifier(name));
		return psprintf("the consumer's owner \"%s\" is not permitted to log in", name);
	}
	if (djk_aclcheck_database(MyDatabaseId, owner) != ACLCHECK_OK)
	{
		*hint = psprintf("GRANT CONNECT ON DATABASE %s TO %s.", quote_identifier(get_database_name(MyDatabaseId)),
						 quote_identifier(name));
		return psprintf("the consumer's owner \"%s\" may not connect to the database", name);
	}
	return NULL;
}

/* ---------- children ---------- */

static Child *
find_child(Supervisor *supervisor, DjkWorkerKind kind, int64 object_id, int worker)
{
	ListCell   *lc;

	foreach(lc, supervisor->children)
	{
		Child	   *child = lfirst(lc);

		if (child->kind == kind && child->object_id == object_id && child->worker == worker)
			return child;
	}
	return NULL;
}

static Child *
get_child(Supervisor *supervisor, DjkWorkerKind kind, int64 object_id, int worker)
{
	Child	   *child = find_child(supervisor, kind, object_id, worker);
	DjkSlotKey	key = {kind, MyDatabaseId, object_id, worker};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (child == NULL)
	{
		child = palloc0(sizeof(Child));
		child->kind = kind;
		child->object_id = object_id;
		child->worker = worker;
		child->slot = -1;
		supervisor->children = lappend(supervisor->children, child);
	}
	if (child->slot < 0)
		child->slot = djk_slot_reserve(&key, &child->generation);
	MemoryContextSwitchTo(old);
	return child;
}

/* Finds the workers that an earlier supervisor started. */
static void
adopt_children(Supervisor *supervisor)
{
	int			count;
	DjkSlotStatus *slots = djk_slot_list(MyDatabaseId, &count);

	for (int i = 0; i < count; i++)
	{
		if (slots[i].key.kind == DJK_KIND_CONSUMER || slots[i].key.kind == DJK_KIND_OUTBOX)
		{
			Child	   *child = get_child(supervisor, slots[i].key.kind, slots[i].key.object_id, slots[i].key.worker);

			child->running = slots[i].pid != 0;
		}
	}
	pfree(slots);
}

/*
 * Sets the state of a worker that does not run, and tells it once for each
 * reason: a failing worker has set the state itself, without an event.
 */
static void
set_child_state(Child *child, const char *consumer, DjkState state, const char *reason, const char *hint)
{
	TimestampTz now = djk_clock_now();
	DjkEvent	event = {0};

	(void) djk_slot_set_state(child->slot, state, reason, hint);
	if (strncmp(child->told, reason, DJK_REASON_SIZE - 1) == 0 ||
		(child->told[0] != '\0' && child->told_state == state &&
		 !TimestampDifferenceExceeds(child->told_at, now, DJK_REASON_EVENT_MS)))
		return;
	strlcpy(child->told, reason, DJK_REASON_SIZE);
	child->told_state = state;
	child->told_at = now;
	event.kind = child->kind == DJK_KIND_CONSUMER ? "state" : "outbox";
	event.consumer_id = child->kind == DJK_KIND_CONSUMER ? child->object_id : 0;
	event.consumer = child->kind == DJK_KIND_CONSUMER ? consumer : NULL;
	event.partition = -1;
	event.state = djk_state_name(state);
	event.reason = reason;
	djk_event_write(&event);
}

/* Whether a process of ours is on its way or attached. */
static bool
is_running(Child *child, DjkSlotStatus *status, DjkLeaving *leaving)
{
	pid_t		pid;

	if (!djk_slot_get(child->slot, child->generation, status, leaving))
		return false;
	if (status->pid != 0)
		return true;
	if (child->handle == NULL)
		return false;
	switch (GetBackgroundWorkerPid(child->handle, &pid))
	{
		case BGWH_STARTED:
		case BGWH_NOT_YET_STARTED:
			return true;
		default:
			return false;
	}
}

/* A process has ended: when may the next one start, and what is shown until then. */
static void
note_end(Child *child, const Wanted *wanted, const DjkSlotStatus *status, DjkLeaving leaving)
{
	TimestampTz now = djk_clock_now();
	int64		max_ms = (int64) djk_max_retry_interval_s * 1000;

	if (child->handle != NULL)
		pfree(child->handle);
	child->handle = NULL;
	child->running = false;
	if (leaving == DJK_LEFT_WANTED)
	{
		child->attempt = 0;
		child->next_start = 0;
		child->told[0] = '\0';
		return;
	}
	if (TimestampDifferenceExceeds(child->started_at, now, HEALTHY_AFTER_MS))
	{
		child->attempt = 0;
		child->told[0] = '\0';
	}
	child->attempt++;
	child->revision = wanted->revision;
	if (status->state == DJK_STATE_BROKEN)
		max_ms = Min(max_ms, BROKEN_RETRY_MAX_MS);
	child->next_start = now + 1000 * djk_retry_delay_ms(child->attempt, RETRY_BASE_MS, max_ms,
														pg_prng_double(&pg_global_prng_state));
	/* An end without a word: terminated, or an error before it could speak. */
	if (leaving == DJK_LEFT_UNKNOWN && child->attempt == 1)
		child->next_start = now;
	if (leaving == DJK_LEFT_UNKNOWN)
		set_child_state(child, wanted->name, DJK_STATE_BACKOFF, "the worker was terminated",
						"The server log tells why, if it was not a person.");
	else
		set_child_state(child, wanted->name,
						status->state == DJK_STATE_BROKEN ? DJK_STATE_BROKEN : DJK_STATE_BACKOFF,
						status->reason, status->hint[0] ? status->hint : NULL);
	djk_slot_set_retry(child->slot, child->attempt, djk_clock_to_timestamp(child->next_start));
}

static void
start_child(Child *child, const Wanted *wanted)
{
	DjkWorkerArgs args = {0};
	char		name[BGW_MAXLEN];
	const char *hint = NULL;
	const char *problem = OidIsValid(wanted->owner) ? owner_problem(wanted->owner, &hint) : NULL;
	bool		is_consumer = wanted->kind == DJK_KIND_CONSUMER;
	MemoryContext old;

	if (problem != NULL)
	{
		set_child_state(child, wanted->name, DJK_STATE_BROKEN, problem, hint);
		child->next_start = djk_clock_now() + 1000 * (int64) BROKEN_RETRY_MAX_MS;
		return;
	}

	args.slot = child->slot;
	args.generation = child->generation;
	args.database = MyDatabaseId;
	args.owner = wanted->owner;
	args.object_id = wanted->id;
	args.worker = child->worker;
	if (is_consumer)
		snprintf(name, sizeof(name), "djkafka consumer %s worker %d", wanted->name, child->worker);
	else
		snprintf(name, sizeof(name), "djkafka outbox%s%s", wanted->name ? " " : "", wanted->name ? wanted->name : "");

	old = MemoryContextSwitchTo(TopMemoryContext);
	child->handle = djk_worker_register(is_consumer ? "djkafka_consumer_worker_main" : "djkafka_outbox_worker_main",
										name, is_consumer ? "djkafka consumer" : "djkafka outbox", &args);
	MemoryContextSwitchTo(old);
	child->started_at = djk_clock_now();
	if (child->handle == NULL)
	{
		set_child_state(child, wanted->name, DJK_STATE_NO_WORKER_SLOT,
						"all background worker slots of the server are in use",
						"Raise max_worker_processes and restart the server.");
		child->next_start = child->started_at + 1000 * (int64) BROKEN_RETRY_MAX_MS;
	}
	else
	{
		child->running = true;
		child->next_start = 0;
	}
}

static void
supervise_child(Child *child, const Wanted *wanted)
{
	DjkSlotStatus status;
	DjkLeaving	leaving;

	child->wanted = true;
	/* The shortage is told once, and not of each that it leaves out. */
	if (child->slot < 0)
	{
		child->next_start = djk_clock_now() + 1000 * (int64) LOOK_AGAIN_MS;
		return;
	}
	if (is_running(child, &status, &leaving))
	{
		/* A session outlives its role; what runs with the role's rights must not. */
		if (OidIsValid(wanted->owner) && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(wanted->owner)))
			djk_slot_ask_leave(child->slot, child->generation);
		return;
	}
	if (child->running)
		note_end(child, wanted, &status, leaving);
	/* What was changed deserves a new try at once. */
	if (child->attempt > 0 && child->revision != wanted->revision)
	{
		child->attempt = 0;
		child->next_start = 0;
	}
	if (child->next_start <= djk_clock_now())
		start_child(child, wanted);
}

/* A worker that should not be: asked to leave, then forgotten. */
static bool
dismiss_child(Child *child)
{
	DjkSlotStatus status;
	DjkLeaving	leaving;

	if (child->slot >= 0 && is_running(child, &status, &leaving))
	{
		if (status.pid != 0)
			djk_slot_ask_leave(child->slot, child->generation);
		return false;
	}
	if (child->slot >= 0)
		djk_slot_release(child->slot, child->generation);
	if (child->handle != NULL)
		pfree(child->handle);
	pfree(child);
	return true;
}

/* ---------- a look ---------- */

static void
trim_events(Supervisor *supervisor)
{
	TimestampTz now = djk_clock_now();

	if (!TimestampDifferenceExceeds(supervisor->trimmed_at, now, TRIM_EVERY_MS))
		return;
	supervisor->trimmed_at = now;
	(void) djk_event_trim();
	djk_dead_letter_trim_log();
}

static void
supervise_consumers(Supervisor *supervisor)
{
	int			n;
	DjkConsumerSummary *consumers = djk_consumer_row_list(&n, supervisor->cycle);

	for (int i = 0; i < n; i++)
	{
		Wanted		wanted = {DJK_KIND_CONSUMER, consumers[i].id, consumers[i].name, 0,
		consumers[i].owner, consumers[i].revision};

		for (wanted.worker = 1; wanted.worker <= consumers[i].workers; wanted.worker++)
			supervise_child(get_child(supervisor, wanted.kind, wanted.id, wanted.worker), &wanted);
	}
}

static void
supervise_outboxes(Supervisor *supervisor)
{
	int			n;
	DjkOutboxSummary *outboxes = djk_outbox_list(&n, supervisor->cycle);

	for (int i = 0; i < n; i++)
	{
		Wanted		wanted = {DJK_KIND_OUTBOX, outboxes[i].id, outboxes[i].server, 1, InvalidOid, 0};

		if (outboxes[i].wanted)
			supervise_child(get_child(supervisor, wanted.kind, wanted.id, wanted.worker), &wanted);
	}
}

/* What has no slot has no state either; ours stands for it in djkafka_status. */
static void
tell_shortage(const Supervisor *supervisor)
{
	static const char hint[] = "Raise djkafka.max_workers and restart the server.";
	int			missing = 0;
	char	   *reason;
	ListCell   *lc;

	foreach(lc, supervisor->children)
	{
		const Child *child = lfirst(lc);

		missing += child->wanted && child->slot < 0;
	}
	if (missing == 0)
	{
		djk_slot_set_state(djk_slot_mine(), DJK_STATE_RUNNING, NULL, NULL);
		return;
	}
	reason = psprintf("all %d processes of djkafka.max_workers are in use, %d of this database are missing",
					  djk_max_workers, missing);
	if (djk_slot_set_state(djk_slot_mine(), DJK_STATE_NO_WORKER_SLOT, reason, hint) == DJK_CHANGE_STATE)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("djkafka supervisor: %s", reason),
				 errhint("%s", hint)));
}

static void
reconcile(Supervisor *supervisor)
{
	DjkIdentity identity;
	Oid			extension;
	Oid			schema;
	ListCell   *lc;

	MemoryContextReset(supervisor->cycle);
	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!djk_catalog_find(&extension, &schema))
		leave("the database has no extension djkafka");
	if (!djk_worker_is_listed())
		leave("the database is not in djkafka.databases");

	djk_catalog_enter(&identity);
	foreach(lc, supervisor->children)
		((Child *) lfirst(lc))->wanted = false;
	supervise_consumers(supervisor);
	supervise_outboxes(supervisor);
	tell_shortage(supervisor);
	trim_events(supervisor);
	djk_catalog_leave(&identity);
	PopActiveSnapshot();
	CommitTransactionCommand();

	foreach(lc, supervisor->children)
	{
		Child	   *child = lfirst(lc);

		if (!child->wanted && dismiss_child(child))
			supervisor->children = foreach_delete_current(supervisor->children, lc);
	}
}

/* Settings that were changed may be what was wrong: a new try at once, as after a changed definition. */
static void
forget_failures(Supervisor *supervisor)
{
	ListCell   *lc;

	foreach(lc, supervisor->children)
	{
		Child	   *child = lfirst(lc);

		child->attempt = 0;
		child->next_start = 0;
	}
}

static long
next_look_ms(const Supervisor *supervisor)
{
	TimestampTz now = djk_clock_now();
	long		wait = supervisor->expiring ? EXPIRE_AGAIN_MS : LOOK_AGAIN_MS;
	ListCell   *lc;

	foreach(lc, supervisor->children)
	{
		const Child *child = lfirst(lc);

		if (child->wanted && !child->running && child->next_start != 0)
			wait = Min(wait, Max((child->next_start - now) / 1000, 0) + 1);
	}
	return wait;
}

/* Some of the dead letters that are too old or too many, in a transaction of their own. */
static void
expire_letters(Supervisor *supervisor)
{
	DjkIdentity identity;

	supervisor->expiring = false;
	if (djk_dead_letter_retention_s == 0 && djk_max_dead_letters == 0)
		return;
	MemoryContextReset(supervisor->cycle);
	djk_worker_begin(&identity);
	supervisor->expiring = djk_dead_letter_expire();
	djk_worker_commit(&identity);
}

static void
run_supervisor(void *arg)
{
	Supervisor	supervisor = {0};

	supervisor.args = djk_worker_args();
	supervisor.cycle = AllocSetContextCreate(TopMemoryContext, "djkafka supervisor cycle",
											 ALLOCSET_DEFAULT_SIZES);
	djk_worker_attach(&supervisor.args);
	BackgroundWorkerInitializeConnectionByOid(supervisor.args.database, InvalidOid, 0);
	djk_slot_set_state(djk_slot_mine(), DJK_STATE_RUNNING, NULL, NULL);
	adopt_children(&supervisor);

	for (;;)
	{
		(void) djk_wake_taken();
		if (djk_worker_housekeep())
			forget_failures(&supervisor);
		reconcile(&supervisor);
		expire_letters(&supervisor);
		djk_worker_report_idle(NULL);
		djk_worker_rest(-1, next_look_ms(&supervisor), "DjkafkaSupervisor");
	}
}

void
djkafka_supervisor_main(Datum arg)
{
	djk_worker_init();
	djk_worker_run(run_supervisor, NULL);
}
