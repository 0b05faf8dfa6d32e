/*-------------------------------------------------------------------------
 *
 * outbox_send.c
 *	  Sending a batch of the outbox until every message has its answer.
 *
 * A broker refuses the messages of a request as a whole, so a message that is
 * too large takes its neighbours with it; the producer is spent then, because
 * what comes after must not overtake them.  Those that were refused together
 * are suspects: they are sent again a few at a time, and then one at a time, in
 * their place among the others, until the one at fault is refused alone.
 *
 * A topic is asked for before its first message is sent.  One that cannot be
 * written to is held: its messages are set aside, in their order, and the
 * others flow.  It is asked for again now and then.  So is one that stops
 * taking messages on the way (outbox_stall.c).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_sender.h"

#include "apply/retry.h"
#include "base/clock.h"
#include "base/settings.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CHECK_TOPIC_MS		5000
#define LOOK_MS				5000
/* Spent in vain on topics of one batch: looks are short from here on; the rest is not looked at now. */
#define VAIN_SHORT_MS		2000
#define VAIN_ENOUGH_MS		10000
#define HELD_RETRY_BASE_MS	1000
#define HELD_RETRY_MAX_MS	10000
#define HELD_RETRY_EACH_MS	20		/* so many looks at least are not a load */
#define SILENT_RETRY_MAX_MS	60000	/* it costs the others a moment each time */
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

/* ---------- topics ---------- */

DjkOutboxTopic *
djk_sender_topic(DjkSender *sender, const char *name)
{
	bool		found;
	DjkOutboxTopic *topic = hash_search(sender->topics, name, HASH_ENTER, &found);

	if (!found)
		memset((char *) topic + sizeof(topic->name), 0, sizeof(*topic) - sizeof(topic->name));
	return topic;
}

void
djk_sender_hold_topic(DjkSender *sender, DjkOutboxTopic *topic, const char *reason)
{
	TimestampTz now = djk_clock_now();
	int64		delay;

	topic->checked = false;
	/* The next of many messages that were refused together. */
	if (topic->held && topic->next_check > now)
		return;
	delay = djk_retry_delay_ms(++topic->attempt, HELD_RETRY_BASE_MS,
							   topic->silent ? SILENT_RETRY_MAX_MS :
							   Max(HELD_RETRY_MAX_MS, sender->nheld * HELD_RETRY_EACH_MS),
							   pg_prng_double(&pg_global_prng_state));
	topic->next_check = now + delay * 1000;
	djk_slot_set_error(djk_slot_mine(), psprintf("topic \"%s\": %s", topic->name, reason));
	if (topic->held)
		return;
	topic->held = true;
	sender->nheld++;
	ereport(LOG,
			(errmsg("djkafka holds messages of topic \"%s\": %s", topic->name, reason)));
}

void
djk_sender_release_topic(DjkSender *sender, DjkOutboxTopic *topic)
{
	topic->attempt = 0;
	topic->next_check = 0;
	topic->silent = false;
	if (!topic->held)
		return;
	topic->held = false;
	sender->nheld--;
	ereport(LOG, (errmsg("djkafka has sent what was held of topic \"%s\"", topic->name)));
}

/*
 * A missing topic that the broker may be about to make is waited for, but not
 * each of a thousand: the others wait for their messages.
 */
static DjkDelivery
look_at_new_topic(DjkSender *sender, const char *name, double vain_ms, DjkTopicLook *look)
{
	if (vain_ms > VAIN_ENOUGH_MS)
	{
		memset(look, 0, sizeof(DjkTopicLook));
		look->error.message = "there are too many topics that cannot be written to";
		return DJK_DELIVERY_BLOCKED;
	}
	if (vain_ms > VAIN_SHORT_MS)
	{
		DjkDelivery answer = djk_producer_look_at_topic(sender->producer, name, LOOK_MS, look);

		if (answer != DJK_DELIVERY_DONE)
			return answer;
	}
	return djk_producer_check_topic(sender->producer, name, CHECK_TOPIC_MS, look);
}

