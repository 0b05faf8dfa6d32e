/*-------------------------------------------------------------------------
 *
 * route_names.c
 *	  Names of columns that a route is given.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_names.h"

#include "base/column.h"
#include "state/row.h"
#include "utils/rel.h"

bool
djk_route_names(const char *name, char **names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

bool
djk_route_has_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return true;
	}
	return false;
}

void
djk_route_require_existing(Relation rel, char **names, int n, const char *what)
{
	djk_catalog_look_at(what);
	for (int i = 0; i < n; i++)
	{
		if (!djk_route_has_column(RelationGetDescr(rel), names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", names[i],
							RelationGetRelationName(rel)),
					 errdetail("It is named in %s of the route.", what),
					 errhint("%s", djk_column_hint(RelationGetDescr(rel), names[i],
												   psprintf("Change %s of the route, or the table.", what)))));
	}
}

void
djk_route_require_columns(const DjkRouteState *state, char **names, int n, const char *what)
{
	djk_catalog_look_at(what);
	for (int i = 0; i < n; i++)
	{
		if (djk_route_state_column(state, names[i]) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of \"%s\" cannot be written by the route", names[i],
							state->target_sql),
					 errdetail("It is named in %s, but is generated or excluded.", what),
					 errhint("Change %s of the route, or the table.", what)));
	}
}
