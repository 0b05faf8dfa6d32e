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
#include "utils/relcache.h"

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

/* Reads the route's mappings; ERROR for what cannot be one. */
extern void djk_route_mappings_build(DjkRouteState *state);

/* What fills a column that is mapped; its type has been filled in. */
extern void djk_route_mapping_apply(DjkRouteState *state, DjkColumn *column);

/* How a column's values are converted; in CurrentMemoryContext.  ERROR for a time_unit that is none. */
extern DjkConvertOptions djk_route_convert_options(const DjkRouteState *state, const DjkColumn *column);

/* The columns that the route's time_unit names; returns how many. */
extern int	djk_route_timed_columns(const DjkRouteRow *route, char ***names);

/* Fills in what the columns of 'state' have as defaults and constraints. */
extern void djk_route_constraints_build(DjkRouteState *state, Relation rel);

/*
 * Whether a function is that of a published table's triggers: they see a set of
 * rows, or nothing at all of ours.
 */
extern bool djk_route_constraints_publishes(Oid function);

/* Finds the key of the target; ERROR if the operation needs one and there is none that fits. */
extern void djk_route_key_build(DjkRouteState *state, Relation rel);

/* Finds the version_column, after the key; ERROR if it cannot be one. */
extern void djk_route_version_build(DjkRouteState *state);

#endif							/* DJK_ROUTE_TARGET_H */
