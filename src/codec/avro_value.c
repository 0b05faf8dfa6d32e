/*-------------------------------------------------------------------------
 *
 * avro_value.c
 *	  A value of Avro -> fields.
 *
 * Numbers, bytes and strings stay where they are, in the message; what holds
 * others becomes JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/avro_scalar.h"

#include "utils/memutils.h"

/* The array of fields is given back above this. */
#define FIELDS_KEEP	4096

/* Where the JSON of fields is made; it moves while it grows. */
typedef struct Documents
{
	StringInfoData json;		/* data NULL: there is none yet */
	MemoryContext context;
} Documents;

static bool
read_document(DjkAvroReader *reader, const DjkAvroNode *node, Documents *documents, DjkField *field)
{
	MemoryContext old = MemoryContextSwitchTo(documents->context);
	int			start;
	bool		read;

	if (documents->json.data == NULL)
		initStringInfo(&documents->json);
	start = documents->json.len;
	read = djk_avro_read_json(reader, node, &documents->json);
	MemoryContextSwitchTo(old);

	field->kind = node->op == DJK_AVRO_ARRAY ? DJK_FIELD_ARRAY : DJK_FIELD_OBJECT;
	field->text = NULL;
	field->number = start;
	field->len = documents->json.len - start;
	field->sure = field->plain = field->documents = false;
	return read;
}

/* What holds others; of a document 'text' is not set yet. */
static bool
read_nested(DjkAvroReader *reader, const DjkAvroNode *node, Documents *documents, DjkField *field)
{
	if (djk_avro_is_variable(node))
		return djk_avro_read_variable(reader, node, field);
	return read_document(reader, node, documents, field);
}

/* Any value but a record that is the whole. */
static inline bool
read_field(DjkAvroReader *reader, const DjkAvroNode *node, Documents *documents, DjkField *field)
{
	if (!djk_avro_count_value(reader) || !djk_avro_resolve(reader, &node))
		return false;
	if (likely(djk_avro_is_scalar(node)))
		return djk_avro_read_scalar(reader, node, field);
	return read_nested(reader, node, documents, field);
}

static void
place_document(const Documents *documents, DjkField *field)
{
	if (field->kind != DJK_FIELD_OBJECT && field->kind != DJK_FIELD_ARRAY)
		return;
	field->text = field->raw = documents->json.data + field->number;
	field->raw_len = field->len;
}

static void
make_room(DjkDecoded *out, int nfields)
{
	if (out->fields != NULL && out->fields_size >= nfields && out->fields_size <= FIELDS_KEEP)
		return;
	if (out->fields != NULL)
		pfree(out->fields);
	out->fields = NULL;
	out->fields_size = 0;
	out->fields = MemoryContextAllocHuge(out->fields_context, sizeof(DjkField) * (Size) Max(nfields, 64));
	out->fields_size = Max(nfields, 64);
}

static bool
read_fields(DjkAvroReader *reader, const DjkAvroNode *record, Documents *documents, DjkDecoded *out)
{
	const DjkAvroSchema *schema = reader->schema;

	make_room(out, record->size);
	out->is_object = true;
	for (int i = 0; i < record->size; i++)
	{
		const DjkAvroPart *part = &schema->parts[record->first + i];
		DjkField   *field = &out->fields[i];

		field->name = part->name;
		field->name_len = part->name_len;
		if (!read_field(reader, &schema->nodes[part->node], documents, field))
		{
			reader->field = part;
			return false;
		}
	}
	out->nfields = record->size;
	return true;
}

static bool
read_value(DjkAvroReader *reader, Documents *documents, DjkDecoded *out)
{
	const DjkAvroNode *node = &reader->schema->nodes[reader->schema->root];

	if (!djk_avro_resolve(reader, &node))
		return false;
	if (node->op != DJK_AVRO_RECORD || djk_avro_is_variable(node))
		return read_field(reader, node, documents, &out->bare);
	out->types = reader->schema->types;
	out->shape = node;
	/* It is a level too. */
	reader->depth++;
	return read_fields(reader, node, documents, out);
}

static void
place_documents(const Documents *documents, DjkDecoded *out)
{
	if (!out->is_object)
		place_document(documents, &out->bare);
	for (int i = 0; i < out->nfields; i++)
		place_document(documents, &out->fields[i]);
}

bool
djk_avro_decode(const DjkAvroSchema *schema, const char *bytes, int len, bool bare_bytes,
				DjkDecoded *out, DjkError *error)
{
	DjkAvroReader reader;
	Documents	documents = {.context = out->context};

	out->is_object = false;
	memset(&out->bare, 0, sizeof(out->bare));
	out->nfields = 0;
	out->text = NULL;
	out->text_len = 0;
	out->avro = (DjkDecodedAvro) {schema, bytes, len, bare_bytes};
	out->schema = NULL;
	out->types = NULL;
	out->shape = NULL;
	djk_avro_reader_init(&reader, schema, bytes, len, bare_bytes, out->context);
	reader.replace_invalid = out->replace_invalid;
	if (!read_value(&reader, &documents, out) || !djk_avro_read_end(&reader))
	{
		out->nfields = 0;
		out->types = NULL;
		return djk_avro_report(&reader, error);
	}
	if (documents.json.data != NULL)
		place_documents(&documents, out);
	return true;
}
