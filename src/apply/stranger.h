/*-------------------------------------------------------------------------
 *
 * stranger.h
 *	  A value that has nothing to do with the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STRANGER_H
#define DJK_STRANGER_H

#include "apply/route_state.h"

/*
 * Says that no field of a value has a column, and what it looks like; always
 * false.  Strings of *error in CurrentMemoryContext.
 */
extern bool djk_stranger_refuse(const DjkRouteState *state, const DjkDecoded *decoded, DjkError *error);

#endif							/* DJK_STRANGER_H */
