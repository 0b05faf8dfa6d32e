/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  How a background process begins a transaction.
 *
 * Time limits.  A background process arms no statement_timeout, and the idle
 * limits are a regular backend's too.  But whatever waits for a lock obeys
 * lock_timeout, and every transaction since PostgreSQL 17 transaction_timeout,
 * which ends the process: a limit that a role, a database or the whole server
 * was given for its sessions would end a supervisor that waits for a row, or a
 * worker in the same batch again and again.  So both are taken out of force
 * before the first transaction, as autovacuum does, and remembered for those
 * transactions that they are meant for.
 *
 *-------------------------------------------------------------------------
 */
#include "base/transaction.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "storage/proc.h"
#include "utils/guc.h"

static DjkSessionLimits session_limits = {-1, -1};

/*
 * Takes a limit out of force and returns what it was.  User code may have set it
 * for the session again, which goes above what it is by default.
 */
static int
suspend_limit(const char *name, const int *limit)
{
	int			was = *limit;

	if (*limit > 0)
		SetConfigOption(name, "0", PGC_USERSET, PGC_S_OVERRIDE);
	if (*limit > 0)
		SetConfigOption(name, "0", PGC_USERSET, PGC_S_SESSION);
	return was;
}

static void
suspend_limits(void)
{
	DjkSessionLimits limits = {0, 0};

	limits.lock_ms = suspend_limit("lock_timeout", &LockTimeout);
#ifdef DJK_HAVE_TRANSACTION_TIMEOUT
	limits.transaction_ms = suspend_limit("transaction_timeout", &TransactionTimeout);
#endif
	if (session_limits.lock_ms < 0)
		session_limits = limits;
}

void
djk_transaction_start(void)
{
	suspend_limits();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = RecoveryInProgress();
	XactDeferrable = false;
}

DjkSessionLimits
djk_transaction_session_limits(void)
{
	DjkSessionLimits limits = session_limits;

	limits.lock_ms = Max(limits.lock_ms, 0);
	limits.transaction_ms = Max(limits.transaction_ms, 0);
	return limits;
}
