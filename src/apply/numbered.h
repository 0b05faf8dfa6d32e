/*-------------------------------------------------------------------------
 *
 * numbered.h
 *	  Columns whose default is the next number of a sequence.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_NUMBERED_H
#define DJK_NUMBERED_H

#include "apply/route_state.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"

typedef struct DjkNumbered
{
	char	   *name;			/* quoted */
	int			column;			/* index into the state's columns; -1: the route does not write it */
	char	   *next;			/* the call that gives the next number */
	bool		always_identity;	/* needs OVERRIDING SYSTEM VALUE */
} DjkNumbered;

/* Fills state->numbered, once columns and key are known. */
extern void djk_numbered_build(DjkRouteState *state, Relation rel);

/* Those that rows with these columns present leave to their default. */
extern List *djk_numbered_absent(const DjkRouteState *state, const Bitmapset *present);

#endif							/* DJK_NUMBERED_H */
