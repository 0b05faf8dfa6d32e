/*-------------------------------------------------------------------------
 *
 * json.c
 *	  JSON -> fields.
 *
 * The scanner (json_scan.c) gives slices; this file makes fields of them:
 * strings that have escapes are unescaped into the message's context, all
 * others stay where they are.  A fault becomes a DjkError that names the byte
 * and shows a few bytes from there, escaped so that the text is valid in every
 * encoding whatever the message holds.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "codec/json_escape.h"
#include "codec/text.h"

/* The array of fields begins with this many and is given back above KEEP. */
#define FIELDS_INIT 64
#define FIELDS_KEEP 4096

/* Says where the scanner stopped and shows what stands there, in ASCII. */
static void
describe_place(const DjkJsonScan *scan, char *buf, size_t size)
{
	const char *at = scan->at;
	size_t		used;
	int			shown;

	if (at >= scan->end)
	{
		snprintf(buf, size, "at the end, after byte %lld",
				 (long long) (scan->end - scan->start));
		return;
	}
	used = snprintf(buf, size, "at byte %lld of %lld, found \"",
					(long long) (at - scan->start) + 1,
					(long long) (scan->end - scan->start));
	for (shown = 0; shown < 16 && at < scan->end; shown++, at++)
	{
		unsigned char c = (unsigned char) *at;

		if (c >= ' ' && c < 0x7F)
			used += snprintf(buf + used, size - used, "%c", c);
		else
			used += snprintf(buf + used, size - used, "\\x%02x", c);
	}
	snprintf(buf + used, size - used, "%s\"", at < scan->end ? "..." : "");
}

static const char *
fault_text(DjkJsonFault fault)
{
	switch (fault)
	{
		case DJK_JSON_OK:
			break;
		case DJK_JSON_EXPECTED_VALUE:
			return "Expected a value";
		case DJK_JSON_EXPECTED_NAME:
			return "Expected a field's name in quotes";
		case DJK_JSON_EXPECTED_COLON:
			return "Expected \":\"";
		case DJK_JSON_EXPECTED_COMMA_OR_BRACE:
			return "Expected \",\" or \"}\"";
		case DJK_JSON_EXPECTED_COMMA_OR_BRACKET:
			return "Expected \",\" or \"]\"";
		case DJK_JSON_EXPECTED_END:
			return "Expected the end of the value";
		case DJK_JSON_BAD_NUMBER:
			return "Malformed number";
		case DJK_JSON_BAD_ESCAPE:
			return "Malformed escape in a string";
		case DJK_JSON_CONTROL_CHARACTER:
			return "Control character in a string, which must be escaped,";
		case DJK_JSON_UNTERMINATED_STRING:
			return "String without a closing quote";
		case DJK_JSON_BAD_UTF8:
			return "Bytes that are not UTF-8";
		case DJK_JSON_BYTE_ORDER_MARK:
			return "Byte order mark";
		case DJK_JSON_TOO_DEEP:
			return "Nesting of more than " CppAsString2(DJK_JSON_MAX_DEPTH) " levels";
		case DJK_JSON_TOO_MANY_FIELDS:
			return "Object of more than " CppAsString2(DJK_JSON_MAX_FIELDS) " fields";
	}
	return "Fault";
}

/* What begins so is something else that is known. */
typedef struct Likeness
{
	const char *start;
	int			len;
	const char *looks_like;
	const char *hint;
} Likeness;

static const Likeness likenesses[] = {
	{"json:", 5, "a message of django-logpipe, JSON behind \"json:\"",
	"Set format of the route to \"logpipe\"."},
	{"msgpack:", 8, "a message of django-logpipe in MessagePack", "Set format of the route to \"logpipe\"."},
	{"pickle:", 7, "a message of django-logpipe that Python alone can read, by running what it says", "Let the producer write JSON (LOGPIPE's DEFAULT_FORMAT)."},
	{"\0", 1, "a value of a schema registry (Avro, Protobuf or JSON Schema)",
	"Set format of the route to \"avro\" or \"json_schema\", as its schema is; of Protobuf to \"raw\", and read the bytes in a handler or in expressions."},
	{"Obj\1", 4, "a file of Avro", "Let the producer write JSON."},
	{"\x1f\x8b", 2, "compressed by gzip", "Let Kafka compress the messages (compression.type), and not the application."},
	{"<?xml", 5, "XML", "Set format of the route to \"text\", and read it in a handler or in expressions."},
};

