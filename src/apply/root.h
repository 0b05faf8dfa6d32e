/*-------------------------------------------------------------------------
 *
 * root.h
 *	  The object within a value whose fields fill the columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROOT_H
#define DJK_ROOT_H

#include "apply/route_state.h"

/*
 * Reads a route's root, names with dots between them or an array of names, into
 * state->root; in CurrentMemoryContext.  ERROR invalid_parameter_value if it is
 * neither, or the route has no fields.
 */
extern void djk_root_build(DjkRouteState *state);

/*
 * Makes of a value that was decoded, an object, the one whose fields count: the
 * one that the root or the format leads to, or itself.  *effect is what the
 * format says of the row.  False and *error (22KF6 if there is no object)
 * otherwise.
 */
extern bool djk_root_enter(const DjkRouteState *state, DjkDecoded *decoded, DjkEffect *effect, DjkError *error);

/*
 * Makes of a key that Kafka Connect has written with its schema what is in it;
 * any other stays as it is.
 */
extern bool djk_root_unwrap_key(const DjkRouteState *state, DjkDecoded *decoded, DjkError *error);

#endif							/* DJK_ROOT_H */
