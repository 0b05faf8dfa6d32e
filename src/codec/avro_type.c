/*-------------------------------------------------------------------------
 *
 * avro_type.c
 *	  What the values of a type of Avro mean: its logicalType, and the names that
 *	  Kafka Connect adds.
 *
 * Connect's name counts before the logicalType, for it says more; Debezium's have
 * no logicalType at all.  What does not fit the type says nothing, as Avro's
 * specification has it.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/avro_impl.h"

#define UUID_BYTES		16
#define DURATION_BYTES	12

typedef struct Logical
{
	const char *name;
	DjkAvroOp	op;
	int			size;			/* of a fixed */
	DjkConnectKind kind;
} Logical;

static const Logical logicals[] = {
	{"date", DJK_AVRO_INT, 0, DJK_CONNECT_DATE},
	{"time-millis", DJK_AVRO_INT, 0, DJK_CONNECT_TIME_MS},
	{"time-micros", DJK_AVRO_LONG, 0, DJK_CONNECT_TIME_US},
	{"timestamp-millis", DJK_AVRO_LONG, 0, DJK_CONNECT_INSTANT_MS},
	{"timestamp-micros", DJK_AVRO_LONG, 0, DJK_CONNECT_INSTANT_US},
	{"timestamp-nanos", DJK_AVRO_LONG, 0, DJK_CONNECT_INSTANT_NS},
	{"local-timestamp-millis", DJK_AVRO_LONG, 0, DJK_CONNECT_TIMESTAMP_MS},
	{"local-timestamp-micros", DJK_AVRO_LONG, 0, DJK_CONNECT_TIMESTAMP_US},
	{"local-timestamp-nanos", DJK_AVRO_LONG, 0, DJK_CONNECT_TIMESTAMP_NS},
	{"duration", DJK_AVRO_FIXED, DURATION_BYTES, DJK_CONNECT_INTERVAL},
	{"uuid", DJK_AVRO_FIXED, UUID_BYTES, DJK_CONNECT_UUID}
};

static bool
find(const DjkDecoded *attributes, const char *outer, const char *inner, DjkField *field)
{
	char	   *path[2] = {unconstify(char *, outer), unconstify(char *, inner)};

	return djk_codec_find_field(attributes, path, inner == NULL ? 1 : 2, field) && field->text != NULL;
}

static bool
find_string(const DjkDecoded *attributes, const char *name, DjkField *field)
{
	return find(attributes, name, NULL, field) && field->kind == DJK_FIELD_STRING;
}

static bool
is_text(const DjkField *field, const char *text)
{
	return field->len == (int) strlen(text) && memcmp(field->text, text, field->len) == 0;
}

/* An integer, as a number or a string that holds one; DJK_CONNECT_NONE if it is none. */
static int
read_integer(const DjkField *field)
{
	char		digits[12];
	char	   *end;
	long		number;

	if ((field->kind != DJK_FIELD_NUMBER && field->kind != DJK_FIELD_STRING) || field->len >= (int) sizeof(digits))
		return DJK_CONNECT_NONE;
	memcpy(digits, field->text, field->len);
	digits[field->len] = '\0';
	errno = 0;
	number = strtol(digits, &end, 10);
	if (errno != 0 || end == digits || *end != '\0' || number != (int) number)
		return DJK_CONNECT_NONE;
	return (int) number;
}

/* One of Connect's parameters, or an attribute of Avro's of the same name. */
static int
read_parameter(const DjkDecoded *attributes, const char *name)
{
	DjkField	field;

	if (find(attributes, "connect.parameters", name, &field) || find(attributes, name, NULL, &field))
		return read_integer(&field);
	return DJK_CONNECT_NONE;
}

static bool
is_whole(DjkAvroOp op)
{
	return op == DJK_AVRO_INT || op == DJK_AVRO_LONG;
}

static bool
is_binary(DjkAvroOp op)
{
	return op == DJK_AVRO_BYTES || op == DJK_AVRO_FIXED;
}

