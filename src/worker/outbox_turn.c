/*-------------------------------------------------------------------------
 *
 * outbox_turn.c
 *	  The outbox worker's transactions: what was sent is confirmed, what comes
 *	  next is claimed.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_sender.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CHECK_HELD_MS		1000

#define BATCH_MESSAGES		10000
#define BATCH_BYTES			(8 * 1024 * 1024)

static const DjkOutboxLimits batch_limits = {.messages = BATCH_MESSAGES, .bytes = BATCH_BYTES};

/* While Kafka's answers wait: not through any number of messages for others. */
static const DjkOutboxLimits ahead_limits = {
	.messages = BATCH_MESSAGES, .bytes = BATCH_BYTES, .rows = 5 * BATCH_MESSAGES
};

static bool
is_held(const char *topic, void *arg)
{
	return djk_sender_topic(arg, topic)->held;
}

/* The held topic whose time came first; NULL if none's has. */
static DjkOutboxTopic *
find_due_topic(DjkSender *sender)
{
	TimestampTz now = djk_clock_now();
	DjkOutboxTopic *first = NULL;
	HASH_SEQ_STATUS scan;
	DjkOutboxTopic *topic;

	if (sender->nheld == 0)
		return NULL;
	hash_seq_init(&scan, sender->topics);
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
static DjkOutboxTopic *
find_open_topic(DjkSender *sender)
{
	DjkOutboxTopic *topic = find_due_topic(sender);
	DjkTopicLook look = {0};

	if (topic == NULL)
		return NULL;
	djk_sender_require_producer(sender);
	/* The check waits for what the broker may be making, which the next look sees as well. */
	if (!topic->checked &&
		djk_producer_look_at_topic(sender->producer, topic->name, CHECK_HELD_MS, &look) == DJK_DELIVERY_DONE)
		topic->checked = djk_producer_check_topic(sender->producer, topic->name, CHECK_HELD_MS,
												  &look) == DJK_DELIVERY_DONE;
	if (topic->checked)
		return topic;
	djk_sender_hold_topic(sender, topic, look.error.message ? look.error.message : "no answer");
	return NULL;
}

/*
 * What is claimed must be durable before it is sent, and with it what was read;
 * what is only confirmed may be lost, it would be sent or found again.
 */
const char *
djk_sender_durable(void)
{
	return synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH ? "on" : NULL;
}

/*
 * Changes no position, so what was read can be thrown away at any time.  While a
 * topic is held it would be: some of it may have to be set aside.
 */
void
djk_sender_read_ahead(DjkSender *sender)
{
	DjkIdentity identity;

	if (sender->ahead.context != NULL || sender->nheld > 0 || sender->leaving != NULL ||
		!djk_outbox_has_more(sender->outbox))
		return;
	djk_worker_report_busy("reading the next batch");
	sender->ahead.context = sender->spare;
	djk_worker_begin(&identity);
	djk_outbox_read_ahead(sender->outbox, &ahead_limits, &sender->ahead);
	djk_worker_commit(&identity);
}

/* Claims what was read ahead if no topic has been held since; it is used up in any case. */
static bool
claim_ahead(DjkSender *sender, DjkOutboxBatch *batch)
{
	DjkOutboxBatch ahead = sender->ahead;

	memset(&sender->ahead, 0, sizeof(sender->ahead));
	if (sender->nheld == 0 && djk_outbox_claim_ahead(sender->outbox, &ahead))
	{
		*batch = ahead;
		return true;
	}
	MemoryContextReset(batch->context);
	return false;
}

static bool
claim(DjkSender *sender, DjkOutboxTopic *due, DjkOutboxBatch *batch)
{
	DjkOutboxLimits limits = batch_limits;

	if (claim_ahead(sender, batch))
		return true;
	/* That a topic can be seen does not mean that it can be written to: try one. */
	if (due != NULL && due->attempt > 0)
		limits.messages = 1;
	if (due != NULL)
	{
		if (djk_outbox_claim_held(sender->outbox, due->name, &limits, batch))
			return true;
		djk_sender_release_topic(sender, due);
		limits = batch_limits;
	}
	return djk_outbox_claim(sender->outbox, &limits, sender->nheld > 0 ? is_held : NULL, sender, batch);
}

void
djk_sender_swap_batches(DjkSender *sender, const DjkOutboxBatch *next)
{
	sender->spare = sender->batch.context;
	sender->batch = *next;
	MemoryContextReset(sender->spare);
	sender->suspicion = NULL;
	if (next->nmessages > 0)
		sender->suspicion = MemoryContextAllocZero(next->context, next->nmessages);
}

/* Of a batch of one topic: it took one and refused none for the topic's sake. */
static bool
takes_messages(const DjkOutboxBatch *batch)
{
	bool		done = false;

	for (int i = 0; i < batch->nmessages; i++)
	{
		if (batch->messages[i].delivery == DJK_DELIVERY_BLOCKED)
			return false;
		done |= batch->messages[i].delivery == DJK_DELIVERY_DONE;
	}
	return done;
}

static void
confirm_batch(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;

	if (outbox->claimed_topic != NULL && takes_messages(&sender->batch))
	{
		DjkOutboxTopic *topic = djk_sender_topic(sender, outbox->claimed_topic);

		topic->attempt = 0;
		topic->silent = false;
	}
	djk_outbox_set_aside(outbox, &sender->batch);
	djk_outbox_confirm(outbox, &sender->batch, djk_delivery_retention_s > 0);
}

void
djk_sender_confirm(DjkSender *sender)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	confirm_batch(sender);
	djk_outbox_store(sender->outbox);
	djk_worker_commit(&identity);
	sender->unconfirmed = false;
}

