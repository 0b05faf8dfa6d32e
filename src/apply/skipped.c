/*-------------------------------------------------------------------------
 *
 * skipped.c
 *	  The message that djkafka_skip has asked to pass by.
 *
 * Its offset stands in the partition's row, and is read with the row's lock: so
 * it counts from the next transaction on.  Nothing looks at the message, for
 * looking may be what fails, or crashes.  The wish goes with the transaction
 * that goes past it (djk_offset_advance), also where Kafka holds no message
 * there.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/skipped.h"

#include "state/event.h"
#include "state/skip.h"

/* What an earlier attempt has found out about it does not count any more. */
static void
skip(DjkWork *work)
{
	work->fate = DJK_FATE_SKIPPED;
	work->is_skipped = true;
	work->was_unprepared = false;
	work->route = -1;
	work->context = NULL;
	work->attempt = 0;
	work->due_at = 0;
	memset(&work->error, 0, sizeof(work->error));
}

void
djk_skipped_mark(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkMessage *message = &apply->batch->messages[i];
		DjkWork    *work = &apply->work[i];

		if (work->fate == DJK_FATE_LOST)
			continue;
		if (apply->batch->partitions[message->partition].skip_offset == message->offset)
			skip(work);
		else if (work->is_skipped)
		{
			/* It was taken back between two transactions of the batch. */
			work->fate = DJK_FATE_PENDING;
			work->is_skipped = false;
		}
	}
}

/* ---------- what is told of it ---------- */

static bool
was_skipped(const DjkApply *apply, int from, int to, int partition)
{
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].is_skipped && apply->batch->messages[i].partition == partition)
			return true;
	}
	return false;
}

void
djk_skipped_tell(DjkApply *apply, int from, int to, const DjkOffsetAdvance *advances, int n)
{
	const DjkBatch *batch = apply->batch;

	for (int i = 0; i < n && !batch->detached; i++)
	{
		const DjkOffsetAdvance *advance = &advances[i];
		DjkEvent	event = {0};
		int			p = advance->partition;

		if (advance->skip_offset < 0 || advance->skip_offset >= advance->next_offset)
			continue;
		event.consumer_id = apply->consumer->id;
		event.consumer = apply->consumer->name;
		event.topic = batch->partitions[p].topic;
		event.partition = batch->partitions[p].partition;
		djk_skip_tell(&event, advance->skip_offset, was_skipped(apply, from, to, p) ?
					  DJK_SKIP_DONE : DJK_SKIP_IS_GAP, -1);
	}
}
