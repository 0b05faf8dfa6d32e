/*-------------------------------------------------------------------------
 *
 * avro_impl.h
 *	  What the files avro*.c share: the program that a schema becomes, and the
 *	  reader of bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_AVRO_IMPL_H
#define DJK_AVRO_IMPL_H

#include "codec/avro.h"
#include "codec/connect.h"

/* Levels of values within values; each is a few frames of the stack. */
#define DJK_AVRO_DEPTH_MAX	1000

typedef enum DjkAvroOp
{
	DJK_AVRO_NULL,
	DJK_AVRO_BOOLEAN,
	DJK_AVRO_INT,
	DJK_AVRO_LONG,
	DJK_AVRO_FLOAT,
	DJK_AVRO_DOUBLE,
	DJK_AVRO_BYTES,
	DJK_AVRO_STRING,			/* the last of the primitive types */
	DJK_AVRO_FIXED,
	DJK_AVRO_ENUM,
	DJK_AVRO_RECORD,
	DJK_AVRO_ARRAY,
	DJK_AVRO_MAP,
	DJK_AVRO_UNION
} DjkAvroOp;

/* A type.  Others are named by their numbers, so that it may be within itself. */
typedef struct DjkAvroNode
{
	DjkAvroOp	op;
	int			size;			/* bytes of a fixed; how many fields, symbols or branches */
	int			first;			/* … of them in parts; the items of an array, or the values of a map */
	const char *name;			/* full, of a named type */
	DjkConnectType type;		/* what a value means */
} DjkAvroNode;

/* A field, a symbol (no node) or a branch (no name). */
typedef struct DjkAvroPart
{
	const char *name;
	int			name_len;
	int			node;
} DjkAvroPart;

struct DjkAvroSchema
{
	MemoryContext context;		/* all that is below */
	DjkAvroNode *nodes;
	int			nnodes;
	DjkAvroPart *parts;
	int			nparts;
	int			root;
	const DjkConnectType *types;	/* of the record that it is; NULL where there is nothing to tell */
	bool		is_utf8;		/* the server takes UTF-8 as it is */
};

/* ---------- avro_read.c ---------- */

typedef enum DjkAvroFault
{
	DJK_AVRO_OK,
	DJK_AVRO_CUT_SHORT,
	DJK_AVRO_LONG_NUMBER,
	DJK_AVRO_NO_INT,
	DJK_AVRO_NO_BOOLEAN,
	DJK_AVRO_NO_BRANCH,
	DJK_AVRO_NO_SYMBOL,
	DJK_AVRO_NO_LENGTH,
	DJK_AVRO_NO_TEXT,
	DJK_AVRO_NO_COUNT,
	DJK_AVRO_NO_BLOCK,
	DJK_AVRO_TOO_DEEP,
	DJK_AVRO_TOO_MANY,
	DJK_AVRO_TOO_LONG,
	DJK_AVRO_BYTES_LEFT
} DjkAvroFault;

typedef struct DjkAvroReader
{
	const DjkAvroSchema *schema;
	const char *start;
	const char *at;				/* the next byte; the fault's place */
	const char *end;
	int64		values_left;	/* see djk_avro_count_value() */
	int64		json_max;		/* of what values become as JSON */
	int			depth;
	bool		is_bare;		/* nothing but bytes, without their length */
	bool		replace_invalid;	/* what no text can hold is replaced */
	bool		is_utf8;		/* the server takes UTF-8 as it is */
	MemoryContext context;		/* for what is no slice of the bytes */
	DjkAvroFault fault;
	const DjkAvroPart *field;	/* of the record that the value is, for the error; NULL: another value */
} DjkAvroReader;

extern void djk_avro_reader_init(DjkAvroReader *reader, const DjkAvroSchema *schema, const char *bytes, int len,
								 bool bare_bytes, MemoryContext context);

/* Each returns false with reader->fault set. */
extern bool djk_avro_fail(DjkAvroReader *reader, DjkAvroFault fault, const char *at);

/* A string, or the key of a map, in the server's encoding. */
typedef struct DjkAvroText
{
	const char *text;
	int			len;
	bool		has_nul;		/* it has NULs, so it is no text yet */
	char	   *own;			/* its memory; NULL: it lies in the bytes */
} DjkAvroText;


/* A record that is a decimal with its scale. */
extern bool djk_avro_read_variable(DjkAvroReader *reader, const DjkAvroNode *node, DjkField *field);

/* The next block of an array or map: how many items, 0 at the end; 'end' is where it must end, or NULL. */
extern bool djk_avro_read_block(DjkAvroReader *reader, int64 *count, const char **end);

/* Nothing may be left. */
extern bool djk_avro_read_end(DjkAvroReader *reader);

/* *error, in reader->context, of the fault. */
extern bool djk_avro_report(const DjkAvroReader *reader, DjkError *error);

/* Of a node that is no union: whether its values hold no others. */
static inline bool
djk_avro_is_scalar(const DjkAvroNode *node)
{
	return node->op < DJK_AVRO_RECORD;
}

/* Whether a record is a decimal that brings its scale. */
static inline bool
djk_avro_is_variable(const DjkAvroNode *node)
{
	return node->op == DJK_AVRO_RECORD && node->type.kind == DJK_CONNECT_DECIMAL;
}

/*
 * Values may take no bytes, and a few bytes stand for as many of them as one
 * likes; so they are counted, and only so many are read as the bytes account for.
 */
static inline bool
djk_avro_count_value(DjkAvroReader *reader)
{
	return likely(--reader->values_left >= 0) || djk_avro_fail(reader, DJK_AVRO_TOO_MANY, reader->at);
}

/* ---------- avro_json.c ---------- */

/* Reads one value of any type and appends it as JSON. */
extern bool djk_avro_read_json(DjkAvroReader *reader, const DjkAvroNode *node, StringInfo json);

/* ---------- avro_type.c ---------- */

/*
 * What the values of a node mean by the attributes of its type: logicalType, and
 * Connect's names.  A record's fields have been read.
 */
extern void djk_avro_read_meaning(const DjkAvroSchema *schema, const DjkDecoded *attributes, DjkAvroNode *node);

/* ---------- avro_connect.c ---------- */

/* Makes schema->types, which decoded->types are: what fields do not say by themselves. */
extern void djk_avro_tell_types(DjkAvroSchema *schema);

#endif							/* DJK_AVRO_IMPL_H */
