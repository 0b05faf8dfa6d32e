/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The one static process: a supervisor for each listed database.
 *
 * It reconciles djkafka.databases with the supervisors that run.  It is
 * connected to no database, so it holds up no DROP DATABASE.  A supervisor
 * leaves by itself when its database is no longer listed or has no extension;
 * it is tried again when something in the database wakes us, and else once a
 * minute.  What wakes us while one runs may have come too late for it, when it
 * had looked already and was about to leave: it is tried again then, too.  One
 * that ends in any other way wakes us itself; so none is started that could not
 * connect, or it would be started again each second.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/launcher.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/transaction.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "state/bar.h"
#include "state/shmem.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define LOOK_AGAIN_MS		60000
#define START_AGAIN_MS		1000
#define STARTS_AT_ONCE		3
#define ATTACH_TIMEOUT_MS	5000

PGDLLEXPORT void djkafka_launcher_main(Datum arg);

typedef struct Known
{
	Oid			database;
	TimestampTz tried_at;
	bool		woken;			/* since then */
	TimestampTz spent_until;	/* each start spends START_AGAIN_MS, a few of them in advance */
	bool		listed;			/* as of this look */
	bool		refused;		/* no worker was free: the slot stands for it */
	int			slot;
	uint32		generation;
} Known;

/* Whether a supervisor could connect. */
static bool
takes_connections(HeapTuple tuple)
{
	Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

	return form->datallowconn && !djk_database_is_invalid(form);
}

/*
 * The OID of a database that takes connections.  A process without a database may have no relation cache
 * but the few shared catalogs that are built in, so their indexes are used only
 * if they are known.
 */
static Oid
find_database(const char *name)
{
	Relation	rel = table_open(DatabaseRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	Oid			oid = InvalidOid;

	ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(rel, DatabaseNameIndexId, criticalSharedRelcachesBuilt, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && takes_connections(tuple))
		oid = ((Form_pg_database) GETSTRUCT(tuple))->oid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return oid;
}

static bool
has_supervisor(Oid database)
{
	int			count;
	DjkSlotStatus *slots = djk_slot_list(database, &count);
	TimestampTz now = GetCurrentTimestamp();
	bool		found = false;

	/* A slot that nobody has attached to in time belongs to one that failed. */
	for (int i = 0; i < count && !found; i++)
		found = slots[i].key.kind == DJK_KIND_SUPERVISOR &&
			(slots[i].pid != 0 ||
			 (slots[i].state != DJK_STATE_NO_WORKER_SLOT &&
			  !TimestampDifferenceExceeds(slots[i].since, now, ATTACH_TIMEOUT_MS)));
	pfree(slots);
	return found;
}

/* Told in the log once, and in the database for as long as it lasts. */
static void
tell_refused(Known *entry, const char *name, const DjkWorkerArgs *args)
{
	static const char hint[] = "Raise max_worker_processes and restart the server.";

	if (djk_slot_set_state(args->slot, DJK_STATE_NO_WORKER_SLOT,
						   "no free background worker slot for the supervisor of the database", hint) != DJK_CHANGE_NONE)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("djkafka found no free worker for database \"%s\"", name),
				 errhint("%s", hint)));
	entry->refused = true;
	entry->slot = args->slot;
	entry->generation = args->generation;
}

/*
 * Starts a database's supervisor.  It makes its own slot only when it runs, so
 * a reservation made here keeps a second one from being started meanwhile.
 */
static bool
start_supervisor(Known *entry, const char *name)
{
	Oid			database = entry->database;
	DjkSlotKey	key = {DJK_KIND_SUPERVISOR, database, 0, 0};
	DjkWorkerArgs args = {0};
	BackgroundWorkerHandle *handle;
	char		title[BGW_MAXLEN];
	pid_t		pid;

	args.database = database;
	args.slot = djk_slot_reserve(&key, &args.generation);
	if (args.slot < 0)
	{
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("djkafka has no free slot for a supervisor of database \"%s\"", name),
				 errhint("Raise djkafka.max_workers.")));
		return false;
	}
	snprintf(title, sizeof(title), "djkafka supervisor of %s", name);
	handle = djk_worker_register("djkafka_supervisor_main", title, "djkafka supervisor", &args);
	if (handle == NULL)
	{
		tell_refused(entry, name, &args);
		return false;
	}
	entry->refused = false;
	(void) djk_slot_set_state(args.slot, DJK_STATE_STARTING, NULL, NULL);
	if (WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_STARTED)
		djk_slot_release(args.slot, args.generation);
	pfree(handle);
	return true;
}

