/*-------------------------------------------------------------------------
 *
 * leader.h
 *	  Whether the brokers that lead a worker's partitions answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LEADER_H
#define DJK_LEADER_H

#include "consumer/member.h"

/*
 * With each look at the group: notes who leads what, if the look tells, and asks
 * the leaders that nothing was heard of since the last one.
 */
extern void djk_leaders_ask(DjkConsumerWorker *worker, const DjkGroupView *view);

/* Takes the answers that have come; true if some leader is silent, or is not any more, because of them. */
extern bool djk_leaders_take_answers(DjkConsumerWorker *worker);

/* All brokers are gone: each leader is silent until something is heard of it. */
extern void djk_leaders_lost(DjkConsumerWorker *worker);

/* Of this worker's partitions one whose leader is silent, in words: palloc'd, or NULL. */
extern char *djk_leaders_silent(DjkConsumerWorker *worker);

#endif							/* DJK_LEADER_H */
