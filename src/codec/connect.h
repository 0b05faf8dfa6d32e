/*-------------------------------------------------------------------------
 *
 * connect.h
 *	  Kafka Connect's JSON: a value beside its schema, and what the schema says
 *	  of a field.
 *
 * Only the kinds of Connect and Debezium that their JSON does not tell by itself
 * are known by name; all others are what they look like.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONNECT_H
#define DJK_CONNECT_H

#include "codec/codec.h"

typedef enum DjkConnectKind
{
	DJK_CONNECT_PLAIN,			/* as it looks */
	DJK_CONNECT_STRUCT,
	DJK_CONNECT_ARRAY,
	DJK_CONNECT_BYTES,			/* base64 */
	DJK_CONNECT_DECIMAL,		/* base64 of an integer, times 10^-scale; or a number */
	DJK_CONNECT_VARIABLE_DECIMAL,	/* an object of scale and value */
	DJK_CONNECT_DATE,			/* days since 1970 */
	DJK_CONNECT_TIME_MS,		/* since midnight */
	DJK_CONNECT_TIME_US,
	DJK_CONNECT_TIME_NS,
	DJK_CONNECT_TIMESTAMP_MS,	/* since 1970, of a clock without a zone */
	DJK_CONNECT_TIMESTAMP_US,
	DJK_CONNECT_TIMESTAMP_NS,
	DJK_CONNECT_ZONED_TIMESTAMP,	/* ISO 8601, or infinity */
	DJK_CONNECT_LOCAL_ISO,		/* ISO 8601 with a Z that means no zone */
	DJK_CONNECT_DURATION_US,
	DJK_CONNECT_DURATION_NS,
	DJK_CONNECT_BITS,			/* base64, the least significant byte first */
	DJK_CONNECT_JSON,			/* a string that holds JSON */
	DJK_CONNECT_POINT,			/* an object of x and y */

	/* What is of a type only where it does not come as JSON: DJK_FIELD_NATIVE. */
	DJK_CONNECT_INTEGER,
	DJK_CONNECT_FLOAT,
	DJK_CONNECT_DOUBLE,
	DJK_CONNECT_INSTANT_MS,		/* since 1970 in UTC */
	DJK_CONNECT_INSTANT_US,
	DJK_CONNECT_INSTANT_NS,
	DJK_CONNECT_INTERVAL,		/* 12 bytes: months, days and milliseconds, little-endian */
	DJK_CONNECT_UUID			/* its 16 bytes */
} DjkConnectKind;

#define DJK_CONNECT_NONE	PG_INT32_MIN

struct DjkConnectType
{
	DjkConnectKind kind;
	int			parameter;		/* a decimal's scale, the number of bits; DJK_CONNECT_NONE */
	const char *semantic;		/* the name that the schema has, for errors; NULL none */
	bool		of_source;		/* of a native one: Connect or Debezium calls it so, so strict types take whatever it is */
	const char *name;			/* of a field, not NUL-terminated */
	int			name_len;
	const DjkConnectType *fields;	/* of a struct */
	int			nfields;
	const DjkConnectType *items;	/* of an array */
};

/* What a semantic name says, and the name as it stays; PLAIN and NULL where nobody knows it. */
extern DjkConnectKind djk_connect_kind(const char *name, int len, const char **semantic);

/*
 * Whether an object is {"schema": …, "payload": …}; 'schema' and 'payload' are
 * copies of its fields then.
 */
extern bool djk_connect_is_wrapped(const DjkDecoded *decoded, DjkField *schema, DjkField *payload);

/*
 * Makes of what was decoded what Connect has wrapped, if it is that; the schema
 * stays in decoded->schema.
 */
extern bool djk_connect_unwrap(DjkDecoded *decoded, DjkError *error);

/*
 * What decoded->schema says, into decoded->types; NULL if there is none, or
 * decoded->schemas is NULL.  False and *error for a schema that is too large.
 */
extern bool djk_connect_read_schema(DjkDecoded *decoded, DjkError *error);

/* The type of a field; NULL if it is not known.  'hint' is where to look first. */
extern const DjkConnectType *djk_connect_find(const DjkConnectType *types, const char *name, int len, int hint);

/* The type of what a path leads to; NULL if it is not known. */
extern const DjkConnectType *djk_connect_find_path(const DjkConnectType *types, char *const *path, int npath);

/*
 * What the JSON for a column of this type means where there is no schema: JSON in
 * a string for json and in an array of it, an object for a point.
 */
extern const DjkConnectType *djk_connect_assume(Oid type);

/*
 * The field as JSON that says by itself, to a column of type 'column', what its
 * type says of it: 'field' itself where it does, or *buffer.  NULL and *error if
 * its value is not of the type.  'type' may be NULL.  What no text can hold is
 * replaced in a document too, where that is wanted.  What it is made of lies in
 * 'scratch', which is reset first: it may be many times as long as the field.
 */
extern const DjkField *djk_connect_restate(const DjkConnectType *type, Oid column, bool replace_invalid,
										   const DjkField *field, DjkField *buffer, MemoryContext scratch,
										   DjkError *error);

#endif							/* DJK_CONNECT_H */