/* A record of an int, its scale, and bytes. */
static bool
is_variable(const DjkAvroSchema *schema, const DjkAvroNode *node)
{
	bool		scale = false;
	bool		value = false;

	if (node->op != DJK_AVRO_RECORD || node->size != 2)
		return false;
	for (int i = 0; i < 2; i++)
	{
		const DjkAvroPart *part = &schema->parts[node->first + i];
		const DjkAvroNode *of = &schema->nodes[part->node];

		scale |= is_whole(of->op) && of->type.kind == DJK_CONNECT_INTEGER && strcmp(part->name, "scale") == 0;
		value |= is_binary(of->op) && of->type.kind == DJK_CONNECT_BYTES && strcmp(part->name, "value") == 0;
	}
	return scale && value;
}

/* Whether values of a type can be of a kind of Connect's. */
static bool
fits(const DjkAvroSchema *schema, const DjkAvroNode *node, DjkConnectKind kind)
{
	switch (kind)
	{
		case DJK_CONNECT_DECIMAL:
		case DJK_CONNECT_BITS:
			return is_binary(node->op);
		case DJK_CONNECT_VARIABLE_DECIMAL:
			return is_variable(schema, node);
		case DJK_CONNECT_ZONED_TIMESTAMP:
		case DJK_CONNECT_LOCAL_ISO:
		case DJK_CONNECT_JSON:
			return node->op == DJK_AVRO_STRING;
		case DJK_CONNECT_POINT:
			return node->op == DJK_AVRO_RECORD;
		case DJK_CONNECT_PLAIN:
			return false;
		default:
			return is_whole(node->op);
	}
}

static bool
read_connect(const DjkAvroSchema *schema, const DjkDecoded *attributes, DjkAvroNode *node)
{
	DjkField	name;
	DjkConnectKind kind;
	const char *semantic;

	if (!find_string(attributes, "connect.name", &name))
		return false;
	kind = djk_connect_kind(name.text, name.len, &semantic);
	if (!fits(schema, node, kind))
		return false;
	node->type.kind = kind == DJK_CONNECT_VARIABLE_DECIMAL ? DJK_CONNECT_DECIMAL : kind;
	node->type.semantic = semantic;
	node->type.of_source = true;
	if (kind == DJK_CONNECT_DECIMAL)
		node->type.parameter = read_parameter(attributes, "scale");
	else if (kind == DJK_CONNECT_BITS)
		node->type.parameter = read_parameter(attributes, "length");
	if (node->type.parameter == DJK_CONNECT_NONE)
		node->type.parameter = 0;
	return true;
}

static bool
read_decimal(const DjkDecoded *attributes, DjkAvroNode *node)
{
	DjkField	field;
	int			scale = 0;
	int			precision = 0;

	if (!is_binary(node->op))
		return false;
	if (find(attributes, "scale", NULL, &field))
		scale = read_integer(&field);
	if (find(attributes, "precision", NULL, &field))
		precision = read_integer(&field);
	if (precision < 1 || scale < 0 || scale > precision)
		return false;
	node->type.kind = DJK_CONNECT_DECIMAL;
	node->type.semantic = "decimal";
	node->type.parameter = scale;
	return true;
}

static void
read_logical(const DjkDecoded *attributes, DjkAvroNode *node)
{
	DjkField	name;

	if (!find_string(attributes, "logicalType", &name) ||
		(is_text(&name, "decimal") && read_decimal(attributes, node)))
		return;
	for (int i = 0; i < lengthof(logicals); i++)
	{
		const Logical *logical = &logicals[i];

		if (is_text(&name, logical->name) && logical->op == node->op &&
			(node->op != DJK_AVRO_FIXED || logical->size == node->size))
		{
			node->type.kind = logical->kind;
			node->type.semantic = logical->name;
			return;
		}
	}
}

void
djk_avro_read_meaning(const DjkAvroSchema *schema, const DjkDecoded *attributes, DjkAvroNode *node)
{
	if (!read_connect(schema, attributes, node))
		read_logical(attributes, node);
}
