/*-------------------------------------------------------------------------
 *
 * json_schema.c
 *	  JSON as the serializers of a schema registry write it.
 *
 * The schema says what a value must be, and a value says by itself what it is: so
 * whoever reads needs no schema, and asks no registry.  Nothing is before the
 * value where a header names the schema.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json_schema.h"

#include "codec/framing.h"
#include "codec/json.h"

static bool
refuse_broken(const DjkDecoded *out, DjkError *error)
{
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = MemoryContextStrdup(out->context, "message ends before its JSON begins");
	error->detail = MemoryContextStrdup(out->context, "It begins as what names a schema in a registry, which is 5 or 17 bytes.");
	error->hint = NULL;
	return false;
}

/* What names a schema of another kind. */
static void
tell_other_kind(const DjkDecoded *out, DjkError *error)
{
	error->hint = MemoryContextStrdup(out->context,
									  "Set format of the route to \"avro\" if its schema is one of Avro; if it is Protobuf's to \"raw\", and read the bytes in a handler or in expressions.");
}

bool
djk_json_schema_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	DjkFraming	framing;

	djk_framing_read(bytes, len, &framing);
	if (framing.kind == DJK_FRAMING_BROKEN)
		return refuse_broken(out, error);
	if (djk_json_decode(bytes + framing.len, len - framing.len, out, error))
		return true;
	if (framing.kind != DJK_FRAMING_NONE)
		tell_other_kind(out, error);
	return false;
}
