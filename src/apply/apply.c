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
 *		send			what goes to topics because it failed
 *		record			dead letters and offsets, as the catalog's owner
 *		commit
 *
 * The first attempt at a batch has no savepoint.  If it fails by a message's
 * fault it is aborted and the batch runs again isolated (isolate.c).  If COMMIT
 * itself fails, which only user code can make it, messages get a transaction
 * each.  A transaction that hits its time limit is halved, and the size is
 * remembered; so is one that has failed twice by nobody's fault.  An error that
 * may be the definition's is tried once more with the routes' states built
 * again.  What is nobody's fault, or may be the definition's, is the caller's to
 * wait for; after some tries in a row that came to nothing a message is given up
 * (judge.c).  Where so many fail that their partition stops (storm.c) the
 * transaction ends there: if it has gone beyond, it begins once more.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/apply.h"

#include "access/xact.h"
#include "apply/condemn.h"
#include "apply/failed_topic.h"
#include "apply/isolate.h"
#include "apply/judge.h"
#include "apply/order.h"
#include "apply/park.h"
#include "apply/piece.h"
#include "apply/postpone.h"
#include "apply/record.h"
#include "apply/retry.h"
#include "apply/storm.h"
#include "apply/transaction.h"
#include "apply/work.h"
#include "apply/writer.h"
#include "base/clock.h"
#include "base/subtransaction.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Least size of a transaction after one that was full of bad messages. */
#define CHUNK_AFTER_POISON	32

/* States are made again in advance alone: whoever holds a table is waited for by what is applied to it. */
#define RENEWAL_LOCK_MS		100

typedef enum Outcome
{
	OUTCOME_DONE,
	OUTCOME_MESSAGE,			/* a message's fault, not known which */
	OUTCOME_DEFINITION,
	OUTCOME_TRANSIENT,
	OUTCOME_TIMEOUT,
	OUTCOME_COMMIT,				/* COMMIT failed, by a message's fault */
	OUTCOME_STOPPED,
	OUTCOME_BEYOND,				/* a partition is to stop before the end: nothing is committed */
	OUTCOME_STORM,				/* … at the end, and has */
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
	apply->current = apply->current_route = apply->failed_at = -1;
	apply->worked = MemoryContextAllocZero(context, Max(consumer->nroutes, 1) * sizeof(bool));
	apply->doubtful_in_row = MemoryContextAllocZero(context, Max(consumer->nroutes, 1) * sizeof(int));
	apply->forms = MemoryContextAllocZero(context, Max(consumer->nroutes, 1) * sizeof(uint64));
	apply->failure_gap = -1;
	djk_route_state_init();
	djk_order_begin(apply);
	apply->writers = djk_writers_create(consumer, context);
	return apply;
}

void
djk_apply_require_routes(DjkApply *apply)
{
	for (int route = 0; route < apply->consumer->nroutes; route++)
		(void) djk_work_state(apply, route);
}

typedef struct Renewal
{
	DjkApply   *apply;
	int			route;
} Renewal;

static bool
renew_state(void *arg)
{
	const Renewal *renewal = arg;

	(void) djk_work_state(renewal->apply, renewal->route);
	return true;
}

static bool
is_invalid(const DjkRouteState *state)
{
	return state != NULL && !state->valid;
}

/* One that fails ends it: what is left of its time is not enough for the others, perhaps. */
static void
renew_states(DjkApply *apply)
{
	ErrorData  *failure = NULL;

	for (int route = 0; route < apply->consumer->nroutes && failure == NULL; route++)
	{
		Renewal		renewal = {apply, route};

		if (is_invalid(apply->states[route]))
			failure = djk_subtransaction_try(renew_state, &renewal, apply->batch_context);
	}
}

