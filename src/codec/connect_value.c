/*-------------------------------------------------------------------------
 *
 * connect_value.c
 *	  A value as its schema means it.
 *
 * Numbers that count days or microseconds, and bytes that are a decimal, become
 * the JSON that says so by itself, which any column takes or refuses as it would
 * if a person had written it.  What PostgreSQL alone can say (infinity, years
 * beyond 9999) is marked as sure.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/connect.h"

#include "catalog/pg_type_d.h"
#include "codec/convert_impl.h"
#include "codec/json.h"
#include "codec/json_escape.h"
#include "codec/meaning.h"
#include "codec/native.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* What a value is made for. */
typedef struct Target
{
	Oid			type;			/* of the column, or of an element of its array; InvalidOid: another */
	bool		replace_invalid;	/* what no text can hold is replaced in documents, too */
} Target;

/* How much longer an array may become: of so small elements that nobody has them. */
#define ARRAY_GROWTH		32
#define ARRAY_GROWTH_FREE	(16 * 1024)

static const DjkField *
refuse(const DjkConnectType *type, const DjkField *field, DjkError *error)
{
	(void) djk_convert_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  psprintf("value is no %s: %s", type->semantic ? type->semantic :
									   type->kind == DJK_CONNECT_JSON ? "JSON" : "base64",
									   djk_convert_show(field->text, field->len)),
							  type->semantic ? "The schema of the message says that it is one." : NULL, NULL);
	return NULL;
}

static const DjkField *
refuse_range(const DjkConnectType *type, const DjkField *field, DjkError *error)
{
	(void) djk_convert_refuse(error, ERRCODE_DATETIME_FIELD_OVERFLOW,
							  psprintf("%s out of range: %s", type->semantic, djk_convert_show(field->text, field->len)),
							  NULL, NULL);
	return NULL;
}

/* A string, or a number, of this text. */
static const DjkField *
give(DjkField *buffer, const DjkField *field, DjkFieldKind kind, char *text, bool sure)
{
	*buffer = *field;
	buffer->kind = kind;
	buffer->text = text;
	buffer->len = (int) strlen(text);
	buffer->raw = kind == DJK_FIELD_STRING ? NULL : buffer->text;
	buffer->raw_len = kind == DJK_FIELD_STRING ? 0 : buffer->len;
	buffer->sure = sure;
	return buffer;
}

/* ---------- numbers ---------- */

static bool
is_number(const DjkField *field)
{
	return field->kind == DJK_FIELD_NUMBER ||
		(field->kind == DJK_FIELD_NATIVE && field->native->kind == DJK_CONNECT_INTEGER);
}

static bool
read_integer(const DjkField *field, int64 *number)
{
	char		digits[24];
	char	   *end;

	*number = 0;
	if (field->kind != DJK_FIELD_NUMBER || field->len >= (int) sizeof(digits))
		return false;
	memcpy(digits, field->text, field->len);
	digits[field->len] = '\0';
	errno = 0;
	*number = strtoi64(digits, &end, 10);
	return errno == 0 && *end == '\0';
}

/* The bytes of a string in base64; -1 if it is none. */
static int
read_base64(const DjkField *field, char **bytes)
{
	*bytes = NULL;
	if (field->kind != DJK_FIELD_STRING || field->text == NULL)
		return -1;
	*bytes = palloc(Max(field->len, 1));
	return djk_convert_decode_base64(field->text, field->text + field->len, *bytes);
}

static const DjkField *
restate_decimal(const DjkConnectType *type, int64 scale, const DjkField *field, DjkField *buffer, DjkError *error)
{
	char	   *bytes;
	int			len;
	StringInfoData literal;

	if (field->kind == DJK_FIELD_NUMBER)
		return field;			/* decimal.format=NUMERIC */
	len = read_base64(field, &bytes);
	initStringInfo(&literal);
	if (!djk_meaning_decimal_text(bytes, len, scale, &literal))
		return refuse(type, field, error);
	return give(buffer, field, DJK_FIELD_NUMBER, literal.data, false);
}

/* Two fields of an object. */
static bool
read_object(const DjkField *field, const char *first, DjkField *a, const char *second, DjkField *b)
{
	DjkDecoded	decoded;
	DjkError	ignored = {0};

	if (field->kind != DJK_FIELD_OBJECT)
		return false;
	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	return djk_json_decode_part(field, &decoded, &ignored) &&
		djk_codec_find_named(&decoded, first, a) &&
		djk_codec_find_named(&decoded, second, b);
}

