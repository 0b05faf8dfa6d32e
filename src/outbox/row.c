/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Makes the row of a server in djkafka_outbox_server, in a transaction of its own.
 *
 * The first message for a server needs the row.  Made by the session that
 * produces it, it would keep all others who produce for the server waiting until
 * that transaction ends, or for ever if it is prepared and forgotten.  So a
 * process makes it, commits and ends, and the session waits for that
 * (state/produce_row.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/xact.h"
#include "base/transaction.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "state/catalog.h"
#include "state/outbox.h"
#include "state/shmem.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "worker/worker.h"

/* The session may hold what this waits for, and waits for this. */
#define LOCK_TIMEOUT	"1s"

PGDLLEXPORT void djkafka_outbox_row_main(Datum arg);

/* What the session has made or dropped, and not committed, is its own affair. */
static bool
is_there(const char *server)
{
	return OidIsValid(djk_catalog_extension()) && (server == NULL || GetForeignServerByName(server, true) != NULL);
}

void
djkafka_outbox_row_main(Datum arg)
{
	DjkOutboxRowArgs args;
	const char *server;
	bool		made;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	server = args.is_settings ? NULL : args.server;
	djk_worker_init();
	BackgroundWorkerInitializeConnectionByOid(args.database, InvalidOid, 0);
	djk_transaction_start();
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION);
	PushActiveSnapshot(GetTransactionSnapshot());
	made = is_there(server) && djk_outbox_require_server(server, NULL);
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (made && djk_shmem_available())
		djk_wake_database(args.database);
	proc_exit(0);
}
