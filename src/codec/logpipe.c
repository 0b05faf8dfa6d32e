/*-------------------------------------------------------------------------
 *
 * logpipe.c
 *	  Messages of django-logpipe.
 *
 * The bytes begin with the name of their encoding and a colon; behind it is an
 * object of type, version and message, perhaps with its producer.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/logpipe.h"

#include "codec/json.h"
#include "codec/json_escape.h"
#include "codec/msgpack.h"
#include "utils/memutils.h"

static bool
refuse(const DjkDecoded *decoded, int sqlstate, const char *message, const char *detail, const char *hint, DjkError *error)
{
	memset(error, 0, sizeof(*error));
	error->sqlstate = sqlstate;
	error->message = MemoryContextStrdup(decoded->context, message);
	error->detail = detail == NULL ? NULL : MemoryContextStrdup(decoded->context, detail);
	error->hint = hint == NULL ? NULL : MemoryContextStrdup(decoded->context, hint);
	return false;
}

/* ---------- decoding ---------- */

static bool
decode_msgpack(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(out->context);
	DjkField	value = {0};
	StringInfoData json;
	bool		decoded;

	initStringInfo(&json);
	decoded = djk_msgpack_append_json(bytes, len, out->replace_invalid, &json, error);
	value.raw = json.data;
	value.raw_len = json.len;
	if (decoded && out->replace_invalid)
		djk_json_replace_invalid(json.data, json.len, out->context, &value.raw, &value.raw_len);
	MemoryContextSwitchTo(old);
	return decoded && djk_json_decode_part(&value, out, error);
}

/* Whether the bytes begin so; then what is behind it. */
static bool
is_encoded(const char **bytes, int *len, const char *name)
{
	int			n = strlen(name);

	if (*len < n || memcmp(*bytes, name, n) != 0)
		return false;
	*bytes += n;
	*len -= n;
	return true;
}

bool
djk_logpipe_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	out->schema = NULL;
	out->types = NULL;
	if (is_encoded(&bytes, &len, "json:"))
		return djk_json_decode(bytes, len, out, error);
	if (is_encoded(&bytes, &len, "msgpack:"))
		return decode_msgpack(bytes, len, out, error);
	if (is_encoded(&bytes, &len, "pickle:"))
		return refuse(out, DJK_ERRCODE_MALFORMED, "message is a pickle of Python's",
					  "To read one is to run what it says.",
					  "Let the producer write JSON (LOGPIPE's DEFAULT_FORMAT).", error);
	return refuse(out, DJK_ERRCODE_MALFORMED, "message is not of django-logpipe",
				  "It begins neither with \"json:\" nor with \"msgpack:\".",
				  "Set format of the route to what its messages are in.", error);
}

/* ---------- opening ---------- */

static bool
find(const DjkDecoded *decoded, const char *name, DjkField *field)
{
	char	   *path = unconstify(char *, name);

	return djk_codec_find_field(decoded, &path, 1, field);
}

bool
djk_logpipe_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error)
{
	DjkField	field;

	*effect = DJK_EFFECT_WRITE;
	if (!find(decoded, "type", &field) || !find(decoded, "version", &field))
		return refuse(decoded, DJK_ERRCODE_MALFORMED, "message of django-logpipe lacks its type or its version", NULL,
					  "Look what else writes to the topic.", error);
	if (!find(decoded, "message", &field) || field.kind != DJK_FIELD_OBJECT)
		return refuse(decoded, DJK_ERRCODE_NO_ROOT, "message of django-logpipe has no object in its field \"message\"", NULL,
					  "Such a message may be a deletion by deleted_when, or be left out by filter.", error);
	return djk_json_decode_part(&field, decoded, error);
}