/* The list's entry of a database, made if it is new. */
static Known *
get_known(List **known, Oid database)
{
	MemoryContext old;
	ListCell   *lc;
	Known	   *entry;

	foreach(lc, *known)
	{
		if (((Known *) lfirst(lc))->database == database)
			return lfirst(lc);
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	entry = palloc0(sizeof(Known));
	entry->database = database;
	*known = lappend(*known, entry);
	MemoryContextSwitchTo(old);
	return entry;
}

/*
 * Whether a supervisor may be started now: a few times at once where something
 * wakes us, as who makes the extension in a listed database wants it to work,
 * but in the long run not more often than once in START_AGAIN_MS.
 */
static bool
may_start(Known *entry, TimestampTz now)
{
	TimestampTz cost = START_AGAIN_MS * INT64CONST(1000);

	if (!entry->woken)
		return TimestampDifferenceExceeds(entry->tried_at, now, LOOK_AGAIN_MS);
	entry->spent_until = Max(entry->spent_until, now - (STARTS_AT_ONCE - 1) * cost);
	return entry->spent_until <= now;
}

/* A database that is not listed any more, or is gone, wants no supervisor. */
static void
forget_refused(const List *known)
{
	ListCell   *lc;

	foreach(lc, known)
	{
		Known	   *entry = lfirst(lc);

		if (entry->refused && !entry->listed)
		{
			djk_slot_release(entry->slot, entry->generation);
			entry->refused = false;
		}
	}
}

/* Returns true if something should be looked at again soon. */
static bool
reconcile(bool woken, List **known)
{
	ListCell   *lc;
	bool		soon = false;
	TimestampTz now = djk_clock_now();

	foreach(lc, *known)
		((Known *) lfirst(lc))->listed = false;
	djk_transaction_start();
	foreach(lc, djk_settings_databases())
	{
		const char *name = lfirst(lc);
		Oid			database = find_database(name);
		Known	   *entry;

		if (!OidIsValid(database))
			continue;
		entry = get_known(known, database);
		entry->listed = true;
		entry->woken |= woken;
		if (has_supervisor(database) || djk_bar_is_placed(database))
			continue;
		if (!may_start(entry, now))
		{
			soon |= entry->woken;
			continue;
		}
		entry->tried_at = now;
		entry->spent_until += START_AGAIN_MS * INT64CONST(1000);
		entry->woken = false;
		(void) start_supervisor(entry, name);
	}
	CommitTransactionCommand();
	forget_refused(*known);
	return soon;
}

static void
run_launcher(void *arg)
{
	DjkSlotKey	key = {DJK_KIND_LAUNCHER, InvalidOid, 0, 0};
	uint32		generation;
	int			slot = djk_slot_reserve(&key, &generation);
	List	   *known = NIL;
	bool		again = true;

	if (slot < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("djkafka has no free slot for its launcher"),
				 errhint("Raise djkafka.max_workers.")));
	djk_slot_attach(slot, generation);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	djk_slot_set_state(slot, DJK_STATE_RUNNING, NULL, NULL);

	for (;;)
	{
		bool		woken = djk_wake_taken() || again;

		if (djk_worker_housekeep())
			woken = true;
		again = reconcile(woken, &known);
		djk_worker_report_idle(NULL);
		djk_worker_rest(-1, again ? START_AGAIN_MS : LOOK_AGAIN_MS, "DjkafkaLauncher");
	}
}

void
djkafka_launcher_main(Datum arg)
{
	djk_worker_init();
	djk_worker_run(run_launcher, NULL);
}

static void
register_static(const char *main_function, const char *name)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, DJK_LIBRARY_NAME, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, main_function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
djk_launcher_init(void)
{
	if (IsBinaryUpgrade)
		return;
	register_static("djkafka_launcher_main", "djkafka launcher");
	if (djk_embedded_broker)
		register_static("djkafka_embedded_broker_main", "djkafka embedded broker");
}
