/*-------------------------------------------------------------------------
 *
 * convert.c
 *	  A field -> a Datum of a column's type.
 *
 * What a column takes, and what it makes of it, is what jsonb_populate_record()
 * takes and makes; test/sql/codec_random.sql compares the two.  They differ
 * where that would lose something: json and text columns get an object or
 * array as the message has it, not as jsonb prints it, and a bytea column
 * takes hexadecimal only.
 *
 * A refused value is one message's error, so it should be told without
 * throwing: an ERROR costs the whole batch a second run by halves.  From
 * PostgreSQL 16 on input functions can do that.  On 15 the direct paths never
 * throw, and the errors of the input functions that only compute (no catalog,
 * no lock, no snapshot: list below) are caught where they arise, as core's
 * xml_is_document() does; there is nothing a subtransaction would have to
 * clean up.  All other input functions throw to the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "codec/json.h"
#include "codec/json_escape.h"
#include "codec/native.h"

/* What a message shows of a value, and of an input function's own message. */
#define SHOWN_VALUE_MAX 64
#define SHOWN_MESSAGE_MAX 1000

const DjkConvertOptions djk_convert_lenient = {0};

bool
djk_convert_refuse(DjkError *error, int sqlstate, const char *message,
				   const char *detail, const char *hint)
{
	error->name = NULL;
	error->sqlstate = sqlstate;
	error->message = pstrdup(message);
	error->detail = detail == NULL ? NULL : pstrdup(detail);
	error->hint = hint == NULL ? NULL : pstrdup(hint);
	return false;
}

char *
djk_convert_show(const char *text, int len)
{
	if (text == NULL)
		return pstrdup("\"\"");
	if (len <= SHOWN_VALUE_MAX)
		return psprintf("\"%.*s\"", len, text);
	return psprintf("\"%.*s...\"", pg_mbcliplen(text, len, SHOWN_VALUE_MAX), text);
}

char *
djk_convert_field_text(const DjkField *field, DjkError *error)
{
	const char *text;
	int			len;

	if (field->kind == DJK_FIELD_NUMBER && djk_convert_number_is_odd(field->text, field->len))
		return djk_convert_normalize_number(field->text, field->len);
	if (field->kind == DJK_FIELD_BYTES)
	{
		if (!djk_codec_to_server_text(field->text, field->len, CurrentMemoryContext,
									  &text, &len, error))
		{
			/* the message is what its format says; it is this value that is none */
			error->sqlstate = ERRCODE_INVALID_TEXT_REPRESENTATION;
			error->message = pstrdup("bytes are not text");
			return NULL;
		}
		return pnstrdup(text, len);
	}
	if (field->text == NULL)
	{
		/* its escapes mean no text: once more, to say why */
		if (!djk_json_unescape(field->raw + 1, field->raw_len - 2, CurrentMemoryContext,
							   &text, &len, error))
			return NULL;
		return pnstrdup(text, len);
	}
	return pnstrdup(field->text, field->len);
}

char *
djk_convert_shown(const char *string)
{
	int			len;

	if (string == NULL)
		return NULL;
	len = (int) strlen(string);
	if (len <= SHOWN_MESSAGE_MAX)
		return pstrdup(string);
	return psprintf("%.*s...", pg_mbcliplen(string, len, SHOWN_MESSAGE_MAX), string);
}

static bool
copy_error(const ErrorData *edata, DjkError *error)
{
	error->name = NULL;
	error->sqlstate = edata->sqlerrcode;
	error->message = djk_convert_shown(edata->message);
	error->detail = djk_convert_shown(edata->detail);
	error->hint = djk_convert_shown(edata->hint);
	return false;
}

#ifdef DJK_HAVE_SOFT_ERRORS

static bool
call_input(DjkConverter *converter, char *text, Datum *value, DjkError *error)
{
	ErrorSaveContext escontext = {T_ErrorSaveContext};

	escontext.details_wanted = true;
	if (InputFunctionCallSafe(&converter->input, text, converter->input_param,
							  converter->typmod, (Node *) &escontext, value))
		return true;
	return copy_error(escontext.error_data, error);
}

#else

/* Errors that say something of the value, and of nothing else. */
static bool
is_value_error(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION ||
		sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX ||
		sqlstate == ERRCODE_SYNTAX_ERROR ||
		sqlstate == ERRCODE_FEATURE_NOT_SUPPORTED;
}

