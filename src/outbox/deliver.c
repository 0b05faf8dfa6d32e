/*-------------------------------------------------------------------------
 *
 * deliver.c
 *	  Sending a batch of the outbox until every message has its answer.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/deliver.h"

#include "outbox/piece.h"
#include "outbox/topic.h"
#include "outbox/turn.h"

/* While Kafka works on what it was handed the next batch is read.  False as djk_sender_await(). */
static bool
send_piece(DjkSender *sender, const DjkPiece *piece)
{
	if (!djk_sender_hand_over(sender, piece))
		return false;
	djk_sender_read_ahead(sender);
	return djk_sender_await(sender, piece);
}

bool
djk_sender_send(DjkSender *sender, bool stop_at_failure)
{
	DjkPiece	piece;

	sender->work.stalled = false;
	while (djk_sender_next_piece(sender, &piece))
	{
		bool		alive = send_piece(sender, &piece);
		bool		all_done;

		if (!alive)
			djk_producer_forget(sender->link.producer);
		all_done = djk_sender_judge(sender, &piece);
		if (!alive || (stop_at_failure && !all_done))
			return false;
	}
	return true;
}

void
djk_sender_deliver(DjkSender *sender)
{
	for (;;)
	{
		DjkError	error = {0};
		int			unknown;

		djk_sender_require_producer(sender);
		djk_sender_check_topics(sender);
		unknown = djk_sender_count_unknown(sender);
		if (djk_sender_send(sender, false))
		{
			sender->link.attempt = 0;
			return;
		}
		(void) djk_producer_spent(sender->link.producer, &error);
		error.message = pstrdup(error.message ? error.message : "the producer cannot go on");
		djk_sender_drop_producer(sender);
		/* One that was refused costs a producer, and is progress; so is a topic that is held. */
		if (djk_sender_count_unknown(sender) == unknown && !sender->work.stalled)
			djk_sender_back_off(sender, DJK_STATE_BACKOFF, &error);
	}
}
