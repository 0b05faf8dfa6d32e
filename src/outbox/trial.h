/*-------------------------------------------------------------------------
 *
 * trial.h
 *	  exactly_once: which messages of a batch Kafka refuses.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_TRIAL_H
#define DJK_OUTBOX_TRIAL_H

#include "outbox/sender.h"

/*
 * Transactions in a row that failed and taught nothing, without another reason.
 * After a refusal that may happen once: the library goes on behind the sequence
 * numbers of what was refused, Kafka objects to the gap, and only the abort
 * after that makes it begin again.
 */
#define DJK_VAIN_MAX	1

/* Repeats the call as long as it may still succeed; else the producer is dropped. */
extern void djk_sender_give_up_transaction(DjkSender *sender);

/* What was sent in a transaction that is not to be is sent again. */
extern void djk_sender_take_back(DjkSender *sender);

/* Finds what of the batch Kafka refuses besides: it is REFUSED, all else as before.  No transaction is open. */
extern void djk_sender_find_refused(DjkSender *sender);

#endif							/* DJK_OUTBOX_TRIAL_H */
