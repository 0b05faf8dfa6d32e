/*-------------------------------------------------------------------------
 *
 * number.c
 *	  exactly_once: the number of a batch, and what Kafka says of it.
 *
 * Making transactions ready has ended whatever was undecided.  Then the number
 * that Kafka names is that of the last batch that was sent: of the one that is
 * claimed, or of the one before it.  Anything else means that this database and
 * that cluster do not belong together any more, and is for a person to decide.
 *
 * A copy of this database that sends as well, such as a former primary that
 * still runs, gives the same numbers to batches of its own.  So the claim is
 * carried along with the number: a number of another claim is not the batch's.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/number.h"

#include "base/compat.h"
#include "utils/memutils.h"
#include "outbox/carried.h"
#include "outbox/leave.h"
#include "outbox/turn.h"

#define CALL_MS				10000
#define STOPPED_WAIT_MS		60000
#define CARRIER_PARTITION	0	/* of its topic */

/* By a person; or the batch is gone with its extension. */
static bool
is_decided(DjkSender *sender)
{
	DjkIdentity identity;
	bool		decided;

	djk_worker_begin(&identity);
	decided = djk_outbox_is_decided(sender->outbox->id) || sender->outbox->extension != djk_catalog_extension();
	djk_worker_commit(&identity);
	return decided;
}

/* Nothing goes on until a person has done something about it. */
pg_noreturn static void
stop(DjkSender *sender, DjkState state, const char *reason, const char *hint)
{
	djk_sender_drop_producer(sender);
	djk_sender_set_state(sender, state, reason, hint);
	for (;;)
	{
		djk_sender_housekeep(sender);
		if (djk_wake_taken() && is_decided(sender))
			djk_sender_leave(sender, "a person has decided about the batch");
		djk_worker_report_idle("stopped");
		djk_worker_rest(-1, STOPPED_WAIT_MS, "DjkafkaStopped");
	}
}

static const char *
group_name(DjkSender *sender)
{
	return djk_sender_transactional_id(sender);
}

void
djk_sender_drop_spent(DjkSender *sender, const DjkError *error)
{
	DjkError	copy = {0};

	copy.message = pstrdup(error->message ? error->message : "the producer cannot go on");
	copy.hint = error->hint ? pstrdup(error->hint) : NULL;
	djk_sender_drop_producer(sender);
	djk_sender_back_off(sender, DJK_STATE_BACKOFF, &copy);
}

void
djk_sender_require_ready(DjkSender *sender)
{
	/* What has failed before has not passed yet: its next try comes later again, by whichever producer. */
	int			attempt = sender->link.attempt;

	for (;;)
	{
		DjkError	error = {0};

		djk_sender_require_producer(sender);
		if (sender->exact.ready)
			return;
		switch (djk_producer_init_transactions(sender->link.producer, CALL_MS, &error))
		{
			case DJK_TRANSACTION_OK:
				sender->exact.ready = true;
				sender->link.attempt = attempt;
				return;
			case DJK_TRANSACTION_RETRY:
				djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
				break;
			default:
				djk_sender_drop_spent(sender, &error);
				break;
		}
	}
}

/* The number that Kafka names, and whether it came with the claimed batch. */
static int64
ask_carried(DjkSender *sender, bool *is_batch)
{
	DjkOutbox  *outbox = sender->outbox;

	*is_batch = false;
	for (;;)
	{
		DjkError	error = {0};
		int64		number;
		char	   *claim;

		djk_sender_require_ready(sender);
		if (djk_producer_carried(sender->link.producer, group_name(sender), outbox->carrier_topic,
								 CARRIER_PARTITION, &number, &claim, CALL_MS, &error))
		{
			*is_batch = number == outbox->batch && claim != NULL && strcmp(claim, djk_sender_claim_name(outbox)) == 0;
			return number;
		}
		djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
	}
}

static void
mark_all(DjkSender *sender, DjkDelivery delivery)
{
	for (int i = 0; i < sender->work.batch.nmessages; i++)
	{
		sender->work.batch.messages[i].delivery = delivery;
		sender->work.batch.messages[i].sent_partition = -1;
		sender->work.batch.messages[i].sent_offset = -1;
	}
}

static char *
last_known(const DjkOutbox *outbox)
{
	if (outbox->carried == DJK_CARRIED_UNASKED)
		return pstrdup("Kafka was not asked yet for the one before");
	if (outbox->carried == DJK_CARRIED_NONE)
		return pstrdup("none is known to be in Kafka");
	return psprintf("the last one known to be in Kafka is " INT64_FORMAT, outbox->carried);
}

