/*-------------------------------------------------------------------------
 *
 * codec.c
 *	  The table of formats, and the formats of keys.
 *
 * A format is found by its name and is a row of the table below: a new one is
 * a file with a decode function and a row.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/codec.h"

#include "catalog/pg_type_d.h"

#include "codec/avro.h"
#include "codec/cloudevents.h"
#include "codec/debezium.h"
#include "codec/json.h"
#include "codec/json_schema.h"
#include "codec/logpipe.h"
#include "codec/registered.h"
#include "codec/text.h"

/* Makes the result one bare value of these bytes. */
static void
set_bare(DjkDecoded *out, DjkFieldKind kind, const char *text, int len)
{
	out->is_object = false;
	out->nfields = 0;
	memset(&out->bare, 0, sizeof(out->bare));
	out->bare.kind = kind;
	out->bare.text = text;
	out->bare.len = len;
	out->text = text;
	out->text_len = len;
}

/* Format "text": UTF-8 without NUL. */
static bool
decode_text(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	if (!djk_text_read(bytes, len, out, error))
		return false;
	set_bare(out, DJK_FIELD_STRING, out->text, out->text_len);
	return true;
}

/* Format "raw": any bytes. */
static bool
decode_raw(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	set_bare(out, DJK_FIELD_BYTES, bytes, len);
	return true;
}

static const DjkCodec codecs[] = {
	{.name = "json", .value_type = JSONBOID, .has_fields = true, .decode = djk_json_decode},
	{.name = "json_schema", .value_type = JSONBOID, .has_fields = true, .framed = true, .decode = djk_json_schema_decode},
	{.name = "avro", .value_type = JSONBOID, .has_fields = true, .registered = true, .decode = djk_registered_decode},
	{.name = "debezium", .value_type = JSONBOID, .has_fields = true, .connect = true, .decode = djk_debezium_decode, .open = djk_debezium_open},
	{.name = "debezium_flat", .value_type = JSONBOID, .has_fields = true, .connect = true, .decode = djk_debezium_decode, .open = djk_debezium_open_flat},
	{.name = "logpipe", .value_type = JSONBOID, .has_fields = true, .empty_is_no_key = true, .type_field = "type", .version_field = "version",
	.decode = djk_logpipe_decode, .open = djk_logpipe_open},
	{.name = "cloudevents", .value_type = JSONBOID, .has_fields = true, .type_field = "type",
	.decode = djk_cloudevents_decode, .open = djk_cloudevents_open},
	{.name = "text", .value_type = TEXTOID, .decode = decode_text},
	{.name = "raw", .value_type = BYTEAOID, .decode = decode_raw},
};

const DjkCodec *
djk_codec_find(const char *name)
{
	int			i;

	for (i = 0; i < lengthof(codecs); i++)
	{
		if (strcmp(codecs[i].name, name) == 0)
			return &codecs[i];
	}
	return NULL;
}

const char *const *
djk_codec_names(void)
{
	static const char *names[lengthof(codecs) + 1];

	for (int i = 0; i < lengthof(codecs); i++)
		names[i] = codecs[i].name;
	return names;
}

bool
djk_codec_text(DjkDecoded *decoded, DjkError *error)
{
	const DjkDecodedAvro *avro = &decoded->avro;
	MemoryContext old;
	StringInfoData json;
	bool		made;

	if (decoded->text != NULL)
		return true;
	old = MemoryContextSwitchTo(decoded->context);
	initStringInfo(&json);
	made = djk_avro_append_json(avro->schema, avro->bytes, avro->len, avro->bare_bytes, decoded->replace_invalid,
								&json, error);
	MemoryContextSwitchTo(old);
	if (!made)
		return false;
	decoded->text = json.data;
	decoded->text_len = json.len;
	return true;
}

/*
 * Key format "auto".  Only an object and a string are read as JSON, since
 * there the JSON differs from the scalar it stands for; a key that only looks
 * like one is text.
 */
static bool
decode_auto_key(const char *bytes, int len, DjkDecoded *out)
{
	DjkError	ignored = {0};
	bool		replace = out->replace_invalid;
	bool		is_text;

	if (len > 0 && (bytes[0] == '{' || bytes[0] == '"') &&
		djk_json_decode(bytes, len, out, &ignored) &&
		(out->is_object || out->bare.text != NULL))
		return true;
	/* What is no text may be a serialized number. */
	out->replace_invalid = false;
	is_text = decode_text(bytes, len, out, &ignored) || decode_raw(bytes, len, out, &ignored);
	out->replace_invalid = replace;
	return is_text;
}

bool
djk_codec_decode_key(const char *key_format, const char *bytes, int len,
					 DjkDecoded *out, DjkError *error)
{
	const DjkCodec *codec;

	out->schema = NULL;
	out->types = NULL;
	if (strcmp(key_format, "auto") == 0)
		return decode_auto_key(bytes, len, out);
	codec = djk_codec_find(key_format);
	if (codec == NULL)
	{
		/* the catalog's checks keep other names out; do not trust them blindly */
		error->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
		error->message = MemoryContextStrdup(out->context, "unknown key format");
		error->detail = NULL;
		error->hint = MemoryContextStrdup(out->context, "Key formats are auto, json, json_schema, avro, text and raw.");
		return false;
	}
	if (codec->decode(bytes, len, out, error))
		return true;
	error->hint = NULL;			/* it was about values */
	djk_codec_blame_key(error, out->context);
	return false;
}

void
djk_codec_blame_key(DjkError *error, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	error->message = psprintf("key of the %s", error->message);
	MemoryContextSwitchTo(old);
}
