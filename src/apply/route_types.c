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

/* What the route says of a column; false if that is nothing.  'for_all' is whether it is said of all columns. */
static bool
find_unit(const DjkRouteRow *route, const char *column, DjkTimeUnit *unit, bool *for_all)
{
	JsonbContainer *units = time_units(route);
	JsonbValue *value;

	*unit = DJK_TIME_UNIT_NONE;
	*for_all = route->time_unit != NULL && units == NULL;
	djk_catalog_look_at("time_unit");
	if (*for_all)
		*unit = djk_time_unit_parse(route->time_unit);
	if (units == NULL)
		return *for_all;
	value = getKeyJsonValueFromContainer(units, column, strlen(column), NULL);
	if (value == NULL)
		return false;
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time_unit of column \"%s\" must be a string", column),
				 errhint("Write a unit for all columns, such as ms, or an object such as {\"created\": \"ms\"}.")));
	*unit = djk_time_unit_parse(pnstrdup(value->val.string.val, value->val.string.len));
	return true;
}

/* Of a column, or of an array's elements. */
static Oid
base_element(Oid type, int32 *typmod)
{
	Oid			base = getBaseTypeAndTypmod(type, typmod);
	Oid			element = get_element_type(base);

	return OidIsValid(element) ? getBaseTypeAndTypmod(element, typmod) : base;
}

/*
 * What Debezium's numbers count where neither schema nor route say it: its
 * connectors choose by the precision of the source's column (time.precision.mode
 * adaptive), which ours is believed to have.
 */
static DjkTimeUnit
adaptive_unit(Oid type, int32 typmod)
{
	switch (type)
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

/*
 * What is said of all columns is the connector's time.precision.mode, in each of
 * which dates are days, and spans microseconds.
 */
static void
choose_debezium_unit(const DjkColumn *column, bool is_said, bool for_all, DjkConvertOptions *options)
{
	int32		typmod = column->typmod;
	Oid			type = base_element(column->type, &typmod);

	if (is_said && for_all && options->time_unit != DJK_TIME_UNIT_NONE && (type == DATEOID || type == INTERVALOID))
		is_said = false;
	if (is_said)
		return;
	options->time_unit = adaptive_unit(type, typmod);
	options->unit_is_assumed = true;
}

DjkConvertOptions
djk_route_convert_options(const DjkRouteState *state, const DjkColumn *column)
{
	const DjkRouteRow *route = state->route;
	DjkConvertOptions options = {0};
	bool		for_all;
	bool		is_said = find_unit(route, column->name, &options.time_unit, &for_all);

	options.strict = route->strict_types;
	options.zone_required = strcmp(route->time_zone, DJK_TIME_ZONE_ERROR) == 0;
	options.debezium = state->codec->connect;
	if (options.debezium)
		choose_debezium_unit(column, is_said, for_all, &options);
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
