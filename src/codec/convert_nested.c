/*-------------------------------------------------------------------------
 *
 * convert_nested.c
 *	  Arrays from JSON arrays, composites from JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "codec/json.h"

/*
 * Commas of a value of several parts that is written as text, where these are not
 * of a simple type: all are read at once, and each leaves some kilobytes until then.
 */
#define TEXT_COMMAS_MAX		100000

void
djk_convert_init_array(DjkConverter *converter, Oid element_type)
{
	converter->inner = djk_converter_create(element_type, converter->typmod, &converter->options);
	converter->full = djk_convert_full_array;
}

/* An array being built. */
typedef struct ArrayBuild
{
	DjkConverter *converter;
	ArrayBuildState *state;
	bool		documents;		/* see DjkField */
	int			ndims;			/* 0 until the first element that is no array */
	int			dims[MAXDIM];	/* -1 until the first array of that level ended */
	DjkError   *error;
} ArrayBuild;

/* Adds one element of the innermost dimension. */
static bool
add_element(ArrayBuild *build, const DjkField *field)
{
	DjkConverter *converter = build->converter;
	DjkField	document;
	Datum		value;
	bool		isnull;

	if (build->documents && field->kind == DJK_FIELD_STRING && field->text != NULL)
	{
		if (!djk_json_read_document(field->text, field->len, CurrentMemoryContext, &document))
			return djk_convert_refuse(build->error, ERRCODE_INVALID_TEXT_REPRESENTATION,
									  psprintf("value is no JSON: %s", djk_convert_show(field->text, field->len)),
									  NULL, NULL);
		field = &document;
	}
	if (!djk_convert(converter->inner, field, &value, &isnull, build->error))
		return false;
	accumArrayResult(build->state, value, isnull, converter->inner->type, CurrentMemoryContext);
	return true;
}

/*
 * Adds the elements of a JSON array that stands at 'level' (0 is the whole).
 * The first element that is no array says how many dimensions there are; every
 * array of a level must then be as long as the first one.  Recursion ends at
 * MAXDIM.
 */
static bool
add_array(ArrayBuild *build, const DjkField *field, int level)
{
	DjkJsonArray array;
	DjkField	element;
	int			count = 0;

	djk_json_array_begin(&array, field->raw, field->raw_len, CurrentMemoryContext);
	while (djk_json_array_next(&array, &element))
	{
		bool		is_array = element.kind == DJK_FIELD_ARRAY;

		if (build->ndims == 0 && !is_array)
			build->ndims = level + 1;
		if (level + 1 == build->ndims)
		{
			if (!add_element(build, &element))
				return false;
		}
		else if (!is_array)
			return djk_convert_refuse(build->error, ERRCODE_INVALID_TEXT_REPRESENTATION,
									  "expected a JSON array", NULL, NULL);
		else if (level + 1 >= MAXDIM)
			return djk_convert_refuse(build->error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
									  psprintf("array has more than %d dimensions", MAXDIM),
									  NULL, NULL);
		else if (!add_array(build, &element, level + 1))
			return false;
		count++;
	}
	if (build->ndims == 0)
		build->ndims = level + 1;
	if (build->dims[level] < 0)
		build->dims[level] = count;
	else if (build->dims[level] != count)
		return djk_convert_refuse(build->error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "malformed JSON array",
								  "Multidimensional arrays must have sub-arrays with matching dimensions.",
								  NULL);
	return true;
}

/* Not more parts than there are commas, and one. */
static bool
is_short(const DjkField *field)
{
	int			commas = 0;

	for (int i = 0; field->text != NULL && i < field->len; i++)
		commas += field->text[i] == ',';
	return commas < TEXT_COMMAS_MAX;
}

