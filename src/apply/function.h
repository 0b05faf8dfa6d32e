/*-------------------------------------------------------------------------
 *
 * function.h
 *	  A batch's messages given to a handler.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FUNCTION_H
#define DJK_FUNCTION_H

#include "apply/work.h"

/* Calls the route's handler for prepared messages (indexes into the batch, in order). */
extern void djk_function_write(DjkApply *apply, DjkRouteState *state, const int *indexes, int n);

#endif							/* DJK_FUNCTION_H */
