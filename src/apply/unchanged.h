/*-------------------------------------------------------------------------
 *
 * unchanged.h
 *	  The value that stands for one that was not sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_UNCHANGED_H
#define DJK_UNCHANGED_H

#include "apply/route_state.h"

/* Makes the forms of the route's unchanged_value, in CurrentMemoryContext; NULL if it has none. */
extern DjkUnchanged *djk_unchanged_create(const DjkRouteRow *route);

/* Whether a field says that its column's value was not sent. */
extern bool djk_unchanged_is(const DjkUnchanged *unchanged, const DjkColumn *column, const DjkField *field);

#endif							/* DJK_UNCHANGED_H */
