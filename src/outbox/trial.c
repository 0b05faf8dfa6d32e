/*-------------------------------------------------------------------------
 *
 * trial.c
 *	  exactly_once: which messages of a batch Kafka refuses.
 *
 * A transaction tells of one refusal: the library sends nothing more in it, and
 * it can only be given up.  So when there was one, the rest of the batch is
 * tried before it is sent again, in transactions that are given up too, of which
 * each goes on where the last one failed.  Else each message that is refused
 * would cost all that comes before it once more.
 *
 * What is given up may come in any order.  So it is tried from the smallest
 * message to the largest: what is too large comes last then and at one go,
 * while every message that is taken behind one that was refused costs a
 * transaction more (DJK_VAIN_MAX).  What is sent then may be refused all the
 * same, for messages go in other pieces; so a second trial of a batch is in its
 * own order, and what was taken in that is taken again.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/trial.h"

#include "outbox/deliver.h"
#include "outbox/number.h"
#include "outbox/piece.h"
#include "outbox/topic.h"

#define CALL_MS		10000

/* The batch in the order in which it is tried. */
typedef struct Trial
{
	DjkOutboxBatch batch;		/* as it was */
	uint8	   *suspicion;
	int		   *places;			/* of its messages, in the order of the trial */
} Trial;

void
djk_sender_take_back(DjkSender *sender)
{
	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		if (sender->work.batch.messages[i].delivery == DJK_DELIVERY_DONE)
			sender->work.batch.messages[i].delivery = DJK_DELIVERY_PENDING;
	}
}

void
djk_sender_give_up_transaction(DjkSender *sender)
{
	for (;;)
	{
		DjkError	error = {0};

		switch (djk_producer_abort(sender->link.producer, CALL_MS, &error))
		{
			case DJK_TRANSACTION_OK:
				if (djk_producer_has_purged(sender->link.producer))
					djk_sender_drop_producer(sender);
				return;
			case DJK_TRANSACTION_RETRY:
				djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
				break;
			default:
				djk_sender_drop_spent(sender, &error);
				return;
		}
	}
}

/* ---------- the order ---------- */

typedef struct Candidate
{
	int			place;
	int			suspicion;
	Size		bytes;
} Candidate;

static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *one = a;
	const Candidate *other = b;

	if (one->suspicion != other->suspicion)
		return one->suspicion < other->suspicion ? -1 : 1;
	if (one->bytes != other->bytes)
		return one->bytes < other->bytes ? -1 : 1;
	return one->place < other->place ? -1 : one->place > other->place;
}

static void
choose_order(const DjkSender *sender, int *places)
{
	const DjkOutboxBatch *batch = &sender->work.batch;
	Candidate  *candidates = palloc(batch->nmessages * sizeof(Candidate));

	for (int i = 0; i < batch->nmessages; i++)
	{
		const DjkOutgoing *message = &batch->messages[i];

		candidates[i].place = i;
		candidates[i].suspicion = sender->work.suspicion[i];
		candidates[i].bytes = message->key_len + message->value_len;
	}
	if (!sender->work.tried)
		qsort(candidates, batch->nmessages, sizeof(Candidate), compare_candidates);
	for (int i = 0; i < batch->nmessages; i++)
		places[i] = candidates[i].place;
	pfree(candidates);
}

/* Answers are written into the messages, so these stay as long as the batch. */
static void
begin_trial(DjkSender *sender, Trial *trial)
{
	DjkSenderWork *work = &sender->work;
	MemoryContext saved = MemoryContextSwitchTo(work->batch.context);
	int			n = work->batch.nmessages;

	trial->batch = work->batch;
	trial->suspicion = work->suspicion;
	trial->places = palloc(n * sizeof(int));
	choose_order(sender, trial->places);
	work->batch.messages = palloc(n * sizeof(DjkOutgoing));
	work->suspicion = palloc(n);
	for (int i = 0; i < n; i++)
	{
		work->batch.messages[i] = trial->batch.messages[trial->places[i]];
		work->suspicion[i] = trial->suspicion[trial->places[i]];
	}
	MemoryContextSwitchTo(saved);
}

static void
end_trial(DjkSender *sender, const Trial *trial)
{
	DjkSenderWork *work = &sender->work;

	for (int i = 0; i < work->batch.nmessages; i++)
	{
		trial->batch.messages[trial->places[i]] = work->batch.messages[i];
		trial->suspicion[trial->places[i]] = work->suspicion[i];
	}
	work->batch = trial->batch;
	work->suspicion = trial->suspicion;
	work->tried = true;
}

/* ---------- the trial ---------- */

/* Whether a trial can find out more: not where the producer or a topic stands in the way. */
static bool
may_try(const DjkSender *sender)
{
	return (sender->link.producer == NULL || !djk_producer_spent(sender->link.producer, NULL)) &&
		!sender->work.stalled && !djk_sender_has_blocked(sender);
}

static void
try_rest(DjkSender *sender)
{
	DjkError	error = {0};

	djk_sender_require_ready(sender);
	if (djk_producer_begin(sender->link.producer, &error) != DJK_TRANSACTION_OK)
		return;
	(void) djk_sender_send(sender, true);
	if (!djk_producer_spent(sender->link.producer, NULL))
		djk_sender_give_up_transaction(sender);
}

void
djk_sender_find_refused(DjkSender *sender)
{
	Trial		trial;
	int			unknown = djk_sender_count_unknown(sender);
	int			vain = 0;

	begin_trial(sender, &trial);
	while (unknown > 0 && vain <= DJK_VAIN_MAX && may_try(sender))
	{
		int			left;

		try_rest(sender);
		left = djk_sender_count_unknown(sender);
		vain = left == unknown ? vain + 1 : 0;
		unknown = left;
	}
	end_trial(sender, &trial);
	djk_sender_take_back(sender);
}
