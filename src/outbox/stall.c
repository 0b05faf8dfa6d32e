/*-------------------------------------------------------------------------
 *
 * stall.c
 *	  Topics that Kafka stops taking while it goes on otherwise.
 *
 * The library waits without end for a partition's leader, and for the replicas
 * that must have a message.  That is right while nobody answers, and keeps the
 * messages of all topics waiting for the one whose only replica is down.  So
 * when nothing has been acknowledged for a while, Kafka is asked about the
 * topics of the messages that are in flight.  If it does not answer, it is
 * waited for, for any time.  If it says that a partition has no leader, its
 * topic is held.  If it knows nothing against them they may be waiting for
 * replicas, and are held too, but only after longer than replicas are allowed
 * to lag by default, and a broker is allowed to be silent.
 *
 * What is in flight then is given up with its producer; some of it may be in
 * Kafka all the same, and comes twice as after a crash.
 *
 * With exactly_once there is no way around such a partition once a transaction
 * has written to it: Kafka ends a transaction, be it by giving it up, in all
 * its partitions, and lets the next begin only then.  So it is waited for, and
 * the state says for what.
 *
 * A transaction that has failed for another reason (a message was refused) is
 * not waited for: the library sends nothing more of it, not even what a lost
 * connection has put back into its queue, until it is told to give it up.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/stall.h"

#include "base/clock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "outbox/leave.h"
#include "outbox/topic.h"

#define LOOK_EVERY_MS		2000
#define LOOK_MS				1000
#define LEADERLESS_MS		10000
/* Above replica.lag.time.max.ms (30 s), below transaction.timeout.ms (60 s). */
#define SILENT_MS			45000
/* Of a message that is sent to find out whether a silent topic takes it. */
#define SILENT_AGAIN_MS		4000

/* Each topic comes once in a look, however its messages are mixed. */
static DjkOutboxTopic *
next_topic(DjkSender *sender, const DjkStall *stall, int *i, int end)
{
	for (; *i < end; (*i)++)
	{
		const DjkOutgoing *message = &sender->work.batch.messages[*i];
		DjkOutboxTopic *topic;

		if (message->delivery != DJK_DELIVERY_PENDING)
			continue;
		topic = djk_sender_topic(sender, message->topic);
		if (topic->looked_at != stall->looked_at)
			return topic;
	}
	return NULL;
}

/* False if Kafka does not answer.  What the library says of each is not kept. */
static bool
look_at_topics(DjkSender *sender, const DjkStall *stall, int first, int end)
{
	DjkOutboxTopic *topic;

	while ((topic = next_topic(sender, stall, &first, end)) != NULL)
	{
		DjkTopicLook look;

		djk_sender_housekeep(sender);
		if (djk_producer_look_at_topic(sender->link.producer, topic->name, LOOK_MS, &look) == DJK_DELIVERY_FAILED)
			return false;
		topic->leaderless = look.leaderless;
		topic->looked_at = stall->looked_at;
	}
	return true;
}

/* As of the beginning of the look: what that took is not Kafka's silence. */
static bool
is_stalled(const DjkSender *sender, const DjkOutboxTopic *topic, const DjkStall *stall)
{
	TimestampTz now = stall->looked_at;
	bool		is_probe = topic->silent && sender->outbox->claimed_topic != NULL;

	if (topic->leaderless && TimestampDifferenceExceeds(stall->since, now, LEADERLESS_MS))
		return true;
	return TimestampDifferenceExceeds(stall->since, now, is_probe ? SILENT_AGAIN_MS : SILENT_MS);
}

static const char *
reason_of(const DjkOutboxTopic *topic)
{
	return topic->leaderless ? "a partition has no leader" : "Kafka answers but does not acknowledge its messages";
}

static void
tell_stalled(DjkSender *sender, const DjkOutboxTopic *topic)
{
	char	   *reason = psprintf("topic \"%s\": %s", topic->name, reason_of(topic));

	djk_slot_set_error(djk_slot_mine(), reason);
	djk_sender_set_state(sender, DJK_STATE_UNREACHABLE, reason,
						 "Kafka cannot end a transaction that it cannot write to one of its partitions. "
						 "Look at the topic's leaders and in-sync replicas. Sending goes on by itself.");
}

static bool
hold_topics(DjkSender *sender, const DjkStall *stall, int first, int end)
{
	bool		any = false;

	for (int i = first; i < end; i++)
	{
		DjkOutboxTopic *topic;

		if (sender->work.batch.messages[i].delivery != DJK_DELIVERY_PENDING)
			continue;
		topic = djk_sender_topic(sender, sender->work.batch.messages[i].topic);
		if (!is_stalled(sender, topic, stall))
			continue;
		if (sender->connection.exactly_once)
		{
			tell_stalled(sender, topic);
			return false;
		}
		any = true;
		topic->silent = !topic->leaderless;
		djk_sender_hold_topic(sender, topic, reason_of(topic));
	}
	return any;
}

/* Notes what is in flight; true if that is as before. */
static bool
stands_still(const DjkSender *sender, DjkStall *stall)
{
	int			in_flight = djk_producer_in_flight(sender->link.producer);

	if (stall->since != 0 && in_flight == stall->in_flight)
		return true;
	stall->in_flight = in_flight;
	stall->since = stall->looked_at = djk_clock_now();
	return false;
}

/* While one is under way another cannot begin; the library's answer tells of the first. */
static bool
has_failed_transaction(DjkSender *sender)
{
	DjkError	error = {0};

	return sender->connection.exactly_once && djk_producer_begin(sender->link.producer, &error) == DJK_TRANSACTION_ABORT;
}

static bool
look_and_hold(DjkSender *sender, DjkStall *stall, int first, int end)
{
	if (has_failed_transaction(sender))
		return true;
	if (!look_at_topics(sender, stall, first, end))
	{
		/* The library told of the last broker's end once, maybe when there was nothing to send. */
		if (sender->state == DJK_STATE_RUNNING || sender->state == DJK_STATE_STARTING)
			djk_sender_set_unreachable(sender, "Kafka does not answer",
									   DJK_UNREACHABLE_HINT " Sending goes on by itself.");
		stall->since = djk_clock_now();
		return false;
	}
	/* Looking takes its time: what has come meanwhile counts. */
	djk_sender_take_events(sender);
	return stands_still(sender, stall) && hold_topics(sender, stall, first, end);
}

bool
djk_sender_hold_stalled(DjkSender *sender, DjkStall *stall, int first, int end)
{
	TimestampTz now = djk_clock_now();
	MemoryContext context;
	MemoryContext old;
	bool		any;

	if (!stands_still(sender, stall) || !TimestampDifferenceExceeds(stall->looked_at, now, LOOK_EVERY_MS))
		return false;
	stall->looked_at = now;
	/* This may go on for days within one turn. */
	context = AllocSetContextCreate(CurrentMemoryContext, "djkafka look", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	any = look_and_hold(sender, stall, first, end);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return any;
}
