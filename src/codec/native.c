/*-------------------------------------------------------------------------
 *
 * native.c
 *	  Fields that are no text, as text.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/native.h"

#include <math.h>

#include "codec/json_escape.h"
#include "codec/meaning.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* Bytes that an error shows. */
#define SENT_MAX	40

/* Not finite: no number to JSON. */
static const char *
special_text(double real)
{
	return isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity";
}

/* The shortest digits that are read back as the same. */
static void
append_real(const DjkField *field, StringInfo text)
{
	double		real = djk_native_double(field);
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (!isfinite(real))
		appendStringInfoString(text, special_text(real));
	else
	{
		if (field->native->kind == DJK_CONNECT_FLOAT)
			float_to_shortest_decimal_buf((float) real, digits);
		else
			double_to_shortest_decimal_buf(real, digits);
		appendStringInfoString(text, digits);
	}
}

static uint32
read_uint32(const char *bytes)
{
	const unsigned char *from = (const unsigned char *) bytes;

	return from[0] | from[1] << 8 | from[2] << 16 | (uint32) from[3] << 24;
}

static bool
append_interval(const DjkField *field, StringInfo text)
{
	uint32		months = read_uint32(field->text);
	uint32		days = read_uint32(field->text + 4);
	Interval	span = {.time = read_uint32(field->text + 8) * INT64CONST(1000)};
	struct pg_itm itm;
	char		buffer[MAXDATELEN + 1];

	if (months > PG_INT32_MAX || days > PG_INT32_MAX)
		return false;
	span.month = (int32) months;
	span.day = (int32) days;
	interval2itm(span, &itm);
	EncodeInterval(&itm, INTSTYLE_POSTGRES, buffer);
	appendStringInfoString(text, buffer);
	return true;
}

static void
append_hex(const char *bytes, int len, StringInfo text)
{
	enlargeStringInfo(text, len * 2);
	text->len += hex_encode(bytes, len, text->data + text->len);
	text->data[text->len] = '\0';
}

static void
append_uuid(const char *bytes, StringInfo text)
{
	static const int lengths[] = {4, 2, 2, 2, 6};

	for (int i = 0; i < lengthof(lengths); i++)
	{
		if (i > 0)
			appendStringInfoChar(text, '-');
		append_hex(bytes, lengths[i], text);
		bytes += lengths[i];
	}
}

static void
append_integer(int64 number, StringInfo text)
{
	enlargeStringInfo(text, MAXINT8LEN + 1);
	text->len += pg_lltoa(number, text->data + text->len);
}

/* Whether JSON has it as a number, if it is in range. */
static bool
is_number(const DjkField *field)
{
	switch (field->native->kind)
	{
		case DJK_CONNECT_INTEGER:
		case DJK_CONNECT_DECIMAL:
			return true;
		case DJK_CONNECT_FLOAT:
		case DJK_CONNECT_DOUBLE:
			return isfinite(djk_native_double(field));
		default:
			return false;
	}
}

/* Nothing, and false, where it is beyond all values; *sure of what strict types are to take from a source. */
static bool
append_text(const DjkField *field, int style, StringInfo text, bool *sure)
{
	char		buffer[MAXDATELEN + 1];

	*sure = false;
	switch (field->native->kind)
	{
		case DJK_CONNECT_INTEGER:
			append_integer(field->number, text);
			return true;
		case DJK_CONNECT_FLOAT:
		case DJK_CONNECT_DOUBLE:
			append_real(field, text);
			return true;
		case DJK_CONNECT_DECIMAL:
			return djk_meaning_decimal_text(field->text, field->len, field->number, text);
		case DJK_CONNECT_BITS:
			return djk_meaning_bits_text(field->text, field->len, (int) field->number, text);
		case DJK_CONNECT_UUID:
			append_uuid(field->text, text);
			return true;
		case DJK_CONNECT_INTERVAL:
			return append_interval(field, text);
		default:
			if (!djk_meaning_time_text(field->native->kind, field->number, style, buffer, sure))
				return false;
			appendStringInfoString(text, buffer);
			return true;
	}
}

static bool
is_bytes(DjkConnectKind kind)
{
	return kind == DJK_CONNECT_DECIMAL || kind == DJK_CONNECT_BITS || kind == DJK_CONNECT_UUID ||
		kind == DJK_CONNECT_INTERVAL;
}

/* What was sent, for an error. */
static void
append_sent(const DjkField *field, StringInfo text)
{
	if (is_bytes(field->native->kind))
	{
		appendStringInfoString(text, "\\x");
		append_hex(field->text, Min(field->len, SENT_MAX), text);
	}
	else
		append_integer(field->number, text);
}

static bool
refuse(const DjkField *field, const DjkField *shown, DjkError *error)
{
	error->name = NULL;
	error->sqlstate = ERRCODE_DATETIME_FIELD_OVERFLOW;
	error->message = psprintf("%s out of range: \"%s\"", field->native->semantic, shown->text);
	error->detail = pstrdup("The schema of the message says that it is one.");
	error->hint = NULL;
	return false;
}

bool
djk_native_show(const DjkField *field, DjkField *shown, DjkError *error)
{
	StringInfoData text;
	bool		number = is_number(field);
	bool		fits;
	bool		sure;

	initStringInfo(&text);
	*shown = *field;
	fits = append_text(field, USE_ISO_DATES, &text, &sure);
	if (!fits)
		append_sent(field, &text);
	shown->kind = number && fits ? DJK_FIELD_NUMBER : DJK_FIELD_STRING;
	shown->text = text.data;
	shown->len = text.len;
	shown->raw = shown->kind == DJK_FIELD_NUMBER ? shown->text : NULL;
	shown->raw_len = shown->kind == DJK_FIELD_NUMBER ? shown->len : 0;
	shown->sure = sure && field->native->of_source;
	shown->plain = true;
	return fits || refuse(field, shown, error);
}

static void
append_bytes(const char *bytes, int len, StringInfo json)
{
	appendStringInfoString(json, "\"\\\\x");
	append_hex(bytes, len, json);
	appendStringInfoChar(json, '"');
}

static void
append_native(const DjkField *field, StringInfo json)
{
	int			start = json->len;
	bool		quoted = !is_number(field);
	bool		sure;

	if (quoted)
		appendStringInfoChar(json, '"');
	if (append_text(field, USE_XSD_DATES, json, &sure))
	{
		if (quoted)
			appendStringInfoChar(json, '"');
		return;
	}
	json->len = start;
	if (is_bytes(field->native->kind))
		append_bytes(field->text, field->len, json);
	else
		append_integer(field->number, json);
}

void
djk_codec_append_json(const DjkField *field, StringInfo json)
{
	if (field->kind == DJK_FIELD_NATIVE)
		append_native(field, json);
	else if (field->raw != NULL)
		appendBinaryStringInfo(json, field->raw, field->raw_len);
	else if (field->kind == DJK_FIELD_STRING)
		djk_json_append_string(json, field->text, field->len);
	else if (field->kind == DJK_FIELD_BYTES)
		append_bytes(field->text, field->len, json);
	else
		appendBinaryStringInfo(json, field->text, field->len);
}
