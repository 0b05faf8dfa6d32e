/*-------------------------------------------------------------------------
 *
 * path.c
 *	  A field within the fields of a value.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json.h"

/* The last field of a name, which is the one that counts; NULL if there is none. */
static const DjkField *
last_field(const DjkDecoded *decoded, const char *name)
{
	int			len = strlen(name);

	for (int i = decoded->nfields - 1; i >= 0; i--)
	{
		if (decoded->fields[i].name_len == len && memcmp(decoded->fields[i].name, name, len) == 0)
			return &decoded->fields[i];
	}
	return NULL;
}

bool
djk_codec_find_field(const DjkDecoded *decoded, char *const *path, int npath, DjkField *field)
{
	DjkDecoded	inner;
	bool		found = false;

	memset(field, 0, sizeof(*field));
	djk_decoded_init(&inner, decoded->context, decoded->context);
	for (int i = 0; i < npath; i++)
	{
		const DjkField *last = decoded->is_object ? last_field(decoded, path[i]) : NULL;
		DjkError	error = {0};

		found = last != NULL;
		if (!found)
			break;
		*field = *last;
		/* What is in nothing is nothing: it was spoken of. */
		if (i + 1 == npath || field->kind == DJK_FIELD_NULL)
			break;
		found = field->kind == DJK_FIELD_OBJECT && djk_json_decode_part(field, &inner, &error);
		if (!found)
			break;
		decoded = &inner;
	}
	if (inner.fields != NULL)
		pfree(inner.fields);
	return found;
}
