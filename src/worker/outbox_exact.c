/*-------------------------------------------------------------------------
 *
 * outbox_exact.c
 *	  exactly_once: a batch of the outbox is a transaction of Kafka.
 *
 * The transaction carries the batch's number, committed as the offset of a
 * group that nobody is a member of, in a partition of a topic that exists
 * anyway.  So Kafka itself knows which batch came last, and a worker that
 * finds a batch claimed and not confirmed asks: its number is there, then it
 * was sent; the number before it is, then it was not, because making
 * transactions ready has ended whatever was undecided.  Anything else means
 * that this database and that cluster do not belong together any more, and is
 * for a person to decide.
 *
 * A copy of this database that sends as well, such as a former primary that
 * still runs, gives the same numbers to batches of its own.  So the claim is
 * carried along with the number: a number of another claim is not the batch's.
 *
 * Brokers forget the offsets of empty groups after some days, and at once when
 * their topic is deleted.  A number that is missing is therefore believed only
 * if none was there before the batch was sent, and of a claim that is younger
 * than a day.  Whoever has not asked for an hour asks before a batch is sent;
 * its claim says so, and a claim that still does was not sent from here.  But a
 * backup or a standby may have kept that much of it and no more: then Kafka
 * names its number, or one above it.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_sender.h"

#include "base/compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CALL_MS				10000
#define FORGOTTEN_AFTER_MS	(24 * 3600 * 1000)
#define KNOWN_FOR_MS		(3600 * 1000)
#define STOPPED_WAIT_MS		60000

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

static void
drop_spent(DjkSender *sender, const DjkError *error)
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
	for (;;)
	{
		DjkError	error = {0};

		djk_sender_require_producer(sender);
		if (sender->ready)
			return;
		switch (djk_producer_init_transactions(sender->producer, CALL_MS, &error))
		{
			case DJK_TRANSACTION_OK:
				sender->ready = true;
				sender->attempt = 0;
				return;
			case DJK_TRANSACTION_RETRY:
				djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
				break;
			default:
				drop_spent(sender, &error);
				break;
		}
	}
}

/* Tells the claimed batch from one that a copy of this database has claimed. */
static char *
claim_name(const DjkOutbox *outbox)
{
	return psprintf(INT64_FORMAT "/" INT64_FORMAT, outbox->claimed_at, outbox->claimed_id);
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
		if (djk_producer_carried(sender->producer, group_name(sender), outbox->carrier_topic,
								 outbox->carrier_partition, &number, &claim, CALL_MS, &error))
		{
			*is_batch = number == outbox->batch && claim != NULL && strcmp(claim, claim_name(outbox)) == 0;
			return number;
		}
		djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
	}
}

static void
mark_all(DjkSender *sender, DjkDelivery delivery)
{
	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		sender->batch.messages[i].delivery = delivery;
		sender->batch.messages[i].sent_partition = -1;
		sender->batch.messages[i].sent_offset = -1;
	}
}

static void
note_known(DjkSender *sender, int64 number)
{
	sender->knows_number = true;
	sender->known_at = GetCurrentTimestamp();
	sender->known_number = number;
}

static bool
knows_number(const DjkSender *sender)
{
	return sender->knows_number &&
		!TimestampDifferenceExceeds(sender->known_at, GetCurrentTimestamp(), KNOWN_FOR_MS);
}

void
djk_sender_note_claim(DjkSender *sender)
{
	if (!knows_number(sender))
		sender->outbox->carried = DJK_CARRIED_UNASKED;
}

static void
note_sent(DjkSender *sender)
{
	note_known(sender, sender->outbox->batch);
	sender->outbox->carried = sender->outbox->batch;
	sender->attempt = 0;
	sender->vain = 0;
}

/* ---------- numbers ---------- */

/*
 * Whether a batch whose number Kafka does not name was not sent: it names what
 * it did before, which may be none because it forgets them, but not as fast as
 * a claim is old.
 */
