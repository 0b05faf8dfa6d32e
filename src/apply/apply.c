/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  A batch of messages becomes rows, offsets and dead letters.
 *
 * One transaction:
 *
 *		fence			lock the offset rows; what is not ours leaves the batch
 *		write			prepare and write, as the consumer's owner
 *		check			deferred constraints, while an error can still be told
 *		record			dead letters and offsets, as the catalog's owner
 *		commit
 *
 * The first attempt at a batch has no savepoint.  If it fails by a message's
 * fault it is aborted and the batch runs again isolated (isolate.c).  If COMMIT
 * itself fails, which only user code can make it, messages get a transaction
 * each.  A transaction that hits its time limit is halved, and the size is
 * remembered.  An error that speaks of the definition is tried once more with
 * the routes' states built anew.  What is nobody's fault is the caller's to
 * wait for.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/apply.h"

#include "access/xact.h"
#include "apply/condemn.h"
#include "apply/isolate.h"
#include "apply/record.h"
#include "apply/retry.h"
#include "apply/work.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/transaction.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Size of a transaction after one that was full of bad messages. */
#define CHUNK_AFTER_POISON	32

typedef enum Outcome
{
	OUTCOME_DONE,
	OUTCOME_MESSAGE,			/* a message's fault, not known which */
	OUTCOME_DEFINITION,
	OUTCOME_TRANSIENT,
	OUTCOME_TIMEOUT,
	OUTCOME_COMMIT,				/* COMMIT failed, by a message's fault */
	OUTCOME_STOPPED,
	OUTCOME_LOST				/* no partition is ours any more */
} Outcome;

static bool is_running = false;

bool
djk_apply_is_running(void)
{
	return is_running;
}

/* ---------- making ---------- */

DjkApply *
djk_apply_create(const DjkConsumerRow *consumer, MemoryContext parent, int time_limit_ms)
{
	MemoryContext context = AllocSetContextCreate(parent, "djkafka apply", ALLOCSET_DEFAULT_SIZES);
	DjkApply   *apply = MemoryContextAllocZero(context, sizeof(DjkApply));

	apply->context = context;
	apply->consumer = consumer;
	apply->batch_context = AllocSetContextCreate(context, "djkafka batch", ALLOCSET_DEFAULT_SIZES);
	apply->attempt_context = AllocSetContextCreate(context, "djkafka attempt", ALLOCSET_DEFAULT_SIZES);
	apply->states = MemoryContextAllocZero(context, Max(consumer->nroutes, 1) * sizeof(DjkRouteState *));
	apply->chunk_messages = INT_MAX;
	apply->time_limit_ms = time_limit_ms;
	apply->current = apply->current_route = -1;
	djk_route_state_init();
	return apply;
}

void
djk_apply_require_routes(DjkApply *apply)
{
	for (int route = 0; route < apply->consumer->nroutes; route++)
		(void) djk_work_state(apply, route);
}

static void
forget_states(DjkApply *apply)
{
	for (int route = 0; route < apply->consumer->nroutes; route++)
	{
		if (apply->states[route] != NULL)
			djk_route_state_destroy(apply->states[route]);
		apply->states[route] = NULL;
	}
}

void
djk_apply_destroy(DjkApply *apply)
{
	forget_states(apply);
	MemoryContextDelete(apply->context);
}

static void
take_batch(DjkApply *apply, DjkBatch *batch)
{
	MemoryContextReset(apply->batch_context);
	MemoryContextReset(apply->attempt_context);
	apply->batch = batch;
	apply->work = MemoryContextAllocZero(apply->batch_context, Max(batch->nmessages, 1) * sizeof(DjkWork));
	for (int i = 0; i < batch->nmessages; i++)
		apply->work[i].route = -1;
	apply->current = apply->current_route = -1;
	apply->piece_from = 0;
	apply->piece_to = batch->nmessages;
}

/* ---------- context of errors ---------- */

