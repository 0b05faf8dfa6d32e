/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What all of djkafka's background processes do alike.
 *
 * Leaving.  A library with threads must not see exit()'s destructors run while
 * its threads do, and _exit() from a worker's body would look like a crash to
 * the postmaster.  So the first on_proc_exit callback, which runs last, ends
 * the process: everything else of the shutdown has happened by then.
 *
 * Failing.  There is one PG_TRY round each body.  It records the error in the
 * process's slot, where the supervisor finds it, and reports it.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include <unistd.h>

#include "access/xact.h"
#include "apply/retry.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/transaction.h"
#include "commands/dbcommands.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "state/bar.h"
#include "state/event.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static void
end_process(int code, Datum arg)
{
	_exit(code);
}

/*
 * A process begins with the settings that the postmaster had when it forked,
 * and ignores SIGHUP until here: what was reloaded meanwhile is read now.
 */
void
djk_worker_init(void)
{
	on_proc_exit(end_process, (Datum) 0);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();
	ProcessConfigFile(PGC_SIGHUP);
}

DjkWorkerArgs
djk_worker_args(void)
{
	DjkWorkerArgs args;

	StaticAssertStmt(sizeof(DjkWorkerArgs) <= BGW_EXTRALEN, "DjkWorkerArgs is too large");
	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	return args;
}

void
djk_worker_attach(const DjkWorkerArgs *args)
{
	djk_slot_attach(args->slot, args->generation);
	/* A bar that comes later finds us.  Not as if unwanted: the launcher is to miss a supervisor. */
	if (djk_bar_is_placed(args->database))
		proc_exit(0);
}

BackgroundWorkerHandle *
djk_worker_register(const char *main_function, const char *name, const char *type,
					const DjkWorkerArgs *args)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, DJK_LIBRARY_NAME, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, main_function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, args, sizeof(*args));
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}

static bool
names_definition(int sqlstate)
{
	return djk_retry_verdict(sqlstate) == DJK_VERDICT_DOUBTFUL;
}

static void
record_failure(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *edata = CopyErrorData();
	int			slot = djk_slot_mine();

	MemoryContextSwitchTo(old);
	if (slot < 0)
		return;
	djk_slot_set_error(slot, edata->message);
	djk_slot_set_state(slot, names_definition(edata->sqlerrcode) ? DJK_STATE_BROKEN : DJK_STATE_BACKOFF,
					   edata->message, edata->hint);
	djk_slot_set_leaving(slot, DJK_LEFT_FAILED);
}

void
djk_worker_run(void (*body) (void *arg), void *arg)
{
	PG_TRY();
	{
		body(arg);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		record_failure();
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		proc_exit(1);
	}
	PG_END_TRY();
}

bool
djk_worker_housekeep(void)
{
	djk_slot_note_work(0);
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/* ---------- the connection ---------- */

static bool connection_changed = false;

/* Of what the connection was read from: the server, the role's mapping, that of PUBLIC. */
static uint32 watched_server;
static uint32 watched_mappings[2];

static void
note_connection_change(Datum arg, int cacheid, uint32 hash)
{
	if (hash == 0 || (cacheid == FOREIGNSERVEROID ? hash == watched_server :
					  hash == watched_mappings[0] || hash == watched_mappings[1]))
		connection_changed = true;
}

void
djk_worker_watch_connection(const char *server, Oid role)
{
	Oid			id = server != NULL ? get_foreign_server_oid(server, true) : InvalidOid;

	if (!OidIsValid(id))
		return;
	watched_server = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(id));
	watched_mappings[0] = GetSysCacheHashValue2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role), ObjectIdGetDatum(id));
	watched_mappings[1] = GetSysCacheHashValue2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(id));
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_connection_change, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGUSERSERVER, note_connection_change, (Datum) 0);
}

bool
djk_worker_connection_changed(void)
{
	AcceptInvalidationMessages();
	return connection_changed;
}

void
djk_worker_wait(int fd, long timeout_ms, const char *event)
{
	static const char *last_event = NULL;
	static uint32 last_info = 0;
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (event != last_event)
	{
		last_info = djk_wait_event_new(event);
		last_event = event;
	}
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	djk_slot_note_rest(timeout_ms);
	if (fd >= 0)
		(void) WaitLatchOrSocket(MyLatch, events | WL_SOCKET_READABLE, fd, timeout_ms, last_info);
	else
		(void) WaitLatch(MyLatch, events, timeout_ms, last_info);
	djk_slot_note_work(0);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

void
djk_worker_rest(int fd, long timeout_ms, const char *event)
{
	djk_worker_wait(fd, djk_wake_waits() || ConfigReloadPending ? 0 : timeout_ms, event);
}

/* The context that djk_worker_begin() came from. */
static MemoryContext outer_context = NULL;

void
djk_worker_begin(DjkIdentity *identity)
{
	outer_context = CurrentMemoryContext;
	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_catalog_enter(identity);
}

void
djk_worker_commit(const DjkIdentity *identity)
{
	djk_worker_commit_as(identity, NULL);
}

void
djk_worker_commit_as(const DjkIdentity *identity, const char *synchronous)
{
	/* What is set before this is taken back by it. */
	djk_catalog_leave(identity);
	if (synchronous != NULL)
		(void) set_config_option("synchronous_commit", synchronous, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(outer_context);
}

void
djk_worker_tell_state(const char *kind, DjkState state, const char *reason,
					  int64 consumer_id, const char *consumer)
{
	DjkEvent	event = {0};
	DjkIdentity identity;

	event.kind = kind;
	event.consumer_id = consumer_id;
	event.consumer = consumer;
	event.partition = -1;
	event.state = djk_state_name(state);
	event.reason = reason;

	djk_worker_begin(&identity);
	djk_event_write(&event);
	djk_worker_commit(&identity);
}

void
djk_worker_set_state(DjkState state, const char *reason, const char *hint,
					 int64 consumer_id, const char *consumer)
{
	static TimestampTz told_at = 0;
	DjkStateChange change = djk_slot_set_state(djk_slot_mine(), state, reason, hint);

	if (change == DJK_CHANGE_NONE ||
		(change == DJK_CHANGE_REASON &&
		 !TimestampDifferenceExceeds(told_at, djk_clock_now(), DJK_REASON_EVENT_MS)))
		return;
	told_at = djk_clock_now();

	djk_worker_tell_state("state", state, reason, consumer_id, consumer);
}

bool
djk_worker_is_listed(void)
{
	const char *name = get_database_name(MyDatabaseId);

	return name != NULL && djk_settings_list_database(name);
}

void
djk_worker_report_idle(const char *activity)
{
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, activity);
}

void
djk_worker_report_busy(const char *activity)
{
	pgstat_report_activity(STATE_RUNNING, activity);
}
