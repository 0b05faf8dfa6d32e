/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  The topics that the outbox worker sends to, and those that are held.
 *
 * A topic is asked for before its first message is sent.  One that cannot be
 * written to is held: its messages are set aside, in their order, and the
 * others flow.  It is asked for again now and then.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/topic.h"

#include "apply/retry.h"
#include "base/clock.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "outbox/leave.h"

#define CHECK_TOPIC_MS		5000
#define CHECK_HELD_MS		1000
#define LOOK_MS				5000
/* Spent in vain on topics of one batch: looks are short from here on; the rest is not looked at now. */
#define VAIN_SHORT_MS		2000
#define VAIN_ENOUGH_MS		10000
#define HELD_RETRY_BASE_MS	1000
#define HELD_RETRY_MAX_MS	10000
#define HELD_RETRY_EACH_MS	20	/* so many looks at least are not a load */
#define SILENT_RETRY_MAX_MS	60000	/* it costs the others a moment each time */
#define MAX_NEW_TOPICS		10000

/* ---------- the table ---------- */

void
djk_sender_create_topics(DjkSender *sender)
{
	HASHCTL		info = {0};

	info.keysize = DJK_TOPIC_MAX + 1;
	info.entrysize = sizeof(DjkOutboxTopic);
	info.hcxt = sender->life;
	sender->topics.table = hash_create("djkafka outbox topics", 64, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

DjkOutboxTopic *
djk_sender_topic(DjkSender *sender, const char *name)
{
	bool		found;
	DjkOutboxTopic *topic = hash_search(sender->topics.table, name, HASH_ENTER, &found);

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
							   Max(HELD_RETRY_MAX_MS, sender->topics.nheld * HELD_RETRY_EACH_MS),
							   pg_prng_double(&pg_global_prng_state));
	topic->next_check = now + delay * 1000;
	djk_slot_set_error(djk_slot_mine(), psprintf("topic \"%s\": %s", topic->name, reason));
	if (topic->held)
		return;
	topic->held = true;
	sender->topics.nheld++;
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
	sender->topics.nheld--;
	ereport(LOG, (errmsg("djkafka has sent what was held of topic \"%s\"", topic->name)));
}

/*
 * Who may produce may name any number of topics, and both we and the library
 * remember each: begin again with those that are held.
 */
static void
forget_topics(DjkSender *sender)
{
	HASH_SEQ_STATUS scan;
	DjkOutboxTopic *topic;

	djk_sender_drop_producer(sender);
	hash_seq_init(&scan, sender->topics.table);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		topic->checked = false;
		if (!topic->held)
			hash_search(sender->topics.table, topic->name, HASH_REMOVE, NULL);
	}
	sender->topics.kept = hash_get_num_entries(sender->topics.table);
}

void
djk_sender_limit_topics(DjkSender *sender)
{
	if (hash_get_num_entries(sender->topics.table) > sender->topics.kept + MAX_NEW_TOPICS)
		forget_topics(sender);
}

/* ---------- before a batch is sent ---------- */

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
		DjkDelivery answer = djk_producer_look_at_topic(sender->link.producer, name, LOOK_MS, look);

		if (answer != DJK_DELIVERY_DONE)
			return answer;
	}
	return djk_producer_check_topic(sender->link.producer, name, CHECK_TOPIC_MS, look);
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

bool
djk_sender_has_blocked(const DjkSender *sender)
{
	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		if (sender->work.batch.messages[i].delivery == DJK_DELIVERY_BLOCKED)
			return true;
	}
	return false;
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
	return djk_sender_has_blocked(sender);
}

void
djk_sender_check_topics(DjkSender *sender)
{
	const char *last = NULL;
	DjkDelivery answer = DJK_DELIVERY_DONE;
	double		vain_ms = 0;

	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		DjkOutgoing *message = &sender->work.batch.messages[i];

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

/* ---------- held topics ---------- */

/* The held topic whose time came first; NULL if none's has. */
DjkOutboxTopic *
djk_sender_due_topic(DjkSender *sender)
{
	TimestampTz now = djk_clock_now();
	DjkOutboxTopic *first = NULL;
	HASH_SEQ_STATUS scan;
	DjkOutboxTopic *topic;

	if (sender->topics.nheld == 0)
		return NULL;
	hash_seq_init(&scan, sender->topics.table);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		if (topic->held && topic->next_check <= now && (first == NULL || topic->next_check < first->next_check))
			first = topic;
	}
	return first;
}

/*
 * The same, if it can be written to again; else its next time is later.  One
 * look at a time, so that many topics do not keep new messages waiting.
 */
DjkOutboxTopic *
djk_sender_open_topic(DjkSender *sender)
{
	DjkOutboxTopic *topic = djk_sender_due_topic(sender);
	DjkTopicLook look = {0};

	if (topic == NULL)
		return NULL;
	djk_sender_require_producer(sender);
	/* The check waits for what the broker may be making, which the next look sees as well. */
	if (!topic->checked &&
		djk_producer_look_at_topic(sender->link.producer, topic->name, CHECK_HELD_MS, &look) == DJK_DELIVERY_DONE)
		topic->checked = djk_producer_check_topic(sender->link.producer, topic->name, CHECK_HELD_MS,
												  &look) == DJK_DELIVERY_DONE;
	if (topic->checked)
		return topic;
	djk_sender_hold_topic(sender, topic, look.error.message ? look.error.message : "no answer");
	return NULL;
}

long
djk_sender_held_wait_ms(DjkSender *sender, long wait)
{
	TimestampTz now = djk_clock_now();
	HASH_SEQ_STATUS scan;
	DjkOutboxTopic *topic;

	if (sender->topics.nheld == 0)
		return wait;
	hash_seq_init(&scan, sender->topics.table);
	while ((topic = hash_seq_search(&scan)) != NULL)
	{
		if (topic->held)
			wait = Min(wait, Max((topic->next_check - now) / 1000, 0) + 1);
	}
	return wait;
}
