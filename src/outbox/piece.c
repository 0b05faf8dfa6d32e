/*-------------------------------------------------------------------------
 *
 * piece.c
 *	  Messages of a batch that are sent together, and what their answers mean.
 *
 * A broker refuses the messages of a request as a whole, so a message that is
 * too large takes its neighbours with it; the producer is spent then, because
 * what comes after must not overtake them.  Those that were refused together
 * are suspects: they are sent again a few at a time, and then one at a time, in
 * their place among the others, until the one at fault is refused alone.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/piece.h"

#include "base/clock.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "outbox/leave.h"
#include "outbox/stall.h"
#include "outbox/topic.h"

#define LOOK_MS				5000
#define ANSWER_WAIT_MS		1000
#define LAST_ANSWERS_MS		2000

/* What is known against a message: it was refused together with others. */
enum
{
	SUSPECT_NONE,
	SUSPECT_AMONG_MANY,
	SUSPECT_AMONG_FEW,
	SUSPECT_ALONE,				/* and acquitted once: see judge_alone() */
	AT_FAULT					/* a verdict, no suspicion any more */
};

#define SUSPECTS_AT_ONCE	32

static bool
is_waiting(const DjkOutgoing *message)
{
	return message->delivery == DJK_DELIVERY_PENDING;
}

/* Whether two messages may be in one piece. */
static bool
goes_with(const DjkSender *sender, int first, int i)
{
	if (!is_waiting(&sender->work.batch.messages[i]))
		return true;
	return sender->work.suspicion[i] == sender->work.suspicion[first];
}

/*
 * The next messages that may be sent together: a few suspects, one of those
 * that were refused among few, or all up to the next suspect.  False if
 * nothing waits.
 */
bool
djk_sender_next_piece(const DjkSender *sender, DjkPiece *piece)
{
	int			i = 0;
	int			most;

	piece->first = piece->end = 0;
	while (i < sender->work.batch.nmessages && !is_waiting(&sender->work.batch.messages[i]))
		i++;
	if (i == sender->work.batch.nmessages)
		return false;
	piece->first = i;
	most = sender->work.suspicion[i] == SUSPECT_NONE ? sender->work.batch.nmessages :
		sender->work.suspicion[i] == SUSPECT_AMONG_MANY ? SUSPECTS_AT_ONCE : 1;
	while (i < sender->work.batch.nmessages && i - piece->first < most && goes_with(sender, piece->first, i))
		i++;
	piece->end = i;
	return true;
}

/* What was acknowledged before the end is told yet, and the rest is answered as failed. */
static void
take_last_answers(DjkSender *sender)
{
	TimestampTz started = djk_clock_now();

	while (djk_producer_in_flight(sender->link.producer) > 0 &&
		   !TimestampDifferenceExceeds(started, djk_clock_now(), LAST_ANSWERS_MS))
	{
		djk_worker_wait(djk_producer_fd(sender->link.producer), LAST_ANSWERS_MS / 10, "DjkafkaSend");
		djk_sender_take_events(sender);
	}
}

/*
 * Waits until no more than so many of the messages between two indexes, all
 * handed over, are in flight.  False if the producer is spent, or a topic stalls.
 */
static bool
await_all_but(DjkSender *sender, int in_flight, int first, int end)
{
	DjkStall	stall = {0};

	for (;;)
	{
		djk_sender_take_events(sender);
		if (djk_producer_spent(sender->link.producer, NULL))
		{
			take_last_answers(sender);
			return false;
		}
		if (djk_producer_in_flight(sender->link.producer) <= in_flight)
			return true;
		sender->work.stalled = djk_sender_hold_stalled(sender, &stall, first, end);
		if (sender->work.stalled)
			return false;
		djk_worker_report_idle("waiting for Kafka's answer");
		djk_worker_wait(djk_producer_fd(sender->link.producer), ANSWER_WAIT_MS, "DjkafkaSend");
		djk_sender_housekeep(sender);
	}
}

