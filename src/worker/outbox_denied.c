/*-------------------------------------------------------------------------
 *
 * outbox_denied.c
 *	  exactly_once: topics that may not be written to.
 *
 * Without transactions the broker says so in its answer to the messages.  With
 * one it refuses to add the topic's partitions to it, before any message of the
 * batch has been sent: the library gives up all that it holds, of whichever
 * topic, and no message tells why.  So when a batch has failed in vain each of
 * its topics is tried alone.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_sender.h"

#include "nodes/pg_list.h"

/*
 * Whether a topic may be written to: a message of it in a transaction that is
 * given up.  *error if not.
 */
static bool
may_write(DjkSender *sender, const DjkOutgoing *message, DjkError *error)
{
	DjkOutboxBatch batch = sender->batch;
	uint8	   *suspicion = sender->suspicion;
	DjkOutgoing probe = *message;
	uint8		unsuspected = 0;
	bool		sent;
	bool		denied;

	djk_sender_require_ready(sender);
	if (djk_producer_begin(sender->producer, error) != DJK_TRANSACTION_OK)
		return true;
	sender->batch.messages = &probe;
	sender->batch.nmessages = 1;
	sender->suspicion = &unsuspected;
	sent = djk_sender_send(sender, true);
	sender->batch = batch;
	sender->suspicion = suspicion;

	/* The library tells a transaction's error to whoever goes on with it. */
	denied = !sent && !djk_producer_spent(sender->producer, NULL) &&
		djk_sender_carry(sender, error) == DJK_TRANSACTION_ABORT &&
		error->detail != NULL && strstr(error->detail, "TOPIC_AUTHORIZATION_FAILED") != NULL;
	if (djk_producer_spent(sender->producer, NULL))
		djk_sender_drop_producer(sender);
	else
		djk_sender_give_up_transaction(sender);
	return !denied;
}

bool
djk_sender_block_denied(DjkSender *sender)
{
	DjkOutboxBatch *batch = &sender->batch;
	List	   *tried = NIL;
	List	   *denied = NIL;

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
			if (!may_write(sender, message, &error))
			{
				denied = lappend(denied, topic);
				djk_sender_hold_topic(sender, topic, error.message);
			}
		}
		if (list_member_ptr(denied, topic))
			message->delivery = DJK_DELIVERY_BLOCKED;
	}
	return denied != NIL;
}
