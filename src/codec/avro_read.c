/*-------------------------------------------------------------------------
 *
 * avro_read.c
 *	  The bytes of Avro: numbers, texts and other values that hold no others.
 *
 * No read leaves [start, end), whatever a length says; nothing is allocated by
 * what a message claims.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/avro_scalar.h"

#include "codec/json_escape.h"
#include "codec/text.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* Values that a byte accounts for, and that any message may have; see djk_avro_count_value(). */
#define VALUES_OF_BYTE	16
#define VALUES_FREE		10000

/*
 * The same of JSON that it becomes, where names are longer than values.  A batch has
 * thousands of messages, each with what is free.
 */
#define JSON_OF_BYTE	64
#define JSON_FREE		(16 * 1024)
#define JSON_MAX		(512 * 1024 * 1024)

/* A string with NUL, which is escaped. */
#define ESCAPED_MAX		(64 * 1024 * 1024)

/* Of the name of a field, in an error. */
#define FIELD_SHOWN_MAX	100

void
djk_avro_reader_init(DjkAvroReader *reader, const DjkAvroSchema *schema, const char *bytes, int len,
					 bool bare_bytes, MemoryContext context)
{
	reader->schema = schema;
	reader->start = reader->at = bytes;
	reader->end = bytes + len;
	reader->values_left = VALUES_FREE + VALUES_OF_BYTE * (int64) len;
	reader->json_max = Min(JSON_FREE + JSON_OF_BYTE * (int64) len, JSON_MAX);
	reader->depth = 0;
	reader->is_bare = bare_bytes && schema->nodes[schema->root].op == DJK_AVRO_BYTES;
	reader->replace_invalid = false;
	reader->is_utf8 = schema->is_utf8;
	reader->context = context;
	reader->fault = DJK_AVRO_OK;
	reader->field = NULL;
}

bool
djk_avro_fail(DjkAvroReader *reader, DjkAvroFault fault, const char *at)
{
	reader->fault = fault;
	reader->at = at;
	return false;
}

/* ---------- numbers ---------- */

bool
djk_avro_read_long_slowly(DjkAvroReader *reader, int64 *number)
{
	const char *at = reader->at;
	uint64		bits = 0;

	*number = 0;
	for (int shift = 0; shift < 70; shift += 7)
	{
		uint64		byte;

		if (at >= reader->end)
			return djk_avro_fail(reader, DJK_AVRO_CUT_SHORT, reader->end);
		byte = (unsigned char) *at++;
		/* of the tenth byte there is room for one bit */
		if (shift == 63 && byte > 1)
			break;
		bits |= (byte & 0x7F) << shift;
		if (byte < 0x80)
		{
			*number = (int64) (bits >> 1) ^ -(int64) (bits & 1);
			reader->at = at;
			return true;
		}
	}
	return djk_avro_fail(reader, DJK_AVRO_LONG_NUMBER, reader->at);
}

/* ---------- text ---------- */

bool
djk_avro_convert_text(DjkAvroReader *reader, DjkAvroText *text)
{
	const char *bytes = text->text;
	int			len = text->len;

	if (reader->is_utf8 && pg_encoding_verifymbstr(PG_UTF8, bytes, len) == len)
		return true;
	text->has_nul = !reader->replace_invalid && memchr(bytes, '\0', len) != NULL;
	if (!djk_text_read_with_nul(bytes, len, reader->replace_invalid, reader->context, &text->text, &text->len))
		return djk_avro_fail(reader, DJK_AVRO_NO_TEXT, bytes);
	text->own = text->text == bytes ? NULL : unconstify(char *, text->text);
	return true;
}

bool
djk_avro_escape_text(DjkAvroReader *reader, const DjkAvroText *text, DjkField *field)
{
	StringInfoData json = {.maxlen = text->len * 6 + 3};

	if (text->len > ESCAPED_MAX)
		return djk_avro_fail(reader, DJK_AVRO_TOO_LONG, reader->at);
	json.data = MemoryContextAlloc(reader->context, json.maxlen);
	djk_json_append_string(&json, text->text, text->len);
	field->raw = json.data;
	field->raw_len = json.len;
	return djk_avro_set(field, DJK_FIELD_STRING, NULL, 0);
}

