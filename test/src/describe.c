/*-------------------------------------------------------------------------
 *
 * describe.c
 *	  What was decoded, for tests to look at.
 *
 *-------------------------------------------------------------------------
 */
#include "describe.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "codec/native.h"

static const char *
kind_name(DjkFieldKind kind)
{
	static const char *const names[] = {
		"null", "bool", "number", "string", "object", "array", "bytes", "native"
	};

	return names[kind];
}

/* Shows bytes: as they are if they are the server's text, else in hex. */
static void
append_slice(StringInfo buf, const char *bytes, int len)
{
	int			i;

	if (bytes == NULL)
		appendStringInfoString(buf, "<none>");
	else if (pg_verifymbstr(bytes, len, true))
		appendBinaryStringInfo(buf, bytes, len);
	else
	{
		appendStringInfoString(buf, "\\x");
		for (i = 0; i < len; i++)
			appendStringInfo(buf, "%02x", (unsigned char) bytes[i]);
	}
}

static void
append_native(StringInfo buf, const DjkField *field)
{
	DjkField	shown;
	DjkError	error;

	if (djk_native_show(field, &shown, &error))
		appendStringInfo(buf, "%s as %s%s [%.*s]", field->native->semantic, kind_name(shown.kind),
						 shown.sure ? " sure" : "", shown.len, shown.text);
	else
		appendStringInfo(buf, "%s: %s", unpack_sql_state(error.sqlstate), error.message);
}

static void
append_field(StringInfo buf, const DjkField *field)
{
	if (field->kind == DJK_FIELD_NATIVE)
	{
		append_native(buf, field);
		return;
	}
	appendStringInfo(buf, "%s [", kind_name(field->kind));
	append_slice(buf, field->text, field->len);
	appendStringInfoChar(buf, ']');
	if (field->raw != NULL && (field->raw_len != field->len || field->text == NULL))
	{
		appendStringInfoString(buf, " raw [");
		append_slice(buf, field->raw, field->raw_len);
		appendStringInfoChar(buf, ']');
	}
}

text *
describe_error(const DjkError *error)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s: %s", unpack_sql_state(error->sqlstate), error->message);
	if (error->detail != NULL)
		appendStringInfo(&buf, " | %s", error->detail);
	if (error->hint != NULL)
		appendStringInfo(&buf, " | %s", error->hint);
	return cstring_to_text_with_len(buf.data, buf.len);
}

text *
describe_decoded(const DjkDecoded *decoded)
{
	StringInfoData buf;
	int			i;

	initStringInfo(&buf);
	if (!decoded->is_object)
		append_field(&buf, &decoded->bare);
	else
		appendStringInfo(&buf, "object of %d", decoded->nfields);
	for (i = 0; decoded->is_object && i < decoded->nfields && i < 20; i++)
	{
		appendStringInfoString(&buf, "\n  ");
		append_slice(&buf, decoded->fields[i].name, decoded->fields[i].name_len);
		appendStringInfoString(&buf, " = ");
		append_field(&buf, &decoded->fields[i]);
	}
	return cstring_to_text_with_len(buf.data, buf.len);
}