pg_noreturn static void
stop_undecided(DjkSender *sender, int64 number)
{
	DjkOutbox  *outbox = sender->outbox;

	stop(sender, DJK_STATE_NEEDS_DECISION,
		 psprintf("batch " INT64_FORMAT " was claimed, %s, and Kafka itself names %s",
				  outbox->batch, last_known(outbox),
				  number < 0 ? "none" :
				  psprintf(number == outbox->batch ? INT64_FORMAT " of another claim" : INT64_FORMAT, number)),
		 "Look into Kafka whether the messages of djkafka_outbox are there, "
		 "then decide with djkafka_outbox_decide('send' or 'confirm', server).");
}

/*
 * Gives the batch a number above the one that Kafka names, wherever that comes
 * from, so that it is not taken for the batch's own.
 */
static void
renumber(DjkOutbox *outbox, int64 number)
{
	outbox->batch = Max(outbox->batch, number) + 1;
	outbox->confirmed = outbox->batch - 1;
	outbox->carried = number;
}

pg_noreturn static void
stop_beside_another(DjkSender *sender, int64 number)
{
	stop(sender, DJK_STATE_BROKEN,
		 psprintf("another process sends as this outbox: batch " INT64_FORMAT " is in Kafka, the last one of ours is "
				  INT64_FORMAT, number, sender->exact.known_number),
		 "Is there a copy of this database, or its former primary, that still runs? "
		 "Once it is stopped, reload the settings.");
}

/*
 * The first batch of a worker: Kafka may have gone on without us, sent to by a
 * server that this one was restored from or has taken over from, and it may
 * have forgotten a number.  Later on it may only have forgotten.
 */
void
djk_sender_learn_number(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;
	int64		number;
	bool		is_batch;

	if (djk_sender_knows_number(sender))
		return;
	number = outbox->carrier_topic != NULL ? ask_carried(sender, &is_batch) : DJK_CARRIED_NONE;
	if (sender->exact.knows_number && number != DJK_CARRIED_NONE && number != sender->exact.known_number)
		stop_beside_another(sender, number);
	djk_sender_note_known(sender, number);
	if (number == outbox->carried)
		return;
	outbox->carried = number;
	if (number >= outbox->batch)
		renumber(outbox, number);
	djk_sender_store(sender);
}

/*
 * A person's word about a batch goes with its number.  It is used up before the
 * batch is sent, so that after a crash it is asked for like any other; and only
 * with the confirmation if there is nothing to send.
 */
static void
follow_decision(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;
	bool		is_batch;

	renumber(outbox, outbox->carrier_topic != NULL ? ask_carried(sender, &is_batch) : DJK_CARRIED_NONE);
	djk_sender_note_known(sender, outbox->carried);
	if (strcmp(outbox->decision, "confirm") == 0)
		mark_all(sender, DJK_DELIVERY_DONE);
	else
		djk_sender_store(sender);
}

void
djk_sender_recover(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;
	int64		number;
	bool		is_batch;

	if (outbox->decision != NULL)
	{
		follow_decision(sender);
		return;
	}
	if (outbox->carrier_topic == NULL)
		return;					/* no transaction of the batch was ever begun */
	number = ask_carried(sender, &is_batch);
	if (is_batch)
	{
		mark_all(sender, DJK_DELIVERY_DONE);
		djk_sender_note_sent(sender);
		return;
	}
	if (djk_sender_was_not_sent(outbox, number))
	{
		/* From what was not asked for djk_sender_learn_number() goes on. */
		if (outbox->carried == DJK_CARRIED_UNASKED)
			return;
		djk_sender_note_known(sender, number);
		outbox->carried = number;
		return;
	}
	stop_undecided(sender, number);
}

DjkTransactionResult
djk_sender_carry(DjkSender *sender, DjkError *error)
{
	DjkOutbox  *outbox = sender->outbox;

	return djk_producer_carry(sender->link.producer, group_name(sender), outbox->carrier_topic,
							  CARRIER_PARTITION, outbox->batch, djk_sender_claim_name(outbox), CALL_MS, error);
}

/*
 * A transaction's producer is spent, and the end may have been in sight: only
 * Kafka knows.  A transaction that took too long looks as if another producer
 * had taken over; one that has shows by its number.
 */
bool
djk_sender_was_committed(DjkSender *sender)
{
	bool		is_batch;
	int64		number = ask_carried(sender, &is_batch);

	if (is_batch)
	{
		mark_all(sender, DJK_DELIVERY_DONE);
		return true;
	}
	if (djk_sender_was_not_sent(sender->outbox, number))
		return false;
	if (number == DJK_CARRIED_NONE)
		stop_undecided(sender, number);
	stop_beside_another(sender, number);
}
