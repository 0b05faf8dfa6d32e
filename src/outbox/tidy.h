/*-------------------------------------------------------------------------
 *
 * tidy.h
 *	  The outbox's tables are kept small.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_TIDY_H
#define DJK_OUTBOX_TIDY_H

#include "outbox/sender.h"

/* After a batch, now and then: rotates the tables, forgets old deliveries and many topics. */
extern void djk_sender_tidy(DjkSender *sender);

/*
 * With nothing to do: soon after the last batch if the tables have grown, and
 * after a minute whatever their size.  False if it is not time; *wait_ms is
 * lowered to when it is.
 */
extern bool djk_sender_tidy_idle(DjkSender *sender, long *wait_ms);

/* A batch has been sent: idle time begins. */
extern void djk_sender_tidy_later(DjkSender *sender);

#endif							/* DJK_OUTBOX_TIDY_H */
