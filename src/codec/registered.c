/*-------------------------------------------------------------------------
 *
 * registered.c
 *	  Avro as the serializers of a schema registry write it.
 *
 * A message names the schema that it was written with, before the value or in a
 * header.  Whoever decodes it has found that schema before.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/registered.h"

#include "codec/avro.h"
#include "utils/memutils.h"

static char *
copy(MemoryContext context, const char *text)
{
	return text == NULL ? NULL : MemoryContextStrdup(context, text);
}

static bool
refuse(MemoryContext context, const DjkError *refused, DjkError *error)
{
	*error = *refused;
	error->message = copy(context, refused->message);
	error->detail = copy(context, refused->detail);
	error->hint = copy(context, refused->hint);
	return false;
}

static bool
refuse_unnamed(MemoryContext context, DjkError *error)
{
	static const DjkError unnamed = {
		.sqlstate = DJK_ERRCODE_MALFORMED,
		.message = "message names no schema",
		.detail = "It has no header that does, and begins neither with 0 and an id nor with 1 and a GUID.",
		.hint = "Let its producer write with the serializers of a schema registry, or set the route's format to what it writes."
	};

	return refuse(context, &unnamed, error);
}

bool
djk_registered_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	const DjkWriter *writer = out->writer;

	if (writer == NULL)
		return refuse_unnamed(out->context, error);
	if (writer->avro == NULL)
		return refuse(out->context, writer->refused, error);
	return djk_avro_decode(writer->avro, bytes + writer->skip, len - writer->skip, true, out, error);
}
