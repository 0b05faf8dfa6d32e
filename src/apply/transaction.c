/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  The transaction that a batch is applied in, and how long it may last.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/transaction.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/transaction.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

void
djk_set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

static void
lower(int *limit_ms, int other_ms, const char **setting, const char *name)
{
	if (other_ms <= 0 || (*limit_ms > 0 && *limit_ms <= other_ms))
		return;
	*limit_ms = other_ms;
	*setting = name;
}

/*
 * How long a transaction may take, 0 for ever.  *setting names what the owner's
 * sessions were given, if that is the limit; else it is NULL.
 */
static int
time_limit(const DjkApply *apply, const char **setting)
{
	int			limit_ms = apply->time_limit_ms;

	*setting = NULL;
	lower(&limit_ms, StatementTimeout, setting, "statement_timeout");
	lower(&limit_ms, djk_transaction_session_limits().transaction_ms, setting, "transaction_timeout");
	return limit_ms;
}

/*
 * How long to wait for a lock, 0 for ever: it ends before the time limit could
 * blame a message.  Where one row that stays locked is looked for by halves,
 * each half that holds it waits, and all of them must fit.
 */
static int
lock_limit(const DjkApply *apply, int limit_ms)
{
	int			lock_ms = djk_transaction_session_limits().lock_ms;
	int			longest_ms = Max(limit_ms / (djk_work_is_impatient(apply) ? 32 : 2), 1);

	return limit_ms > 0 && (lock_ms == 0 || lock_ms > longest_ms) ? longest_ms : lock_ms;
}

/*
 * What the worker's correctness needs is set with every transaction, because
 * user code may have changed it for the session; all else stays the owner's.
 */
static void
begin(DjkApply *apply)
{
	apply->limit_at = 0;
	djk_transaction_start();
	djk_set_local("role", "none");
	djk_set_local("DateStyle", "ISO");
	djk_set_local("IntervalStyle", "postgres");
	djk_set_local("bytea_output", "hex");
	djk_set_local("synchronous_commit", apply->consumer->synchronous_commit ? "on" : "off");
	if (GetSessionUserId() != apply->consumer->owner || GetUserId() != apply->consumer->owner)
		ereport(FATAL,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the worker's session user is not the consumer's owner any more")));
}

/* What began then may last so long, and wait so long for a lock; 0 for ever. */
static void
arm_limits(DjkApply *apply, TimestampTz started, int limit_ms, int lock_ms)
{
	if (lock_ms > 0)
		djk_set_local("lock_timeout", psprintf("%d", lock_ms));
	if (limit_ms > 0)
	{
		apply->limit_at = started + (TimestampTz) limit_ms * 1000;
		enable_timeout_after(STATEMENT_TIMEOUT, limit_ms);
	}
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
djk_apply_begin(DjkApply *apply)
{
	TimestampTz started = djk_clock_now();
	const char *setting;
	int			limit_ms;

	begin(apply);
	limit_ms = time_limit(apply, &setting);
	arm_limits(apply, started, limit_ms, lock_limit(apply, limit_ms));
}

void
djk_apply_begin_between(DjkApply *apply, int lock_ms)
{
	TimestampTz started = djk_clock_now();
	const char *setting;

	begin(apply);
	arm_limits(apply, started, time_limit(apply, &setting), lock_ms);
}

bool
djk_apply_time_is_over(const DjkApply *apply)
{
	return apply->limit_at != 0 && djk_clock_now() >= apply->limit_at;
}

/*
 * The limit may have struck when there was nothing left to cancel, or together
 * with the error that ended the transaction.
 */
void
djk_apply_disarm_limit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
}

void
djk_apply_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	djk_apply_disarm_limit();
}

void
djk_apply_rollback(void)
{
	djk_apply_disarm_limit();
	AbortOutOfAnyTransaction();
}

/* What took longer than the limit, in place of "canceling statement". */
void
djk_apply_describe_limit(const DjkApply *apply, const char *what, DjkError *error)
{
	const char *setting;
	int			limit_ms = time_limit(apply, &setting);

	error->sqlstate = DJK_ERRCODE_TOO_SLOW;
	error->message = psprintf("%s took longer than %d ms", what, limit_ms);
	if (setting != NULL)
	{
		error->detail = psprintf("That is the %s of the consumer's owner.", setting);
		error->hint = psprintf("Make its statement faster, or raise %s (ALTER ROLE … SET, or where else it was set) and call djkafka_restart().", setting);
	}
	else
		error->hint = pstrdup("Make its statement faster, or raise max.poll.interval.ms in the consumer's options.");
}
