/*-------------------------------------------------------------------------
 *
 * storm.h
 *	  A partition of which too many messages fail stops.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STORM_H
#define DJK_STORM_H

#include "apply/work.h"

/*
 * Counts what [from, to) has come to, in apply->recent, from what the fence has
 * read.  Returns behind the message at which its partition is to stop, the first
 * of them if there are several; 0: there is none.
 */
extern int	djk_storm_count(DjkApply *apply, int from, int to);

/* The partition of the last message before 'end' stops; between enter and leave. */
extern void djk_storm_write(DjkApply *apply, int end);

#endif							/* DJK_STORM_H */
