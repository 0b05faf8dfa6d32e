/*-------------------------------------------------------------------------
 *
 * route_types.c
 *	  How a route wants its values converted: types, time_zone, time_unit.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_target.h"

#include "catalog/pg_type.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

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

/* Where nothing is said of a column, it is 'otherwise'. */
static DjkTimeUnit
time_unit_of(const DjkRouteRow *route, const char *column, DjkTimeUnit otherwise)
{
	JsonbContainer *units = time_units(route);
	JsonbValue *unit;

	djk_catalog_look_at("time_unit");
	if (route->time_unit == NULL)
		return otherwise;
	if (units == NULL)
		return djk_time_unit_parse(route->time_unit);
	unit = getKeyJsonValueFromContainer(units, column, strlen(column), NULL);
	if (unit == NULL)
		return otherwise;
	if (unit->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time_unit of column \"%s\" must be a string", column),
				 errhint("Write a unit for all columns, such as ms, or an object such as {\"created\": \"ms\"}.")));
	return djk_time_unit_parse(pnstrdup(unit->val.string.val, unit->val.string.len));
}

/*
 * What Debezium's numbers count where neither schema nor route say it: its
 * connectors choose by the precision of the source's column (time.precision.mode
 * adaptive), which ours is believed to have.
 */
static DjkTimeUnit
adaptive_unit(Oid type, int32 typmod)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);

	if (OidIsValid(get_element_type(base)))
		base = getBaseTypeAndTypmod(get_element_type(base), &typmod);
	switch (base)
	{
		case DATEOID:
			return DJK_TIME_UNIT_DAYS;
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return typmod >= 0 && typmod <= 3 ? DJK_TIME_UNIT_MS : DJK_TIME_UNIT_US;
		case INTERVALOID:
			return DJK_TIME_UNIT_US;
		default:
			return DJK_TIME_UNIT_NONE;
	}
}

DjkConvertOptions
djk_route_convert_options(const DjkRouteState *state, const DjkColumn *column)
{
	const DjkRouteRow *route = state->route;
	DjkConvertOptions options;

	options.strict = route->strict_types;
	options.zone_required = strcmp(route->time_zone, DJK_TIME_ZONE_ERROR) == 0;
	options.debezium = state->codec->open != NULL;
	options.time_unit = time_unit_of(route, column->name, options.debezium ?
									 adaptive_unit(column->type, column->typmod) : DJK_TIME_UNIT_NONE);
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
