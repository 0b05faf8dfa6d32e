/*-------------------------------------------------------------------------
 *
 * member_event.h
 *	  What Kafka tells a consumer worker: messages, rebalances, errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MEMBER_EVENT_H
#define DJK_MEMBER_EVENT_H

#include "consumer/member.h"

/* Takes one event of the library: a message goes into the batch, all else is acted on. */
extern void djk_member_take_event(DjkConsumerWorker *worker, const DjkConsumerEvent *event);

/* That the group is denied to us is said once, however long it lasts: keeps it. */
extern void djk_member_note_denial(DjkConsumerWorker *worker, const DjkConsumerEvent *event);

/* Loads and resolves what is not yet, then fetches, unless it waits for a retry. */
extern void djk_member_load_and_fetch(DjkConsumerWorker *worker);

/* Begins with what Kafka has told where it begins. */
extern void djk_member_take_answers(DjkConsumerWorker *worker);

/* With nothing to do and no embedded broker: whether it is back, waiting for a second at most. */
extern void djk_member_look_for_brokers(DjkConsumerWorker *worker);

/* Of a partition that seems to end before what was applied of it: whether it does; in a second at most. */
extern void djk_member_look_for_short(DjkConsumerWorker *worker);

/*
 * Fetches again if some partition is to begin elsewhere.  Not at once for each of
 * them, since all others begin again as well: there may be more in a moment.
 */
#define DJK_MEMBER_REFETCH_MS	200

extern void djk_member_refetch(DjkConsumerWorker *worker);

#endif							/* DJK_MEMBER_EVENT_H */
