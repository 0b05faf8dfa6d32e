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

#include "describe.h"

PG_FUNCTION_INFO_V1(djkafka_test_decode);
PG_FUNCTION_INFO_V1(djkafka_test_decode_key);
PG_FUNCTION_INFO_V1(djkafka_test_convert);
PG_FUNCTION_INFO_V1(djkafka_test_from_kafka);
PG_FUNCTION_INFO_V1(djkafka_test_to_kafka);
PG_FUNCTION_INFO_V1(djkafka_test_escaped);

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
