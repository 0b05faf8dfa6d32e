/*-------------------------------------------------------------------------
 *
 * produce_row.c
 *	  Has the row of a server made for its first message, by another process.
 *
 * See outbox/row.c.  Where that cannot be, the session makes the row itself, and
 * others wait for its end: no process is free, or the server or the extension is
 * of this very transaction, so that nobody else can use it yet.
 *
 *-------------------------------------------------------------------------
 */
#include "state/produce.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "state/catalog.h"
#include "state/outbox.h"

static void
describe(BackgroundWorker *worker, const char *server)
{
	DjkOutboxRowArgs args = {.database = MyDatabaseId, .is_settings = server == NULL};

	StaticAssertStmt(sizeof(DjkOutboxRowArgs) <= BGW_EXTRALEN, "DjkOutboxRowArgs is too large");
	if (server != NULL)
		strlcpy(args.server, server, sizeof(args.server));
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, DJK_LIBRARY_NAME, sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "djkafka_outbox_row_main", sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_name, "djkafka outbox row", BGW_MAXLEN);
	strlcpy(worker->bgw_type, "djkafka outbox row", BGW_MAXLEN);
	worker->bgw_notify_pid = MyProcPid;
	memcpy(worker->bgw_extra, &args, sizeof(args));
}

void
djk_produce_make_row(const char *server)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	if (djk_catalog_is_own() || djk_outbox_is_known(server))
		return;
	describe(&worker, server);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return;
	(void) WaitForBackgroundWorkerShutdown(handle);
	pfree(handle);
}
