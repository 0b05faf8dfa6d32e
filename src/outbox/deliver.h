/*-------------------------------------------------------------------------
 *
 * deliver.h
 *	  Sending a batch of the outbox until every message has its answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_DELIVER_H
#define DJK_OUTBOX_DELIVER_H

#include "outbox/sender.h"

/*
 * Sends the batch's messages that are PENDING until each has an answer that is
 * final: DONE, REFUSED by itself, or BLOCKED.  False if first the producer is
 * spent or a topic stalls, or (stop_at_failure) an answer is not DONE.
 */
extern bool djk_sender_send(DjkSender *sender, bool stop_at_failure);

/* at_least_once: sends the batch; returns when it can be confirmed. */
extern void djk_sender_deliver(DjkSender *sender);

#endif							/* DJK_OUTBOX_DELIVER_H */
