/*-------------------------------------------------------------------------
 *
 * lacking.h
 *	  What waits for a parent that is certainly not there yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LACKING_H
#define DJK_LACKING_H

#include "apply/work.h"
#include "state/parked.h"

/*
 * Of messages of a topic that wait, and that the routes as they are have tried: sets
 * lacking[i] of those that would fail again for want of the same parent, and have not
 * waited for too long.  Sets *deadline to the first time at which one of these has.
 * Needs a transaction.
 */
extern void djk_lacking_find(DjkApply *apply, const char *topic, const DjkParkedPlace *places, int n,
							 bool *lacking, TimestampTz *deadline);

#endif							/* DJK_LACKING_H */
