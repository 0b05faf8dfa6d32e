/*-------------------------------------------------------------------------
 *
 * avro_check.c
 *	  What must be so of every message that the decoder of Avro takes, or refuses.
 *
 *-------------------------------------------------------------------------
 */
#include "avro_check.h"

#include "codec/json.h"
#include "codec/json_escape.h"

/* The value again from its fields: what djk_codec_text() makes of all at once. */
static void
rebuild(const DjkDecoded *decoded, StringInfo json)
{
	if (!decoded->is_object)
		djk_codec_append_json(&decoded->bare, json);
	for (int i = 0; i < decoded->nfields; i++)
	{
		appendStringInfoChar(json, i == 0 ? '{' : ',');
		djk_json_append_string(json, decoded->fields[i].name, decoded->fields[i].name_len);
		appendStringInfoChar(json, ':');
		djk_codec_append_json(&decoded->fields[i], json);
	}
	if (decoded->is_object)
		appendStringInfoString(json, decoded->nfields == 0 ? "{}" : "}");
}

const char *
avro_check(const DjkAvroSchema *schema, const char *bytes, int len, DjkDecoded *decoded, DjkError *error)
{
	DjkDecoded	again;
	DjkError	refused = {0};
	StringInfoData json;

	djk_decoded_init(decoded, CurrentMemoryContext, CurrentMemoryContext);
	djk_decoded_init(&again, CurrentMemoryContext, CurrentMemoryContext);
	if (!djk_avro_decode(schema, bytes, len, false, decoded, error))
		return error->sqlstate == DJK_ERRCODE_MALFORMED && error->message != NULL && error->detail != NULL &&
			error->hint != NULL ? NULL : "error is not complete";
	/* all together may be too long, where each is not */
	if (!djk_codec_text(decoded, error))
		return strstr(error->detail, "too long") != NULL ? NULL : "what was decoded is not shown";
	initStringInfo(&json);
	rebuild(decoded, &json);
	if (json.len != decoded->text_len || memcmp(json.data, decoded->text, json.len) != 0)
		return "fields are not those of the whole";
	if (!djk_json_decode(decoded->text, decoded->text_len, &again, &refused))
		return refused.detail;
	return NULL;
}
