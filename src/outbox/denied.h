/*-------------------------------------------------------------------------
 *
 * denied.h
 *	  exactly_once: topics that may not be written to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_DENIED_H
#define DJK_OUTBOX_DENIED_H

#include "outbox/sender.h"

/* Whether an error of a transaction is that a topic may not be written to, or the carrier not be read. */
extern bool djk_sender_is_denial(const DjkError *error);

/*
 * exactly_once, in a transaction that has failed: whether that is for a topic
 * that may not be written to.  *error if it is.
 */
extern bool djk_sender_is_denied(DjkSender *sender, DjkError *error);

/*
 * Ends that transaction and holds the topics of the PENDING messages that may
 * not be written to.  True if there is one: its messages are BLOCKED.
 */
extern bool djk_sender_block_denied(DjkSender *sender, const DjkError *reason);

#endif							/* DJK_OUTBOX_DENIED_H */
