/*-------------------------------------------------------------------------
 *
 * park.h
 *	  Messages that wait for a row they refer to, or for another try, and those behind them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PARK_H
#define DJK_PARK_H

#include "apply/work.h"
#include "state/offset.h"

/* Whether a message that fails for want of a row that it refers to waits for it. */
extern bool djk_park_may_wait(DjkApply *apply, int message);

/* Remembers by what key a message that was just prepared is known, as long as the batch. */
extern void djk_park_note_key(DjkApply *apply, int message);

/*
 * A message has failed, whose key was noted.  If it was for want of a row that it
 * refers to it waits for that; else, or when it has waited for long enough, until
 * it is tried again; as its route and what waits already allow it.  What does not
 * wait gets its fate by its route's policy.  The error is copied.
 */
extern void djk_park_or_fail(DjkApply *apply, int message, const DjkError *error, bool for_parent, const char *context);

/*
 * A message of a piece that is being prepared has failed.  It may be behind one that
 * waits, which djk_park_followers() finds out: then it has not been tried.
 */
extern void djk_park_note_unprepared(DjkApply *apply, int message, const DjkError *error);

/* The same as djk_park_or_fail() of one that has failed so and is behind none, */
extern void djk_park_unprepared(DjkApply *apply, int message, const DjkError *error);

/* … and of one whose transaction has failed as a whole; outside of any. */
extern void djk_park_whole(DjkApply *apply, int message, const DjkError *error);

/* A transaction has the locks of its fence: what was known of djkafka_parked before may be old. */
extern void djk_park_begin(DjkApply *apply, int from);

/*
 * Of prepared messages, those behind one of their key that waits wait too; what could
 * not be prepared and is behind none gets its fate.
 */
extern void djk_park_followers(DjkApply *apply, int from, int to);

/*
 * A message has failed alone, whose key was noted, perhaps before that was asked:
 * whether it waits behind one of its key, and so has not been tried.
 */
extern bool djk_park_behind(DjkApply *apply, int message);

/* The same where djk_park_followers() has asked for its key. */
extern bool djk_park_behind_known(DjkApply *apply, int message);

/* Whether a message that has failed so would wait, for whatever. */
extern bool djk_park_would_wait(DjkApply *apply, int message, int sqlstate);

/* Whether one that goes on waiting is known by another key than when it was read. */
static inline bool
djk_park_has_another_key(const DjkWork *work, const DjkParked *parked)
{
	return parked->key.lane != work->lane || parked->has_key != work->has_key ||
		(work->has_key && parked->key.hash != work->key_hash);
}

/*
 * A message that was to be tried again from a topic, to which it could not be sent,
 * is PARKED; or fails where no more may be.
 */
extern void djk_park_unsent(DjkApply *apply, int message);

#endif							/* DJK_PARK_H */
