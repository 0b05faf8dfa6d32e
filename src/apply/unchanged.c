/*-------------------------------------------------------------------------
 *
 * unchanged.c
 *	  The value that stands for one that was not sent.
 *
 * A source that reads PostgreSQL's log does not see a large value that an
 * UPDATE has left alone, and puts a placeholder there.  Debezium makes it fit
 * the column's type: for bytea it is base64 or hexadecimal, for hstore an object
 * of one member, for an array one of one such element, of numbers as many as the
 * placeholder has bytes, or of the uuid that is made of them.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/unchanged.h"

#include "catalog/pg_type.h"
#include "codec/json.h"
#include "common/md5.h"
#include "mb/pg_wchar.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

/* Base64 and hexadecimal are read in each of their spellings: no longer than this for a byte. */
#define ENCODED_MAX(bytes)	(2 * (bytes) + 4)

struct DjkUnchanged
{
	const char *text;			/* in the server's encoding */
	int			len;
	const char *bytes;			/* in UTF-8 */
	int			nbytes;
	char	   *base64;			/* without padding */
	char	   *hex;			/* small letters, no prefix */
	char	   *pair;			/* a JSON object of one member, without spaces */
	int			pair_len;
	char		uuid[37];
};

/* What Java's UUID.nameUUIDFromBytes() makes of the bytes; empty if MD5 is forbidden. */
static void
make_uuid(DjkUnchanged *unchanged)
{
	char		md5[33];
	const char *error = NULL;

	unchanged->uuid[0] = '\0';
	if (!pg_md5_hash(unchanged->bytes, unchanged->nbytes, md5, &error))
		return;
	md5[12] = '3';				/* the version, and the variant */
	md5[16] = "89ab"[(md5[16] <= '9' ? md5[16] - '0' : md5[16] - 'a' + 10) & 3];
	snprintf(unchanged->uuid, sizeof(unchanged->uuid), "%.8s-%.4s-%.4s-%.4s-%.12s",
			 md5, md5 + 8, md5 + 12, md5 + 16, md5 + 20);
}

static char *
encode(const DjkUnchanged *unchanged, const char *encoding)
{
	Datum		bytes = djk_bytea_datum(unchanged->bytes, unchanged->nbytes);

	return TextDatumGetCString(DirectFunctionCall2(binary_encode, bytes, CStringGetTextDatum(encoding)));
}

/* Takes out of a text all that is one of some signs. */
static char *
without(char *text, const char *signs)
{
	char	   *to = text;

	for (char *from = text; *from != '\0'; from++)
	{
		if (strchr(signs, *from) == NULL)
			*to++ = *from;
	}
	*to = '\0';
	return text;
}

DjkUnchanged *
djk_unchanged_create(const DjkRouteRow *route)
{
	DjkUnchanged *unchanged;
	StringInfoData pair;

	if (route->unchanged_value == NULL)
		return NULL;
	if (route->unchanged_value[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unchanged_value is empty"),
				 errhint("Use null for none.")));
	unchanged = palloc0(sizeof(DjkUnchanged));
	unchanged->text = route->unchanged_value;
	unchanged->len = strlen(unchanged->text);
	unchanged->bytes = pg_server_to_any(unchanged->text, unchanged->len, PG_UTF8);
	unchanged->nbytes = strlen(unchanged->bytes);
	unchanged->base64 = without(encode(unchanged, "base64"), "=\n");
	unchanged->hex = encode(unchanged, "hex");
	make_uuid(unchanged);

	initStringInfo(&pair);
	appendStringInfoChar(&pair, '{');
	escape_json(&pair, unchanged->text);
	appendStringInfoChar(&pair, ':');
	escape_json(&pair, unchanged->text);
	appendStringInfoChar(&pair, '}');
	unchanged->pair = pair.data;
	unchanged->pair_len = pair.len;
	return unchanged;
}

static inline bool
is_text(const DjkField *field, const char *text, int len)
{
	return field->len == len && field->text != NULL && memcmp(field->text, text, len) == 0;
}

/* Base64 of either alphabet, padded or not, or hexadecimal digits. */
static bool
is_encoded(const DjkUnchanged *unchanged, const DjkField *field)
{
	char	   *text;
	bool		is;

	if (field->text == NULL || field->len > ENCODED_MAX(unchanged->nbytes))
		return false;
	text = pnstrdup(field->text, field->len);
	is = pg_strcasecmp(strncmp(text, "\\x", 2) == 0 ? text + 2 : text, unchanged->hex) == 0;
	for (char *c = text; *c != '\0'; c++)
		*c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
	is |= strcmp(without(text, "=\n"), unchanged->base64) == 0;
	pfree(text);
	return is;
}

/* A string where a value of this type is expected. */
static bool
is_string(const DjkUnchanged *unchanged, Oid type, const DjkField *field)
{
	if (is_text(field, unchanged->text, unchanged->len) || is_text(field, unchanged->pair, unchanged->pair_len))
		return true;
	if (type == BYTEAOID)
		return is_encoded(unchanged, field);
	return type == UUIDOID && is_text(field, unchanged->uuid, strlen(unchanged->uuid));
}

static bool
is_pair(const DjkUnchanged *unchanged, const DjkField *field)
{
	char	   *text;
	bool		is;

	/* as written by a machine, or by one that likes spaces */
	if (field->len < unchanged->pair_len || field->len > unchanged->pair_len + 16)
		return false;
	if (strpbrk(unchanged->text, " \t\r\n") != NULL)
		return is_text(field, unchanged->pair, unchanged->pair_len);
	text = without(pnstrdup(field->text, field->len), " \t\r\n");
	is = strcmp(text, unchanged->pair) == 0;
	pfree(text);
	return is;
}

/* Whether a number is the byte, which in Java has a sign. */
static bool
is_byte(const DjkField *field, char byte)
{
	char		number[8];
	int			len = snprintf(number, sizeof(number), "%d", (int) (signed char) byte);

	return field->kind == DJK_FIELD_NUMBER && is_text(field, number, len);
}

static bool
is_array(const DjkUnchanged *unchanged, Oid type, const DjkField *field)
{
	Oid			element_type = get_element_type(type);
	DjkJsonArray array;
	DjkField	element;
	int			n = 0;

	djk_json_array_begin(&array, field->text, field->len, CurrentMemoryContext);
	if (!djk_json_array_next(&array, &element))
		return false;
	if (element.kind == DJK_FIELD_STRING)
		return is_string(unchanged, element_type, &element) && !djk_json_array_next(&array, &element);
	if (element.kind == DJK_FIELD_OBJECT)
		return is_pair(unchanged, &element) && !djk_json_array_next(&array, &element);
	while (n < unchanged->nbytes && is_byte(&element, unchanged->bytes[n]))
	{
		if (++n < unchanged->nbytes && !djk_json_array_next(&array, &element))
			return false;
	}
	return n == unchanged->nbytes && !djk_json_array_next(&array, &element);
}

bool
djk_unchanged_is(const DjkUnchanged *unchanged, const DjkColumn *column, const DjkField *field)
{
	if (unchanged == NULL)
		return false;
	switch (field->kind)
	{
		case DJK_FIELD_STRING:
			return is_string(unchanged, column->base_type, field);
		case DJK_FIELD_OBJECT:
			return is_pair(unchanged, field);
		case DJK_FIELD_ARRAY:
			return is_array(unchanged, column->base_type, field);
		case DJK_FIELD_BYTES:
			return is_text(field, unchanged->bytes, unchanged->nbytes);
		default:
			return false;
	}
}
