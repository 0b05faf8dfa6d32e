/*-------------------------------------------------------------------------
 *
 * avro_scalar.h
 *	  Values of Avro that hold no others, inline: a message is little else.
 *
 * Only the files avro*.c include this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_AVRO_SCALAR_H
#define DJK_AVRO_SCALAR_H

#include "codec/avro_impl.h"

/* What these leave to avro_read.c: a number of more than one byte, or of none … */
extern bool djk_avro_read_long_slowly(DjkAvroReader *reader, int64 *number);

/* … bytes that are more than ASCII … */
extern bool djk_avro_convert_text(DjkAvroReader *reader, DjkAvroText *text);

/* … and a string with NULs, which is what JSON has with \u0000: a field without text, but with its JSON. */
extern bool djk_avro_escape_text(DjkAvroReader *reader, const DjkAvroText *text, DjkField *field);

/* ---------- bytes ---------- */

static inline bool
djk_avro_read_long(DjkAvroReader *reader, int64 *number)
{
	unsigned char byte;

	if (unlikely(reader->at >= reader->end) || (byte = (unsigned char) *reader->at) >= 0x80)
		return djk_avro_read_long_slowly(reader, number);
	*number = (byte >> 1) ^ -(int64) (byte & 1);
	reader->at++;
	return true;
}

/* The next 'len' bytes. */
static inline bool
djk_avro_read_bytes(DjkAvroReader *reader, int64 len, const char **bytes)
{
	*bytes = reader->at;
	if (unlikely(len > reader->end - reader->at))
		return djk_avro_fail(reader, DJK_AVRO_CUT_SHORT, reader->end);
	reader->at += len;
	return true;
}

static inline bool
djk_avro_read_length(DjkAvroReader *reader, int64 *len)
{
	const char *at = reader->at;

	if (!djk_avro_read_long(reader, len))
		return false;
	return likely(*len >= 0) || djk_avro_fail(reader, DJK_AVRO_NO_LENGTH, at);
}

static inline uint64
djk_avro_little_endian(const char *bytes, int len)
{
	uint64		bits = 0;

	for (int i = len - 1; i >= 0; i--)
		bits = bits << 8 | (unsigned char) bytes[i];
	return bits;
}

/* Where one of eight bytes is not ASCII, or is NUL, a high bit is set. */
static inline uint64
djk_avro_odd_bits(const char *bytes)
{
	uint64		chunk;

	memcpy(&chunk, bytes, sizeof(chunk));
	return (chunk | (chunk - UINT64CONST(0x0101010101010101))) & UINT64CONST(0x8080808080808080);
}

/* Whether bytes are ASCII without NUL, and so text in every encoding. */
static inline bool
djk_avro_is_ascii(const char *bytes, int64 len)
{
	uint64		odd = 0;

	if (len < 8)
	{
		for (int i = 0; i < len; i++)
			odd |= (signed char) bytes[i] <= 0;
		return odd == 0;
	}
	for (int64 i = 0; i < len - 8; i += 8)
		odd |= djk_avro_odd_bits(bytes + i);
	return (odd | djk_avro_odd_bits(bytes + len - 8)) == 0;
}

/* ---------- fields ---------- */

static inline bool
djk_avro_set(DjkField *field, DjkFieldKind kind, const char *text, int len)
{
	field->kind = kind;
	field->text = text;
	field->len = len;
	return true;
}

static inline bool
djk_avro_set_native(DjkField *field, const DjkAvroNode *node, int64 number)
{
	field->kind = DJK_FIELD_NATIVE;
	field->native = &node->type;
	field->number = number;
	return true;
}

static inline bool
djk_avro_read_integer(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field)
{
	const char *at = reader->at;
	int64		number;

	if (!djk_avro_read_long(reader, &number))
		return false;
	if (node->op == DJK_AVRO_INT && unlikely(number != (int32) number))
		return djk_avro_fail(reader, DJK_AVRO_NO_INT, at);
	return djk_avro_set_native(field, node, number);
}

static inline bool
djk_avro_read_real(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field)
{
	const char *bytes;
	uint32		half;
	float		single;
	double		real;

	if (!djk_avro_read_bytes(reader, node->op == DJK_AVRO_FLOAT ? 4 : 8, &bytes))
		return false;
	if (node->op == DJK_AVRO_DOUBLE)
		return djk_avro_set_native(field, node, (int64) djk_avro_little_endian(bytes, 8));
	half = (uint32) djk_avro_little_endian(bytes, 4);
	memcpy(&single, &half, sizeof(single));
	real = single;
	memcpy(&field->number, &real, sizeof(real));
	return djk_avro_set_native(field, node, field->number);
}

