/*-------------------------------------------------------------------------
 *
 * route_mapping.c
 *	  The mapped columns of a route: its 'columns'.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_target.h"

#include "apply/unchanged.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

static void
append_names(StringInfo sql, char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s", sql->data[sql->len - 1] == '[' ? "" : ", ", quote_literal_cstr(names[i]));
}

/* Where in the value the row is that the message is about; of what a codec's open() finds there. */
static const char *
row_expression(const char *format)
{
	static const char *const rows[][2] = {
		{"debezium", "coalesce(nullif(value->'after', 'null'), value->'before')"},
		{"logpipe", "value->'message'"},
		{"cloudevents", "CASE pg_catalog.jsonb_typeof(value->'data_base64') WHEN 'string'"
			" THEN pg_catalog.convert_from(pg_catalog.decode(value->>'data_base64', 'base64'), 'UTF8')::pg_catalog.jsonb"
			" ELSE value->'data' END"},
	};

	for (int i = 0; i < lengthof(rows); i++)
	{
		if (strcmp(rows[i][0], format) == 0)
			return rows[i][1];
	}
	return "value";
}

/* The field that is looked up, as an expression over the whole value. */
static char *
field_expression(const DjkRouteState *state, const DjkMapping *mapping)
{
	const char *row = row_expression(state->route->format);
	StringInfoData sql;

	initStringInfo(&sql);
	/* Alone it stays what uses.c knows: value #>> ARRAY['name', …]. */
	appendStringInfo(&sql, strcmp(row, "value") == 0 ? "%s #>> ARRAY[" : "(%s) #>> ARRAY[", row);
	append_names(&sql, state->root, state->nroot);
	append_names(&sql, mapping->path, mapping->npath);
	appendStringInfoString(&sql, "]::pg_catalog.text[]");
	return sql.data;
}

static void
build_lookup(DjkRouteState *state, DjkMapping *mapping)
{
	djk_lookup_resolve(mapping->lookup, mapping->column);
	mapping->lookup->number = state->nlookups++;
	if (mapping->expression == NULL)
		mapping->expression = field_expression(state, mapping);
}

void
djk_route_mappings_build(DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;

	state->mappings = palloc0(Max(route->ncolumns, 1) * sizeof(DjkMapping));
	state->expressions = palloc(Max(route->ncolumns, 1) * sizeof(DjkMapping *));
	for (int i = 0; i < route->ncolumns; i++)
	{
		DjkMapping *mapping = &state->mappings[i];

		djk_mapping_parse(route->column_names[i], route->column_mappings[i], mapping);
		if (mapping->path != NULL && !state->codec->has_fields)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot be mapped from a field", mapping->column),
					 errdetail("A message of format \"%s\" has none.", route->format),
					 errhint("Use format => 'json', or an expression over \"value\".")));
		if (mapping->lookup != NULL)
			build_lookup(state, mapping);
		if (mapping->expression != NULL)
			state->expressions[state->nexpressions++] = mapping;
	}
}

static const DjkMapping *
find_mapping(const DjkRouteState *state, const char *column)
{
	for (int i = 0; i < state->route->ncolumns; i++)
	{
		if (strcmp(state->mappings[i].column, column) == 0)
			return &state->mappings[i];
	}
	return NULL;
}

void
djk_route_mapping_apply(DjkRouteState *state, DjkColumn *column)
{
	column->mapping = find_mapping(state, column->name);
	if (column->mapping == NULL)
		return;
	column->insert_only = column->mapping->insert_only;
	column->source = DJK_SOURCE_PATH;
	for (int i = 0; i < state->nexpressions; i++)
	{
		if (state->expressions[i] != column->mapping)
			continue;
		/* The cast to the column's length is then the statement's, which may refuse. */
		column->constrained = column->typmod != -1 || state->is_view;
		state->constrained |= column->constrained;
		column->source = DJK_SOURCE_EXPRESSION;
		column->expression = i;
		column->typmod = -1;
	}
}

/* Whether a field is there, and was sent. */
static bool
has_field(const DjkRouteState *state, const DjkColumn *column, const DjkDecoded *decoded,
		  char *const *path, int npath)
{
	DjkField	field;

	return djk_codec_find_field(decoded, path, npath, &field) && !djk_unchanged_is(state->unchanged, column, &field);
}

bool
djk_route_state_is_given(const DjkRouteState *state, const DjkColumn *column, const DjkDecoded *decoded)
{
	const DjkMapping *mapping = column->mapping;
	ListCell   *lc;

	if (!djk_mapping_is_conditional(mapping))
		return true;
	if (decoded == NULL)
		return false;
	if (mapping->path != NULL)
		return has_field(state, column, decoded, mapping->path, mapping->npath);
	if (!decoded->is_object)
		return true;			/* its elements may have names like fields */
	foreach(lc, mapping->uses.fields)
	{
		char	   *name = lfirst(lc);

		if (has_field(state, column, decoded, &name, 1))
			return true;
	}
	return false;
}
