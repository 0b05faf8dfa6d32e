/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  The outbox worker's transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_TURN_H
#define DJK_OUTBOX_TURN_H

#include "outbox/sender.h"

/*
 * Confirms the batch that has been sent and claims the next, now of new
 * messages and now of held ones.  Returns whether there may be more to do.
 */
extern bool djk_sender_turn(DjkSender *sender);

/* Reads the next batch while Kafka works on this one, once per batch. */
extern void djk_sender_read_ahead(DjkSender *sender);

/* Confirms it and claims nothing. */
extern void djk_sender_confirm(DjkSender *sender);

/* Makes 'next' the batch; the memory of the one before is the spare. */
extern void djk_sender_swap_batches(DjkSender *sender, const DjkOutboxBatch *next);

/* What synchronous_commit must be for what is sent next: NULL if it is that already. */
extern const char *djk_sender_durable(void);

/* A transaction that writes the position and nothing else, durably. */
extern void djk_sender_store(DjkSender *sender);

#endif							/* DJK_OUTBOX_TURN_H */
