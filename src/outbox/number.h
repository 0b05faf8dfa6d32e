/*-------------------------------------------------------------------------
 *
 * number.h
 *	  exactly_once: the number of a batch, and what Kafka says of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_NUMBER_H
#define DJK_OUTBOX_NUMBER_H

#include "outbox/sender.h"

/* exactly_once: transactions can begin, and what an earlier producer left undecided is ended. */
extern void djk_sender_require_ready(DjkSender *sender);

/* exactly_once: adds the batch's number to the transaction. */
extern DjkTransactionResult djk_sender_carry(DjkSender *sender, DjkError *error);

/* exactly_once: what became of a batch that was claimed before a crash. */
extern void djk_sender_recover(DjkSender *sender);

/*
 * Before a batch is sent: what Kafka names, unless that is known.  Ends in a state
 * for a person to look at if another process sends as this outbox.
 */
extern void djk_sender_learn_number(DjkSender *sender);

/* The producer is spent in a transaction: whether that was committed all the same.  Asks Kafka. */
extern bool djk_sender_was_committed(DjkSender *sender);

/* Drops the producer, and waits before the next. */
extern void djk_sender_drop_spent(DjkSender *sender, const DjkError *error);

#endif							/* DJK_OUTBOX_NUMBER_H */