/* A serialized number may begin with zeros, as what is framed by a registry does. */
static bool
is_number(const char *bytes, int len)
{
	return bytes[0] == '\0' && (len <= 4 || len == 8);
}

/* Of what cannot be read, by its bytes as they came. */
static void
tell_likeness(const char *bytes, int len, MemoryContext context, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < lengthof(likenesses); i++)
	{
		const Likeness *like = &likenesses[i];

		if (len < like->len || is_number(bytes, len) || memcmp(bytes, like->start, like->len) != 0)
			continue;
		error->detail = psprintf("It looks like %s.", like->looks_like);
		error->hint = pstrdup(like->hint);
		break;
	}
	MemoryContextSwitchTo(old);
}

/* Turns the scanner's fault into *error. */
static void
report_fault(const DjkJsonScan *scan, MemoryContext context, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	char		place[160];

	describe_place(scan, place, sizeof(place));
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = pstrdup("message is not valid JSON");
	if (scan->end == scan->start)
		error->detail = pstrdup("It is empty.");
	else
		error->detail = psprintf("%s %s.", fault_text(scan->fault), place);
	error->hint = NULL;
	MemoryContextSwitchTo(old);
}

/* Makes text of a string field that has escapes, or marks it as no text. */
static void
unescape_field(DjkField *field, MemoryContext context)
{
	(void) djk_json_unescape(field->text, field->len, context, &field->text, &field->len, NULL);
}

/* What no text can hold costs nothing in a name, which may be that of a field that nobody uses. */
static void
unescape_name(DjkJsonString *name, MemoryContext context)
{
	djk_json_replace_invalid(name->text, name->len, context, &name->text, &name->len);
	(void) djk_json_unescape(name->text, name->len, context, &name->text, &name->len, NULL);
}

/* Makes room for one more field. */
static bool
grow_fields(DjkDecoded *out)
{
	int			size;
	DjkField   *fields;

	if (out->fields_size >= DJK_JSON_MAX_FIELDS)
		return false;
	size = out->fields_size == 0 ? FIELDS_INIT : out->fields_size * 2;
	size = Min(size, DJK_JSON_MAX_FIELDS);
	fields = MemoryContextAlloc(out->fields_context, sizeof(DjkField) * size);
	if (out->fields != NULL)
	{
		memcpy(fields, out->fields, sizeof(DjkField) * out->nfields);
		pfree(out->fields);
	}
	out->fields = fields;
	out->fields_size = size;
	return true;
}

/* One member: name, colon, value. */
static inline bool
read_member(DjkJsonScan *scan, DjkDecoded *out)
{
	DjkJsonString name;
	DjkField   *field;
	bool		escaped;

	if (unlikely(out->nfields >= out->fields_size) && !grow_fields(out))
	{
		scan->fault = DJK_JSON_TOO_MANY_FIELDS;
		return false;
	}
	field = &out->fields[out->nfields];
	if (!djk_json_scan_name(scan, &name))
		return false;
	if (unlikely(name.escaped))
		unescape_name(&name, out->context);
	field->name = name.text;
	field->name_len = name.len;
	if (!djk_json_scan_value(scan, field, &escaped))
		return false;
	if (unlikely(escaped))
		unescape_field(field, out->context);
	out->nfields++;
	return true;
}

/* The members of the object whose opening brace 'at' is on. */
static bool
read_object(DjkJsonScan *scan, DjkDecoded *out)
{
	scan->at++;
	djk_json_scan_space(scan);
	if (scan->at < scan->end && *scan->at == '}')
	{
		scan->at++;
		return true;
	}
	for (;;)
	{
		if (!read_member(scan, out))
			return false;
		djk_json_scan_space(scan);
		if (scan->at < scan->end && *scan->at == ',')
			scan->at++;
		else if (scan->at < scan->end && *scan->at == '}')
		{
			scan->at++;
			return true;
		}
		else
		{
			scan->fault = DJK_JSON_EXPECTED_COMMA_OR_BRACE;
			return false;
		}
	}
}

