/*-------------------------------------------------------------------------
 *
 * route_types.c
 *	  How a route wants its values converted: types, time_zone, time_unit.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_target.h"

#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

/* The route's time_unit as an object; NULL if it is one for all columns, or none. */
static JsonbContainer *
time_units(const DjkRouteRow *route)
{
	Jsonb	   *units;

	if (route->time_unit == NULL || route->time_unit[strspn(route->time_unit, " \t\n\r")] != '{')
		return NULL;
	units = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(route->time_unit)));
	return &units->root;
}

static DjkTimeUnit
time_unit_of(const DjkRouteRow *route, const char *column)
{
	JsonbContainer *units = time_units(route);
	JsonbValue *unit;

	djk_catalog_look_at("time_unit");
	if (units == NULL)
		return djk_time_unit_parse(route->time_unit ? route->time_unit : "none");
	unit = getKeyJsonValueFromContainer(units, column, strlen(column), NULL);
	if (unit == NULL)
		return DJK_TIME_UNIT_NONE;
	if (unit->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time_unit of column \"%s\" must be a string", column),
				 errhint("Write a unit for all columns, such as ms, or an object such as {\"created\": \"ms\"}.")));
	return djk_time_unit_parse(pnstrdup(unit->val.string.val, unit->val.string.len));
}

DjkConvertOptions
djk_route_convert_options(const DjkRouteRow *route, const char *column)
{
	DjkConvertOptions options;

	options.strict = route->strict_types;
	options.zone_required = strcmp(route->time_zone, DJK_TIME_ZONE_ERROR) == 0;
	options.time_unit = time_unit_of(route, column);
	return options;
}

int
djk_route_timed_columns(const DjkRouteRow *route, char ***names)
{
	JsonbContainer *units = time_units(route);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	*names = NULL;
	if (units == NULL)
		return 0;
	*names = palloc(Max(JsonContainerSize(units), 1) * sizeof(char *));
	iterator = JsonbIteratorInit(units);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			(*names)[n++] = pnstrdup(value.val.string.val, value.val.string.len);
	}
	return n;
}