/* BLOCKED or DONE; returns FAILED only if nobody answers.  *error unless DONE. */
static DjkDelivery
check_topic(DjkSender *sender, const char *name, double *vain_ms, DjkError *error)
{
	DjkOutboxTopic *topic = djk_sender_topic(sender, name);
	TimestampTz started;
	DjkTopicLook look;
	DjkDelivery answer;

	memset(error, 0, sizeof(*error));
	if (topic->checked)
		return DJK_DELIVERY_DONE;
	/* A look takes its time: one is enough for all its messages in the batch. */
	started = djk_clock_now();
	if (topic->held && topic->next_check > started)
		return DJK_DELIVERY_BLOCKED;
	djk_sender_housekeep(sender);
	answer = look_at_new_topic(sender, name, *vain_ms, &look);
	topic->checked = answer == DJK_DELIVERY_DONE;
	if (answer == DJK_DELIVERY_BLOCKED)
	{
		djk_sender_hold_topic(sender, topic, look.error.message);
		*vain_ms += (djk_clock_now() - started) / 1000.0;
	}
	*error = look.error;
	return answer;
}

/*
 * Whether messages of a topic have been set aside already, so that what is left
 * of it must not overtake them: none of a held topic is in a batch of new
 * messages at first.
 */
static bool
is_behind(DjkSender *sender, const char *name)
{
	if (sender->outbox->claimed_topic == NULL)
		return djk_sender_topic(sender, name)->held;
	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		if (sender->batch.messages[i].delivery == DJK_DELIVERY_BLOCKED)
			return true;
	}
	return false;
}

void
djk_sender_check_topics(DjkSender *sender)
{
	const char *last = NULL;
	DjkDelivery answer = DJK_DELIVERY_DONE;
	double		vain_ms = 0;

	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		DjkOutgoing *message = &sender->batch.messages[i];

		if (message->delivery != DJK_DELIVERY_PENDING)
			continue;
		/* Messages of one topic come together more often than not. */
		if (last == NULL || strcmp(last, message->topic) != 0)
		{
			DjkError	error = {0};

			last = message->topic;
			CHECK_FOR_INTERRUPTS();
			if (is_behind(sender, last))
				answer = DJK_DELIVERY_BLOCKED;
			else
				while ((answer = check_topic(sender, last, &vain_ms, &error)) == DJK_DELIVERY_FAILED)
				{
					djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
					djk_sender_require_producer(sender);
				}
		}
		/* Why is the topic's news and not the message's: its text would not last as long. */
		if (answer == DJK_DELIVERY_BLOCKED)
			message->delivery = DJK_DELIVERY_BLOCKED;
	}
}

/* ---------- pieces of a batch ---------- */

static bool
is_waiting(const DjkOutgoing *message)
{
	return message->delivery == DJK_DELIVERY_PENDING;
}

/* Whether two messages may be in one piece. */
static bool
goes_with(const DjkSender *sender, int first, int i)
{
	if (!is_waiting(&sender->batch.messages[i]))
		return true;
	return sender->suspicion[i] == sender->suspicion[first];
}

/*
 * The next messages that may be sent together: a few suspects, one of those
 * that were refused among few, or all up to the next suspect.  False if
 * nothing waits.
 */
static bool
next_piece(const DjkSender *sender, int *first, int *end)
{
	int			i = 0;
	int			most;

	*first = *end = 0;
	while (i < sender->batch.nmessages && !is_waiting(&sender->batch.messages[i]))
		i++;
	if (i == sender->batch.nmessages)
		return false;
	*first = i;
	most = sender->suspicion[i] == SUSPECT_NONE ? sender->batch.nmessages :
		sender->suspicion[i] == SUSPECT_AMONG_MANY ? SUSPECTS_AT_ONCE : 1;
	while (i < sender->batch.nmessages && i - *first < most && goes_with(sender, *first, i))
		i++;
	*end = i;
	return true;
}

void
djk_sender_take_events(DjkSender *sender)
{
	DjkProducerEvent event;

	djk_producer_drain_fd(sender->producer);
	while (djk_producer_poll(sender->producer, &event))
	{
		if (event.kind == DJK_PRODUCER_LOG)
			ereport(event.log_level <= 4 ? LOG : DEBUG1, (errmsg("librdkafka: %s", event.log_text)));
		else if (event.kind == DJK_PRODUCER_ERROR)
		{
			djk_slot_set_error(djk_slot_mine(), event.error.message);
			if (event.denied)
			{
				strlcpy(sender->denial, event.error.message, sizeof(sender->denial));
				sender->denied_at = djk_clock_now();
			}
			if (event.denied || event.unreachable)
				djk_sender_set_unreachable(sender, event.error.message,
										   DJK_UNREACHABLE_HINT " Sending goes on by itself.");
		}
		else if (event.kind == DJK_PRODUCER_DELIVERED)
		{
			sender->denied_at = 0;
			djk_sender_set_state(sender, DJK_STATE_RUNNING, NULL, NULL);
		}
	}
}