static void
error_context(void *arg)
{
	const DjkApply *apply = arg;
	int			first = apply->current >= 0 ? apply->current : apply->piece_from;
	int			n = apply->current >= 0 ? 1 : apply->piece_to - apply->piece_from;
	const DjkMessage *message;
	const DjkBatchPartition *partition;

	if (apply->batch == NULL || n <= 0)
		return;
	message = &apply->batch->messages[first];
	partition = &apply->batch->partitions[message->partition];
	if (n == 1)
		errcontext("consumer \"%s\", topic \"%s\", partition %d, offset " INT64_FORMAT,
				   apply->consumer->name, partition->topic, partition->partition, message->offset);
	else
		errcontext("consumer \"%s\", batch of %d messages, first topic \"%s\", partition %d, offset " INT64_FORMAT,
				   apply->consumer->name, n, partition->topic, partition->partition, message->offset);
}

/* ---------- a transaction of our own ---------- */

static void
set_local(const char *name, const char *value)
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
 * What the worker's correctness needs is set with every transaction, because
 * user code may have changed it for the session; all else stays the owner's.
 */
static void
begin_transaction(DjkApply *apply, int *limit_ms)
{
	const char *setting;
	int			lock_ms = djk_transaction_session_limits().lock_ms;

	djk_transaction_start();
	set_local("role", "none");
	set_local("DateStyle", "ISO");
	set_local("IntervalStyle", "postgres");
	set_local("bytea_output", "hex");
	set_local("synchronous_commit", apply->consumer->synchronous_commit ? "on" : "off");
	if (GetSessionUserId() != apply->consumer->owner || GetUserId() != apply->consumer->owner)
		ereport(FATAL,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the worker's session user is not the consumer's owner any more")));

	/*
	 * A wait for a lock is nobody's fault and ends in lock_timeout, before the
	 * time limit could blame a message.
	 */
	*limit_ms = time_limit(apply, &setting);
	if (*limit_ms > 0 && (lock_ms == 0 || lock_ms > *limit_ms / 2))
		lock_ms = Max(*limit_ms / 2, 1);
	if (lock_ms > 0)
		set_local("lock_timeout", psprintf("%d", lock_ms));
	if (*limit_ms > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, *limit_ms);
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * The limit may have struck when there was nothing left to cancel, or together
 * with the error that ended the transaction.
 */
static void
disarm_limit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
}

static void
commit_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	disarm_limit();
}

/* After an ERROR: whose fault it was; *error is described in batch_context. */
static Outcome
recover(DjkApply *apply, bool committing, TimestampTz started, int limit_ms, DjkError *error)
{
	ErrorData  *edata;
	DjkVerdict	verdict;
	long		elapsed_ms = (djk_clock_now() - started) / 1000;

	MemoryContextSwitchTo(apply->batch_context);
	edata = CopyErrorData();
	FlushErrorState();
	disarm_limit();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(apply->batch_context);

	djk_isolate_describe(edata, false, apply->batch_context, error);
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED && limit_ms > 0 && elapsed_ms >= limit_ms)
		return OUTCOME_TIMEOUT;
	if (edata->sqlerrcode == DJK_ERRCODE_STOPPED)
		return OUTCOME_STOPPED;

	verdict = djk_retry_verdict(edata->sqlerrcode);
	if (verdict == DJK_VERDICT_TRANSIENT)
		return OUTCOME_TRANSIENT;
	/* At COMMIT, what is too large is the queue of notifications, because of a listener. */
	if (committing && edata->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		return OUTCOME_TRANSIENT;
	if (committing)
		return OUTCOME_COMMIT;
	return verdict == DJK_VERDICT_DEFINITION ? OUTCOME_DEFINITION : OUTCOME_MESSAGE;
}

/*
 * Applies [from, *to) in one transaction; *to becomes the end of what is
 * committed.  Outside of it no transaction is open.
 */