/* The same of all strings in a JSON object.  An escape of hexadecimal digits may be a comma. */
static bool
is_short_within(const DjkField *field)
{
	int			commas = 0;
	bool		in_string = false;

	for (int i = 0; i < field->raw_len; i++)
	{
		if (field->raw[i] == '"')
			in_string = !in_string;
		else if (field->raw[i] == '\\' && i + 1 < field->raw_len)
			commas += field->raw[++i] == 'u';
		else
			commas += in_string && field->raw[i] == ',';
	}
	return commas < TEXT_COMMAS_MAX;
}

static const char *
hint_at_json(const DjkConverter *converter)
{
	if (converter->full == djk_convert_full_array)
		return "Send a JSON array, or fill the column with an expression.";
	if (converter->full == djk_convert_full_composite)
		return "Send a JSON object, or fill the column with an expression.";
	return "Fill the column with an expression.";
}

bool
djk_convert_full_parts(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	if (is_short(field))
		return djk_convert_full_input(converter, field, value, error);
	return djk_convert_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
							  psprintf("value of type %s is written as text, and too long for that",
									   format_type_be(converter->type)),
							  psprintf("It has %d commas or more.", TEXT_COMMAS_MAX), hint_at_json(converter));
}

bool
djk_convert_full_array(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	ArrayBuild	build;
	int			lower[MAXDIM];
	int			i;

	/* a string is the type's own text form, {1,2} */
	if (field->kind == DJK_FIELD_STRING || field->kind == DJK_FIELD_BYTES)
		return converter->inner->input_is_pure ? djk_convert_full_input(converter, field, value, error) :
			djk_convert_full_parts(converter, field, value, error);
	if (field->kind != DJK_FIELD_ARRAY)
		return djk_convert_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "expected a JSON array", NULL, NULL);
	build.converter = converter;
	build.documents = field->documents;
	build.state = initArrayResult(converter->inner->type, CurrentMemoryContext, true);
	build.ndims = 0;
	build.error = error;
	for (i = 0; i < MAXDIM; i++)
	{
		build.dims[i] = -1;
		lower[i] = 1;
	}
	if (!add_array(&build, field, 0))
		return false;
	*value = makeMdArrayResult(build.state, build.ndims, build.dims, lower,
							   CurrentMemoryContext, true);
	return true;
}

/* ---------- composites ---------- */

static bool any_may_have_parts(Oid composite);

/* Whether a value of the type, or one within it, may be made of any number of others that are not simple. */
static bool
may_have_parts(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	check_stack_depth();
	if (OidIsValid(element))
		return !djk_convert_input_is_pure(element);
	return type_is_multirange(base) || (OidIsValid(get_typ_typrelid(base)) && any_may_have_parts(base));
}

static bool
any_may_have_parts(Oid composite)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(composite, -1);
	bool		found = false;

	for (int i = 0; i < desc->natts && !found; i++)
		found = !TupleDescAttr(desc, i)->attisdropped && may_have_parts(TupleDescAttr(desc, i)->atttypid);
	FreeTupleDesc(desc);
	return found;
}

/*
 * Composites go through jsonb_populate_record(), which finds the row type in
 * the expression that calls it: we give it one.
 */
static void
init_populate(DjkConverter *converter)
{
	List	   *args;

	converter->has_parts = may_have_parts(converter->type);
	converter->scratch = AllocSetContextCreate(converter->context, "djkafka record", ALLOCSET_DEFAULT_SIZES);
	converter->jsonb = djk_converter_create(JSONBOID, -1, &djk_convert_lenient);
	args = list_make2(makeNullConst(converter->type, -1, InvalidOid),
					  makeNullConst(JSONBOID, -1, InvalidOid));
	fmgr_info(F_JSONB_POPULATE_RECORD, &converter->populate);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, converter->type, args,
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &converter->populate);
}

