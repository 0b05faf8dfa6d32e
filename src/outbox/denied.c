/*-------------------------------------------------------------------------
 *
 * denied.c
 *	  exactly_once: topics that may not be written to.
 *
 * Without transactions the broker says so in its answer to the messages.  With
 * one it refuses to add the topic's partitions to it, before any message of the
 * batch has been sent: the library gives up all that it holds, of whichever
 * topic, and no message tells why.  Whoever goes on with the transaction is told
 * that it was a topic, but not which.  So each of the batch is tried alone.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/denied.h"

#include "nodes/pg_list.h"
#include "outbox/deliver.h"
#include "outbox/number.h"
#include "outbox/topic.h"

#define CALL_MS		30000

/*
 * Where Kafka has not even heard of the transaction, ending it costs the producer,
 * and that is nobody's concern.  So does what was given up, unless none of it 'was_sent'.
 */
static void
end_transaction(DjkSender *sender, bool was_sent)
{
	DjkError	error = {0};

	if (djk_producer_abort(sender->link.producer, CALL_MS, &error) != DJK_TRANSACTION_OK ||
		(was_sent && djk_producer_has_purged(sender->link.producer)))
		djk_sender_drop_producer(sender);
}

bool
djk_sender_is_denial(const DjkError *error)
{
	return error->name != NULL && strcmp(error->name, "TOPIC_AUTHORIZATION_FAILED") == 0;
}

bool
djk_sender_is_denied(DjkSender *sender, DjkError *error)
{
	return !djk_producer_spent(sender->link.producer, NULL) &&
		djk_sender_carry(sender, error) == DJK_TRANSACTION_ABORT && djk_sender_is_denial(error);
}

/*
 * Whether a topic may be written to: a message of it in a transaction that is
 * given up.  *error if not.
 */
static bool
may_write(DjkSender *sender, const DjkOutgoing *message, DjkError *error)
{
	DjkOutboxBatch batch = sender->work.batch;
	uint8	   *suspicion = sender->work.suspicion;
	DjkOutgoing probe = *message;
	uint8		unsuspected = 0;
	bool		sent;
	bool		denied;

	djk_sender_require_ready(sender);
	if (djk_producer_begin(sender->link.producer, error) != DJK_TRANSACTION_OK)
		return true;
	sender->work.batch.messages = &probe;
	sender->work.batch.nmessages = 1;
	sender->work.suspicion = &unsuspected;
	sent = djk_sender_send(sender, true);
	sender->work.batch = batch;
	sender->work.suspicion = suspicion;

	/* One that is refused for its own sake says nothing of its topic. */
	denied = !sent && probe.delivery == DJK_DELIVERY_PENDING && djk_sender_is_denied(sender, error);
	end_transaction(sender, !denied);
	return !denied;
}

static bool
is_of_one_topic(const DjkOutboxBatch *batch)
{
	for (int i = 1; i < batch->nmessages; i++)
	{
		if (strcmp(batch->messages[i].topic, batch->messages[0].topic) != 0)
			return false;
	}
	return true;
}

bool
djk_sender_block_denied(DjkSender *sender, const DjkError *reason)
{
	DjkOutboxBatch *batch = &sender->work.batch;
	bool		is_one = is_of_one_topic(batch);
	List	   *tried = NIL;
	List	   *denied = NIL;

	/* What is of other topics may have been sent. */
	end_transaction(sender, true);
	for (int i = 0; i < batch->nmessages; i++)
	{
		DjkOutgoing *message = &batch->messages[i];
		DjkOutboxTopic *topic = djk_sender_topic(sender, message->topic);
		DjkError	error = {0};

		if (message->delivery != DJK_DELIVERY_PENDING)
			continue;
		if (!list_member_ptr(tried, topic))
		{
			tried = lappend(tried, topic);
			if (is_one || !may_write(sender, message, &error))
			{
				denied = lappend(denied, topic);
				djk_sender_hold_topic(sender, topic, is_one ? reason->message : error.message);
			}
		}
		if (list_member_ptr(denied, topic))
			message->delivery = DJK_DELIVERY_BLOCKED;
	}
	return denied != NIL;
}
