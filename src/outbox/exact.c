/*-------------------------------------------------------------------------
 *
 * exact.c
 *	  exactly_once: a batch of the outbox is a transaction of Kafka.
 *
 * The transaction carries the batch's number, committed as the offset of a
 * group that nobody is a member of, in a partition of a topic that exists
 * anyway.  So Kafka itself knows which batch came last, and a worker that
 * finds a batch claimed and not confirmed asks (number.c): its number is
 * there, then it was sent; the number before it is, then it was not.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/exact.h"

#include "utils/memutils.h"
#include "outbox/carried.h"
#include "outbox/deliver.h"
#include "outbox/denied.h"
#include "outbox/number.h"
#include "outbox/piece.h"
#include "outbox/topic.h"
#include "outbox/trial.h"
#include "outbox/turn.h"

#define CALL_MS				10000

/*
 * Refused and blocked messages leave the batch, and the catalog knows it
 * durably before the rest is sent: what is in Kafka under the batch's number is
 * what the catalog says is in the batch.
 */
static void
set_aside_now(DjkSender *sender)
{
	DjkOutboxBatch *batch = &sender->work.batch;
	DjkIdentity identity;
	int			kept = 0;

	for (int i = 0; i < batch->nmessages; i++)
		kept += batch->messages[i].delivery == DJK_DELIVERY_PENDING;
	if (kept == batch->nmessages)
		return;
	djk_worker_begin(&identity);
	djk_outbox_set_aside(sender->outbox, batch);
	djk_outbox_store(sender->outbox);
	djk_worker_commit_as(&identity, djk_sender_durable());

	kept = 0;
	for (int i = 0; i < batch->nmessages; i++)
	{
		if (batch->messages[i].delivery != DJK_DELIVERY_PENDING)
			continue;
		sender->work.suspicion[kept] = sender->work.suspicion[i];
		batch->messages[kept++] = batch->messages[i];
	}
	batch->nmessages = kept;
}

static const char *
choose_carrier(const DjkSender *sender)
{
	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		if (strcmp(sender->work.batch.messages[i].topic, sender->exact.denied_carrier) != 0)
			return sender->work.batch.messages[i].topic;
	}
	return sender->work.batch.messages[0].topic;
}

/* Where the number is committed: chosen once, and again if the topic goes away. */
static void
require_carrier(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;

	if (outbox->carrier_topic != NULL)
		return;
	outbox->carrier_topic = MemoryContextStrdup(outbox->context, choose_carrier(sender));
	outbox->carried = DJK_CARRIED_UNASKED;
	sender->exact.knows_number = false;
	djk_sender_store(sender);
}

/* Repeats a call as long as it may still succeed. */
static DjkTransactionResult
carry_and_commit(DjkSender *sender, DjkError *error)
{
	DjkTransactionResult result;

	while ((result = djk_sender_carry(sender, error)) == DJK_TRANSACTION_RETRY)
		djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, error);
	if (result != DJK_TRANSACTION_OK)
		return result;
	while ((result = djk_producer_commit(sender->link.producer, CALL_MS, error)) == DJK_TRANSACTION_RETRY)
		djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, error);
	return result;
}

static char *
first_failure(const DjkSender *sender)
{
	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		if (sender->work.batch.messages[i].error.message != NULL)
			return sender->work.batch.messages[i].error.message;
	}
	return pstrdup("Kafka did not take the batch");
}

static void
replace_carrier(DjkSender *sender)
{
	ereport(LOG,
			(errmsg("djkafka's outbox carries its numbers in another topic: \"%s\" cannot be used",
					sender->outbox->carrier_topic)));
	sender->outbox->carrier_topic = NULL;
}

/*
 * A transaction that was to carry the number failed.  Carrying takes the right
 * to read the topic; if it is missing, another topic of the batch may do.
 */
