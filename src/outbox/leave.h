/*-------------------------------------------------------------------------
 *
 * leave.h
 *	  How the outbox worker ends: not in the middle of a batch, if it can.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_LEAVE_H
#define DJK_OUTBOX_LEAVE_H

#include "outbox/sender.h"

/* Ends the process; its supervisor starts another if one is wanted. */
pg_noreturn extern void djk_sender_leave(DjkSender *sender, const char *reason);

/* Interrupts, settings, a wish to leave: between transactions of the server. */
extern void djk_sender_housekeep(DjkSender *sender);

/* SIGTERM is put off while the process is busy, for some seconds. */
extern void djk_sender_catch_sigterm(void);

/* Busy: what is sent is not confirmed yet, or is about to be sent. */
extern void djk_sender_set_busy(bool busy);

#endif							/* DJK_OUTBOX_LEAVE_H */
