/*-------------------------------------------------------------------------
 *
 * route_look.h
 *	  What a worker would make of a route, in somebody's session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROUTE_LOOK_H
#define DJK_ROUTE_LOOK_H

#include "apply/route_state.h"

/*
 * Builds the state of a route as the consumer's owner, restricted, and shows it
 * to 'look'.  ERROR where the definition does not fit; needs a transaction.
 */
extern void djk_route_look(const DjkRouteRow *route, Oid owner,
						   void (*look) (DjkRouteState *state, void *arg), void *arg);

#endif							/* DJK_ROUTE_LOOK_H */