static void
judge_carrier(DjkSender *sender, const DjkError *error)
{
	djk_sender_topic(sender, sender->outbox->carrier_topic)->checked = false;
	if (!djk_sender_is_denial(error))
		return;
	strlcpy(sender->exact.denied_carrier, sender->outbox->carrier_topic, sizeof(sender->exact.denied_carrier));
	if (strcmp(choose_carrier(sender), sender->exact.denied_carrier) != 0)
		replace_carrier(sender);
}

/*
 * An attempt failed without a word about the transaction as a whole, and its
 * messages taught something if 'learned'.
 */
static void
go_on_after_abort(DjkSender *sender, DjkError *error, bool all_sent, bool learned)
{
	bool		in_vain = error->message == NULL && !learned;
	DjkError	reason = {0};

	if (!in_vain || !djk_sender_is_denied(sender, &reason))
		djk_sender_give_up_transaction(sender);
	else if (djk_sender_block_denied(sender, &reason))
		return;
	/* It was not for a message: the carrier may be gone. */
	if (all_sent)
		judge_carrier(sender, error);
	/* What failed is not at fault and would come again at once. */
	sender->exact.vain = in_vain ? sender->exact.vain + 1 : 0;
	if (sender->exact.vain > DJK_VAIN_MAX)
		error->message = first_failure(sender);
	if (error->message != NULL)
		djk_sender_back_off(sender, DJK_STATE_BACKOFF, error);
	else if (learned)
		djk_sender_find_refused(sender);
}

/* One attempt; true if the batch is in Kafka. */
static bool
try_transaction(DjkSender *sender)
{
	DjkError	error = {0};
	int			unknown = djk_sender_count_unknown(sender);
	DjkTransactionResult result = djk_producer_begin(sender->link.producer, &error);
	bool		all_sent = result == DJK_TRANSACTION_OK && djk_sender_send(sender, true);

	if (all_sent)
		result = carry_and_commit(sender, &error);
	else if (result == DJK_TRANSACTION_OK)
		result = djk_producer_spent(sender->link.producer, &error) ? DJK_TRANSACTION_SPENT : DJK_TRANSACTION_ABORT;
	if (result == DJK_TRANSACTION_OK)
		return true;
	djk_sender_take_back(sender);
	sender->exact.carrier_checked = false;
	if (error.message != NULL)
		djk_slot_set_error(djk_slot_mine(), error.message);
	if (result == DJK_TRANSACTION_ABORT)
	{
		go_on_after_abort(sender, &error, all_sent, djk_sender_count_unknown(sender) != unknown);
		return false;
	}
	djk_sender_drop_spent(sender, &error);
	return djk_sender_was_committed(sender);
}

/*
 * A carrier that does not exist any more is replaced; it needs no leader to
 * carry.  Looked at once, and again after each attempt that failed.
 */
static void
check_carrier(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;
	DjkTopicLook look;

	if (outbox->carrier_topic == NULL || sender->exact.carrier_checked)
		return;
	sender->exact.carrier_checked = true;
	if (djk_sender_topic(sender, outbox->carrier_topic)->checked ||
		djk_producer_look_at_topic(sender->link.producer, outbox->carrier_topic, CALL_MS, &look) != DJK_DELIVERY_BLOCKED ||
		look.leaderless)
		return;
	replace_carrier(sender);
}

void
djk_sender_deliver_exactly_once(DjkSender *sender)
{
	for (;;)
	{
		if (sender->work.batch.nmessages > 0 && sender->work.batch.messages[0].delivery == DJK_DELIVERY_DONE)
			return;
		djk_sender_require_ready(sender);
		djk_sender_check_topics(sender);
		set_aside_now(sender);
		if (sender->work.batch.nmessages == 0)
			return;
		djk_sender_require_ready(sender);
		check_carrier(sender);
		require_carrier(sender);
		djk_sender_learn_number(sender);
		if (try_transaction(sender))
		{
			djk_sender_note_sent(sender);
			return;
		}
	}
}