/* With strict types each attribute is converted as a column of its type is. */
static void
init_attributes(DjkConverter *converter)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(converter->type, -1);

	converter->attributes = palloc0(Max(desc->natts, 1) * sizeof(DjkAttribute));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		converter->attributes[i].name = pstrdup(NameStr(att->attname));
		converter->attributes[i].name_len = strlen(converter->attributes[i].name);
		converter->attributes[i].converter = djk_converter_create(att->atttypid, att->atttypmod, &converter->options);
	}
	converter->desc = desc;
	djk_decoded_init(&converter->decoded, converter->context, NULL);
}

void
djk_convert_init_composite(DjkConverter *converter)
{
	if (converter->options.strict)
		init_attributes(converter);
	else
		init_populate(converter);
	converter->full = djk_convert_full_composite;
}

/* The last of a repeated name counts; NULL if there is none. */
static const DjkField *
find_field(const DjkDecoded *decoded, const DjkAttribute *attribute)
{
	for (int i = decoded->nfields - 1; i >= 0; i--)
	{
		if (decoded->fields[i].name_len == attribute->name_len &&
			memcmp(decoded->fields[i].name, attribute->name, attribute->name_len) == 0)
			return &decoded->fields[i];
	}
	return NULL;
}

static bool
convert_attributes(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	static const DjkField absent = {.kind = DJK_FIELD_NULL};
	int			n = converter->desc->natts;
	Datum	   *values = palloc0(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));

	converter->decoded.context = CurrentMemoryContext;
	if (!djk_json_decode_part(field, &converter->decoded, error))
		return false;
	for (int i = 0; i < n; i++)
	{
		const DjkAttribute *attribute = &converter->attributes[i];
		const DjkField *found;

		nulls[i] = true;
		if (attribute->converter == NULL)
			continue;
		found = find_field(&converter->decoded, attribute);
		if (!djk_convert(attribute->converter, found ? found : &absent, &values[i], &nulls[i], error))
			return false;
	}
	*value = HeapTupleGetDatum(heap_form_tuple(converter->desc, values, nulls));
	return true;
}

static Datum
populate(DjkConverter *converter, Datum jsonb, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		record;

	InitFunctionCallInfoData(*fcinfo, &converter->populate, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = (Datum) 0;
	fcinfo->args[0].isnull = true;
	fcinfo->args[1].value = jsonb;
	fcinfo->args[1].isnull = false;
	record = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return record;
}

/* What is left behind by whatever reads attributes, and what these hold, goes with a context of its own. */
static bool
populate_record(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		jsonb;
	Datum		record;
	bool		isnull;

	if (converter->has_parts && !is_short_within(field))
		return djk_convert_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
								  psprintf("object for type %s has values that are written as text, and too long for that",
										   format_type_be(converter->type)),
								  psprintf("They have %d commas or more.", TEXT_COMMAS_MAX),
								  "Send JSON arrays and objects, or fill the column with an expression.");
	if (!djk_convert_full_jsonb(converter->jsonb, field, &jsonb, error))
		return false;
	MemoryContextReset(converter->scratch); /* an ERROR may have left something */
	MemoryContextSwitchTo(converter->scratch);
	record = populate(converter, jsonb, &isnull);
	MemoryContextSwitchTo(context);
	if (!isnull)
		*value = datumCopy(record, false, -1);
	MemoryContextReset(converter->scratch);
	pfree(DatumGetPointer(jsonb));
	return !isnull || djk_convert_refuse(error, ERRCODE_DATA_EXCEPTION, "composite value became null", NULL, NULL);
}

bool
djk_convert_full_composite(DjkConverter *converter, const DjkField *field, Datum *value,
						   DjkError *error)
{
	if (field->kind == DJK_FIELD_STRING || field->kind == DJK_FIELD_BYTES)
		return djk_convert_full_parts(converter, field, value, error);
	if (field->kind != DJK_FIELD_OBJECT)
		return djk_convert_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  psprintf("expected a JSON object for type %s",
										   format_type_be(converter->type)),
								  NULL, NULL);
	return converter->options.strict ? convert_attributes(converter, field, value, error)
		: populate_record(converter, field, value, error);
}
