/*-------------------------------------------------------------------------
 *
 * avro.h
 *	  Avro: the text of a schema -> a program, bytes and a program -> fields.
 *
 * Pure: no SPI, no Kafka, no HTTP; never throws for anything that a schema or a
 * message contains (it may for an interrupt, or where memory is out).  Where the
 * texts come from, and which of them a message was written with, is the caller's
 * matter: what is here knows no magic byte and no id.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_AVRO_H
#define DJK_AVRO_H

#include "codec/codec.h"

/* A schema that was read; it does not change any more. */
typedef struct DjkAvroSchema DjkAvroSchema;

/*
 * The text of a schema that another one names.  A list of them is in the order
 * in which they are read: each may use the names of those before it.
 */
typedef struct DjkAvroReference
{
	const char *text;			/* UTF-8, not NUL-terminated */
	size_t		len;
} DjkAvroReference;

/*
 * Reads a schema's text into a context of its own below 'parent', where it stays
 * until the end of 'parent'.  NULL and *error, whose strings
 * are in CurrentMemoryContext, for what is no schema, or beyond the limits.
 * Nothing is left in 'parent' then, nor where it throws.
 */
extern DjkAvroSchema *djk_avro_compile(const char *text, size_t len,
									   const DjkAvroReference *references, int nreferences,
									   MemoryContext parent, DjkError *error);

/* Of a schema that is a record, enum or fixed (or a union of null and one): its full name; else NULL. */
extern const char *djk_avro_name(const DjkAvroSchema *schema);

/* Bytes of memory that it takes. */
extern size_t djk_avro_size(const DjkAvroSchema *schema);

/*
 * Decodes one value, which must be all of the bytes: a record is an object of
 * fields, anything else a bare value (null is one of kind NULL, as JSON's is).
 * As DjkCodec.decode: false and *error, in out->context, if the bytes are not of
 * the schema.  'bytes' and 'schema' must stay as long as 'out' is used.
 * out->text is NULL; djk_codec_text() makes it where somebody wants it.
 *
 * Where 'bare_bytes', a schema that is nothing but "bytes" has no length before
 * them: so serializers with a registry write it.
 */
extern bool djk_avro_decode(const DjkAvroSchema *schema, const char *bytes, int len,
							bool bare_bytes, DjkDecoded *out, DjkError *error);

/*
 * The value as JSON, as to_jsonb() would show a row of fitting columns: unions
 * without the names of their branches, bytes as \x and hexadecimal digits, times
 * in ISO 8601, NaN a string, and what is beyond PostgreSQL's times the number
 * that was sent.  Text of the server's encoding, appended to *json; with
 * 'replace_invalid' none of its strings is without a text.  False and *error, in
 * CurrentMemoryContext, as above.
 */
extern bool djk_avro_append_json(const DjkAvroSchema *schema, const char *bytes, int len,
								 bool bare_bytes, bool replace_invalid, StringInfo json, DjkError *error);

#endif							/* DJK_AVRO_H */