/* InputFunctionCall() for a function whose error leaves nothing behind. */
static bool
call_pure_input(DjkConverter *converter, char *text, Datum *value, DjkError *error)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		interrupt_holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile bool converted = true;

	PG_TRY();
	{
		*value = InputFunctionCall(&converter->input, text, converter->input_param,
								   converter->typmod);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		if (!is_value_error(edata->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		/* errfinish() took the caller's hold on interrupts away */
		InterruptHoldoffCount = interrupt_holdoff;
		QueryCancelHoldoffCount = cancel_holdoff;
		copy_error(edata, error);
		FreeErrorData(edata);
		converted = false;
	}
	PG_END_TRY();
	return converted;
}

static bool
call_input(DjkConverter *converter, char *text, Datum *value, DjkError *error)
{
	if (converter->input_is_pure)
		return call_pure_input(converter, text, value, error);
	*value = InputFunctionCall(&converter->input, text, converter->input_param,
							   converter->typmod);
	return true;
}

#endif							/* DJK_HAVE_SOFT_ERRORS */

/*
 * What an input function leaves behind goes with a context of its own: that of a
 * range leaves two kilobytes, and an array of a message may have a million.
 */
bool
djk_convert_by_input(DjkConverter *converter, char *text, Datum *value, DjkError *error)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext own;
	DjkError	refused = {0};
	bool		converted;

	if (converter->byval)
		return call_input(converter, text, value, error);
	own = AllocSetContextCreate(context, "djkafka input", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(own);
	converted = call_input(converter, text, value, &refused);
	MemoryContextSwitchTo(context);
	if (converted)
		*value = datumCopy(*value, false, converter->typlen);
	else
		(void) djk_convert_refuse(error, refused.sqlstate, refused.message, refused.detail, refused.hint);
	MemoryContextDelete(own);
	return converted;
}

bool
djk_convert_full_input(DjkConverter *converter, const DjkField *field,
					   Datum *value, DjkError *error)
{
	char	   *text = djk_convert_field_text(field, error);

	return text != NULL && djk_convert_by_input(converter, text, value, error);
}

/* enum_in() looks into the catalog, so its usual error is told beforehand. */
static bool
convert_enum(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	char	   *text = djk_convert_field_text(field, error);

	if (text == NULL)
		return false;
	if (strlen(text) >= NAMEDATALEN ||
		!SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(converter->type),
							   CStringGetDatum(text)))
		return djk_convert_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  psprintf("invalid input value for enum %s: %s",
										   format_type_be(converter->type),
										   djk_convert_show(text, (int) strlen(text))),
								  NULL, NULL);
	return djk_convert_by_input(converter, text, value, error);
}

/* domain_check(); throws before PostgreSQL 17. */
static bool
check_domain(DjkConverter *converter, Datum value, bool isnull, DjkError *error)
{
#if defined(DJK_HAVE_SOFT_ERRORS)
	ErrorSaveContext escontext = {T_ErrorSaveContext};

	escontext.details_wanted = true;
	if (djk_domain_check(value, isnull, converter->type, &converter->domain_info,
						 converter->context, (Node *) &escontext))
		return true;
	return copy_error(escontext.error_data, error);
#else
	return djk_domain_check(value, isnull, converter->type, &converter->domain_info,
							converter->context, NULL);
#endif
}

static bool
convert_domain(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	bool		isnull;

	return djk_convert(converter->inner, field, value, &isnull, error) &&
		check_domain(converter, *value, isnull, error);
}

bool
djk_convert_input_is_pure(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case NAMEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case MONEYOID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
		case POINTOID:
		case TSVECTOROID:
		case PG_LSNOID:
			return true;
		default:
			return false;
	}
}

/* The paths of a type that is neither domain, array, composite nor enum. */
static void
choose_scalar_paths(DjkConverter *converter)
{
	/* by function: types such as citext share text's */
	if (converter->input.fn_addr == textin)
	{
		converter->direct = djk_convert_direct_text;
		return;
	}
	switch (converter->type)
	{
		case VARCHAROID:
			converter->direct = djk_convert_direct_varchar;
			break;
		case BOOLOID:
			converter->direct = djk_convert_direct_bool;
			break;
		case INT2OID:
			converter->direct = djk_convert_direct_int2;
			break;
		case INT4OID:
			converter->direct = djk_convert_direct_int4;
			break;
		case INT8OID:
			converter->direct = djk_convert_direct_int8;
			break;
		case FLOAT4OID:
			converter->direct = djk_convert_direct_float4;
			break;
		case FLOAT8OID:
			converter->direct = djk_convert_direct_float8;
			break;
		case NUMERICOID:
			converter->direct = djk_convert_direct_numeric;
			break;
		case UUIDOID:
			converter->direct = djk_convert_direct_uuid;
			break;
		case DATEOID:
			converter->direct = djk_convert_direct_date;
			break;
		case TIMESTAMPOID:
			if (converter->typmod < 0 || converter->typmod >= MAX_TIMESTAMP_PRECISION)
				converter->direct = djk_convert_direct_timestamp;
			break;
		case TIMESTAMPTZOID:
			if (converter->typmod < 0 || converter->typmod >= MAX_TIMESTAMP_PRECISION)
				converter->direct = djk_convert_direct_timestamptz;
			break;
		case BYTEAOID:
			converter->full = djk_convert_full_bytea;
			break;
		case JSONOID:
			converter->full = djk_convert_full_json;
			break;
		case JSONBOID:
			djk_convert_init_jsonb(converter);
			break;
		default:
			break;
	}
}

