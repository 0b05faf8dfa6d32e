/*-------------------------------------------------------------------------
 *
 * avro_connect.c
 *	  What a schema of Avro says of fields that do not say it by themselves.
 *
 * Of Connect's kinds some are strings or records, and become what they are where
 * it is known for what (connect_value.c): JSON in a string, a time in ISO 8601, a
 * point.  All other fields are what they look like.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/avro_impl.h"

#include "utils/memutils.h"

/* The one type that is not null, of a union of two; else the type itself. */
static const DjkAvroNode *
find_type(const DjkAvroSchema *schema, int number)
{
	const DjkAvroNode *node = &schema->nodes[number];
	const DjkAvroPart *branches = &schema->parts[node->first];

	if (node->op != DJK_AVRO_UNION || node->size != 2)
		return node;
	if (branches[0].node == DJK_AVRO_NULL)
		return &schema->nodes[branches[1].node];
	return branches[1].node == DJK_AVRO_NULL ? &schema->nodes[branches[0].node] : node;
}

static bool
is_told(const DjkConnectType *type)
{
	switch (type->kind)
	{
		case DJK_CONNECT_ZONED_TIMESTAMP:
		case DJK_CONNECT_LOCAL_ISO:
		case DJK_CONNECT_JSON:
		case DJK_CONNECT_POINT:
		case DJK_CONNECT_STRUCT:
			return true;
		default:
			return false;
	}
}

/* What is said of a field, but its name. */
static DjkConnectType
tell(DjkAvroSchema *schema, int number)
{
	const DjkAvroNode *node = find_type(schema, number);
	DjkConnectType type = {.kind = DJK_CONNECT_PLAIN, .parameter = DJK_CONNECT_NONE};

	if (is_told(&node->type))
		return node->type;
	if (node->op == DJK_AVRO_ARRAY)
	{
		const DjkConnectType *items = &find_type(schema, node->first)->type;

		if (is_told(items) && items->kind != DJK_CONNECT_STRUCT)
		{
			type.kind = DJK_CONNECT_ARRAY;
			type.items = items;
		}
	}
	return type;
}

/* Records know their fields before any of them is told of, for one may be within itself. */
static void
make_structs(DjkAvroSchema *schema)
{
	for (int n = 0; n < schema->nnodes; n++)
	{
		DjkAvroNode *node = &schema->nodes[n];

		if (node->op != DJK_AVRO_RECORD || node->type.kind != DJK_CONNECT_PLAIN)
			continue;
		node->type.kind = DJK_CONNECT_STRUCT;
		node->type.nfields = node->size;
		node->type.fields = MemoryContextAlloc(schema->context, Max(node->size, 1) * sizeof(DjkConnectType));
	}
}

static void
tell_fields(DjkAvroSchema *schema, const DjkAvroNode *node)
{
	DjkConnectType *fields = unconstify(DjkConnectType *, node->type.fields);

	for (int i = 0; i < node->type.nfields; i++)
	{
		const DjkAvroPart *part = &schema->parts[node->first + i];

		fields[i] = tell(schema, part->node);
		fields[i].name = part->name;
		fields[i].name_len = part->name_len;
	}
}

/* In most schemas there is nothing. */
static bool
has_told(const DjkAvroSchema *schema)
{
	for (int n = 0; n < schema->nnodes; n++)
	{
		if (is_told(&schema->nodes[n].type))
			return true;
	}
	return false;
}

void
djk_avro_tell_types(DjkAvroSchema *schema)
{
	if (!has_told(schema))
		return;
	make_structs(schema);
	for (int n = 0; n < schema->nnodes; n++)
		tell_fields(schema, &schema->nodes[n]);
	schema->types = &find_type(schema, schema->root)->type;
}
