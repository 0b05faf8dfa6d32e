/*-------------------------------------------------------------------------
 *
 * row_fields.c
 *	  The fields of a value become columns of a row.
 *
 * Which field fills a column is decided before any is converted: of a delete
 * the key alone counts, and of a name that is repeated the last, and whatever is
 * wrong in the others is not even looked at, since what looks may throw.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/row_fields.h"

#include "apply/naming.h"
#include "apply/stranger.h"
#include "apply/unchanged.h"
#include "codec/connect.h"
#include "miscadmin.h"

static bool
convert(const DjkRowBuilder *builder, DjkColumn *column, const DjkField *field, const DjkConnectType *type,
		Datum *value, bool *isnull, DjkError *error)
{
	DjkField	restated;

	*value = (Datum) 0;
	*isnull = true;
	if (builder->state->codec->connect || (type != NULL && type->kind != DJK_CONNECT_PLAIN))
		field = djk_connect_restate(type, column->base_type, builder->decoded.replace_invalid, field, &restated,
									builder->scratch, error);
	return field != NULL && djk_convert(column->converter, field, value, isnull, error);
}

bool
djk_row_put_field(DjkRowBuilder *builder, DjkRow *row, DjkColumn *column, const DjkField *field,
				  const DjkConnectType *type, DjkError *error)
{
	int			c = column - builder->state->columns;
	DjkError	refused = {0};
	bool		converted;

	builder->converting = column;
	converted = convert(builder, column, field, type, &row->values[c], &row->nulls[c], &refused);
	builder->converting = NULL;
	if (converted)
	{
		builder->present = bms_add_member(builder->present, c);
		return true;
	}
	builder->present = bms_del_member(builder->present, c);
	refused.message = psprintf("%scolumn \"%s\": %s", builder->in_key ? "key of the message: " : "",
							   column->name, refused.message);
	if (column->for_delete)
	{
		*error = refused;
		return false;
	}
	if (builder->error.sqlstate == 0)
		builder->error = refused;
	return true;
}

/* ---------- fields without a column ---------- */

/* Whether a field without a column is known nevertheless. */
static bool
is_excluded_column(const DjkRouteState *state, const DjkField *field)
{
	const DjkRouteRow *route = state->route;
	ListCell   *lc;

	if (route->skip_column != NULL && djk_naming_fits(state, field, route->skip_column))
		return true;
	/* What a transform of Debezium's adds to the row: __op, __table and the like. */
	if (state->codec->connect && field->name_len > 2 && memcmp(field->name, "__", 2) == 0)
		return true;
	foreach(lc, state->generated)
	{
		if (djk_naming_fits(state, field, lfirst(lc)))
			return true;
	}
	for (int i = 0; i < route->nexclude; i++)
	{
		if (djk_naming_fits(state, field, route->exclude[i]))
			return true;
	}
	for (int i = 0; i < route->ncolumns; i++)
	{
		if (djk_mapping_takes(&state->mappings[i], field, state->nroot == 0 && state->codec->type_field == NULL))
			return true;
	}
	return route->include != NULL;
}

static bool
refuse_unknown_field(const DjkField *field, DjkError *error)
{
	error->sqlstate = DJK_ERRCODE_UNKNOWN_FIELD;
	error->message = psprintf("field \"%s\" has no column", djk_naming_show(field));
	error->hint = pstrdup("Add the column, or set unknown_fields of the route to \"ignore\".");
	return false;
}

/* ---------- which field fills a column ---------- */

static bool
refuse_two_fields(const DjkColumn *column, const DjkField *a, const DjkField *b, DjkError *error)
{
	error->sqlstate = DJK_ERRCODE_TWO_FIELDS;
	error->message = psprintf("column \"%s\" has two fields, \"%s\" and \"%s\"", column->name,
							  djk_naming_show(a), djk_naming_show(b));
	error->hint = psprintf("A field that is named \"%s\" itself would win; else map the column with columns.", column->name);
	return false;
}

