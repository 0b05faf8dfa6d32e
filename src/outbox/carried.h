/*-------------------------------------------------------------------------
 *
 * carried.h
 *	  exactly_once: what is known of the number that Kafka names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_CARRIED_H
#define DJK_OUTBOX_CARRIED_H

#include "outbox/sender.h"

/*
 * exactly_once: to be called with each claim, before it is stored.  Where Kafka
 * is to be asked for its number before the batch is sent, the claim says so.
 */
extern void djk_sender_note_claim(DjkSender *sender);

/* Kafka names this number, or none (DJK_CARRIED_NONE). */
extern void djk_sender_note_known(DjkSender *sender, int64 number);

/* Whether it is known, and not for too long. */
extern bool djk_sender_knows_number(const DjkSender *sender);

/* The batch is in Kafka. */
extern void djk_sender_note_sent(DjkSender *sender);

/* Tells the claimed batch from one that a copy of this database has claimed; palloc'd. */
extern char *djk_sender_claim_name(const DjkOutbox *outbox);

/* Whether that Kafka names this number means that the claimed batch was not sent. */
extern bool djk_sender_was_not_sent(const DjkOutbox *outbox, int64 number);

#endif							/* DJK_OUTBOX_CARRIED_H */
