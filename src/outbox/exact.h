/*-------------------------------------------------------------------------
 *
 * exact.h
 *	  exactly_once: a batch of the outbox is a transaction of Kafka.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_EXACT_H
#define DJK_OUTBOX_EXACT_H

#include "outbox/sender.h"

/* Sends the batch; returns when it can be confirmed. */
extern void djk_sender_deliver_exactly_once(DjkSender *sender);

#endif							/* DJK_OUTBOX_EXACT_H */