/* A whole text: one value with nothing but space round it. */
static bool
read_document(DjkJsonScan *scan, DjkDecoded *out)
{
	bool		escaped;

	if (scan->end - scan->at >= 3 && memcmp(scan->at, "\xEF\xBB\xBF", 3) == 0)
	{
		scan->fault = DJK_JSON_BYTE_ORDER_MARK;
		return false;
	}
	djk_json_scan_space(scan);
	if (scan->at < scan->end && *scan->at == '{')
	{
		out->is_object = true;
		if (!read_object(scan, out))
			return false;
	}
	else
	{
		if (!djk_json_scan_value(scan, &out->bare, &escaped))
			return false;
		if (escaped)
			unescape_field(&out->bare, out->context);
	}
	djk_json_scan_space(scan);
	if (scan->at < scan->end)
	{
		scan->fault = DJK_JSON_EXPECTED_END;
		return false;
	}
	return true;
}

/* Empties the result; what a giant message left is not kept for the others. */
static void
reset_decoded(DjkDecoded *out)
{
	out->is_object = false;
	memset(&out->bare, 0, sizeof(out->bare));
	out->nfields = 0;
	out->shape = NULL;
	if (out->fields_size > FIELDS_KEEP)
	{
		pfree(out->fields);
		out->fields = NULL;
		out->fields_size = 0;
	}
}

static bool
decode_text(DjkJsonScan *scan, DjkDecoded *out, DjkError *error)
{
	if (read_document(scan, out))
		return true;
	out->nfields = 0;
	report_fault(scan, out->context, error);
	return false;
}

/* What is not of the server's encoding has been converted, or replaced. */
static bool
decode_bytes(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	DjkJsonScan scan;
	bool		is_utf8 = djk_text_server_takes_utf8();

	if ((!is_utf8 || out->replace_invalid) &&
		!djk_text_read(bytes, len, out, error))
		return false;
	if (out->replace_invalid)
		djk_json_replace_invalid(out->text, out->text_len, out->context, &out->text, &out->text_len);
	djk_json_scan_init(&scan, out->text, out->text_len, is_utf8 && !out->replace_invalid);
	return decode_text(&scan, out, error);
}

bool
djk_json_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	reset_decoded(out);
	out->text = bytes;
	out->text_len = len;
	if (decode_bytes(bytes, len, out, error))
		return true;
	tell_likeness(bytes, len, out->context, error);
	return false;
}

bool
djk_json_decode_part(const DjkField *field, DjkDecoded *out, DjkError *error)
{
	DjkJsonScan scan;

	reset_decoded(out);
	out->text = field->raw;
	out->text_len = field->raw_len;
	djk_json_scan_init(&scan, field->raw, field->raw_len, false);
	return decode_text(&scan, out, error);
}

bool
djk_json_decode_made(const StringInfoData *json, DjkDecoded *out, DjkError *error)
{
	DjkField	made = {.raw = json->data, .raw_len = json->len};

	if (out->replace_invalid)
		djk_json_replace_invalid(json->data, json->len, out->context, &made.raw, &made.raw_len);
	return djk_json_decode_part(&made, out, error);
}

bool
djk_json_read_document(const char *text, int len, MemoryContext context, DjkField *field)
{
	DjkJsonScan scan;
	bool		escaped;

	memset(field, 0, sizeof(*field));
	djk_json_scan_init(&scan, text, len, false);
	djk_json_scan_space(&scan);
	if (!djk_json_scan_value(&scan, field, &escaped))
		return false;
	if (escaped)
		unescape_field(field, context);
	if (field->kind == DJK_FIELD_NULL)
		field->kind = DJK_FIELD_OBJECT;
	djk_json_scan_space(&scan);
	return scan.at >= scan.end;
}

void
djk_json_array_begin(DjkJsonArray *array, const char *json, int len, MemoryContext context)
{
	djk_json_scan_init(&array->scan, json, len, false);
	djk_json_scan_space(&array->scan);
	array->scan.at++;			/* the bracket */
	array->context = context;
}

bool
djk_json_array_next(DjkJsonArray *array, DjkField *element)
{
	DjkJsonScan *scan = &array->scan;
	bool		escaped;

	djk_json_scan_space(scan);
	if (scan->at < scan->end && *scan->at == ',')
	{
		scan->at++;
		djk_json_scan_space(scan);
	}
	element->name = NULL;
	element->name_len = 0;
	if (scan->at >= scan->end || *scan->at == ']' ||
		!djk_json_scan_value(scan, element, &escaped))
		return false;
	if (escaped)
		unescape_field(element, array->context);
	return true;
}
