/*-------------------------------------------------------------------------
 *
 * stall.h
 *	  Topics that Kafka stops taking while it goes on otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_STALL_H
#define DJK_OUTBOX_STALL_H

#include "outbox/sender.h"

/* How long Kafka has acknowledged nothing, see stall.c; zero at first. */
typedef struct DjkStall
{
	int			in_flight;
	TimestampTz since;			/* no answer, though Kafka can be asked */
	TimestampTz looked_at;
} DjkStall;

/*
 * Holds the topics of the PENDING messages between two indexes, all handed
 * over, that Kafka does not take.  True if there is one: then what is in flight
 * is to be given up.  (exactly_once: true if the transaction has failed; of a
 * topic that is not taken only the state tells.)
 */
extern bool djk_sender_hold_stalled(DjkSender *sender, DjkStall *stall, int first, int end);

#endif							/* DJK_OUTBOX_STALL_H */
