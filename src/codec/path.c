/*-------------------------------------------------------------------------
 *
 * path.c
 *	  A field within the fields of a value.
 *
 * A route may look for a field in the same object for each of its columns, so
 * nothing is unescaped, and no memory used, but for the field that was found.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json.h"
#include "codec/json_escape.h"

static bool
is_text(const char *text, int text_len, const char *name, int len)
{
	return text_len == len && memcmp(text, name, len) == 0;
}

/* Whether a name is this one; what it is unescaped into is given back. */
static bool
is_name(const DjkJsonString *scanned, const char *name, int len, MemoryContext context)
{
	const char *clean;
	int			clean_len;
	const char *text;
	int			text_len;
	bool		is;

	if (!scanned->escaped)
		return is_text(scanned->text, scanned->len, name, len);
	djk_json_replace_invalid(scanned->text, scanned->len, context, &clean, &clean_len);
	is = djk_json_unescape(clean, clean_len, context, &text, &text_len, NULL) &&
		is_text(text, text_len, name, len);
	if (text != NULL)
		pfree(unconstify(char *, text));
	if (clean != scanned->text)
		pfree(unconstify(char *, clean));
	return is;
}

/* The last field of a name, which is the one that counts, in an object that has been scanned before. */
static bool
find_in_object(const DjkField *object, const char *name, MemoryContext context, DjkField *field)
{
	DjkJsonScan scan;
	DjkJsonString member;
	DjkField	value;
	int			len = strlen(name);
	bool		escaped;
	bool		found = false;
	bool		found_escaped = false;

	djk_json_scan_init(&scan, object->raw, object->raw_len, false);
	for (;;)
	{
		scan.at++;				/* the brace, or the comma */
		if (!djk_json_scan_name(&scan, &member) || !djk_json_scan_value(&scan, &value, &escaped))
			break;
		if (is_name(&member, name, len, context))
		{
			*field = value;
			found_escaped = escaped;
			found = true;
		}
		djk_json_scan_space(&scan);
		if (scan.at >= scan.end || *scan.at != ',')
			break;
	}
	if (found_escaped)
		(void) djk_json_unescape(field->text, field->len, context, &field->text, &field->len, NULL);
	field->name = name;
	field->name_len = len;
	return found;
}

/* The same of a value's own fields. */
static bool
find_in_decoded(const DjkDecoded *decoded, const char *name, DjkField *field)
{
	int			len = strlen(name);

	for (int i = decoded->is_object ? decoded->nfields - 1 : -1; i >= 0; i--)
	{
		if (is_text(decoded->fields[i].name, decoded->fields[i].name_len, name, len))
		{
			*field = decoded->fields[i];
			return true;
		}
	}
	return false;
}

bool
djk_codec_find_field(const DjkDecoded *decoded, char *const *path, int npath, DjkField *field)
{
	bool		found;

	memset(field, 0, sizeof(*field));
	found = npath > 0 && find_in_decoded(decoded, path[0], field);
	for (int i = 1; found && i < npath; i++)
	{
		DjkField	object = *field;

		/* What is in nothing is nothing: it was spoken of. */
		if (object.kind == DJK_FIELD_NULL)
			break;
		found = object.kind == DJK_FIELD_OBJECT && find_in_object(&object, path[i], decoded->context, field);
	}
	return found;
}

bool
djk_codec_find_named(const DjkDecoded *decoded, const char *name, DjkField *field)
{
	char	   *path = unconstify(char *, name);

	return djk_codec_find_field(decoded, &path, 1, field);
}
