/*-------------------------------------------------------------------------
 *
 * route_target.h
 *	  What a route can write: the columns of its target, and the key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROUTE_TARGET_H
#define DJK_ROUTE_TARGET_H

#include "apply/route_state.h"

/*
 * Fills the part of a state that is about a table or view, in
 * CurrentMemoryContext.  ERRORs say what does not fit and what to do.
 */
extern void djk_route_target_build(DjkRouteState *state);

/*
 * ERROR 42501 unless the current user has the rights on the target that the
 * route's operation needs; quiet if the target is gone.
 */
extern void djk_route_target_require_rights(const DjkRouteRow *route);

#endif							/* DJK_ROUTE_TARGET_H */