static bool
was_not_sent(const DjkOutbox *outbox, int64 number)
{
	if (number == DJK_CARRIED_NONE &&
		TimestampDifferenceExceeds(outbox->claimed_at, GetCurrentTimestamp(), FORGOTTEN_AFTER_MS))
		return false;
	if (outbox->carried == DJK_CARRIED_UNASKED)
		return number < outbox->batch;
	return number == outbox->carried;
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
				  INT64_FORMAT, number, sender->known_number),
		 "Is there a copy of this database, or its former primary, that still runs? "
		 "Once it is stopped, reload the settings.");
}

/*
 * The first batch of a worker: Kafka may have gone on without us, sent to by a
 * server that this one was restored from or has taken over from, and it may
 * have forgotten a number.  Later on it may only have forgotten.
 */
static void
learn_number(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;
	int64		number;
	bool		is_batch;

	if (knows_number(sender))
		return;
	number = outbox->carrier_topic != NULL ? ask_carried(sender, &is_batch) : DJK_CARRIED_NONE;
	if (sender->knows_number && number != DJK_CARRIED_NONE && number != sender->known_number)
		stop_beside_another(sender, number);
	note_known(sender, number);
	if (number == outbox->carried)
		return;
	outbox->carried = number;
	if (number >= outbox->batch)
		renumber(outbox, number);
	djk_sender_store(sender);
}

/* ---------- after a crash ---------- */

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
	note_known(sender, outbox->carried);
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
		note_sent(sender);
		return;
	}
	if (was_not_sent(outbox, number))
	{
		/* From what was not asked for learn_number() goes on. */
		if (outbox->carried == DJK_CARRIED_UNASKED)
			return;
		note_known(sender, number);
		outbox->carried = number;
		return;
	}
	stop_undecided(sender, number);
}

/* ---------- a batch ---------- */

/*
 * Refused and blocked messages leave the batch, and the catalog knows it
 * durably before the rest is sent: what is in Kafka under the batch's number is
 * what the catalog says is in the batch.
 */
static void
set_aside_now(DjkSender *sender)
{
	DjkOutboxBatch *batch = &sender->batch;
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
		sender->suspicion[kept] = sender->suspicion[i];
		batch->messages[kept++] = batch->messages[i];
	}
	batch->nmessages = kept;
}

static const char *
choose_carrier(const DjkSender *sender)
{
	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		if (strcmp(sender->batch.messages[i].topic, sender->denied_carrier) != 0)
			return sender->batch.messages[i].topic;
	}
	return sender->batch.messages[0].topic;
}

/* Where the number is committed: chosen once, and again if the topic goes away. */
static void
require_carrier(DjkSender *sender)
{
	DjkOutbox  *outbox = sender->outbox;

	if (outbox->carrier_topic != NULL)
		return;
	outbox->carrier_topic = MemoryContextStrdup(outbox->context, choose_carrier(sender));
	outbox->carrier_partition = 0;
	outbox->carried = DJK_CARRIED_UNASKED;
	sender->knows_number = false;
	djk_sender_store(sender);
}

/* What was sent in a transaction that is not to be is sent again. */
static void
take_back(DjkSender *sender)
{
	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		if (sender->batch.messages[i].delivery == DJK_DELIVERY_DONE)
			sender->batch.messages[i].delivery = DJK_DELIVERY_PENDING;
	}
}

static void
give_up_transaction(DjkSender *sender)
{
	for (;;)
	{
		DjkError	error = {0};

		switch (djk_producer_abort(sender->producer, CALL_MS, &error))
		{
			case DJK_TRANSACTION_OK:
				return;
			case DJK_TRANSACTION_RETRY:
				djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, &error);
				break;
			default:
				drop_spent(sender, &error);
				return;
		}
	}
}

DjkTransactionResult
djk_sender_carry(DjkSender *sender, DjkError *error)
{
	DjkOutbox  *outbox = sender->outbox;

	return djk_producer_carry(sender->producer, group_name(sender), outbox->carrier_topic,
							  outbox->carrier_partition, outbox->batch, claim_name(outbox), CALL_MS, error);
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
	while ((result = djk_producer_commit(sender->producer, CALL_MS, error)) == DJK_TRANSACTION_RETRY)
		djk_sender_back_off(sender, DJK_STATE_UNREACHABLE, error);
	return result;
}

