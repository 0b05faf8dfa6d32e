/*-------------------------------------------------------------------------
 *
 * carried.c
 *	  exactly_once: what is known of the number that Kafka names.
 *
 * Brokers forget the offsets of empty groups after some days, and at once when
 * their topic is deleted.  A number that is missing is therefore believed only
 * if none was there before the batch was sent, and of a claim that is younger
 * than a day.  Whoever has not asked for an hour asks before a batch is sent;
 * its claim says so, and a claim that still does was not sent from here.  But a
 * backup or a standby may have kept that much of it and no more: then Kafka
 * names its number, or one above it.
 *
 * Here nobody is asked: number.c does.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/carried.h"

#include "utils/timestamp.h"

#define FORGOTTEN_AFTER_MS	(24 * 3600 * 1000)
#define KNOWN_FOR_MS		(3600 * 1000)

char *
djk_sender_claim_name(const DjkOutbox *outbox)
{
	return psprintf(INT64_FORMAT "/" INT64_FORMAT, outbox->claimed_at, outbox->claimed_id);
}

void
djk_sender_note_known(DjkSender *sender, int64 number)
{
	sender->exact.knows_number = true;
	sender->exact.known_at = GetCurrentTimestamp();
	sender->exact.known_number = number;
}

bool
djk_sender_knows_number(const DjkSender *sender)
{
	return sender->exact.knows_number &&
		!TimestampDifferenceExceeds(sender->exact.known_at, GetCurrentTimestamp(), KNOWN_FOR_MS);
}

void
djk_sender_note_claim(DjkSender *sender)
{
	if (!djk_sender_knows_number(sender))
		sender->outbox->carried = DJK_CARRIED_UNASKED;
}

void
djk_sender_note_sent(DjkSender *sender)
{
	djk_sender_note_known(sender, sender->outbox->batch);
	sender->outbox->carried = sender->outbox->batch;
	sender->link.attempt = 0;
	sender->exact.vain = 0;
}

/*
 * Whether a batch whose number Kafka does not name was not sent: it names what
 * it did before, which may be none because it forgets them, but not as fast as
 * a claim is old.
 */
bool
djk_sender_was_not_sent(const DjkOutbox *outbox, int64 number)
{
	if (number == DJK_CARRIED_NONE &&
		TimestampDifferenceExceeds(outbox->claimed_at, GetCurrentTimestamp(), FORGOTTEN_AFTER_MS))
		return false;
	if (outbox->carried == DJK_CARRIED_UNASKED)
		return number < outbox->batch;
	return number == outbox->carried;
}
