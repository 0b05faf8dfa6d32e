/*-------------------------------------------------------------------------
 *
 * cloudevents.c
 *	  CloudEvents.
 *
 * An event is JSON as a whole (structured mode), or its attributes are headers and
 * its data the value (binary mode).  The latter becomes the JSON of the former, so
 * that expressions see one form.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/cloudevents.h"

#include "base/message.h"
#include "codec/json.h"
#include "codec/json_escape.h"
#include "codec/text.h"
#include "common/base64.h"
#include "utils/memutils.h"

#define PREFIX			"ce_"
#define MEDIA_TYPE		"application/cloudevents"

/* What a byte of a string may become: \u0000. */
#define GROWTH_OF_BYTE	6

static const char *const required[] = {"id", "source", "type"};

static bool
refuse_event(const DjkDecoded *decoded, const char *detail, DjkError *error)
{
	return djk_codec_refuse(decoded, DJK_ERRCODE_MALFORMED, "message is not a CloudEvent", detail,
							"Look what else writes to the topic, and set format of the route to what its messages are in.", error);
}

static bool
refuse_batch(const DjkDecoded *decoded, DjkError *error)
{
	return djk_codec_refuse(decoded, DJK_ERRCODE_MALFORMED, "message is a batch of CloudEvents", "A message is one event here.",
							"Let the producer send each event as a message of its own.", error);
}

/* ---------- headers ---------- */

static int
load_headers(const DjkDecoded *out, DjkHeader **headers)
{
	const DjkBatch *batch = out->batch;
	MemoryContext old;
	int			n;

	*headers = NULL;
	if (batch == NULL || batch->load_headers == NULL)
		return 0;
	old = MemoryContextSwitchTo(out->context);
	n = batch->load_headers(batch, out->message, headers);
	MemoryContextSwitchTo(old);
	return n;
}

/* The last of a name, whatever its case; NULL if there is none, or its value is null. */
static const DjkHeader *
find_header(const DjkHeader *headers, int n, const char *name)
{
	int			len = strlen(name);

	for (int i = n - 1; i >= 0; i--)
	{
		if (headers[i].name_len == len && pg_strncasecmp(headers[i].name, name, len) == 0)
			return headers[i].value == NULL ? NULL : &headers[i];
	}
	return NULL;
}

static bool
begins(const DjkHeader *header, const char *with)
{
	int			len = strlen(with);

	return header != NULL && header->value_len >= len && pg_strncasecmp(header->value, with, len) == 0;
}

/* Of a media type without its parameters. */
static int
media_type_len(const DjkHeader *header)
{
	int			len = 0;

	while (len < header->value_len && header->value[len] != ';' && header->value[len] != ' ' && header->value[len] != '\t')
		len++;
	return len;
}

static bool
is_media_type(const DjkHeader *header, const char *type)
{
	return begins(header, type) && media_type_len(header) == strlen(type);
}

static bool
is_json(const DjkHeader *type)
{
	int			len = media_type_len(type);

	return is_media_type(type, "application/json") || is_media_type(type, "text/json") ||
		(len >= 5 && pg_strncasecmp(type->value + len - 5, "+json", 5) == 0);
}

/* ---------- binary mode ---------- */

/* A name and a string, which begins with what is before it. */
static bool
append_attribute(const DjkDecoded *out, const char *name, int name_len, const DjkHeader *header, StringInfo json,
				 DjkError *error)
{
	const char *texts[2] = {name, header->value};
	int			lens[2] = {name_len, header->value_len};

	appendStringInfoChar(json, json->len > 1 ? ',' : '{');
	for (int i = 0; i < 2; i++)
	{
		const char *text;
		int			len;

		if (!djk_text_read_with_nul(texts[i], lens[i], out->replace_invalid, out->context, &text, &len))
			return refuse_event(out, "An attribute in its headers is no text of the database's encoding.", error);
		if (json->len + (int64) GROWTH_OF_BYTE * len >= (int64) MaxAllocSize - 1024)
			return refuse_event(out, "Its headers are too long.", error);
		djk_json_append_string(json, text, len);
		if (i == 0)
			appendStringInfoChar(json, ':');
	}
	return true;
}