static Outcome
transact(DjkApply *apply, int from, int *to, bool isolate, DjkError *error)
{
	ErrorContextCallback callback = {error_context_stack, error_context, apply};
	MemoryContext context = CurrentMemoryContext;
	TimestampTz started = djk_clock_now();
	volatile Outcome outcome = OUTCOME_DONE;
	volatile bool committing = false;
	volatile int end = *to;
	volatile int limit_ms = 0;

	error_context_stack = &callback;
	is_running = true;
	PG_TRY();
	{
		DjkOffsetAdvance *volatile advances = NULL;
		int			nadvances = 0;
		int			limit;

		begin_transaction(apply, &limit);
		limit_ms = limit;
		if (!djk_record_fence(apply))
			outcome = OUTCOME_LOST;
		else
		{
			if (isolate)
			{
				end = djk_isolate(apply, from, end, DJK_ISOLATE_MAX);
				apply->piece_from = from;
				apply->piece_to = end;
			}
			else if (end > from)
				end = djk_isolate_apply(apply, from, end);
			djk_isolate_check_constraints();
			advances = djk_record_write(apply, from, end, &nadvances);
		}
		committing = true;
		commit_transaction();
		if (outcome == OUTCOME_DONE)
			djk_record_committed(apply, advances, nadvances);
	}
	PG_CATCH();
	{
		error_context_stack = callback.previous;
		outcome = recover(apply, committing, started, limit_ms, error);
		end = from;
	}
	PG_END_TRY();
	is_running = false;
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(context);
	apply->current = apply->current_route = -1;

	if (outcome == OUTCOME_DONE && end < *to && apply->work[end].fate == DJK_FATE_STOP)
	{
		*error = apply->work[end].error;
		outcome = OUTCOME_STOPPED;
	}
	*to = end;
	return outcome;
}

/* ---------- the policy ---------- */

typedef struct Progress
{
	int			from;			/* first message that is not committed */
	bool		isolate;		/* the next transaction works by pieces */
	bool		single;			/* … and holds one message only */
	bool		rebuilt;		/* the routes' states are new already */
} Progress;

/* After success: larger transactions again. */
static void
grow_chunk(DjkApply *apply)
{
	if (apply->chunk_messages < INT_MAX && ++apply->chunk_successes >= 8)
	{
		apply->chunk_messages = apply->chunk_messages > INT_MAX / 2 ? INT_MAX : apply->chunk_messages * 2;
		if (apply->chunk_messages > apply->consumer->batch_messages)
			apply->chunk_messages = INT_MAX;
		apply->chunk_successes = 0;
	}
}

static void
shrink_chunk(DjkApply *apply, int messages)
{
	apply->chunk_messages = Max(messages, 1);
	apply->chunk_successes = 0;
}

/* What took longer than the limit, in place of "canceling statement". */
static void
describe_limit(const DjkApply *apply, const char *what, DjkError *error)
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

/* A single message hit the time limit, or fails as a whole only: its own error. */
static void
fail_single(DjkApply *apply, int message, Outcome outcome, const DjkError *error)
{
	DjkError	too_slow = *error;

	if (outcome == OUTCOME_TIMEOUT)
		describe_limit(apply, "applying this one message", &too_slow);
	djk_work_fail(apply, message, &too_slow, NULL);
}

/*
 * What fails as a whole only (by its length, at COMMIT, or in a last check of
 * what every piece had passed) is tried in smaller transactions.  Where even
 * the record of a failed message fails, there is nothing left to try.
 */
static bool
separate(DjkApply *apply, Progress *progress, int from, int n, Outcome outcome, DjkApplyResult *result)
{
	DjkFate		fate = apply->work[from].fate;

	if (n == 1 && (fate == DJK_FATE_DEAD || fate == DJK_FATE_SKIPPED))
	{
		if (outcome == OUTCOME_TIMEOUT)
			describe_limit(apply, "recording one message that failed", &result->error);
		result->status = DJK_APPLY_BROKEN;
		return false;
	}
	if (n == 1)
		fail_single(apply, from, outcome, &result->error);
	else if (outcome == OUTCOME_TIMEOUT)
		shrink_chunk(apply, n / 2);
	else
		progress->single = true;
	progress->isolate = false;
	return true;
}

/*
 * Decides what follows a transaction over 'n' messages from progress->from that
 * ended with 'outcome' and committed up to 'to'.  Returns false if the batch
 * ends here, with result->status set.
 */