/* What was acknowledged before the end is told yet, and the rest is answered as failed. */
static void
take_last_answers(DjkSender *sender)
{
	TimestampTz started = djk_clock_now();

	while (djk_producer_in_flight(sender->producer) > 0 &&
		   !TimestampDifferenceExceeds(started, djk_clock_now(), LAST_ANSWERS_MS))
	{
		djk_worker_wait(djk_producer_fd(sender->producer), LAST_ANSWERS_MS / 10, "DjkafkaSend");
		djk_sender_take_events(sender);
	}
}

/*
 * Waits until no more than so many of the messages between two indexes, all
 * handed over, are in flight.  False if the producer is spent, or a topic stalls.
 */
static bool
await(DjkSender *sender, int in_flight, int first, int end)
{
	DjkStall	stall = {0};

	for (;;)
	{
		djk_sender_take_events(sender);
		if (djk_producer_spent(sender->producer, NULL))
		{
			take_last_answers(sender);
			return false;
		}
		if (djk_producer_in_flight(sender->producer) <= in_flight)
			return true;
		sender->stalled = djk_sender_hold_stalled(sender, &stall, first, end);
		if (sender->stalled)
			return false;
		djk_worker_report_idle("waiting for Kafka's answer");
		djk_worker_wait(djk_producer_fd(sender->producer), ANSWER_WAIT_MS, "DjkafkaSend");
		djk_sender_housekeep(sender);
	}
}

/* Hands over what waits between two indexes and waits for the answers. */
static bool
send_piece(DjkSender *sender, int first, int end)
{
	int			i = first;

	while (i < end)
	{
		int			n = 0;

		if (!is_waiting(&sender->batch.messages[i]))
		{
			i++;
			continue;
		}
		while (i + n < end && is_waiting(&sender->batch.messages[i + n]))
			n++;
		n = djk_producer_send(sender->producer, &sender->batch.messages[i], n);
		i += n;
		/* The library's queue is full: go on when a part of it has been answered. */
		if (i < end && n == 0 && !await(sender, djk_producer_in_flight(sender->producer) / 2, first, i))
			return false;
		CHECK_FOR_INTERRUPTS();
	}
	djk_sender_read_ahead(sender);
	return await(sender, 0, first, end);
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
	const DjkOutgoing *message = &sender->batch.messages[i];
	DjkTopicLook look;

	if (sender->suspicion[i] == SUSPECT_ALONE || message->error.name == NULL ||
		strcmp(message->error.name, "_UNKNOWN_PARTITION") != 0)
		return AT_FAULT;
	if (djk_producer_look_at_topic(sender->producer, message->topic, LOOK_MS, &look) == DJK_DELIVERY_FAILED)
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

/* What the answers of a piece mean; true if all are DONE. */
static bool
judge(DjkSender *sender, int first, int end)
{
	bool		all_done = true;

	for (int i = first; i < end; i++)
	{
		DjkOutgoing *message = &sender->batch.messages[i];
		int			verdict;

		switch (message->delivery)
		{
			case DJK_DELIVERY_DONE:
				break;
			case DJK_DELIVERY_REFUSED:
				all_done = false;
				verdict = judge_refused(sender, i, end - first);
				if (verdict == AT_FAULT)
				{
					tell_refusal(message);
					break;
				}
				sender->suspicion[i] = verdict;
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

bool
djk_sender_send(DjkSender *sender, bool stop_at_failure)
{
	int			first;
	int			end;

	sender->stalled = false;
	while (next_piece(sender, &first, &end))
	{
		bool		alive = send_piece(sender, first, end);
		bool		all_done;

		if (!alive)
			djk_producer_forget(sender->producer);
		all_done = judge(sender, first, end);
		if (!alive || (stop_at_failure && !all_done))
			return false;
	}
	return true;
}

/* ---------- at_least_once ---------- */

int
djk_sender_count_unknown(const DjkSender *sender)
{
	int			n = 0;

	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		if (is_waiting(&sender->batch.messages[i]))
			n += SUSPECT_ALONE + 1 - sender->suspicion[i];
	}
	return n;
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
			sender->attempt = 0;
			return;
		}
		(void) djk_producer_spent(sender->producer, &error);
		error.message = pstrdup(error.message ? error.message : "the producer cannot go on");
		djk_sender_drop_producer(sender);
		/* One that was refused costs a producer, and is progress; so is a topic that is held. */
		if (djk_sender_count_unknown(sender) == unknown && !sender->stalled)
			djk_sender_back_off(sender, DJK_STATE_BACKOFF, &error);
	}
}
