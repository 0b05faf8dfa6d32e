/*-------------------------------------------------------------------------
 *
 * convert_json.c
 *	  json and jsonb: they take any value, from its own JSON text.
 *
 * json is a copy of the message's bytes.  jsonb is built from them with the
 * server's own functions for that, pushJsonbValue() and JsonbValueToJsonb(),
 * fed from slices of the message: jsonb_in() would make a lexer and copies of
 * every string, thrice the time and several kilobytes a value that stay until
 * the batch ends.  What building leaves goes with a context of the converter;
 * the message's context gets the jsonb alone.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "codec/json.h"
#include "codec/json_escape.h"

/*
 * The field as JSON text: as the message has it; bytes have to be JSON, and
 * text (of the format text) becomes a JSON string.
 */
static bool
field_json(const DjkField *field, const char **json, int *len, DjkError *error)
{
	StringInfoData buf;

	*json = NULL;
	*len = 0;
	if (field->raw != NULL)
	{
		*json = field->raw;
		*len = field->raw_len;
		return true;
	}
	if (field->kind == DJK_FIELD_BYTES)
	{
		DjkDecoded	decoded;

		djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
		if (!djk_json_decode(field->text, field->len, &decoded, error))
			return false;
		*json = decoded.text;
		*len = decoded.text_len;
		return true;
	}
	if (field->kind == DJK_FIELD_NATIVE)
	{
		initStringInfo(&buf);
		djk_codec_append_json(field, &buf);
		*json = buf.data;
		*len = buf.len;
		return true;
	}
	if (field->kind != DJK_FIELD_STRING)
	{
		*json = field->text;	/* all others are their own JSON */
		*len = field->len;
		return true;
	}
	initStringInfo(&buf);
	escape_json(&buf, pnstrdup(field->text, field->len));
	*json = buf.data;
	*len = buf.len;
	return true;
}

bool
djk_convert_full_json(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	const char *json;
	int			len;

	/* scanned, so valid: json's input function would only copy it */
	if (!field_json(field, &json, &len, error))
		return false;
	*value = PointerGetDatum(cstring_to_text_with_len(json, len));
	return true;
}

/* A value that is neither object nor array. */
static bool
read_scalar(DjkConverter *converter, const DjkField *field, bool escaped,
			JsonbValue *value, DjkError *error)
{
	Datum		number;
	bool		isnull;

	switch (field->kind)
	{
		case DJK_FIELD_BOOL:
			value->type = jbvBool;
			value->val.boolean = field->len == 4;
			return true;
		case DJK_FIELD_NUMBER:
			value->type = jbvNumeric;
			if (!djk_convert(converter->inner, field, &number, &isnull, error))
				return false;
			value->val.numeric = DatumGetNumeric(number);
			return true;
		case DJK_FIELD_STRING:
			value->type = jbvString;
			value->val.string.val = unconstify(char *, field->text);
			value->val.string.len = field->len;
			if (escaped &&
				!djk_json_unescape(field->text, field->len, CurrentMemoryContext,
								   (const char **) &value->val.string.val,
								   &value->val.string.len, error))
				return false;
			if (value->val.string.len > JENTRY_OFFLENMASK)
				return djk_convert_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
										  "string too long to represent as jsonb string",
										  NULL, NULL);
			return true;
		default:
			value->type = jbvNull;
			return true;
	}
}

/*
 * Walks JSON text that has been scanned and pushes its tokens.  A string is a
 * name where the last mark in an object was a brace or a comma.
 */
static bool
read_json(DjkConverter *converter, const char *json, int len,
		  JsonbValue *scalar, JsonbValue **result, DjkError *error)
{
	JsonbParseState *state = NULL;
	DjkJsonScan scan;
	bool		is_name = false;

	*result = NULL;
	djk_json_scan_init(&scan, json, len, false);
	for (;;)
	{
		DjkField	field;
		bool		escaped;
		bool		in_object = state != NULL && state->contVal.type == jbvObject;

		djk_json_scan_space(&scan);
		switch (scan.at < scan.end ? *scan.at : '\0')
		{
			case '{':
				pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
				is_name = true;
				scan.at++;
				continue;
			case '[':
				pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
				is_name = false;
				scan.at++;
				continue;
			case '}':
			case ']':
				*result = pushJsonbValue(&state, in_object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
				if (state == NULL)
					return true;
				scan.at++;
				continue;
			case ',':
				is_name = in_object;
				scan.at++;
				continue;
			case ':':
				is_name = false;
				scan.at++;
				continue;
			default:
				break;
		}
		if (!djk_json_scan_value(&scan, &field, &escaped))
			return djk_convert_refuse(error, DJK_ERRCODE_MALFORMED, "value is not valid JSON",
									  NULL, NULL);
		if (!read_scalar(converter, &field, escaped, scalar, error))
			return false;
		if (state == NULL)
		{
			*result = scalar;
			return true;
		}
		pushJsonbValue(&state, !in_object ? WJB_ELEM : is_name ? WJB_KEY : WJB_VALUE, scalar);
	}
}

/* Moves an error's strings to the context that outlives the building. */
static bool
keep_error(const DjkError *from, DjkError *to)
{
	return djk_convert_refuse(to, from->sqlstate, from->message, from->detail, from->hint);
}

bool
djk_convert_full_jsonb(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	MemoryContext context = CurrentMemoryContext;
	JsonbValue	scalar;
	JsonbValue *tree = NULL;
	DjkError	inner_error = {0};
	const char *json;
	int			len;
	bool		converted;

	if (!field_json(field, &json, &len, error))
		return false;
	MemoryContextReset(converter->scratch); /* an ERROR may have left something */
	MemoryContextSwitchTo(converter->scratch);
	converted = read_json(converter, json, len, &scalar, &tree, &inner_error);
	if (converted)
	{
		Jsonb	   *built = JsonbValueToJsonb(tree);

		*value = PointerGetDatum(memcpy(MemoryContextAlloc(context, VARSIZE(built)),
										built, VARSIZE(built)));
	}
	MemoryContextSwitchTo(context);
	if (!converted)
		keep_error(&inner_error, error);
	MemoryContextReset(converter->scratch);
	return converted;
}

void
djk_convert_init_jsonb(DjkConverter *converter)
{
	converter->inner = djk_converter_create(NUMERICOID, -1, &djk_convert_lenient);
	converter->scratch = AllocSetContextCreate(converter->context, "djkafka jsonb",
											   ALLOCSET_DEFAULT_SIZES);
	converter->full = djk_convert_full_jsonb;
}
