/*-------------------------------------------------------------------------
 *
 * version.h
 *	  Messages that are not newer than their row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_VERSION_H
#define DJK_VERSION_H

#include "apply/work.h"

/*
 * How many of the messages, from the first, can be looked at together: their
 * versions are compared before any of them is written.
 */
extern int	djk_version_stretch(DjkApply *apply, DjkRouteState *state, const int *indexes, int n);

typedef struct DjkVersions DjkVersions;

/*
 * Takes out of 'indexes' the messages that are stale, which is their fate then;
 * returns how many stay.  Locks the rows that the others will write.  *versions
 * is what is known of the rows, in CurrentMemoryContext.
 */
extern int	djk_version_drop_stale(DjkApply *apply, DjkRouteState *state, int *indexes, int n,
								   DjkVersions **versions);

/* When the others are written: remembers what was deleted, if the route says so. */
extern void djk_version_remember(DjkVersions *versions);

#endif							/* DJK_VERSION_H */
