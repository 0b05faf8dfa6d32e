/*-------------------------------------------------------------------------
 *
 * share.c
 *	  How much of a partition a worker asks for at once, and how many messages ahead.
 *
 * It is less from one look to the next where more partitions have a backlog
 * than an answer has room for, or where an answer holds too many messages: some
 * partitions would get nothing, or wait for long, and the memory would not be
 * what was allowed.  It is more only after some seconds in which the worker
 * waited for messages though there was a backlog: nothing else is gained by it.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/share.h"

#include "base/clock.h"
#include "base/settings.h"
#include "state/offset.h"
#include "state/shmem.h"

/* All shares together: to begin with, and at most. */
#define SUM_BEGIN_BYTES		(256 * 1024)
#define SUM_MAX_BYTES		(DJK_ANSWER_BYTES / 2)

/* Where nothing is known of the topics yet. */
#define UNKNOWN_PARTITIONS	16
#define UNKNOWN_BYTES		100

/* Messages that an answer should hold, and with which it is too much. */
#define ANSWER_MESSAGES		15000
#define ANSWER_TOO_MANY		40000

#define LOOK_EVERY_MS		250

/* Waiting for this part of the time is being hungry; after so many looks it asks for so much more. */
#define HUNGRY_PART			8
#define HUNGRY_LOOKS		4
#define GROWTH				8

/* A backlog of less than so many shares is read before another worker is up. */
#define WORTHWHILE_SHARES	50

/* Of messages ahead: fewer are asked for when so many times less fit, more when so many times more have fit for so long. */
#define TOO_MANY_TIMES		2
#define TOO_FEW_TIMES		8
#define TOO_FEW_MS			60000

typedef struct Backlog
{
	int			npartitions;	/* that are given to us */
	int			busy;			/* that could fill their share */
	int			large;			/* that could for a while */
	int64		bytes;			/* of all, each as far as its share goes */
	int64		rest;			/* of these, what is not of the busy ones */
} Backlog;

static int
clamp(int64 bytes)
{
	return (int) Min(Max(bytes, DJK_SHARE_MIN_BYTES), DJK_SHARE_MAX_BYTES);
}

void
djk_share_begin(DjkShare *share, const DjkConsumerRow *consumer)
{
	DjkSlotShare chosen = djk_slot_share(djk_slot_mine());
	int			known;

	share->looked_at = djk_clock_now();
	share->message_bytes = UNKNOWN_BYTES;
	share->queue_messages = chosen.messages > 0 ? chosen.messages : DJK_QUEUE_MESSAGES;
	share->queue_fitting = share->queue_messages;
	share->bytes = chosen.bytes;
	if (share->bytes > 0)
		return;
	known = djk_offset_count(consumer->id);
	known = known == 0 ? UNKNOWN_PARTITIONS : (known - 1) / Max(consumer->workers, 1) + 1;
	share->bytes = clamp(SUM_BEGIN_BYTES / known);
}

void
djk_share_note_queue(DjkShare *share, int64 queued)
{
	share->most_queued = Max(share->most_queued, queued);
}

void
djk_share_note_batch(DjkShare *share, const DjkBatch *batch)
{
	int64		uncounted = batch->bytes;

	if (batch->nmessages == 0)
		return;
	share->message_bytes = (int) Min(batch->bytes / batch->nmessages + 1, PG_INT32_MAX);
	for (int i = 0; i < batch->nmessages; i++)
		uncounted -= batch->messages[i].value_len;
	share->queue_fitting = (int) Min((int64) djk_queue_size_kb * 1024 / (uncounted / batch->nmessages + 1), DJK_QUEUE_MESSAGES);
	share->queue_fitting = Max(share->queue_fitting, DJK_QUEUE_MESSAGES_MIN);
}

void
djk_share_note_wait(DjkShare *share, TimestampTz waited_us)
{
	share->waited_us += waited_us;
}

/* Nothing is asked over the network: it is what the brokers said with their last answers. */
static void
measure(const DjkShare *share, const DjkPositions *positions, Backlog *backlog)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	int64		messages = share->bytes / share->message_bytes + 1;

	memset(backlog, 0, sizeof(*backlog));
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		int64		behind;

		backlog->npartitions++;
		if (position->state != DJK_POSITION_FETCHING)
			continue;
		behind = djk_consumer_high_watermark(positions->kafka, position->key.topic, position->key.partition) -
			position->expected;
		backlog->bytes += Min(Max(behind, 0), messages) * share->message_bytes;
		if (behind >= messages)
			backlog->busy++;
		else
			backlog->rest += Max(behind, 0) * share->message_bytes;
		if (behind / WORTHWHILE_SHARES >= messages)
			backlog->large++;
	}
}

static int
choose(DjkShare *share, const Backlog *backlog, bool waited)
{
	int64		bytes = share->bytes;
	int64		answer = share->most_queued - share->queue_messages;
	int64		more;

	if (answer > ANSWER_TOO_MANY)
		return clamp(bytes * ANSWER_MESSAGES / answer);
	/* A message more than a share is counted of each. */
	if (backlog->bytes > DJK_ANSWER_BYTES + (int64) backlog->busy * share->message_bytes)
		return clamp(SUM_BEGIN_BYTES / backlog->npartitions);

	/* Where it waits the queue is empty before an answer comes. */
	more = Min(SUM_MAX_BYTES, Max(DJK_ANSWER_BYTES - backlog->rest, 0)) / Max(backlog->busy, 1);
	more = Min(bytes * GROWTH, more);
	more = clamp(Min(more, bytes * ANSWER_MESSAGES / Max(share->most_queued, 1)));
	if (waited && backlog->large > 0 && more >= bytes * 2)
		share->hungry++;
	else
		share->hungry = 0;
	return (int) (share->hungry >= HUNGRY_LOOKS ? more : bytes);
}

bool
djk_share_is_wrong(DjkShare *share, const DjkPositions *positions)
{
	TimestampTz now = djk_clock_now();
	TimestampTz passed = now - share->looked_at;
	Backlog		backlog;
	int			wanted;

	if (passed < LOOK_EVERY_MS * INT64CONST(1000))
		return false;
	measure(share, positions, &backlog);
	wanted = choose(share, &backlog, share->waited_us > passed / HUNGRY_PART);
	share->looked_at = now;
	share->waited_us = share->most_queued = 0;
	if (wanted == share->bytes)
		return false;
	djk_slot_set_share(djk_slot_mine(), (DjkSlotShare) {wanted, share->queue_messages});
	return true;
}

bool
djk_share_queue_is_wrong(DjkShare *share)
{
	TimestampTz now = djk_clock_now();

	if (share->queue_fitting / TOO_FEW_TIMES < share->queue_messages)
		share->roomy_since = 0;
	else if (share->roomy_since == 0)
		share->roomy_since = now;
	if (share->queue_fitting >= share->queue_messages / TOO_MANY_TIMES &&
		(share->roomy_since == 0 || !TimestampDifferenceExceeds(share->roomy_since, now, TOO_FEW_MS)))
		return false;
	djk_slot_set_share(djk_slot_mine(), (DjkSlotShare) {share->bytes, share->queue_fitting});
	return true;
}