static inline bool
djk_avro_read_boolean(DjkAvroReader *reader, DjkField *field)
{
	const char *byte;

	if (!djk_avro_read_bytes(reader, 1, &byte))
		return false;
	if (*byte == 1)
		return djk_avro_set(field, DJK_FIELD_BOOL, "true", 4);
	if (*byte == 0)
		return djk_avro_set(field, DJK_FIELD_BOOL, "false", 5);
	return djk_avro_fail(reader, DJK_AVRO_NO_BOOLEAN, byte);
}

static inline bool
djk_avro_read_symbol(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field)
{
	const char *at = reader->at;
	const DjkAvroPart *symbol;
	int64		number;

	if (!djk_avro_read_long(reader, &number))
		return false;
	if (unlikely(number < 0 || number >= node->size))
		return djk_avro_fail(reader, DJK_AVRO_NO_SYMBOL, at);
	symbol = &reader->schema->parts[node->first + number];
	return djk_avro_set(field, DJK_FIELD_STRING, symbol->name, symbol->name_len);
}

/* Bytes, or what is made of them. */
static inline bool
djk_avro_read_binary(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field)
{
	const char *bytes;
	int64		len = node->size;

	if (reader->is_bare)
		len = reader->end - reader->at;
	else if (node->op == DJK_AVRO_BYTES && !djk_avro_read_length(reader, &len))
		return false;
	if (!djk_avro_read_bytes(reader, len, &bytes))
		return false;
	(void) djk_avro_set(field, DJK_FIELD_BYTES, bytes, (int) len);
	return node->type.kind == DJK_CONNECT_BYTES || djk_avro_set_native(field, node, node->type.parameter);
}

static inline bool
djk_avro_read_text(DjkAvroReader *reader, DjkAvroText *text)
{
	int64		len;

	text->has_nul = false;
	text->own = NULL;
	text->len = 0;
	if (!djk_avro_read_length(reader, &len) || !djk_avro_read_bytes(reader, len, &text->text))
		return false;
	text->len = (int) len;
	return likely(djk_avro_is_ascii(text->text, len)) || djk_avro_convert_text(reader, text);
}

static inline bool
djk_avro_read_string(DjkAvroReader *reader, DjkField *field)
{
	DjkAvroText text;

	if (!djk_avro_read_text(reader, &text))
		return false;
	if (unlikely(text.has_nul))
		return djk_avro_escape_text(reader, &text, field);
	return djk_avro_set(field, DJK_FIELD_STRING, text.text, text.len);
}

/*
 * A value that is neither record, array, map nor union; all of *field but its
 * name.  A string that no text can hold is one without text, as JSON's is.
 */
static inline bool
djk_avro_read_scalar(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field)
{
	field->text = field->raw = NULL;
	field->len = field->raw_len = 0;
	field->sure = field->plain = field->documents = false;
	switch (node->op)
	{
		case DJK_AVRO_BOOLEAN:
			return djk_avro_read_boolean(reader, field);
		case DJK_AVRO_INT:
		case DJK_AVRO_LONG:
			return djk_avro_read_integer(reader, node, field);
		case DJK_AVRO_FLOAT:
		case DJK_AVRO_DOUBLE:
			return djk_avro_read_real(reader, node, field);
		case DJK_AVRO_BYTES:
		case DJK_AVRO_FIXED:
			return djk_avro_read_binary(reader, node, field);
		case DJK_AVRO_STRING:
			return djk_avro_read_string(reader, field);
		case DJK_AVRO_ENUM:
			return djk_avro_read_symbol(reader, node, field);
		default:
			return djk_avro_set(field, DJK_FIELD_NULL, "null", 4);
	}
}

/* ---------- unions ---------- */

/* The branch that a union's value is of; another node itself. */
static inline bool
djk_avro_resolve(DjkAvroReader *reader, const DjkAvroNode **node)
{
	const DjkAvroSchema *schema = reader->schema;
	const char *at = reader->at;
	int64		branch;

	if ((*node)->op != DJK_AVRO_UNION)
		return true;
	if (!djk_avro_read_long(reader, &branch))
		return false;
	if (unlikely(branch < 0 || branch >= (*node)->size))
		return djk_avro_fail(reader, DJK_AVRO_NO_BRANCH, at);
	*node = &schema->nodes[schema->parts[(*node)->first + branch].node];
	return true;
}

#endif							/* DJK_AVRO_SCALAR_H */
