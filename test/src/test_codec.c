/*-------------------------------------------------------------------------
 *
 * test_codec.c
 *	  Test-only SQL functions over the codecs and the converter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "codec/convert.h"

PG_FUNCTION_INFO_V1(djkafka_test_decode);
PG_FUNCTION_INFO_V1(djkafka_test_decode_key);
PG_FUNCTION_INFO_V1(djkafka_test_convert);
PG_FUNCTION_INFO_V1(djkafka_test_from_kafka);
PG_FUNCTION_INFO_V1(djkafka_test_to_kafka);
PG_FUNCTION_INFO_V1(djkafka_test_escaped);

static const char *
kind_name(DjkFieldKind kind)
{
	static const char *const names[] = {
		"null", "bool", "number", "string", "object", "array", "bytes"
	};

	return names[kind];
}

/* Shows bytes: as they are if they are the server's text, else in hex. */
static void
append_slice(StringInfo buf, const char *bytes, int len)
{
	int			i;

	if (bytes == NULL)
		appendStringInfoString(buf, "<none>");
	else if (pg_verifymbstr(bytes, len, true))
		appendBinaryStringInfo(buf, bytes, len);
	else
	{
		appendStringInfoString(buf, "\\x");
		for (i = 0; i < len; i++)
			appendStringInfo(buf, "%02x", (unsigned char) bytes[i]);
	}
}

static void
append_field(StringInfo buf, const DjkField *field)
{
	appendStringInfo(buf, "%s [", kind_name(field->kind));
	append_slice(buf, field->text, field->len);
	appendStringInfoChar(buf, ']');
	if (field->raw != NULL && (field->raw_len != field->len || field->text == NULL))
	{
		appendStringInfoString(buf, " raw [");
		append_slice(buf, field->raw, field->raw_len);
		appendStringInfoChar(buf, ']');
	}
}

static text *
describe_error(const DjkError *error)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s: %s", unpack_sql_state(error->sqlstate), error->message);
	if (error->detail != NULL)
		appendStringInfo(&buf, " | %s", error->detail);
	if (error->hint != NULL)
		appendStringInfo(&buf, " | %s", error->hint);
	return cstring_to_text_with_len(buf.data, buf.len);
}

static text *
describe_decoded(const DjkDecoded *decoded)
{
	StringInfoData buf;
	int			i;

	initStringInfo(&buf);
	if (!decoded->is_object)
		append_field(&buf, &decoded->bare);
	else
		appendStringInfo(&buf, "object of %d", decoded->nfields);
	for (i = 0; decoded->is_object && i < decoded->nfields && i < 20; i++)
	{
		appendStringInfoString(&buf, "\n  ");
		append_slice(&buf, decoded->fields[i].name, decoded->fields[i].name_len);
		appendStringInfoString(&buf, " = ");
		append_field(&buf, &decoded->fields[i]);
	}
	return cstring_to_text_with_len(buf.data, buf.len);
}

static const DjkCodec *
get_codec(text *name)
{
	const DjkCodec *codec = djk_codec_find(text_to_cstring(name));

	if (codec == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown format \"%s\"", text_to_cstring(name))));
	return codec;
}

/* djkafka_test_decode(format text, bytes bytea) returns text */
Datum
djkafka_test_decode(PG_FUNCTION_ARGS)
{
	const DjkCodec *codec = get_codec(PG_GETARG_TEXT_PP(0));
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);
	DjkDecoded	decoded;
	DjkError	error;

	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	if (!codec->decode(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &decoded, &error))
		PG_RETURN_TEXT_P(describe_error(&error));
	PG_RETURN_TEXT_P(describe_decoded(&decoded));
}

/* djkafka_test_decode_key(key_format text, bytes bytea) returns text */
Datum
djkafka_test_decode_key(PG_FUNCTION_ARGS)
{
	char	   *format = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);
	DjkDecoded	decoded;
	DjkError	error;

	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	if (!djk_codec_decode_key(format, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &decoded, &error))
		PG_RETURN_TEXT_P(describe_error(&error));
	PG_RETURN_TEXT_P(describe_decoded(&decoded));
}

/*
 * djkafka_test_convert(format text, bytes bytea, type regtype, typmod int, strict bool, time_unit text) returns text
 *
 * Converts the bare value, or an object as the bare value it would be in a
 * field.
 */
Datum
djkafka_test_convert(PG_FUNCTION_ARGS)
{
	const DjkCodec *codec = get_codec(PG_GETARG_TEXT_PP(0));
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);
	Oid			type = PG_GETARG_OID(2);
	DjkConvertOptions options = {.strict = PG_GETARG_BOOL(4)};
	DjkDecoded	decoded;
	DjkError	error;
	DjkField	field;
	Datum		value;
	bool		isnull;
	Oid			output;
	bool		is_varlena;

	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	if (!codec->decode(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &decoded, &error))
		PG_RETURN_TEXT_P(describe_error(&error));
	field = decoded.bare;
	if (decoded.is_object)
	{
		field.kind = DJK_FIELD_OBJECT;
		field.text = field.raw = decoded.text;
		field.len = field.raw_len = decoded.text_len;
	}
	options.time_unit = djk_time_unit_parse(text_to_cstring(PG_GETARG_TEXT_PP(5)));
	if (!djk_convert(djk_converter_create(type, PG_GETARG_INT32(3), &options), &field, &value, &isnull, &error))
		PG_RETURN_TEXT_P(describe_error(&error));
	if (isnull)
		PG_RETURN_NULL();
	getTypeOutputInfo(type, &output, &is_varlena);
	PG_RETURN_TEXT_P(cstring_to_text(OidOutputFunctionCall(output, value)));
}

/*
 * djkafka_test_from_kafka(ms bigint) returns timestamptz, and
 * djkafka_test_to_kafka(at timestamptz) returns bigint: base/clock.h.
 */
Datum
djkafka_test_from_kafka(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(djk_timestamp_from_kafka(PG_GETARG_INT64(0)));
}

Datum
djkafka_test_to_kafka(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(djk_timestamp_to_kafka(PG_GETARG_TIMESTAMPTZ(0)));
}

/* (bytes bytea) -> text */
Datum
djkafka_test_escaped(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_TEXT_P(djk_codec_escaped_text(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)));
}