static bool
same_name(const DjkField *a, const DjkField *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

/*
 * A field has been found that may fill a column, for which *last is known
 * already, -1 if none is.  The exact name wins; of one name the last; another
 * that is left is remembered in *other.
 */
static void
choose_field(const DjkField *fields, const DjkColumn *column, int field, int *last, int *other)
{
	bool		last_is_exact = *last >= 0 && djk_naming_is_exact(&fields[*last], column);

	if (last_is_exact && !djk_naming_is_exact(&fields[field], column))
		return;
	if (*last >= 0 && !same_name(&fields[*last], &fields[field]))
		*other = *last;
	*last = field;
}

/* Whether *other leaves it open which field was meant. */
static bool
check_choice(const DjkField *fields, const DjkColumn *column, int last, int other, DjkError *error)
{
	return other < 0 || djk_naming_is_exact(&fields[last], column) ||
		refuse_two_fields(column, &fields[other], &fields[last], error);
}

bool
djk_row_find_field(const DjkRowBuilder *builder, const DjkColumn *column, const DjkField **field, DjkError *error)
{
	const DjkField *fields = builder->decoded.fields;
	int			last = -1;
	int			other = -1;

	*field = NULL;
	for (int i = 0; i < builder->decoded.nfields; i++)
	{
		if (djk_naming_is_exact(&fields[i], column) || djk_naming_fits(builder->state, &fields[i], column->name) ||
			(column->mapping != NULL && djk_mapping_is_field(column->mapping, &fields[i])))
			choose_field(fields, column, i, &last, &other);
	}
	if (!check_choice(fields, column, last, other, error))
	{
		error->message = psprintf("key of the message: %s", error->message);
		return false;
	}
	if (last >= 0)
		*field = &fields[last];
	return true;
}

/* ---------- mapped columns ---------- */

void
djk_row_mark_given(DjkRowBuilder *builder, const DjkDecoded *value)
{
	DjkRouteState *state = builder->state;
	int			c = -1;

	while ((c = bms_next_member(state->mapped_columns, c)) >= 0)
	{
		const DjkColumn *column = &state->columns[c];

		if (column->mapping->path == NULL && djk_route_state_is_given(state, column, value))
			builder->present = bms_add_member(builder->present, c);
	}
}

/* ---------- a row that is gone ---------- */

/*
 * Whether a field of a deletion says nothing: it belongs to the row as it was, of
 * which the key alone counts.  Mostly nothing but that was sent, and the rest is
 * null; its version is that of a change before.  Fields that a transform of
 * Debezium's has added begin with two underscores.
 */
static bool
is_of_before(const DjkRowBuilder *builder, const DjkRow *row, const DjkColumn *column, const char *name, int len,
			 const DjkField *field)
{
	if (!row->is_delete || !builder->state->codec->connect)
		return false;
	if (builder->effect != DJK_EFFECT_DELETE && len > 2 && memcmp(name, "__", 2) == 0)
		return false;
	return !column->is_key || field->kind == DJK_FIELD_NULL;
}

/* Columns that are mapped from a field by its path. */
static bool
put_paths(DjkRowBuilder *builder, DjkRow *row, DjkError *error)
{
	DjkRouteState *state = builder->state;
	int			c = -1;

	while ((c = bms_next_member(state->mapped_columns, c)) >= 0)
	{
		DjkColumn  *column = &state->columns[c];
		DjkField	field;

		CHECK_FOR_INTERRUPTS();
		if (column->mapping->path == NULL || (row->is_delete && !column->for_delete) ||
			!djk_codec_find_field(&builder->decoded, column->mapping->path, column->mapping->npath, &field) ||
			djk_unchanged_is(state->unchanged, column, &field) ||
			is_of_before(builder, row, column, column->mapping->path[0], strlen(column->mapping->path[0]), &field))
			continue;
		if (column->source == DJK_SOURCE_EXPRESSION)
			builder->present = bms_add_member(builder->present, c);
		else if (!djk_row_put_field(builder, row, column, &field,
									djk_connect_find_path(builder->decoded.types, column->mapping->path,
														  column->mapping->npath), error))
			return false;
	}
	return true;
}

/* ---------- all fields ---------- */

static void
make_room(DjkRowBuilder *builder, int nfields)
{
	int			ncolumns = Max(builder->state->ncolumns, 1);

	if (builder->last_fields == NULL)
	{
		builder->last_fields = palloc_array(int, ncolumns);
		builder->other_fields = palloc_array(int, ncolumns);
	}
	memset(builder->last_fields, 0xff, ncolumns * sizeof(int));
	memset(builder->other_fields, 0xff, ncolumns * sizeof(int));
	if (nfields <= builder->max_fields)
		return;
	builder->max_fields = Max(nfields, 2 * builder->max_fields);
	if (builder->field_columns != NULL)
		pfree(builder->field_columns);
	builder->field_columns = palloc_array(int, builder->max_fields);
}

/* Which column each field fills, -1 none; and the field of each column that has one. */
static bool
look_for_columns(DjkRowBuilder *builder, const DjkRow *row, DjkError *error)
{
	DjkRouteState *state = builder->state;
	const DjkField *fields = builder->decoded.fields;
	int			hint = 0;
	bool		stranger = builder->decoded.nfields > 0 && state->route->ncolumns == 0 &&
		!row->is_delete && !state->route->strangers_are_ignored;

	make_room(builder, builder->decoded.nfields);
	for (int i = 0; i < builder->decoded.nfields; i++)
	{
		const DjkField *field = &fields[i];
		DjkColumn  *column;
		int			c;

		CHECK_FOR_INTERRUPTS();
		builder->field_columns[i] = -1;
		if (djk_row_is_deleted_field(state, field))
		{
			stranger = false;
			continue;
		}
		column = djk_naming_find(state, field, hint);
		if (column == NULL)
		{
			if (is_excluded_column(state, field))
				stranger = false;
			else if (state->route->unknown_fields_are_errors)
				return refuse_unknown_field(field, error);
			continue;
		}
		stranger = false;
		c = column - state->columns;
		hint = c + 1 < state->ncolumns ? c + 1 : 0;
		if (column->source == DJK_SOURCE_FIELD)
		{
			builder->field_columns[i] = c;
			choose_field(fields, column, i, &builder->last_fields[c], &builder->other_fields[c]);
		}
	}
	return !stranger || djk_stranger_refuse(state, &builder->decoded, error);
}

/* The same, where it is not known from the message before. */
static bool
find_columns(DjkRowBuilder *builder, const DjkRow *row, DjkError *error)
{
	const void *shape = builder->decoded.shape;

	if (shape != NULL && shape == builder->shape && row->is_delete == builder->shape_is_deleted)
		return true;
	builder->shape = NULL;
	if (!look_for_columns(builder, row, error))
		return false;
	builder->shape = shape;
	builder->shape_is_deleted = row->is_delete;
	return true;
}

bool
djk_row_put_fields(DjkRowBuilder *builder, DjkRow *row, DjkError *error)
{
	const DjkField *fields = builder->decoded.fields;

	if (!find_columns(builder, row, error))
		return false;
	for (int i = 0; i < builder->decoded.nfields; i++)
	{
		int			c = builder->field_columns[i];
		DjkColumn  *column;

		if (c < 0 || builder->last_fields[c] != i)
			continue;
		column = &builder->state->columns[c];
		if ((!column->for_delete && row->is_delete) ||
			djk_unchanged_is(builder->state->unchanged, column, &fields[i]) ||
			is_of_before(builder, row, column, fields[i].name, fields[i].name_len, &fields[i]))
			continue;
		if (!check_choice(fields, column, i, builder->other_fields[c], error) ||
			!djk_row_put_field(builder, row, column, &fields[i],
							   djk_connect_find(builder->decoded.types, fields[i].name, fields[i].name_len, i), error))
			return false;
	}
	return put_paths(builder, row, error);
}
