/*-------------------------------------------------------------------------
 *
 * coverage.h
 *	  Whether all that a consumer subscribes to is given to its workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_COVERAGE_H
#define DJK_COVERAGE_H

#include "consumer/member.h"

/*
 * How what the group's members were given differs from the definition, in
 * words; NULL if it does not.  The view must be settled and know the topics.
 */
extern char *djk_coverage_difference(DjkConsumerWorker *worker, const DjkGroupView *view);

/* The group is about to share out its partitions, or has done so: look again. */
extern void djk_coverage_doubt(DjkConsumerWorker *worker);

/* Something may be wrong: what is known holds until the next look, which comes soon. */
extern void djk_coverage_look_soon(DjkConsumerWorker *worker);

/*
 * One step, which never waits: asks the brokers, or acts on their answer.  A
 * reason to leave the group and join it again, or NULL.
 */
extern const char *djk_coverage_turn(DjkConsumerWorker *worker);

/* How long the worker may sleep before the next step, in ms. */
extern long djk_coverage_wait_ms(const DjkConsumerWorker *worker);

#endif							/* DJK_COVERAGE_H */