/* The attributes; those of the names of data are none. */
static bool
append_attributes(const DjkDecoded *out, const DjkHeader *headers, int n, StringInfo json, DjkError *error)
{
	const int	prefix = strlen(PREFIX);

	for (int i = 0; i < n; i++)
	{
		const DjkHeader *header = &headers[i];
		const char *name = header->name + prefix;
		int			len = header->name_len - prefix;

		if (len <= 0 || header->value == NULL || pg_strncasecmp(header->name, PREFIX, prefix) != 0 ||
			(len == 4 && memcmp(name, "data", 4) == 0) || (len == 11 && memcmp(name, "data_base64", 11) == 0))
			continue;
		if (!append_attribute(out, name, len, header, json, error))
			return false;
	}
	return true;
}

/* Text as a string; false, and nothing, if it is none. */
static bool
append_text(const DjkDecoded *out, const char *bytes, int len, StringInfo json)
{
	const char *text;
	int			text_len;

	if (!djk_text_read_with_nul(bytes, len, out->replace_invalid, out->context, &text, &text_len) ||
		json->len + (int64) GROWTH_OF_BYTE * text_len >= (int64) MaxAllocSize - 1024)
		return false;
	appendStringInfoString(json, ",\"data\":");
	djk_json_append_string(json, text, text_len);
	return true;
}

static bool
append_base64(const DjkDecoded *out, const char *bytes, int len, StringInfo json, DjkError *error)
{
	int			size;
	int			encoded;

	if (json->len + (int64) len * 4 / 3 >= (int64) MaxAllocSize - 1024)
		return refuse_event(out, "Its data are too long.", error);
	size = pg_b64_enc_len(len) + 1;
	appendStringInfoString(json, ",\"data_base64\":\"");
	enlargeStringInfo(json, size);
	encoded = pg_b64_encode((const void *) bytes, len, json->data + json->len, size);
	json->len += Max(encoded, 0);
	appendStringInfoChar(json, '"');
	return true;
}

/*
 * The value by what its header calls it; one that nothing is said of is JSON if it
 * looks like it.  JSON is decoded by itself first, so that it is one value and
 * nothing of it becomes an attribute.
 */
static bool
append_data(DjkDecoded *out, const DjkHeader *type, const char *bytes, int len, StringInfo json, DjkError *error)
{
	DjkError	ignored = {0};

	if (len == 0)
		return true;
	if (type == NULL ? djk_json_decode(bytes, len, out, &ignored) : is_json(type))
	{
		if (type != NULL && !djk_json_decode(bytes, len, out, error))
			return false;
		if (json->len + (int64) out->text_len >= (int64) MaxAllocSize - 1024)
			return refuse_event(out, "Its data are too long.", error);
		appendStringInfoString(json, ",\"data\":");
		appendBinaryStringInfo(json, out->text, out->text_len);
		return true;
	}
	return (begins(type, "text/") && append_text(out, bytes, len, json)) || append_base64(out, bytes, len, json, error);
}

static bool
decode_binary(const DjkHeader *headers, int n, const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(out->context);
	const DjkHeader *type = find_header(headers, n, "content-type");
	StringInfoData json;
	bool		appended;

	initStringInfo(&json);
	appended = append_attributes(out, headers, n, &json, error) &&
		(type == NULL || append_attribute(out, "datacontenttype", strlen("datacontenttype"), type, &json, error)) &&
		append_data(out, type, bytes, len, &json, error);
	appendStringInfoChar(&json, '}');
	MemoryContextSwitchTo(old);
	return appended && djk_json_decode_made(&json, out, error);
}

/* ---------- decoding ---------- */