static const DjkField *
restate_variable(const DjkConnectType *type, const DjkField *field, DjkField *buffer, DjkError *error)
{
	DjkField	scale;
	DjkField	value;
	int64		number;

	if (!read_object(field, "scale", &scale, "value", &value) || !read_integer(&scale, &number) ||
		number < -DJK_DECIMAL_SCALE_MAX || number > DJK_DECIMAL_SCALE_MAX)
		return refuse(type, field, error);
	value.name = field->name;
	value.name_len = field->name_len;
	if (value.kind == DJK_FIELD_NUMBER)
		return refuse(type, field, error);
	return restate_decimal(type, number, &value, buffer, error);
}

/* ---------- bytes ---------- */

static const DjkField *
restate_bytes(const DjkConnectType *type, const DjkField *field, DjkField *buffer, DjkError *error)
{
	char	   *bytes;
	int			len = read_base64(field, &bytes);
	char	   *text;

	if (len < 0)
		return refuse(type, field, error);
	text = palloc((Size) len * 2 + 3);
	strcpy(text, "\\x");
	text[2 + hex_encode(bytes, len, text + 2)] = '\0';
	return give(buffer, field, DJK_FIELD_STRING, text, false);
}

static const DjkField *
restate_bits(const DjkConnectType *type, const DjkField *field, DjkField *buffer, DjkError *error)
{
	char	   *bytes;
	int			len = read_base64(field, &bytes);
	StringInfoData text;

	initStringInfo(&text);
	if (len < 0 || !djk_meaning_bits_text(bytes, len, type->parameter, &text))
		return refuse(type, field, error);
	return give(buffer, field, DJK_FIELD_STRING, text.data, false);
}

/* ---------- times ---------- */

static const DjkField *
restate_time(const DjkConnectType *type, const DjkField *field, DjkField *buffer, DjkError *error)
{
	char	   *text = palloc(MAXDATELEN + 1);
	int64		number;
	bool		beyond_iso;

	if (!read_integer(field, &number))
		return refuse(type, field, error);
	if (!djk_meaning_time_text(type->kind, number, USE_ISO_DATES, text, &beyond_iso))
		return refuse_range(type, field, error);
	/* Strict types leave it to us. */
	return give(buffer, field, DJK_FIELD_STRING, text, beyond_iso);
}

/*
 * What ExtractNewRecordState adds of when something has happened: an instant, which
 * no schema names, but its name says what it counts.
 */
static const DjkConnectType *
find_instant(const Target *target, const DjkField *field)
{
	static const DjkConnectType instants[] = {
		{.kind = DJK_CONNECT_TIMESTAMP_MS, .semantic = "ts_ms"},
		{.kind = DJK_CONNECT_TIMESTAMP_US, .semantic = "ts_us"},
		{.kind = DJK_CONNECT_TIMESTAMP_NS, .semantic = "ts_ns"}
	};

	if (!is_number(field) || (target->type != TIMESTAMPOID && target->type != TIMESTAMPTZOID) ||
		field->name_len < 7 || memcmp(field->name, "__", 2) != 0)
		return NULL;
	for (int i = 0; i < lengthof(instants); i++)
	{
		if (memcmp(field->name + field->name_len - 5, instants[i].semantic, 5) == 0)
			return &instants[i];
	}
	return NULL;
}

static const DjkField *
restate_instant(const DjkConnectType *type, const DjkField *field, DjkField *buffer, DjkError *error)
{
	const DjkField *restated = restate_time(type, field, buffer, error);

	if (restated == NULL)
		error->detail = NULL;	/* it is its name that says so */
	if (restated == NULL || restated->sure)
		return restated;
	return give(buffer, field, DJK_FIELD_STRING, psprintf("%s+00", restated->text), false);
}

/* ---------- strings ---------- */

static bool
is_string(const DjkField *field)
{
	return field->kind == DJK_FIELD_STRING && field->text != NULL;
}

static const DjkField *
restate_zoned(const DjkField *field, DjkField *buffer)
{
	if (!djk_convert_is_infinity(field))
		return field;
	*buffer = *field;
	buffer->sure = true;
	return buffer;
}

static const DjkField *
restate_local_iso(const DjkField *field, DjkField *buffer)
{
	if (!is_string(field) || field->len == 0 || field->text[field->len - 1] != 'Z')
		return field;
	return give(buffer, field, DJK_FIELD_STRING, pnstrdup(field->text, field->len - 1), false);
}

static bool
is_json(Oid type)
{
	return type == JSONOID || type == JSONBOID;
}

