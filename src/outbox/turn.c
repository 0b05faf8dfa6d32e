/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  The outbox worker's transactions: what was sent is confirmed, what comes
 *	  next is claimed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/turn.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "utils/memutils.h"
#include "outbox/carried.h"
#include "outbox/leave.h"
#include "outbox/topic.h"

#define BATCH_MESSAGES		10000
#define BATCH_BYTES			(8 * 1024 * 1024)

static const DjkOutboxLimits batch_limits = {.messages = BATCH_MESSAGES, .bytes = BATCH_BYTES};

/* While Kafka's answers wait: not through any number of messages for others. */
static const DjkOutboxLimits ahead_limits = {
	.messages = BATCH_MESSAGES, .bytes = BATCH_BYTES, .rows = 5 * BATCH_MESSAGES
};

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

	if (sender->work.ahead.context != NULL || sender->topics.nheld > 0 || sender->leaving != NULL ||
		!djk_outbox_has_more(sender->outbox))
		return;
	djk_worker_report_busy("reading the next batch");
	sender->work.ahead.context = sender->work.spare;
	djk_worker_begin(&identity);
	djk_outbox_read_ahead(sender->outbox, &ahead_limits, &sender->work.ahead);
	djk_worker_commit(&identity);
}

/* Claims what was read ahead if no topic has been held since; it is used up in any case. */
static bool
claim_ahead(DjkSender *sender, DjkOutboxBatch *batch)
{
	DjkOutboxBatch ahead = sender->work.ahead;

	memset(&sender->work.ahead, 0, sizeof(sender->work.ahead));
	if (sender->topics.nheld == 0 && djk_outbox_claim_ahead(sender->outbox, &ahead))
	{
		*batch = ahead;
		return true;
	}
	MemoryContextReset(batch->context);
	return false;
}

static bool
is_held(const char *topic, void *arg)
{
	return djk_sender_topic(arg, topic)->held;
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
	return djk_outbox_claim(sender->outbox, &limits, sender->topics.nheld > 0 ? is_held : NULL, sender, batch);
}

void
djk_sender_swap_batches(DjkSender *sender, const DjkOutboxBatch *next)
{
	sender->work.spare = sender->work.batch.context;
	sender->work.batch = *next;
	MemoryContextReset(sender->work.spare);
	sender->work.suspicion = NULL;
	sender->work.tried = false;
	if (next->nmessages > 0)
		sender->work.suspicion = MemoryContextAllocZero(next->context, next->nmessages);
}

/* Of a batch of one topic: it took one and refused none for the topic's sake. */
static bool
takes_messages(const DjkSender *sender)
{
	bool		done = false;

	for (int i = 0; i < sender->work.batch.nmessages; i++)
		done |= sender->work.batch.messages[i].delivery == DJK_DELIVERY_DONE;
	return done && !djk_sender_has_blocked(sender);
}

static void
confirm_batch(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;

	if (outbox->claimed_topic != NULL && takes_messages(sender))
	{
		DjkOutboxTopic *topic = djk_sender_topic(sender, outbox->claimed_topic);

		topic->attempt = 0;
		topic->silent = false;
	}
	djk_outbox_set_aside(outbox, &sender->work.batch);
	djk_outbox_confirm(outbox, &sender->work.batch, djk_delivery_retention_s > 0);
}

void
djk_sender_confirm(DjkSender *sender)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	confirm_batch(sender);
	djk_outbox_store(sender->outbox);
	djk_worker_commit(&identity);
	djk_sender_move_batch(sender, DJK_BATCH_NONE);
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
	DjkOutboxTopic *open = sender->topics.held_turn ? djk_sender_open_topic(sender) : NULL;
	DjkOutboxBatch next = {.context = sender->work.spare};
	int			sent = sender->work.batch.nmessages;
	bool		confirms = outbox->batch != outbox->confirmed;
	DjkIdentity identity;
	bool		found;

	Assert(confirms == (sender->work.state == DJK_BATCH_DELIVERED));
	djk_worker_report_busy("claiming a batch");
	djk_worker_begin(&identity);
	if (outbox->extension != djk_catalog_extension())
	{
		djk_worker_commit(&identity);
		djk_sender_leave(sender, "the extension was made again");
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
	djk_sender_swap_batches(sender, &next);
	djk_sender_move_batch(sender, next.nmessages > 0 ? DJK_BATCH_CLAIMED : DJK_BATCH_NONE);
	if (sent > 0)
		djk_slot_add_batch(djk_slot_mine(), sent);
	sender->topics.held_turn = !sender->topics.held_turn;
	return found || djk_sender_due_topic(sender) != NULL;
}

void
djk_sender_store(DjkSender *sender)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_outbox_store(sender->outbox);
	djk_worker_commit_as(&identity, djk_sender_durable());
}