/*
 * A transaction's producer is spent, and the end may have been in sight: only
 * Kafka knows.  A transaction that took too long looks as if another producer
 * had taken over; one that has shows by its number.
 */
static bool
was_committed(DjkSender *sender)
{
	bool		is_batch;
	int64		number = ask_carried(sender, &is_batch);

	if (is_batch)
	{
		mark_all(sender, DJK_DELIVERY_DONE);
		return true;
	}
	if (was_not_sent(sender->outbox, number))
		return false;
	if (number == DJK_CARRIED_NONE)
		stop_undecided(sender, number);
	stop_beside_another(sender, number);
}

static char *
first_failure(const DjkSender *sender)
{
	for (int i = 0; i < sender->batch.nmessages; i++)
	{
		if (sender->batch.messages[i].error.message != NULL)
			return sender->batch.messages[i].error.message;
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
	strlcpy(sender->denied_carrier, sender->outbox->carrier_topic, sizeof(sender->denied_carrier));
	if (strcmp(choose_carrier(sender), sender->denied_carrier) != 0)
		replace_carrier(sender);
}

/* One attempt; true if the batch is in Kafka. */
static bool
try_transaction(DjkSender *sender)
{
	DjkError	error = {0};
	int			unknown = djk_sender_count_unknown(sender);
	DjkTransactionResult result = djk_producer_begin(sender->producer, &error);
	bool		all_sent = result == DJK_TRANSACTION_OK && djk_sender_send(sender, true);

	if (all_sent)
		result = carry_and_commit(sender, &error);
	else if (result == DJK_TRANSACTION_OK)
		result = djk_producer_spent(sender->producer, &error) ? DJK_TRANSACTION_SPENT : DJK_TRANSACTION_ABORT;
	if (result == DJK_TRANSACTION_OK)
		return true;
	take_back(sender);
	sender->carrier_checked = false;
	if (error.message != NULL)
		djk_slot_set_error(djk_slot_mine(), error.message);
	if (result == DJK_TRANSACTION_ABORT)
	{
		bool		in_vain = error.message == NULL && djk_sender_count_unknown(sender) == unknown;
		DjkError	reason = {0};

		if (!in_vain || !djk_sender_is_denied(sender, &reason))
			give_up_transaction(sender);
		else if (djk_sender_block_denied(sender, &reason))
			return false;
		/* It was not for a message: the carrier may be gone. */
		if (all_sent)
			judge_carrier(sender, &error);
		/*
		 * What failed is not at fault and would come again at once.  After a
		 * refusal that happens once: the library goes on behind the sequence
		 * numbers of what was refused, Kafka objects to the gap, and only the
		 * abort after that makes it begin anew.
		 */
		sender->vain = in_vain ? sender->vain + 1 : 0;
		if (sender->vain > 1)
			error.message = first_failure(sender);
		if (error.message != NULL)
			djk_sender_back_off(sender, DJK_STATE_BACKOFF, &error);
	}
	else
	{
		drop_spent(sender, &error);
		return was_committed(sender);
	}
	return false;
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

	if (outbox->carrier_topic == NULL || sender->carrier_checked)
		return;
	sender->carrier_checked = true;
	if (djk_sender_topic(sender, outbox->carrier_topic)->checked ||
		djk_producer_look_at_topic(sender->producer, outbox->carrier_topic, CALL_MS, &look) != DJK_DELIVERY_BLOCKED ||
		look.leaderless)
		return;
	replace_carrier(sender);
}

void
djk_sender_deliver_exactly_once(DjkSender *sender)
{
	for (;;)
	{
		if (sender->batch.nmessages > 0 && sender->batch.messages[0].delivery == DJK_DELIVERY_DONE)
			return;
		djk_sender_require_ready(sender);
		djk_sender_check_topics(sender);
		set_aside_now(sender);
		if (sender->batch.nmessages == 0)
			return;
		djk_sender_require_ready(sender);
		check_carrier(sender);
		require_carrier(sender);
		learn_number(sender);
		if (try_transaction(sender))
		{
			note_sent(sender);
			return;
		}
	}
}
