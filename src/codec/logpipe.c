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
#include "codec/msgpack.h"

/* ---------- decoding ---------- */

static bool
decode_msgpack(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(out->context);
	StringInfoData json;
	bool		decoded;

	initStringInfo(&json);
	decoded = djk_msgpack_append_json(bytes, len, out->replace_invalid, &json, error);
	MemoryContextSwitchTo(old);
	return decoded && djk_json_decode_made(&json, out, error);
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
		return djk_codec_refuse(out, DJK_ERRCODE_MALFORMED, "message is a pickle of Python's",
								"To read one is to run what it says.",
								"Let the producer write JSON (LOGPIPE's DEFAULT_FORMAT).", error);
	return djk_codec_refuse(out, DJK_ERRCODE_MALFORMED, "message is not of django-logpipe",
							"It begins neither with \"json:\" nor with \"msgpack:\".",
							"Set format of the route to what its messages are in.", error);
}

/* ---------- opening ---------- */

bool
djk_logpipe_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error)
{
	DjkField	field;

	*effect = DJK_EFFECT_WRITE;
	if (!djk_codec_find_named(decoded, "type", &field) || !djk_codec_find_named(decoded, "version", &field))
		return djk_codec_refuse(decoded, DJK_ERRCODE_MALFORMED, "message of django-logpipe lacks its type or its version", NULL,
								"Look what else writes to the topic.", error);
	if (!djk_codec_find_named(decoded, "message", &field) || field.kind != DJK_FIELD_OBJECT)
		return djk_codec_refuse(decoded, DJK_ERRCODE_NO_ROOT, "message of django-logpipe has no object in its field \"message\"", NULL,
								"Such a message may be a deletion by deleted_when, or be left out by filter.", error);
	return djk_json_decode_part(&field, decoded, error);
}
