/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Plans that a route keeps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PLAN_H
#define DJK_PLAN_H

#include "apply/route_state.h"

/* A plan, not kept; SPI is connected.  ERROR as the server says. */
extern SPIPlanPtr djk_plan_prepare(const char *sql);

/* Keeps a plan as long as the state, or until it is forgotten; returns it. */
extern SPIPlanPtr djk_plan_keep(DjkRouteState *state, SPIPlanPtr plan);

/* Frees one that is kept. */
extern void djk_plan_forget(DjkRouteState *state, SPIPlanPtr plan);

/* Frees all of a state, also while its context goes away. */
extern void djk_plans_free(DjkRouteState *state);

#endif							/* DJK_PLAN_H */
