/*-------------------------------------------------------------------------
 *
 * ghosts.h
 *	  What workers that crashed left behind in the group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_GHOSTS_H
#define DJK_GHOSTS_H

#include "consumer/member.h"

/*
 * Before joining: static members of ours that would get or keep an assignment
 * that does not fit the definition any more leave the group.  True if there was
 * one, so that the group is another one now.
 */
extern bool djk_ghosts_clear(DjkConsumerWorker *worker, const DjkGroupView *view);

#endif							/* DJK_GHOSTS_H */
