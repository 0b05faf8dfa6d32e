/*-------------------------------------------------------------------------
 *
 * held.c
 *	  Partitions that wait until a message of theirs is tried again.
 *
 * A retry policy that is blocking keeps the order of the whole partition: behind
 * a message that failed nothing of it is applied, and its offset does not move.
 * What has been fetched of it is thrown away, and it is not fetched until the
 * message is due; other partitions go on.
 *
 * How often the message was tried is in the offset row, so that neither a restart
 * nor another owner forgets it.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/held.h"

#include "base/clock.h"
#include "state/offset.h"
#include "utils/timestamp.h"

static bool
write_down(const DjkPosition *position, int64 offset, const DjkApplyResult *result)
{
	DjkIdentity identity;
	bool		is_ours;

	djk_worker_begin(&identity);
	is_ours = djk_offset_hold(position->offset_id, position->generation, position->next_offset, offset,
							  result->attempt, result->due_at, &result->error);
	djk_worker_commit(&identity);
	return is_ours;
}

static void
tell(const DjkConsumerWorker *worker, const DjkPosition *position, const DjkApplyResult *result)
{
	char	   *reason = psprintf("topic \"%s\", partition %d, offset " INT64_FORMAT ": %s", position->key.topic,
								  position->key.partition, position->held_offset, result->error.message);

	djk_slot_set_error(djk_slot_mine(), reason);
	if (result->is_logged)
		ereport(LOG,
				(errmsg("djkafka consumer \"%s\" holds a partition until %s, for retry number %d of a message: %s",
						worker->row->name, timestamptz_to_str(result->due_at), result->attempt, reason)));
}

void
djk_held_begin(DjkConsumerWorker *worker, const DjkApplyResult *result)
{
	const DjkMessage *message = &worker->collector.batch.messages[result->decided];
	DjkPosition *position = worker->collector.positions[message->partition];

	if (write_down(position, message->offset, result))
	{
		position->held_offset = message->offset;
		position->held_attempt = result->attempt;
		position->held_until = result->due_at;
		position->lacks_schema = false;
		djk_positions_hold(worker->positions, position);
		tell(worker, position, result);
	}
	else
		djk_positions_reload(worker->positions, position);
	djk_collect_drop(&worker->collector, result->decided, message->partition);
}

void
djk_held_end(DjkConsumerWorker *worker)
{
	if (worker->positions->held_until == 0 || worker->retry_at != 0 ||
		GetCurrentTimestamp() < worker->positions->held_until)
		return;
	djk_positions_release(worker->positions, GetCurrentTimestamp());
	djk_positions_fetch(worker->positions);
}

long
djk_held_ms(const DjkConsumerWorker *worker, long limit_ms)
{
	if (worker->positions->held_until == 0 || worker->retry_at != 0)
		return limit_ms;
	return Min(limit_ms, (Max(worker->positions->held_until - GetCurrentTimestamp(), 0) + 999) / 1000);
}
