/*-------------------------------------------------------------------------
 *
 * retry.h
 *	  What an error's SQLSTATE says, and how long to wait: pure policy.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RETRY_H
#define DJK_RETRY_H

#include "base/djk.h"

typedef enum DjkVerdict
{
	DJK_VERDICT_MESSAGE,		/* speaks of a value: isolate it */
	DJK_VERDICT_DOUBTFUL,		/* speaks of names or rights: a value's or the route's, see judge.c */
	DJK_VERDICT_TRANSIENT		/* nobody's: wait and try again */
} DjkVerdict;

extern DjkVerdict djk_retry_verdict(int sqlstate);

/*
 * Whether a policy that names no errors has a message tried again that failed so:
 * where what else is in the database, or who is at it, may make the difference.
 */
extern bool djk_retry_helps(int sqlstate);

/*
 * Milliseconds to wait before attempt number 'attempt' (from 1): doubling from
 * 'base_ms' up to 'max_ms', shortened at random by up to a quarter so that
 * workers that failed together do not come back together.  'random' is in [0, 1).
 */
extern int64 djk_retry_delay_ms(int attempt, int64 base_ms, int64 max_ms, double random);

#endif							/* DJK_RETRY_H */