void
djk_apply_renew_routes(DjkApply *apply)
{
	MemoryContext context = CurrentMemoryContext;
	bool		any = false;

	for (int route = 0; route < apply->consumer->nroutes; route++)
		any |= is_invalid(apply->states[route]);
	if (!any)
		return;
	djk_apply_begin_between(apply, RENEWAL_LOCK_MS);
	renew_states(apply);
	djk_apply_commit();
	MemoryContextSwitchTo(context);
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
	djk_order_batch(apply);
	djk_writers_begin(apply);
	apply->work = MemoryContextAllocZero(apply->batch_context, Max(batch->nmessages, 1) * sizeof(DjkWork));
	for (int i = 0; i < batch->nmessages; i++)
		apply->work[i].route = -1;
	apply->current = apply->current_route = apply->failed_at = -1;
	apply->doubtful = false;
	apply->storm_end = 0;
	apply->parked_keys = apply->parked_asked = NULL;
	apply->park_room = -1;
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

/* After an ERROR: whose fault it was; *error is described in batch_context. */
static Outcome
recover(DjkApply *apply, bool committing, DjkError *error)
{
	ErrorData  *edata;
	DjkVerdict	verdict;
	bool		is_over = djk_apply_time_is_over(apply);

	MemoryContextSwitchTo(apply->batch_context);
	edata = CopyErrorData();
	FlushErrorState();
	djk_apply_disarm_limit();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(apply->batch_context);

	djk_judge_describe(edata, apply->batch_context, error);
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED && is_over)
		return OUTCOME_TIMEOUT;

	verdict = djk_retry_verdict(edata->sqlerrcode);
	if (verdict == DJK_VERDICT_TRANSIENT)
		return OUTCOME_TRANSIENT;
	/* At COMMIT, what is too large is the queue of notifications, because of a listener. */
	if (committing && edata->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		return OUTCOME_TRANSIENT;
	if (committing)
		return OUTCOME_COMMIT;
	return verdict == DJK_VERDICT_MESSAGE ? OUTCOME_MESSAGE : OUTCOME_DEFINITION;
}

static DjkFate *
save_fates(const DjkApply *apply, int from, int to)
{
	DjkFate    *fates = MemoryContextAlloc(apply->batch_context, Max(to - from, 1) * sizeof(DjkFate));

	for (int i = from; i < to; i++)
		fates[i - from] = apply->work[i].fate;
	return fates;
}

static void
restore_fates(DjkApply *apply, int from, int to, const DjkFate *fates)
{
	for (int i = from; i < to; i++)
		apply->work[i].fate = fates[i - from];
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
	volatile Outcome outcome = OUTCOME_DONE;
	volatile bool committing = false;
	volatile int end = *to;
	DjkFate    *fates = save_fates(apply, from, *to);

	error_context_stack = &callback;
	is_running = true;
	PG_TRY();
	{
		DjkOffsetAdvance *volatile advances = NULL;
		int			nadvances = 0;

		djk_apply_begin(apply);
		if (!djk_record_fence(apply, from, end))
			outcome = OUTCOME_LOST;
		else
		{
			end = djk_piece_first_stop(apply, from, end);
			if (isolate && end > from)
			{
				end = djk_isolate(apply, from, end, DJK_ISOLATE_MAX);
				apply->piece_from = from;
				apply->piece_to = end;
			}
			else if (end > from)
				end = djk_piece_apply(apply, from, end);
			djk_piece_set_constraints(false);
			djk_failed_send(apply, from, end);
			apply->storm_end = djk_storm_count(apply, from, end);
			if (apply->storm_end > 0)
				outcome = apply->storm_end < end ? OUTCOME_BEYOND : OUTCOME_STORM;
			if (outcome != OUTCOME_BEYOND)
				advances = djk_record_write(apply, from, end, &nadvances);
		}
		committing = true;
		if (outcome == OUTCOME_BEYOND)
			djk_apply_rollback();
		else
			djk_apply_commit();
		if (outcome == OUTCOME_DONE || outcome == OUTCOME_STORM)
		{
			djk_record_committed(apply, from, end, advances, nadvances);
			djk_judge_note_committed(apply, from, end);
		}
	}
	PG_CATCH();
	{
		error_context_stack = callback.previous;
		outcome = recover(apply, committing, error);
		/* What was found out about a message went with the transaction. */
		restore_fates(apply, from, *to, fates);
		end = from;
	}
	PG_END_TRY();
	is_running = false;
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(context);
	apply->current = apply->current_route = -1;

	if (outcome == OUTCOME_BEYOND)
	{
		restore_fates(apply, from, *to, fates);
		end = from;
	}
	if (outcome == OUTCOME_DONE && end < *to && apply->work[end].fate == DJK_FATE_STOP)
	{
		*error = apply->work[end].error;
		outcome = OUTCOME_STOPPED;
	}
	*to = end;
	return outcome;
}

/* ---------- the policy ---------- */

/* Whether so many messages fail that it is no use to try without pieces first. */
static bool
is_eager(const DjkApply *apply)
{
	return apply->failure_gap >= 0;
}

typedef struct Progress
{
	int			from;			/* first message that is not committed */
	int			storm_end;		/* the next transaction ends here, where a partition is to stop; 0: it does not */
	DjkManner	manner;
} Progress;

/* After so many successes in a row: larger transactions again. */
static void
grow_chunk(DjkApply *apply, int successes)
{
	if (apply->chunk_messages < INT_MAX && ++apply->chunk_successes >= successes)
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

/*
 * A transaction has ended well.  As many messages as it had room for are what the
 * next ones hold, where so many fail that they are isolated from the first.
 */
static void
note_success(DjkApply *apply, Progress *progress, int n, int done)
{
	if (!progress->manner.isolate)
		grow_chunk(apply, 8);
	else if (done < n)
		shrink_chunk(apply, Max(done, CHUNK_AFTER_POISON));
	else if (is_eager(apply) && apply->pieces <= DJK_ISOLATE_MAX / 2)
		grow_chunk(apply, 1);
	progress->manner.isolate = progress->manner.single || djk_work_is_impatient(apply) || is_eager(apply);
}

/* A single message hit the time limit, or fails as a whole only: its own error. */
static void
fail_single(DjkApply *apply, int message, Outcome outcome, const DjkError *error)
{
	DjkError	too_slow = *error;

	if (outcome == OUTCOME_TIMEOUT)
		djk_apply_describe_limit(apply, "applying this one message", &too_slow);
	djk_park_whole(apply, message, &too_slow);
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

	if (n == 1 && (fate == DJK_FATE_DEAD || fate == DJK_FATE_SKIPPED || fate == DJK_FATE_PARKED ||
				   fate == DJK_FATE_RETRIED))
	{
		if (outcome == OUTCOME_TIMEOUT)
			djk_apply_describe_limit(apply, "recording one message that failed", &result->error);
		result->status = DJK_APPLY_BROKEN;
		return false;
	}
	if (n == 1)
		fail_single(apply, from, outcome, &result->error);
	else if (outcome == OUTCOME_TIMEOUT)
		shrink_chunk(apply, n / 2);
	else
		progress->manner.single = true;
	progress->manner.isolate = djk_work_is_impatient(apply);
	return true;
}

/* A message stops the consumer, or holds up its partition. */
static void
stop_at(const DjkApply *apply, int message, DjkApplyResult *result)
{
	const DjkWork *work = &apply->work[message];

	result->schema = work->schema;
	result->status = work->schema != NULL ? DJK_APPLY_NO_SCHEMA : work->due_at != 0 ? DJK_APPLY_HELD : DJK_APPLY_STOPPED;
	result->attempt = work->attempt;
	result->due_at = work->due_at;
	result->is_logged = djk_postpone_is_logged(apply, message);
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
	progress->storm_end = outcome == OUTCOME_BEYOND ? apply->storm_end : 0;
	switch (outcome)
	{
		case OUTCOME_DONE:
			note_success(apply, progress, n, to - from);
			return true;
		case OUTCOME_MESSAGE:
			if (progress->manner.isolate)
				return separate(apply, progress, from, n, outcome, result);
			progress->manner.isolate = true;
			return true;
		case OUTCOME_DEFINITION:
			if (progress->manner.isolate && (progress->manner.rebuilt || !is_eager(apply)))
			{
				result->status = apply->doubtful ? DJK_APPLY_DOUBTFUL : DJK_APPLY_BROKEN;
				return false;
			}
			if (progress->manner.rebuilt)
				progress->manner.isolate = true;
			else
				forget_states(apply);
			progress->manner.rebuilt = true;
			return true;
		case OUTCOME_TIMEOUT:
		case OUTCOME_COMMIT:
			return separate(apply, progress, from, n, outcome, result);
		case OUTCOME_TRANSIENT:
			/* What fails at one row in so many never passes with more of them. */
			if (djk_work_vain(apply, from, from + n) > 0)
				shrink_chunk(apply, n / 2);
			result->status = DJK_APPLY_TRANSIENT;
			return false;
		case OUTCOME_STOPPED:
			stop_at(apply, to, result);
			return false;
		case OUTCOME_BEYOND:
			return true;
		case OUTCOME_STORM:
			result->status = DJK_APPLY_STORM;
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
				result->key_only += apply->work[i].key_only;
				break;
			case DJK_FATE_SUPERSEDED:
				result->applied++;
				break;
			case DJK_FATE_FILTERED:
				result->filtered++;
				break;
			case DJK_FATE_DUPLICATE:
				result->duplicates++;
				break;
			case DJK_FATE_STALE:
				result->stale++;
				break;
			case DJK_FATE_DEAD:
				result->dead++;
				break;
			case DJK_FATE_SKIPPED:
				result->skipped++;
				break;
			case DJK_FATE_PARKED:
				result->parked++;
				break;
			default:
				break;
		}
	}
}

/* Counts a try in vain for each partition of [from, to). */
static void
count_vain(DjkApply *apply, int from, int to)
{
	bool	   *counted = MemoryContextAllocZero(apply->batch_context, Max(apply->batch->npartitions, 1) * sizeof(bool));

	for (int i = from; i < to; i++)
	{
		int			p = apply->batch->messages[i].partition;

		if (!counted[p])
			apply->batch->partitions[p].vain++;
		counted[p] = true;
		apply->batch->partitions[p].vain_to = apply->batch->messages[i].offset + 1;
	}
}

/*
 * What a batch that waits says of its partitions: those of its last transaction,
 * which ended before 'end', or that of the message that is known to have failed.
 * It is their tries that are counted and not the batches': what others bring
 * meanwhile must neither hold the message up for ever, nor cost it its patience.
 */
static void
note_tries(DjkApply *apply, int end, DjkApplyResult *result)
{
	bool		doubtful = result->status == DJK_APPLY_DOUBTFUL;
	int			from = doubtful ? result->failed_at : result->decided;

	if (!doubtful && result->status != DJK_APPLY_TRANSIENT)
		return;
	if (doubtful)
	{
		forget_states(apply);
		end = from + 1;
	}
	count_vain(apply, from, end);
	result->tries = djk_work_vain(apply, from, end);
	result->tries_left = Max((doubtful ? DJK_TRIES_DOUBTFUL : DJK_TRIES_TRANSIENT) + 1 - result->tries, 1);
}

/*
 * Whether Kafka comes first: whom it has not heard for max.poll.interval.ms it
 * expels, and a transaction, or a try in vain, takes a third of that.  So none
 * begins after the first third; what has been found out is for the next batch.
 * But the verdict on a message alone goes with this one.
 */
static bool
has_to_pause(const DjkApply *apply, int from, TimestampTz started)
{
	return apply->time_limit_ms > 0 && apply->work[from].fate == DJK_FATE_PENDING &&
		TimestampDifferenceExceeds(started, djk_clock_now(), apply->time_limit_ms);
}

void
djk_apply_batch(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result)
{
	TimestampTz started = djk_clock_now();
	Progress	progress = {0};
	bool		going = true;
	int			end = 0;
	int			chunk_messages = apply->chunk_messages;
	int			chunk_successes = apply->chunk_successes;

	Assert(!IsTransactionState());
	memset(result, 0, sizeof(*result));
	take_batch(apply, batch);
	progress.manner = apply->manner;
	progress.manner.isolate |= djk_work_is_impatient(apply) || is_eager(apply);
	memset(&apply->manner, 0, sizeof(apply->manner));
	while (going)
	{
		int			n = progress.manner.single ? 1 : apply->chunk_messages;
		int			to;
		Outcome		outcome;

		CHECK_FOR_INTERRUPTS();
		n = Min(n, (progress.storm_end > 0 ? progress.storm_end : batch->nmessages) - progress.from);
		to = djk_condemn_begin(apply, progress.from, progress.from + n);
		n = to - progress.from;
		end = to;
		outcome = transact(apply, progress.from, &to, progress.manner.isolate, &result->error);
		djk_condemn_end(apply);
		going = follow_up(apply, &progress, outcome, n, to, result) && progress.from < batch->nmessages;
		if (going && has_to_pause(apply, progress.from, started))
		{
			apply->manner = progress.manner;
			result->status = DJK_APPLY_PAUSED;
			going = false;
		}
	}
	/* That something waits in vain says nothing of what has not been tried. */
	if (batch->again && result->status != DJK_APPLY_PAUSED && result->status != DJK_APPLY_TRANSIENT)
	{
		apply->chunk_messages = chunk_messages;
		apply->chunk_successes = chunk_successes;
	}
	result->decided = progress.from;
	result->failed_at = apply->failed_at;
	note_tries(apply, end, result);
	count_result(apply, result);
}

void
djk_apply_add_counts(DjkApplyResult *total, const DjkApplyResult *result)
{
	total->applied += result->applied;
	total->filtered += result->filtered;
	total->duplicates += result->duplicates;
	total->stale += result->stale;
	total->dead += result->dead;
	total->skipped += result->skipped;
	total->key_only += result->key_only;
}

/* ---------- inside the caller's transaction ---------- */

/* Isolation ends early where it has to look again at what it stopped at. */
static int
isolate_inside(DjkApply *apply, int end)
{
	int			decided = 0;

	do
		decided = djk_isolate(apply, decided, end, 0);
	while (decided < end && apply->work[decided].fate != DJK_FATE_STOP);
	return decided;
}

static void
apply_inside(DjkApply *apply, DjkBatch *batch, DjkApplyResult *result)
{
	int			nadvances;
	DjkOffsetAdvance *advances;

	if (!djk_record_fence(apply, 0, batch->nmessages))
		return;
	result->decided = djk_piece_first_stop(apply, 0, batch->nmessages);
	if (result->decided > 0)
		result->decided = isolate_inside(apply, result->decided);
	djk_failed_send(apply, 0, result->decided);
	(void) djk_storm_count(apply, 0, result->decided);
	advances = djk_record_write(apply, 0, result->decided, &nadvances);
	djk_record_committed(apply, 0, result->decided, advances, nadvances);
	if (result->decided < batch->nmessages)
	{
		result->schema = apply->work[result->decided].schema;
		result->status = result->schema != NULL ? DJK_APPLY_NO_SCHEMA : DJK_APPLY_STOPPED;
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
	apply->inside = true;
	error_context_stack = &callback;
	djk_set_local("DateStyle", "ISO");
	djk_set_local("IntervalStyle", "postgres");
	djk_set_local("bytea_output", "hex");

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