/* ---------- what holds others ---------- */

bool
djk_avro_read_variable(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field)
{
	const DjkAvroSchema *schema = reader->schema;
	int64		scale = 0;
	DjkField	value = {0};

	for (int i = 0; i < node->size; i++)
	{
		DjkField	part = {0};

		if (!djk_avro_read_scalar(reader, &schema->nodes[schema->parts[node->first + i].node], &part))
			return false;
		if (part.kind == DJK_FIELD_BYTES)
			value = part;
		else
			scale = part.number;
	}
	value.name = field->name;
	value.name_len = field->name_len;
	*field = value;
	return djk_avro_set_native(field, node, scale);
}

bool
djk_avro_read_block(DjkAvroReader *reader, int64 *count, const char **end)
{
	const char *at = reader->at;
	int64		size;

	*end = NULL;
	if (!djk_avro_read_long(reader, count))
		return false;
	if (*count < 0)
	{
		if (*count == PG_INT64_MIN)
			return djk_avro_fail(reader, DJK_AVRO_NO_COUNT, at);
		*count = -*count;
		if (!djk_avro_read_length(reader, &size))
			return false;
		if (size > reader->end - reader->at)
			return djk_avro_fail(reader, DJK_AVRO_CUT_SHORT, reader->end);
		*end = reader->at + size;
	}
	/* each is a value */
	return *count <= reader->values_left || djk_avro_fail(reader, DJK_AVRO_NO_COUNT, at);
}

bool
djk_avro_read_end(DjkAvroReader *reader)
{
	return reader->at == reader->end || djk_avro_fail(reader, DJK_AVRO_BYTES_LEFT, reader->at);
}

/* ---------- errors ---------- */

static const char *
fault_text(DjkAvroFault fault)
{
	switch (fault)
	{
		case DJK_AVRO_OK:
			break;
		case DJK_AVRO_CUT_SHORT:
			return "The value goes on behind the end";
		case DJK_AVRO_LONG_NUMBER:
			return "Number of more than 64 bits";
		case DJK_AVRO_NO_INT:
			return "Number of more than 32 bits where the schema has an int";
		case DJK_AVRO_NO_BOOLEAN:
			return "Neither 0 nor 1 where the schema has a boolean";
		case DJK_AVRO_NO_BRANCH:
			return "Number of no branch of the union";
		case DJK_AVRO_NO_SYMBOL:
			return "Number of no symbol of the enum";
		case DJK_AVRO_NO_LENGTH:
			return "Negative length";
		case DJK_AVRO_NO_TEXT:
			return "String that is not UTF-8, or has characters that the database's encoding lacks,";
		case DJK_AVRO_NO_COUNT:
			return "More items than there can be";
		case DJK_AVRO_NO_BLOCK:
			return "Items that are not as long as their block";
		case DJK_AVRO_TOO_DEEP:
			return "Nesting of more than " CppAsString2(DJK_AVRO_DEPTH_MAX) " levels";
		case DJK_AVRO_TOO_MANY:
			return "More values without bytes than anybody has";
		case DJK_AVRO_TOO_LONG:
			return "Value that is too long as JSON";
		case DJK_AVRO_BYTES_LEFT:
			return "Bytes are left behind the value";
	}
	return "Fault";
}

bool
djk_avro_report(const DjkAvroReader *reader, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(reader->context);
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfo(&detail, "%s at byte %lld of %lld", fault_text(reader->fault),
					 (long long) (reader->at - reader->start) + 1, (long long) (reader->end - reader->start));
	if (reader->field != NULL)
		appendStringInfo(&detail, ", in field \"%.*s\"",
						 pg_mbcliplen(reader->field->name, reader->field->name_len, FIELD_SHOWN_MAX),
						 reader->field->name);
	appendStringInfoChar(&detail, '.');
	error->name = NULL;
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = pstrdup("message is not valid Avro of its schema");
	error->detail = detail.data;
	error->hint = pstrdup("Look whether the schema is the one that it was written with.");
	MemoryContextSwitchTo(old);
	return false;
}
