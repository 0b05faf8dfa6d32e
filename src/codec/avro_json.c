/*-------------------------------------------------------------------------
 *
 * avro_json.c
 *	  A value of Avro as JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/avro_scalar.h"

#include "codec/json_escape.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* How much longer a byte may become: the digits of its bits. */
#define GROWTH_OF_BYTE	8

/* Whether bytes that become longer fit in, before they are appended. */
static bool
has_room(DjkAvroReader *reader, const StringInfo json, int len)
{
	return json->len + (int64) GROWTH_OF_BYTE * len < (int64) MaxAllocSize - 1024 ||
		djk_avro_fail(reader, DJK_AVRO_TOO_LONG, reader->at);
}

static bool
append_text(DjkAvroReader *reader, StringInfo json)
{
	DjkAvroText text;

	if (!djk_avro_read_text(reader, &text) || !has_room(reader, json, text.len))
		return false;
	djk_json_append_string(json, text.text, text.len);
	if (text.own != NULL)
		pfree(text.own);
	return true;
}

static bool
append_scalar(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json)
{
	DjkField	field;

	if (node->op == DJK_AVRO_STRING)
		return append_text(reader, json);
	if (!djk_avro_read_scalar(reader, node, &field) || !has_room(reader, json, field.len))
		return false;
	djk_codec_append_json(&field, json);
	return true;
}

/* Debezium's decimal that brings its scale. */
static bool
append_variable(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json)
{
	DjkField	field;

	if (!djk_avro_read_variable(reader, node, &field) || !has_room(reader, json, field.len))
		return false;
	djk_codec_append_json(&field, json);
	return true;
}

static bool
append_record(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json)
{
	const DjkAvroSchema *schema = reader->schema;

	appendStringInfoChar(json, '{');
	for (int i = 0; i < node->size; i++)
	{
		const DjkAvroPart *part = &schema->parts[node->first + i];

		if (i > 0)
			appendStringInfoChar(json, ',');
		djk_json_append_string(json, part->name, part->name_len);
		appendStringInfoChar(json, ':');
		if (!djk_avro_read_json(reader, &schema->nodes[part->node], json))
			return false;
	}
	appendStringInfoChar(json, '}');
	return true;
}

static bool
append_item(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json)
{
	if (node->op == DJK_AVRO_MAP)
	{
		if (!append_text(reader, json))
			return false;
		appendStringInfoChar(json, ':');
	}
	return djk_avro_read_json(reader, &reader->schema->nodes[node->first], json);
}

/* The items of an array, or of a map. */
static bool
append_items(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json)
{
	bool		is_map = node->op == DJK_AVRO_MAP;
	bool		first = true;
	int64		count;
	const char *end;

	appendStringInfoChar(json, is_map ? '{' : '[');
	do
	{
		if (!djk_avro_read_block(reader, &count, &end))
			return false;
		for (int64 i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (!first)
				appendStringInfoChar(json, ',');
			first = false;
			if (!append_item(reader, node, json))
				return false;
		}
		if (end != NULL && reader->at != end)
			return djk_avro_fail(reader, DJK_AVRO_NO_BLOCK, reader->at);
	} while (count > 0);
	appendStringInfoChar(json, is_map ? '}' : ']');
	return true;
}

bool
djk_avro_read_json(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json)
{
	bool		appended;

	if (!djk_avro_count_value(reader) || !djk_avro_resolve(reader, &node))
		return false;
	if (djk_avro_is_scalar(node))
		appended = append_scalar(reader, node, json);
	else if (djk_avro_is_variable(node))
		appended = append_variable(reader, node, json);
	else
	{
		if (++reader->depth > DJK_AVRO_DEPTH_MAX)
			return djk_avro_fail(reader, DJK_AVRO_TOO_DEEP, reader->at);
		check_stack_depth();
		appended = node->op == DJK_AVRO_RECORD ? append_record(reader, node, json) : append_items(reader, node, json);
		reader->depth--;
	}
	return appended &&
		(json->len <= reader->json_max || djk_avro_fail(reader, DJK_AVRO_TOO_LONG, reader->at));
}

bool
djk_avro_append_json(const DjkAvroSchema *schema, const char *bytes, int len, bool bare_bytes,
					 bool replace_invalid, StringInfo json, DjkError *error)
{
	DjkAvroReader reader;

	djk_avro_reader_init(&reader, schema, bytes, len, bare_bytes, CurrentMemoryContext);
	reader.replace_invalid = replace_invalid;
	reader.json_max += json->len;
	return (djk_avro_read_json(&reader, &schema->nodes[schema->root], json) && djk_avro_read_end(&reader)) ||
		djk_avro_report(&reader, error);
}