bool
djk_sender_hand_over(DjkSender *sender, const DjkPiece *piece)
{
	int			i = piece->first;
	int			end = piece->end;

	while (i < end)
	{
		int			n = 0;

		if (!is_waiting(&sender->work.batch.messages[i]))
		{
			i++;
			continue;
		}
		while (i + n < end && is_waiting(&sender->work.batch.messages[i + n]))
			n++;
		n = djk_producer_send(sender->link.producer, &sender->work.batch.messages[i], n);
		i += n;
		/* The library's queue is full: go on when a part of it has been answered. */
		if (i < end && n == 0 && !await_all_but(sender, djk_producer_in_flight(sender->link.producer) / 2, piece->first, i))
			return false;
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

bool
djk_sender_await(DjkSender *sender, const DjkPiece *piece)
{
	return await_all_but(sender, 0, piece->first, piece->end);
}

/* The library's own words are about its producer, which a refusal costs. */
static void
tell_refusal(const DjkOutgoing *message)
{
	const char *reason = message->error.message ? message->error.message : "refused";

	djk_slot_set_error(djk_slot_mine(), psprintf("message " INT64_FORMAT " for topic \"%s\": %s",
												 message->id, message->topic, reason));
	ereport(LOG,
			(errmsg("djkafka sets message " INT64_FORMAT " for topic \"%s\" aside: %s",
					message->id, message->topic, reason),
			 errhint("See djkafka_outbox_dead, then decide with djkafka_outbox_resend or djkafka_outbox_discard.")));
}

/*
 * A message that was refused alone.  The library judges by what it knew of the
 * topic when it asked last: partitions may have been added since.  Asking tells
 * it as well, so once is enough, if there is an answer.
 */
static int
judge_alone(DjkSender *sender, int i)
{
	const DjkOutgoing *message = &sender->work.batch.messages[i];
	DjkTopicLook look;

	if (sender->work.suspicion[i] == SUSPECT_ALONE || message->error.name == NULL ||
		strcmp(message->error.name, "_UNKNOWN_PARTITION") != 0)
		return AT_FAULT;
	if (djk_producer_look_at_topic(sender->link.producer, message->topic, LOOK_MS, &look) == DJK_DELIVERY_FAILED)
	{
		djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &look.error);
		return SUSPECT_AMONG_FEW;
	}
	/* Whether it has a leader by now is another matter. */
	return look.npartitions > message->partition ? SUSPECT_ALONE : AT_FAULT;
}

/* What is known against a message that was refused, as one of so many. */
static int
judge_refused(DjkSender *sender, int i, int n)
{
	if (n == 1)
		return judge_alone(sender, i);
	return n <= SUSPECTS_AT_ONCE ? SUSPECT_AMONG_FEW : SUSPECT_AMONG_MANY;
}

bool
djk_sender_judge(DjkSender *sender, const DjkPiece *piece)
{
	bool		all_done = true;

	for (int i = piece->first; i < piece->end; i++)
	{
		DjkOutgoing *message = &sender->work.batch.messages[i];
		int			verdict;

		switch (message->delivery)
		{
			case DJK_DELIVERY_DONE:
				break;
			case DJK_DELIVERY_REFUSED:
				all_done = false;
				verdict = judge_refused(sender, i, piece->end - piece->first);
				if (verdict == AT_FAULT)
				{
					tell_refusal(message);
					break;
				}
				sender->work.suspicion[i] = verdict;
				message->delivery = DJK_DELIVERY_PENDING;
				break;
			case DJK_DELIVERY_BLOCKED:
				all_done = false;
				djk_sender_hold_topic(sender, djk_sender_topic(sender, message->topic),
									  message->error.message ? message->error.message : "refused");
				break;
			case DJK_DELIVERY_FAILED:
			case DJK_DELIVERY_PENDING:
				all_done = false;
				message->delivery = DJK_DELIVERY_PENDING;
				break;
		}
	}
	return all_done;
}

int
djk_sender_count_unknown(const DjkSender *sender)
{
	int			n = 0;

	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		if (is_waiting(&sender->work.batch.messages[i]))
			n += SUSPECT_ALONE + 1 - sender->work.suspicion[i];
	}
	return n;
}