static const DjkField *
restate_json(const DjkConnectType *type, const Target *target, const DjkField *field, DjkField *buffer, DjkError *error)
{
	const char *document = field->text;
	int			len = field->len;

	if (!is_string(field) || !is_json(target->type))
		return field;
	if (target->replace_invalid)
		djk_json_replace_invalid(document, len, CurrentMemoryContext, &document, &len);
	if (!djk_json_read_document(document, len, CurrentMemoryContext, buffer))
		return refuse(type, field, error);
	buffer->name = field->name;
	buffer->name_len = field->name_len;
	return buffer;
}

/* ---------- what holds others ---------- */

static const DjkField *
restate_point(const DjkConnectType *type, const Target *target, const DjkField *field, DjkField *buffer, DjkError *error)
{
	DjkField	x;
	DjkField	y;

	if (target->type != POINTOID || field->kind != DJK_FIELD_OBJECT)
		return field;
	if (!read_object(field, "x", &x, "y", &y) || x.kind != DJK_FIELD_NUMBER || y.kind != DJK_FIELD_NUMBER)
		return type->semantic == NULL ? field : refuse(type, field, error);
	return give(buffer, field, DJK_FIELD_STRING, psprintf("(%.*s,%.*s)", x.len, x.text, y.len, y.text), false);
}

static void
append_json(StringInfo json, const DjkField *field)
{
	if (field->raw != NULL)
		appendBinaryStringInfo(json, field->raw, field->raw_len);
	else
		escape_json(json, pnstrdup(field->text, field->len));
}

/* One of an array of documents stays in a string, or it would be a part of the array. */
static void
append_document(StringInfo json, const DjkField *document)
{
	if (document->kind == DJK_FIELD_NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, pnstrdup(document->raw, document->raw_len));
}

static const DjkField *restate(const DjkConnectType *type, const Target *target, const DjkField *field,
							   DjkField *buffer, DjkError *error);

typedef struct ArrayBuilder
{
	StringInfoData json;
	int64		max;			/* of its length */
	bool		documents;		/* see DjkField */
	Target		target;			/* of an element */
	MemoryContext element;		/* for what is made of one */
} ArrayBuilder;

static bool
refuse_array(const char *message, DjkError *error)
{
	return djk_convert_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED, message, NULL, NULL);
}

static bool
append_element(ArrayBuilder *builder, const DjkConnectType *type, const DjkField *element, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(builder->element);
	DjkField	own;
	const DjkField *restated = restate(type, &builder->target, element, &own, error);

	if (restated != NULL && builder->documents)
		append_document(&builder->json, restated);
	else if (restated != NULL)
		append_json(&builder->json, restated);
	MemoryContextSwitchTo(old);
	if (restated == NULL)
		return false;
	MemoryContextReset(builder->element);
	return builder->json.len <= builder->max || refuse_array("array is too long as its schema means it", error);
}

static bool
append_array(ArrayBuilder *builder, const DjkConnectType *type, const DjkField *field, int dimension, DjkError *error)
{
	DjkJsonArray array;
	DjkField	element;
	int			start;

	/* Each has to be scanned again. */
	if (dimension > MAXDIM)
		return refuse_array(psprintf("array has more than %d dimensions", MAXDIM), error);
	appendStringInfoChar(&builder->json, '[');
	start = builder->json.len;
	djk_json_array_begin(&array, field->text, field->len, builder->element);
	while (djk_json_array_next(&array, &element))
	{
		/* Debezium's schemas know no dimensions. */
		const DjkConnectType *inner = type->items->kind == DJK_CONNECT_ARRAY ? type->items : type;
		bool		appended;

		CHECK_FOR_INTERRUPTS();
		if (builder->json.len > start)
			appendStringInfoChar(&builder->json, ',');
		if (element.kind == DJK_FIELD_ARRAY && inner->items != NULL)
			appended = append_array(builder, inner, &element, dimension + 1, error);
		else
			appended = append_element(builder, type->items, &element, error);
		if (!appended)
			return false;
	}
	appendStringInfoChar(&builder->json, ']');
	return true;
}

/* Whether an array, of as many dimensions as its schema has, is one of documents. */
static bool
holds_documents(const DjkConnectType *type, const Target *element)
{
	while (type->items != NULL)
		type = type->items;
	return type->kind == DJK_CONNECT_JSON && is_json(element->type);
}

static const DjkField *
restate_array(const DjkConnectType *type, const Target *target, const DjkField *field, DjkField *buffer,
			  DjkError *error)
{
	Oid			element = get_element_type(target->type);
	ArrayBuilder builder = {.target = *target};

	if (field->kind != DJK_FIELD_ARRAY || type->items == NULL)
		return field;
	builder.target.type = OidIsValid(element) ? getBaseType(element) : InvalidOid;
	builder.documents = holds_documents(type, &builder.target);
	initStringInfo(&builder.json);
	builder.max = ARRAY_GROWTH_FREE + (int64) ARRAY_GROWTH * field->len;
	builder.element = AllocSetContextCreate(CurrentMemoryContext, "djkafka element", ALLOCSET_DEFAULT_SIZES);
	if (!append_array(&builder, type, field, 1, error))
		return NULL;
	(void) give(buffer, field, DJK_FIELD_ARRAY, builder.json.data, false);
	buffer->documents = builder.documents;
	return buffer;
}