/*
 * The server was disabled, maybe before what we have claimed was produced: take
 * the claim back with its transaction.
 */
pg_noreturn static void
unclaim_and_leave(DjkSender *sender, bool confirms)
{
	DjkIdentity identity;

	AbortCurrentTransaction();
	MemoryContextSwitchTo(sender->cycle);
	djk_worker_begin(&identity);
	sender->outbox = djk_outbox_load(sender->outbox->id, sender->life);
	djk_worker_commit(&identity);
	if (confirms && sender->outbox != NULL)
		djk_sender_confirm(sender);
	djk_sender_leave(sender, "the server was disabled");
}

bool
djk_sender_turn(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;
	DjkOutboxTopic *open = sender->held_turn ? find_open_topic(sender) : NULL;
	DjkOutboxBatch next = {.context = sender->spare};
	int			sent = sender->batch.nmessages;
	bool		confirms = outbox->batch != outbox->confirmed;
	DjkIdentity identity;
	bool		found;

	djk_worker_report_busy("claiming a batch");
	djk_worker_begin(&identity);
	if (outbox->extension != djk_catalog_extension())
	{
		djk_worker_commit(&identity);
		djk_sender_leave(sender, "the extension was made anew");
	}
	if (confirms)
		confirm_batch(sender);
	found = claim(sender, open, &next);
	if (next.nmessages > 0 && sender->connection.exactly_once)
		djk_sender_note_claim(sender);
	if (found || confirms)
		djk_outbox_store(outbox);
	if (next.nmessages > 0 && !outbox->enabled)
		unclaim_and_leave(sender, confirms);
	djk_worker_commit_as(&identity, next.nmessages > 0 ? djk_sender_durable() : "off");
	sender->unconfirmed = false;

	djk_sender_swap_batches(sender, &next);
	if (sent > 0)
		djk_slot_add_batch(djk_slot_mine(), sent);
	sender->held_turn = !sender->held_turn;
	return found || find_due_topic(sender) != NULL;
}

void
djk_sender_store(DjkSender *sender)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_outbox_store(sender->outbox);
	djk_worker_commit_as(&identity, djk_sender_durable());
}
