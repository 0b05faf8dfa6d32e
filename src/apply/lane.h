/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  What waits of one key: how much of it may, and what makes an end of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LANE_H
#define DJK_LANE_H

#include "apply/work.h"
#include "state/offset.h"

/* Counts what waits in djkafka_parked of the keys of pending messages, where they may make an end of it. */
extern void djk_lane_count(DjkApply *apply, int from, int to);

/*
 * A prepared message is behind one of its key: returns false if it is to wait.  Else
 * it ends the lane and is tried, or stops.
 */
extern bool djk_lane_passes(DjkApply *apply, int message);

/* A message has failed: whether it was to supersede others, which it waits behind from now on. */
extern bool djk_lane_gives_way(DjkApply *apply, int message);

/* Whether a retry policy is not asked any more: the message has held up those of its key for too long. */
extern bool djk_lane_is_too_old(const DjkApply *apply, int message);

/* What waits in this batch and has come to an end gets its fate. */
extern void djk_lane_settle(DjkApply *apply, int from, int to);

/* The same of what waits in djkafka_parked; as the catalog's owner. */
extern void djk_lane_write(DjkApply *apply, int from, int to, DjkOffsetAdvance *advances, int nadvances);

#endif							/* DJK_LANE_H */
