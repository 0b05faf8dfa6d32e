/*-------------------------------------------------------------------------
 *
 * route_names.h
 *	  Names of columns that a route is given.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROUTE_NAMES_H
#define DJK_ROUTE_NAMES_H

#include "apply/route_state.h"
#include "utils/relcache.h"

/* Whether a name is one of those given. */
extern bool djk_route_names(const char *name, char **names, int n);

/* Whether a table has a column, by its exact name. */
extern bool djk_route_has_column(TupleDesc desc, const char *name);

/* ERROR unless the table has all of these; 'what' names the option. */
extern void djk_route_require_existing(Relation rel, char **names, int n, const char *what);

/* ERROR unless the route may write all of these. */
extern void djk_route_require_columns(const DjkRouteState *state, char **names, int n, const char *what);

#endif							/* DJK_ROUTE_NAMES_H */
