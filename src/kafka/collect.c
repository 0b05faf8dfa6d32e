/*-------------------------------------------------------------------------
 *
 * collect.c
 *	  From a consumer's events to a batch: what is taken of each partition.
 *
 * What lies below the expected offset is left over from an earlier assignment
 * and is dropped.  A jump above it is sought back to once, the first of each
 * assignment: what was left over can only be at the queue's front, so when one
 * jump has come twice the later ones are gaps, of which a compacted topic has
 * thousands.
 *
 * The batch holds messages in the library's own memory until it is cleared.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/collect.h"

#include "base/clock.h"
#include "utils/memutils.h"

/* ---------- the batch's arrays ---------- */

/* May be larger than 1 GB. */
static void *
grow(MemoryContext context, void *array, int *size, int first, Size element)
{
	*size = Max(*size * 2, first);
	return array == NULL ? MemoryContextAllocHuge(context, *size * element) :
		repalloc_huge(array, *size * element);
}

static void
enter_partition(DjkCollector *collector, DjkPosition *position)
{
	DjkBatch   *batch = &collector->batch;

	if (position->batch_index >= 0)
		return;
	if (batch->npartitions == collector->partitions_size)
	{
		int			size = collector->partitions_size;

		batch->partitions = grow(collector->context, batch->partitions, &size, 16, sizeof(DjkBatchPartition));
		collector->positions = grow(collector->context, collector->positions, &collector->partitions_size, 16,
									sizeof(DjkPosition *));
	}
	position->batch_index = batch->npartitions++;
	collector->positions[position->batch_index] = position;
	djk_position_describe(position, &batch->partitions[position->batch_index]);
}

/* ---------- events ---------- */

static void
note_heard(DjkPosition *position)
{
	position->heard = true;
	position->denied = false;
}

static void
send_back(DjkCollector *collector, const DjkPosition *position, int64 offset)
{
	DjkTopicPartition where = {0};

	where.topic = (char *) position->key.topic;
	where.partition = position->key.partition;
	where.offset = offset;
	djk_consumer_seek(collector->kafka, &where, 1);
}

/* Whether what comes at 'offset' follows what was there; if it is a jump, the library is sent back. */
static bool
accept_offset(DjkCollector *collector, DjkPosition *position, int64 offset)
{
	if (offset == position->expected || position->verified)
		return true;
	if (position->jump_to == offset)
	{
		position->verified = true;
		return true;
	}
	position->jump_to = offset;
	send_back(collector, position, position->expected);
	return false;
}

/*
 * Whether an event is over with the anchor: what comes in its place shows
 * whether the partition is the one that was read.  What comes behind it, twice,
 * says that it is gone: compacted away, or too old.
 */
static bool
is_about_anchor(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event)
{
	if (!position->anchoring || event->offset < position->anchor.offset)
		return position->anchoring;
	if (event->offset > position->anchor.offset && position->jump_to != event->offset)
	{
		position->jump_to = event->offset;
		send_back(collector, position, position->anchor.offset);
		return true;
	}
	position->anchoring = false;
	if (event->offset > position->anchor.offset)
		return false;
	position->reborn = djk_message_crc(&event->message) != position->anchor.crc;
	return true;
}

bool
djk_collect_message(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event)
{
	DjkBatch   *batch = &collector->batch;
	DjkMessage *message;

	if (position == NULL || position->state != DJK_POSITION_FETCHING || position->reborn ||
		is_about_anchor(collector, position, event) || event->offset < position->expected ||
		!accept_offset(collector, position, event->offset))
	{
		djk_consumer_release(event->message.source);
		return false;
	}
	note_heard(position);
	enter_partition(collector, position);
	if (batch->nmessages == collector->messages_size)
		batch->messages = grow(collector->context, batch->messages, &collector->messages_size, 1024,
							   sizeof(DjkMessage));
	message = &batch->messages[batch->nmessages++];
	*message = event->message;
	message->partition = position->batch_index;
	message->offset = event->offset;
	batch->bytes += (Size) message->value_len + message->key_len + djk_consumer_headers_size(message);
	position->expected = event->offset + 1;
	return true;
}

/* What lies between the end and what we have is no message. */
bool
djk_collect_eof(DjkCollector *collector, DjkPosition *position, const DjkConsumerEvent *event)
{
	if (position == NULL || position->state != DJK_POSITION_FETCHING)
		return false;
	note_heard(position);
	position->high_watermark = Max(position->high_watermark, event->offset);
	/* It may end there for a moment only, when it has just got another leader. */
	if (position->anchoring && event->offset <= position->anchor.offset && position->short_since == 0)
		position->short_since = djk_clock_now();
	else if (event->offset > position->anchor.offset)
		position->anchoring = false;
	if (position->anchoring || position->reborn || event->offset <= position->expected || !accept_offset(collector, position, event->offset))
		return false;
	enter_partition(collector, position);
	position->expected = event->offset;
	return true;
}

/* ---------- the batch ---------- */

void
djk_collect_close(DjkCollector *collector)
{
	for (int i = 0; i < collector->batch.npartitions; i++)
	{
		DjkPosition *position = collector->positions[i];
		int64		high = djk_consumer_high_watermark(collector->kafka, position->key.topic, position->key.partition);

		position->high_watermark = Max(position->high_watermark, high);
		collector->batch.partitions[i].end_offset = position->expected;
		collector->batch.partitions[i].high_watermark = position->high_watermark;
	}
}

void
djk_collect_drop(DjkCollector *collector, int decided, int partition)
{
	DjkBatch   *batch = &collector->batch;
	int			n = 0;

	for (int i = 0; i < batch->nmessages; i++)
	{
		if (i < decided || batch->messages[i].partition == partition)
			djk_consumer_release(batch->messages[i].source);
		else
			batch->messages[n++] = batch->messages[i];
	}
	batch->nmessages = n;
	batch->partitions[partition].end_offset = batch->partitions[partition].next_offset;
}

void
djk_collect_drop_decided(DjkCollector *collector, int decided)
{
	DjkBatch   *batch = &collector->batch;

	for (int i = 0; i < decided; i++)
		djk_consumer_release(batch->messages[i].source);
	batch->nmessages -= decided;
	memmove(batch->messages, batch->messages + decided, batch->nmessages * sizeof(DjkMessage));
}

bool
djk_collect_has_more(const DjkCollector *collector)
{
	const DjkBatch *batch = &collector->batch;
	bool		found = batch->nmessages > 0;

	for (int p = 0; p < batch->npartitions && !found; p++)
		found = !batch->partitions[p].lost && batch->partitions[p].end_offset > batch->partitions[p].next_offset;
	return found;
}

void
djk_collect_clear(DjkCollector *collector)
{
	DjkBatch   *batch = &collector->batch;

	for (int i = 0; i < batch->nmessages; i++)
		djk_consumer_release(batch->messages[i].source);
	for (int i = 0; i < batch->npartitions; i++)
		collector->positions[i]->batch_index = -1;
	batch->nmessages = batch->npartitions = 0;
	batch->bytes = 0;
}