static bool
follow_up(DjkApply *apply, Progress *progress, Outcome outcome, int n, int to, DjkApplyResult *result)
{
	int			from = progress->from;

	progress->from = to;
	switch (outcome)
	{
		case OUTCOME_DONE:
			if (!progress->isolate)
				grow_chunk(apply);
			else if (to - from < n)
				shrink_chunk(apply, CHUNK_AFTER_POISON);
			progress->isolate = progress->single;
			return true;
		case OUTCOME_MESSAGE:
			if (progress->isolate)
				return separate(apply, progress, from, n, outcome, result);
			progress->isolate = true;
			return true;
		case OUTCOME_DEFINITION:
			if (progress->isolate)
			{
				result->status = DJK_APPLY_BROKEN;
				return false;
			}
			if (progress->rebuilt)
				progress->isolate = true;
			else
				forget_states(apply);
			progress->rebuilt = true;
			return true;
		case OUTCOME_TIMEOUT:
		case OUTCOME_COMMIT:
			return separate(apply, progress, from, n, outcome, result);
		case OUTCOME_TRANSIENT:
			result->status = DJK_APPLY_TRANSIENT;
			return false;
		case OUTCOME_STOPPED:
			result->status = DJK_APPLY_STOPPED;
			return false;
		case OUTCOME_LOST:
			progress->from = apply->batch->nmessages;
			return true;
	}
	pg_unreachable();
}

static void
count_result(const DjkApply *apply, DjkApplyResult *result)
{
	for (int i = 0; i < result->decided; i++)
	{
		switch (apply->work[i].fate)
		{
			case DJK_FATE_APPLIED:
				result->applied++;
				break;
			case DJK_FATE_FILTERED:
				result->filtered++;
				break;
			case DJK_FATE_DUPLICATE:
				result->duplicates++;
				break;
			case DJK_FATE_DEAD:
				result->dead++;
				break;
			case DJK_FATE_SKIPPED:
				result->skipped++;
				break;
			default:
				break;
		}
	}
}

void
djk_apply_batch(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result)
{
	Progress	progress = {0};
	bool		going = true;

	Assert(!IsTransactionState());
	memset(result, 0, sizeof(*result));
	take_batch(apply, batch);
	while (going)
	{
		int			n = progress.single ? 1 : apply->chunk_messages;
		int			to;
		Outcome		outcome;

		CHECK_FOR_INTERRUPTS();
		n = Min(n, batch->nmessages - progress.from);
		to = djk_condemn_begin(apply, progress.from, progress.from + n);
		n = to - progress.from;
		outcome = transact(apply, progress.from, &to, progress.isolate, &result->error);
		djk_condemn_end(apply);
		going = follow_up(apply, &progress, outcome, n, to, result) && progress.from < batch->nmessages;
	}
	result->decided = progress.from;
	count_result(apply, result);
}

/* ---------- inside the caller's transaction ---------- */

static void
apply_inside(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result)
{
	int			nadvances;
	DjkOffsetAdvance *advances;

	if (!djk_record_fence(apply))
		return;
	result->decided = batch->nmessages;
	if (batch->nmessages > 0)
		result->decided = djk_isolate(apply, 0, batch->nmessages, 0);
	advances = djk_record_write(apply, 0, result->decided, &nadvances);
	djk_record_committed(apply, advances, nadvances);
	if (result->decided < batch->nmessages)
	{
		result->status = DJK_APPLY_STOPPED;
		result->error = apply->work[result->decided].error;
	}
}

void
djk_apply_inside(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result)
{
	ErrorContextCallback callback = {error_context_stack, error_context, apply};
	int			guc_level = NewGUCNestLevel();
	bool		was_running = is_running;

	memset(result, 0, sizeof(*result));
	take_batch(apply, batch);
	error_context_stack = &callback;
	set_local("DateStyle", "ISO");
	set_local("IntervalStyle", "postgres");
	set_local("bytea_output", "hex");

	is_running = true;
	PG_TRY();
	{
		apply_inside(apply, batch, result);
	}
	PG_FINALLY();
	{
		is_running = was_running;
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
	AtEOXact_GUC(false, guc_level);
	count_result(apply, result);
}
