/*-------------------------------------------------------------------------
 *
 * postpone.c
 *	  Whether a message that failed is tried again, and when.
 *
 * Asked when a message is about to get its fate: what is nobody's fault, or the
 * definition's, has been told from it by then (judge.c).  How often it was tried
 * stands in its row of djkafka_parked, or its partition's offset row if that waits
 * for it, and is written after it was tried: whatever ends a worker in between, no
 * try is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/postpone.h"

#include "apply/lane.h"
#include "apply/retry.h"
#include "apply/retry_topic.h"
#include "common/pg_prng.h"
#include "state/parked.h"
#include "utils/timestamp.h"

static const DjkRetryPolicy *
policy_of(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;

	return route >= 0 ? &apply->consumer->routes[route].policy : NULL;
}

/* What takes the server down is not tried again, whatever a policy says. */
static bool
is_worth_it(const DjkRetryPolicy *policy, int sqlstate)
{
	if (sqlstate == DJK_ERRCODE_CRASHED)
		return false;
	return policy->errors == DJK_RETRY_HELPFUL ? djk_retry_helps(sqlstate) : djk_retry_policy_names(policy, sqlstate);
}

int
djk_postpone_attempt(const DjkApply *apply, int message)
{
	const DjkMessage *m = &apply->batch->messages[message];
	const DjkBatchPartition *partition = &apply->batch->partitions[m->partition];

	if (apply->batch->again)
		return ((const DjkParked *) m->source)->attempt;
	if (apply->consumer->retries_of != 0)
		return djk_retry_topic_attempt(apply, message);
	return !apply->batch->detached && partition->held_offset == m->offset ? partition->held_attempt : 0;
}

bool
djk_postpone(const DjkApply *apply, int message, int sqlstate, int *attempt, TimestampTz *due_at)
{
	const DjkRetryPolicy *policy = policy_of(apply, message);
	int			before = djk_postpone_attempt(apply, message);

	*attempt = before;
	*due_at = 0;
	if (policy == NULL || apply->batch->detached || !is_worth_it(policy, sqlstate))
		return false;
	if (policy->max_retries != DJK_RETRY_FOR_EVER && before >= policy->max_retries)
		return false;
	*attempt = before < PG_INT32_MAX ? before + 1 : before;
	*due_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										  djk_retry_policy_delay_ms(policy, *attempt, pg_prng_double(&pg_global_prng_state)));
	return true;
}

char *
djk_postpone_detail(const DjkApply *apply, int message, int sqlstate)
{
	const DjkRetryPolicy *policy = policy_of(apply, message);
	int			tried = djk_postpone_attempt(apply, message);
	const char *times = tried == 1 ? "once" : psprintf("%d times", tried);

	if (tried == 0)
		return NULL;
	if (djk_lane_is_too_old(apply, message))
		return psprintf("It was tried again %s, and has waited as long as max_lane_age of its route allows.", times);
	if (policy != NULL && is_worth_it(policy, sqlstate))
		return psprintf("It was tried again %s, as often as max_retries of its retry policy allows.", times);
	return psprintf("It was tried again %s; what it failed with now is not tried again.", times);
}

bool
djk_postpone_is_logged(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];
	const DjkRetryPolicy *policy = policy_of(apply, message);

	return work->due_at != 0 && work->attempt > 0 && policy != NULL && policy->log_every != 0 && work->attempt % policy->log_every == 0;
}

bool
djk_postpone_is_blocking(const DjkApply *apply, int message)
{
	const DjkRetryPolicy *policy = policy_of(apply, message);

	/* What has waited has been passed by already, here or in a topic. */
	return policy != NULL && policy->blocking && !apply->batch->again && apply->consumer->retries_of == 0;
}

bool
djk_postpone_is_sent(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;
	const DjkRetryPolicy *policy = policy_of(apply, message);

	return policy != NULL && policy->through_topics && !policy->blocking &&
		apply->consumer->routes[route].unordered && apply->consumer->routes[route].retry_topic != NULL;
}

void
djk_postpone_log(const DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		const DjkMessage *message = &apply->batch->messages[i];
		const DjkBatchPartition *partition = &apply->batch->partitions[message->partition];

		if ((work->fate != DJK_FATE_PARKED && work->fate != DJK_FATE_RETRIED) || !djk_postpone_is_logged(apply, i))
			continue;
		ereport(LOG,
				(errmsg("djkafka consumer \"%s\" tries a message again at %s, as retry number %d: topic \"%s\", partition %d, offset " INT64_FORMAT,
						apply->consumer->name, timestamptz_to_str(work->due_at), work->attempt, partition->topic,
						partition->partition, message->offset),
				 errdetail_internal("%s: %s", unpack_sql_state(work->error.sqlstate), work->error.message)));
	}
}
