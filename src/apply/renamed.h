/*-------------------------------------------------------------------------
 *
 * renamed.h
 *	  What columns of a target were named before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RENAMED_H
#define DJK_RENAMED_H

#include "apply/route_state.h"

/* The names in a route's 'renamed', as it is written: any of them may be taken now; ERROR if it is not an object of arrays. */
extern List *djk_renamed_parse(const char *renamed);

/* Fills state->old_names from the route's 'renamed'. */
extern void djk_renamed_build(DjkRouteState *state, TupleDesc desc);

/* Whether a field has a name that the column of this name had before, and none has now. */
extern bool djk_renamed_is(const DjkRouteState *state, const DjkField *field, const char *column);

/* The name by which a column holds a part of the message (formats text and raw): the first that it had. */
extern const char *djk_renamed_first(const DjkRouteState *state, const char *column);

#endif							/* DJK_RENAMED_H */
