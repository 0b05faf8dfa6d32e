/*-------------------------------------------------------------------------
 *
 * storm.c
 *	  A partition of which too many messages fail stops.
 *
 * That a message which fails is put aside is right while few do.  Where all do,
 * because a table has changed or a producer has, a topic would be poured into
 * djkafka_dead_letter until the disk is full.
 *
 * So each partition's row counts its recent messages, and those of them that
 * failed; both are halved whenever the first comes to the consumer's window, by
 * which the past is forgotten.  When a message fails, and with it more than a
 * share of the recent ones, the partition stops behind that.  What is counted
 * depends on the messages and their order alone: so does the place, however they
 * were batched, and whichever worker has read them.  A transaction that has gone
 * beyond is undone, and ends there.
 *
 * What waits is counted when it has its fate.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/storm.h"

#include "state/event.h"
#include "state/offset.h"
#include "utils/elog.h"

static bool
has_failed(const DjkWork *work)
{
	return work->fate == DJK_FATE_DEAD || (work->fate == DJK_FATE_SKIPPED && !work->is_skipped);
}

static bool
has_passed(const DjkWork *work)
{
	return work->fate == DJK_FATE_APPLIED || work->fate == DJK_FATE_DUPLICATE || work->fate == DJK_FATE_STALE;
}

/* Fewer than half a window tell nothing: the first messages of a topic may be what was wrong. */
static bool
is_storm(const DjkConsumerRow *consumer, const DjkRecent *recent)
{
	return recent->failed > consumer->storm_share * Max(recent->messages, consumer->storm_window / 2);
}

static void
count(DjkRecent *recent, int window, bool failed)
{
	while (recent->messages >= window)
	{
		recent->messages /= 2;
		recent->failed /= 2;
	}
	recent->messages++;
	recent->failed += failed;
}

int
djk_storm_count(DjkApply *apply, int from, int to)
{
	const DjkBatch *batch = apply->batch;
	int			end = 0;

	apply->recent = MemoryContextAllocZero(apply->batch_context, Max(batch->npartitions, 1) * sizeof(DjkRecent));
	for (int p = 0; p < batch->npartitions; p++)
	{
		apply->recent[p] = batch->partitions[p].recent;
		/* One that an attempt has stopped in vain. */
		apply->batch->partitions[p].storms = false;
	}
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		DjkRecent  *recent = &apply->recent[batch->messages[i].partition];
		bool		failed = has_failed(work);

		if (!failed && !has_passed(work))
			continue;
		count(recent, apply->consumer->storm_window, failed);
		if (failed && end == 0 && !apply->inside && !batch->detached && is_storm(apply->consumer, recent))
			end = i + 1;
	}
	return end;
}

void
djk_storm_write(DjkApply *apply, int end)
{
	const DjkMessage *message = &apply->batch->messages[end - 1];
	const DjkError *error = &apply->work[end - 1].error;
	DjkBatchPartition *partition = &apply->batch->partitions[message->partition];
	const DjkRecent *recent = &apply->recent[message->partition];
	DjkEvent	event = {0};

	event.kind = "storm";
	event.consumer_id = apply->consumer->id;
	event.consumer = apply->consumer->name;
	event.topic = partition->topic;
	event.partition = partition->partition;
	event.state = "storm";
	event.reason = psprintf("topic \"%s\", partition %d, has stopped behind offset " INT64_FORMAT ": " INT64_FORMAT " of " INT64_FORMAT
							" recent messages have failed, this one with %s: %s",
							partition->topic, partition->partition, message->offset, recent->failed, recent->messages,
							unpack_sql_state(error->sqlstate), error->message ? error->message : "");
	djk_event_write(&event);
	djk_offset_storm(partition->offset_id, event.reason);
	partition->storms = true;
}
