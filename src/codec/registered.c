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

#include "base/error.h"
#include "codec/avro.h"

bool
djk_registered_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	const DjkWriter *writer = out->writer;

	if (writer == NULL)
		return djk_codec_refuse(out, DJK_ERRCODE_MALFORMED, "message names no schema",
								"It has no header that does, and begins neither with 0 and an id nor with 1 and a GUID.",
								"Let its producer write with the serializers of a schema registry, or set the route's format to what it writes.",
								error);
	if (writer->avro == NULL)
	{
		djk_error_copy(writer->refused, out->context, error);
		return false;
	}
	return djk_avro_decode(writer->avro, bytes + writer->skip, len - writer->skip, true, out, error);
}