static bool
is_string(const DjkDecoded *out, const char *name)
{
	DjkField	field;

	return djk_codec_find_named(out, name, &field) && field.kind == DJK_FIELD_STRING && (field.text == NULL || field.len > 0);
}

static bool
require_attributes(const DjkDecoded *out, DjkError *error)
{
	DjkField	version;

	if (!out->is_object)
		return out->bare.kind == DJK_FIELD_ARRAY ? refuse_batch(out, error) :
			refuse_event(out, "It is no JSON object.", error);
	if (!djk_codec_find_named(out, "specversion", &version))
		return refuse_event(out, "Neither its headers nor its value have a specversion.", error);
	if (version.kind != DJK_FIELD_STRING || version.len < 2 || version.text == NULL || memcmp(version.text, "1.", 2) != 0)
		return refuse_event(out, "Its specversion is not 1.0.", error);
	for (int i = 0; i < lengthof(required); i++)
	{
		char		detail[64];

		snprintf(detail, sizeof(detail), "It lacks \"%s\", which is a string.", required[i]);
		if (!is_string(out, required[i]))
			return refuse_event(out, detail, error);
	}
	return true;
}

bool
djk_cloudevents_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	DjkHeader  *headers;
	int			n = load_headers(out, &headers);
	const DjkHeader *type = find_header(headers, n, "content-type");
	bool		is_event = begins(type, MEDIA_TYPE);
	bool		decoded;

	out->schema = NULL;
	out->types = NULL;
	if (begins(type, MEDIA_TYPE "-batch"))
		return refuse_batch(out, error);
	if (is_event && !is_media_type(type, MEDIA_TYPE "+json") && !is_media_type(type, MEDIA_TYPE))
		return djk_codec_refuse(out, DJK_ERRCODE_MALFORMED, "message is a CloudEvent that is not in JSON", NULL,
								"Let the producer write application/cloudevents+json, or in binary mode.", error);
	if (!is_event && find_header(headers, n, PREFIX "specversion") != NULL)
		decoded = decode_binary(headers, n, bytes, len, out, error);
	else
		decoded = djk_json_decode(bytes, len, out, error);
	return decoded && require_attributes(out, error);
}

/* ---------- opening ---------- */

static bool
refuse_data(const DjkDecoded *decoded, const char *detail, DjkError *error)
{
	return djk_codec_refuse(decoded, DJK_ERRCODE_NO_ROOT, "the data of the CloudEvent are no object", detail,
							"Map the columns with SQL expressions over \"value\"; or such a message may be a deletion by deleted_when, or be left out by filter.", error);
}

/* JSON in base64. */
static bool
open_base64(const DjkField *field, DjkDecoded *decoded, DjkError *error)
{
	int			size = (int) ((int64) field->len * 3 / 4) + 1;
	char	   *bytes = MemoryContextAllocHuge(decoded->context, size);
	int			len = pg_b64_decode(field->text, field->len, (void *) bytes, size);

	if (len < 0)
		return djk_codec_refuse(decoded, DJK_ERRCODE_MALFORMED, "data_base64 of the CloudEvent is not base64", NULL,
								"Look what its producer writes.", error);
	if (djk_json_decode(bytes, len, decoded, error) && decoded->is_object)
		return true;
	decoded->nfields = 0;
	return refuse_data(decoded, "They are bytes (data_base64) that are no object of JSON.", error);
}

bool
djk_cloudevents_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error)
{
	DjkField	data;

	*effect = DJK_EFFECT_WRITE;
	if (djk_codec_find_named(decoded, "data_base64", &data) && data.kind == DJK_FIELD_STRING && data.text != NULL)
		return open_base64(&data, decoded, error);
	if (!djk_codec_find_named(decoded, "data", &data) || data.kind == DJK_FIELD_NULL)
		return refuse_data(decoded, "It has none.", error);
	if (data.kind != DJK_FIELD_OBJECT)
		return refuse_data(decoded, NULL, error);
	return djk_json_decode_part(&data, decoded, error);
}