DjkConverter *
djk_converter_create(Oid type, int32 typmod, const DjkConvertOptions *options)
{
	DjkConverter *converter = palloc0(sizeof(DjkConverter));
	char		typtype = get_typtype(type);
	Oid			element = get_element_type(type);
	Oid			input;

	/* A type may be made of types, many times and deep. */
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	converter->type = type;
	converter->typmod = typmod;
	converter->options = *options;
	converter->context = CurrentMemoryContext;
	converter->full = djk_convert_full_input;
	getTypeInputInfo(type, &input, &converter->input_param);
	fmgr_info(input, &converter->input);
	converter->input_is_pure = djk_convert_input_is_pure(type);
	get_typlenbyval(type, &converter->typlen, &converter->byval);
	if (typtype == TYPTYPE_DOMAIN)
	{
		int32		base_typmod = typmod;
		Oid			base = getBaseTypeAndTypmod(type, &base_typmod);

		converter->is_domain = true;
		converter->inner = djk_converter_create(base, base_typmod, options);
		converter->full = convert_domain;
	}
	/* Vectors are arrays of one shape, without nulls: what else is built of them cannot be read. */
	else if (OidIsValid(element) && type != INT2VECTOROID && type != OIDVECTOROID)
		djk_convert_init_array(converter, element);
	else if (typtype == TYPTYPE_COMPOSITE)
		djk_convert_init_composite(converter);
	else if (typtype == TYPTYPE_ENUM)
		converter->full = convert_enum;
	else if (typtype == TYPTYPE_MULTIRANGE)
		converter->full = djk_convert_full_parts;
	else
		choose_scalar_paths(converter);
	if (options->strict)
		djk_convert_init_strict(converter);
	return converter;
}

/* Bytes that have to be text, as a string: what checks it shows it, and may show nothing that is no text. */
static bool
read_bytes(DjkField *field, DjkError *error)
{
	char	   *text = djk_convert_field_text(field, error);

	if (text == NULL)
		return false;
	field->kind = DJK_FIELD_STRING;
	field->text = text;
	field->len = (int) strlen(text);
	return true;
}

/* Of a field that is neither null nor native; what is in *value after false is no value. */
static bool
convert_text(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	DjkField	string;

	if (field->kind == DJK_FIELD_BYTES && (converter->check != NULL || converter->check_value != NULL))
	{
		string = *field;
		if (!read_bytes(&string, error))
			return false;
		field = &string;
	}
	if (converter->direct != NULL && field->text != NULL &&
		converter->direct(converter, field, value))
		return converter->check_direct == NULL || field->sure || converter->check_direct(converter, field, *value, error);
	if (djk_convert_is_epoch(converter, field))
	{
		if (!djk_convert_epoch(converter, field, value, error))
			return false;
		if (converter->options.debezium)
			return true;
	}
	else if ((converter->check != NULL && !field->sure && !converter->check(converter, field, error)) ||
			 !converter->full(converter, field, value, error))
		return false;
	return converter->check_value == NULL || field->sure || converter->check_value(converter, field, *value, error);
}

/* Of a field that is not null; what is in *value after false is no value. */
static bool
convert_value(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	DjkField	shown;

	if (field->kind != DJK_FIELD_NATIVE)
		return convert_text(converter, field, value, error);
	/* They know it as it is, and so does what a domain is of. */
	if (converter->is_domain || converter->full == djk_convert_full_json || converter->full == djk_convert_full_jsonb)
		return converter->full(converter, field, value, error);
	return djk_convert_direct_native(converter, field, value) ||
		(djk_native_show(field, &shown, error) && convert_text(converter, &shown, value, error));
}

bool
djk_convert(DjkConverter *converter, const DjkField *field,
			Datum *value, bool *isnull, DjkError *error)
{
	Datum		converted = (Datum) 0;

	*value = (Datum) 0;
	*isnull = true;
	if (field->kind == DJK_FIELD_NULL)
		return !converter->is_domain || check_domain(converter, (Datum) 0, true, error);
	if (!convert_value(converter, field, &converted, error))
		return false;
	*value = converted;
	*isnull = false;
	return true;
}