/* A bit(1) is a boolean to Debezium. */
static const DjkField *
restate_bool(const Target *target, const DjkField *field, DjkField *buffer)
{
	if (field->kind != DJK_FIELD_BOOL || (target->type != BITOID && target->type != VARBITOID))
		return field;
	return give(buffer, field, DJK_FIELD_STRING, pstrdup(field->text[0] == 't' ? "1" : "0"), false);
}

static const DjkField *
restate_plain(const Target *target, const DjkField *field, DjkField *buffer)
{
	if (field->kind != DJK_FIELD_NUMBER)
		return restate_bool(target, field, buffer);
	*buffer = *field;
	buffer->plain = true;
	return buffer;
}

/* What says by itself what it is, but for instants. */
static const DjkField *
restate_native(const DjkConnectType *instant, const DjkField *field, DjkField *buffer, DjkError *error)
{
	DjkField	shown;

	if (instant == NULL)
		return field;
	return djk_native_show(field, &shown, error) ? restate_instant(instant, &shown, buffer, error) : NULL;
}

static const DjkField *
restate(const DjkConnectType *type, const Target *target, const DjkField *field, DjkField *buffer, DjkError *error)
{
	const DjkConnectType *instant = type == NULL || type->kind == DJK_CONNECT_PLAIN ? find_instant(target, field) : NULL;

	if (field->kind == DJK_FIELD_NATIVE)
		return restate_native(instant, field, buffer, error);
	if (instant != NULL)
		return restate_instant(instant, field, buffer, error);
	if (type == NULL)
		type = djk_connect_assume(target->type);
	if (type == NULL)
		return restate_bool(target, field, buffer);
	if (field->kind == DJK_FIELD_NULL)
		return field;
	switch (type->kind)
	{
		case DJK_CONNECT_PLAIN:
		case DJK_CONNECT_STRUCT:
			return restate_plain(target, field, buffer);
		case DJK_CONNECT_ARRAY:
			return restate_array(type, target, field, buffer, error);
		case DJK_CONNECT_BYTES:
			return restate_bytes(type, field, buffer, error);
		case DJK_CONNECT_DECIMAL:
			return restate_decimal(type, type->parameter == DJK_CONNECT_NONE ? 0 : type->parameter, field, buffer, error);
		case DJK_CONNECT_VARIABLE_DECIMAL:
			return restate_variable(type, field, buffer, error);
		case DJK_CONNECT_ZONED_TIMESTAMP:
			return restate_zoned(field, buffer);
		case DJK_CONNECT_LOCAL_ISO:
			return restate_local_iso(field, buffer);
		case DJK_CONNECT_BITS:
			return restate_bits(type, field, buffer, error);
		case DJK_CONNECT_JSON:
			return restate_json(type, target, field, buffer, error);
		case DJK_CONNECT_POINT:
			return restate_point(type, target, field, buffer, error);
		case DJK_CONNECT_DATE:
		case DJK_CONNECT_TIME_MS:
		case DJK_CONNECT_TIME_US:
		case DJK_CONNECT_TIME_NS:
		case DJK_CONNECT_TIMESTAMP_MS:
		case DJK_CONNECT_TIMESTAMP_US:
		case DJK_CONNECT_TIMESTAMP_NS:
		case DJK_CONNECT_DURATION_US:
		case DJK_CONNECT_DURATION_NS:
			return restate_time(type, field, buffer, error);
		default:
			break;				/* what is native is not JSON */
	}
	return field;
}

const DjkField *
djk_connect_restate(const DjkConnectType *type, Oid column, bool replace_invalid, const DjkField *field,
					DjkField *buffer, MemoryContext scratch, DjkError *error)
{
	Target		target = {column, replace_invalid};
	MemoryContext old;
	DjkError	refused = {0};
	const DjkField *restated;

	MemoryContextReset(scratch);
	old = MemoryContextSwitchTo(scratch);
	restated = restate(type, &target, field, buffer, &refused);
	MemoryContextSwitchTo(old);
	if (restated == NULL)
		(void) djk_convert_refuse(error, refused.sqlstate, refused.message, refused.detail, refused.hint);
	return restated;
}
