/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  What a consumer worker says of a batch that came to nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/failure.h"

#include "apply/retry.h"
#include "base/clock.h"
#include "base/settings.h"
#include "common/pg_prng.h"
#include "consumer/member_event.h"
#include "mb/pg_wchar.h"
#include "state/skip.h"
#include "utils/timestamp.h"

#define RETRY_BASE_MS			100
#define RETRY_DOUBTFUL_MS		1000
#define RETRY_DOUBTFUL_MAX_MS	5000	/* so that what is fixed goes on soon */

/* The message that failed, or the one that the batch has come to; NULL: there is none. */
static const DjkMessage *
failed_message(const DjkBatch *batch, const DjkApplyResult *result)
{
	int			i = result->failed_at >= 0 ? result->failed_at : result->decided;

	return i < batch->nmessages ? &batch->messages[i] : NULL;
}

static char *
tell(const DjkBatch *batch, const DjkApplyResult *result)
{
	const DjkMessage *message = failed_message(batch, result);
	const DjkBatchPartition *partition;
	bool		alone = result->failed_at >= 0 || result->status == DJK_APPLY_STOPPED;

	if (message == NULL)
		return pstrdup(result->error.message);
	partition = &batch->partitions[message->partition];
	return psprintf("topic \"%s\", partition %d, %soffset " INT64_FORMAT "%s: %s", partition->topic,
					partition->partition, alone ? "" : "from ", message->offset, alone ? "" : " on",
					result->error.message);
}

/* The command that skips the message that failed; palloc'd. */
static char *
tell_skip(const DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result)
{
	const DjkMessage *message = failed_message(batch, result);
	const DjkBatchPartition *partition;

	if (message == NULL)
		return pstrdup("djkafka_skip");
	partition = &batch->partitions[message->partition];
	return djk_skip_command(worker->row->name, partition->topic, partition->partition, message->offset);
}

/* What the error says itself comes first, as far as there is room: the command is to be whole. */
static char *
behind_hint(const DjkApplyResult *result, char *sentence)
{
	const char *hint = result->error.hint;
	int			room = DJK_HINT_SIZE - 2 - (int) strlen(sentence);

	if (hint == NULL || room <= 0)
		return sentence;
	return psprintf("%.*s %s", pg_mbcliplen(hint, strlen(hint), room), hint, sentence);
}

static char *
tell_remedy(const DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result)
{
	switch (result->status)
	{
		case DJK_APPLY_STOPPED:
			return behind_hint(result, psprintf("on_error is stop: fix the cause, or skip this one message: %s",
												tell_skip(worker, batch, result)));
		case DJK_APPLY_DOUBTFUL:
			return behind_hint(result, psprintf("If it is the message alone: after %d more tries it becomes what on_error says, or skip it now: %s",
												result->tries_left, tell_skip(worker, batch, result)));
		case DJK_APPLY_TRANSIENT:
			return behind_hint(result, psprintf("It is tried again; what alone still fails after %d more tries becomes what on_error says.",
												result->tries_left));
		default:
			return result->error.hint ? pstrdup(result->error.hint) : NULL;
	}
}

/* ---------- what follows ---------- */

/* A batch of which something has passed has failed elsewhere than the one before. */
static void
count_attempt(DjkConsumerWorker *worker, const DjkApplyResult *result)
{
	worker->attempt = result->decided > 0 ? Max(result->tries, 1) : worker->attempt + 1;
}

void
djk_failure_wait(DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result)
{
	bool		doubtful = result->status == DJK_APPLY_DOUBTFUL;
	int64		max_ms = (int64) djk_max_retry_interval_s * 1000;
	char	   *reason = tell(batch, result);
	int64		delay;

	count_attempt(worker, result);
	delay = djk_retry_delay_ms(worker->attempt, doubtful ? RETRY_DOUBTFUL_MS : RETRY_BASE_MS,
							   doubtful ? Min(max_ms, RETRY_DOUBTFUL_MAX_MS) : max_ms,
							   pg_prng_double(&pg_global_prng_state));
	worker->retry_at = djk_clock_now() + delay * 1000;
	djk_positions_rewind(worker->positions);
	djk_positions_suspend(worker->positions);
	djk_slot_set_retry(djk_slot_mine(), worker->attempt, djk_clock_to_timestamp(worker->retry_at));
	djk_slot_set_error(djk_slot_mine(), reason);
	worker->proving = true;
	djk_member_set_state(worker, doubtful ? DJK_STATE_BROKEN : DJK_STATE_BACKOFF, reason, tell_remedy(worker, batch, result));
	ereport(LOG,
			(errmsg("djkafka consumer \"%s\" waits " INT64_FORMAT " ms before it tries a batch again: %s",
					worker->row->name, delay, reason)));
}

void
djk_failure_retry_now(DjkConsumerWorker *worker)
{
	worker->retry_at = 0;
	worker->proof_from = djk_clock_now();
	djk_slot_set_retry(djk_slot_mine(), worker->attempt, 0);
	djk_member_load_and_fetch(worker);
}

pg_noreturn void
djk_failure_throw(const DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result)
{
	char	   *hint = tell_remedy(worker, batch, result);

	ereport(ERROR,
			(errcode(DJK_ERRCODE_BROKEN),
			 errmsg("%s", tell(batch, result)),
			 result->error.detail ? errdetail("%s", result->error.detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}
