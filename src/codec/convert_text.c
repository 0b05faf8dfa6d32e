/*-------------------------------------------------------------------------
 *
 * convert_text.c
 *	  Text, varchar, bool, uuid and bytea.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "base/compat.h"

/* The value of a hexadecimal digit, -1 if it is none. */
static inline int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* True if the field's text is the value's text form, with nothing to check. */
static inline bool
is_text(const DjkField *field)
{
	switch (field->kind)
	{
		case DJK_FIELD_NUMBER:
			return !djk_convert_number_is_odd(field->text, field->len);
		case DJK_FIELD_BYTES:
			return false;		/* not checked yet */
		default:
			return true;
	}
}

bool
djk_convert_direct_text(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	if (!is_text(field))
		return false;
	*value = PointerGetDatum(cstring_to_text_with_len(field->text, field->len));
	return true;
}

/* Characters are no more than bytes: only what may be too long is counted. */
bool
djk_convert_direct_varchar(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	if (!is_text(field) ||
		(converter->typmod >= (int32) VARHDRSZ && field->len > converter->typmod - VARHDRSZ))
		return false;
	*value = PointerGetDatum(cstring_to_text_with_len(field->text, field->len));
	return true;
}

bool
djk_convert_direct_bool(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	bool		result;

	if (field->kind == DJK_FIELD_BOOL)
		result = field->len == 4;
	else if (!parse_bool_with_len(field->text, field->len, &result))
		return false;
	*value = BoolGetDatum(result);
	return true;
}

/* xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx; the type takes other forms too. */
bool
djk_convert_direct_uuid(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	const char *at = field->text;
	pg_uuid_t	uuid;
	pg_uuid_t  *result;
	int			i;

	if (field->len != 36)
		return false;
	for (i = 0; i < UUID_LEN; i++)
	{
		int			high;
		int			low;

		if (i == 4 || i == 6 || i == 8 || i == 10)
		{
			if (*at++ != '-')
				return false;
		}
		high = hex_value(at[0]);
		low = hex_value(at[1]);
		if (high < 0 || low < 0)
			return false;
		uuid.data[i] = (unsigned char) (high << 4 | low);
		at += 2;
	}
	result = palloc(sizeof(*result));
	*result = uuid;
	*value = UUIDPGetDatum(result);
	return true;
}

/* Digits behind \x, in pairs with space between pairs.  -1 if malformed. */
static int
decode_hex(const char *at, const char *end, char *to)
{
	char	   *start = to;

	while (at < end)
	{
		int			high;
		int			low;

		if (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
		{
			at++;
			continue;
		}
		if (end - at < 2)
			return -1;
		high = hex_value(at[0]);
		low = hex_value(at[1]);
		if (high < 0 || low < 0)
			return -1;
		*to++ = (char) (high << 4 | low);
		at += 2;
	}
	return (int) (to - start);
}

static bool
is_uuid(const char *at, int len)
{
	return len == 36 && at[8] == '-' && at[13] == '-' && at[18] == '-' && at[23] == '-';
}

/* The value of a digit of base64 in either alphabet, -1 if it is none. */
static inline int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

/* A uuid looks like base64, and is none. */
int
djk_convert_decode_base64(const char *at, const char *end, char *to)
{
	char	   *start = to;
	uint32		bits = 0;
	int			nbits = 0;

	if ((end - at) % 4 == 0)
	{
		for (int i = 0; i < 2 && end > at && end[-1] == '='; i++)
			end--;
	}
	if ((end - at) % 4 == 1 || is_uuid(at, (int) (end - at)))
		return -1;
	for (; at < end; at++)
	{
		int			digit = base64_value(*at);

		if (digit < 0)
			return -1;
		bits = bits << 6 | digit;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			*to++ = (char) (bits >> nbits);
			bits &= (1u << nbits) - 1;
		}
	}
	return bits == 0 ? (int) (to - start) : -1;
}

/* -1 if the string is neither. */
static int
decode_bytes(const DjkConverter *converter, const DjkField *field, char *to)
{
	const char *end = field->text + field->len;

	if (field->len >= 2 && field->text[0] == '\\' && field->text[1] == 'x')
		return decode_hex(field->text + 2, end, to);
	if (converter->options.strict || field->len == 0)
		return djk_convert_decode_base64(field->text, end, to);
	return -1;
}

/*
 * bytea takes \x and hexadecimal digits, and with strict types base64, as JSON
 * writes bytes.  The type's other form, escape, would take nearly any text,
 * base64 included, and store that text's own bytes: silently wrong, so it is
 * refused.
 */
bool
djk_convert_full_bytea(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	bytea	   *result;
	int			len;

	*value = (Datum) 0;
	if (field->kind == DJK_FIELD_BYTES)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(field->text, field->len));
		return true;
	}
	if (field->kind == DJK_FIELD_STRING && field->text != NULL)
	{
		result = palloc(VARHDRSZ + (Size) field->len);
		len = decode_bytes(converter, field, VARDATA(result));
		if (len >= 0)
		{
			SET_VARSIZE(result, VARHDRSZ + len);
			*value = PointerGetDatum(result);
			return true;
		}
		pfree(result);
	}
	return djk_convert_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  psprintf("invalid input syntax for type %s: %s", "bytea",
									   djk_convert_show(field->text, field->len)),
							  converter->options.strict
							  ? "A field for a bytea column is \\x and pairs of hexadecimal digits, or base64."
							  : "A field for a bytea column is \\x and pairs of hexadecimal digits.",
							  "For anything else fill the column with an expression, such as decode(value->>'field', 'base64') or convert_to(value->>'field', 'UTF8').");
}
