/*-------------------------------------------------------------------------
 *
 * codec.h
 *	  Formats: bytes of a message -> fields.  No SPI, no Kafka, never throws
 *	  for anything a message contains.
 *
 * A format is one row of a table of functions (codec.c), found by its name.
 * Decoding is lazy in what costs: a field of a JSON object is a slice of the
 * message's own bytes, its string unescaped only if it has escapes.  Turning a
 * field into a Datum of a column's type is convert.h's work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CODEC_H
#define DJK_CODEC_H

#include "base/djk.h"
#include "lib/stringinfo.h"

typedef enum DjkFieldKind
{
	DJK_FIELD_NULL,
	DJK_FIELD_BOOL,				/* text is "true" or "false" */
	DJK_FIELD_NUMBER,			/* text is the literal as JSON has it */
	DJK_FIELD_STRING,			/* text is the unescaped string, valid in the server's encoding, no NUL;
								 * NULL (and len 0) where no text can hold it: \u0000, half of a
								 * surrogate pair, a character the encoding lacks.  Only json takes it. */
	DJK_FIELD_OBJECT,			/* text is the JSON text of the object, validated */
	DJK_FIELD_ARRAY,			/* text is the JSON text of the array, validated */
	DJK_FIELD_BYTES,			/* raw bytes of any content */
	DJK_FIELD_NATIVE			/* a number, or bytes, that are what 'native' says: see native.h */
} DjkFieldKind;

/* What the schema of a message says of its fields, and schemas that were read: connect.h. */
typedef struct DjkConnectType DjkConnectType;
typedef struct DjkConnectCache DjkConnectCache;

typedef struct DjkField
{
	const char *name;			/* unescaped, not NUL-terminated; NULL in a bare value */
	int			name_len;
	DjkFieldKind kind;
	const char *text;			/* not NUL-terminated */
	int			len;
	const char *raw;			/* the value's own JSON text (a string with its quotes); NULL if it
								 * does not come from JSON */
	int			raw_len;
	bool		sure;			/* what it means is certain, so that strict types take it: from a schema */
	bool		plain;			/* a number that its schema calls nothing else: nobody guesses what it counts */
	bool		documents;		/* an array of strings each of which holds JSON */
	const DjkConnectType *native;	/* DJK_FIELD_NATIVE only, as is the number */
	int64		number;
} DjkField;

extern DjkConnectCache *djk_connect_cache_create(MemoryContext context);

/* What a value was written with, where a schema registry has that: apply/writer.h finds it. */
typedef struct DjkWriter
{
	const struct DjkAvroSchema *avro;	/* NULL: refused says why it is not known */
	const DjkError *refused;
	int			skip;			/* bytes before the value, which name it */
} DjkWriter;

/* A value of Avro as it came, and its schema: avro.h. */
typedef struct DjkDecodedAvro
{
	const struct DjkAvroSchema *schema;
	const char *bytes;
	int			len;
	bool		bare_bytes;
} DjkDecodedAvro;

/*
 * A decoded value: either an object's fields in message order (a repeated name
 * appears again, the last wins), or one bare value.  Reused from message to
 * message: decode() overwrites it; memory comes from 'context'.
 */
typedef struct DjkDecoded
{
	bool		is_object;
	DjkField	bare;			/* !is_object: the value itself */
	DjkField   *fields;
	int			nfields;
	int			fields_size;	/* allocated, in fields_context */
	const char *text;			/* the whole value in the server's encoding (raw: its bytes); NULL: djk_codec_text() */
	int			text_len;
	DjkDecodedAvro avro;		/* … of which it is made */
	bool		replace_invalid;	/* what no text can hold is replaced; the caller's, false at first */
	const struct DjkBatch *batch;	/* the caller's, for formats that look at headers; NULL: there are none */
	const struct DjkMessage *message;	/* … of which it is */
	const DjkWriter *writer;	/* the caller's, for formats that need it; NULL: the message names none */
	const char *schema;			/* JSON that came with it and tells its types; NULL: none */
	int			schema_len;
	DjkConnectCache *schemas;	/* … which are looked up here; the caller's, NULL: they are not asked for */
	const DjkConnectType *types;	/* of the fields, or of the bare value; NULL: not known */
	const void *shape;			/* the same for all whose fields have the same names in the same order; NULL: not known */
	MemoryContext fields_context;	/* lives as long as this struct */
	MemoryContext context;		/* for what must be copied (unescaped strings, converted text, error strings) */
} DjkDecoded;

/* What a message does to its row. */
typedef enum DjkEffect
{
	DJK_EFFECT_WRITE,
	DJK_EFFECT_DELETE,
	DJK_EFFECT_NONE				/* it speaks of no row */
} DjkEffect;

typedef struct DjkCodec
{
	const char *name;			/* in a route's format */
	Oid			value_type;		/* what "value" is in a route's expressions: JSONBOID, TEXTOID, BYTEAOID */
	bool		has_fields;		/* fields fill columns by name (json); else only the envelope does */
	bool		framed;			/* what names a schema may be before the value: framing.h */
	bool		registered;		/* … which must be known to decode it: DjkDecoded.writer */
	bool		connect;		/* values and keys are of Kafka Connect or Debezium, and mean what these mean */
	bool		empty_is_no_key;	/* a key of no bytes is none */
	const char *type_field;		/* which kind of message it is; NULL: nothing says it */
	const char *version_field;	/* … and in which version; NULL: there are none */

	/*
	 * bytes is never NULL (a null value is the caller's matter), len may be 0.
	 * Returns false and fills *error (strings in out->context) if the bytes are
	 * not of this format.  In a database whose encoding is not UTF-8 this needs
	 * a transaction (conversions are catalog entries).
	 */
	bool		(*decode) (const char *bytes, int len, DjkDecoded *out, DjkError *error);

	/*
	 * Of a format whose values say what they do: makes of a decoded object the one
	 * whose fields fill the columns; of a deletion these are the row's as it was.
	 * What it refuses is to be written, so that nobody takes it for a deletion.
	 * NULL: its values are rows.
	 */
	bool		(*open) (DjkDecoded *decoded, DjkEffect *effect, DjkError *error);
} DjkCodec;

/* NULL if there is no such format. */
extern const DjkCodec *djk_codec_find(const char *name);

/* Their names; the last is NULL. */
extern const char *const *djk_codec_names(void);

/*
 * Makes decoded->text where a format leaves that to who wants it.  False and
 * *error, in decoded->context, if that is too long.
 */
extern bool djk_codec_text(DjkDecoded *decoded, DjkError *error);

/*
 * A field as JSON, as to_jsonb() would have it: bytes are a string of \x and
 * hexadecimal digits, and a native one that is beyond all values of its kind is
 * what was sent.
 */
extern void djk_codec_append_json(const DjkField *field, StringInfo json);

/*
 * A field by its path: names of fields within fields; the last of those that
 * are repeated.  One within JSON's null is null.  Memory comes from
 * decoded->context.
 */
extern bool djk_codec_find_field(const DjkDecoded *decoded, char *const *path, int npath, DjkField *field);

/* The same of one name. */
extern bool djk_codec_find_named(const DjkDecoded *decoded, const char *name, DjkField *field);

/* False, and *error of copies in decoded->context; detail and hint may be NULL. */
extern bool djk_codec_refuse(const DjkDecoded *decoded, int sqlstate, const char *message, const char *detail,
							 const char *hint, DjkError *error);

static inline void
djk_decoded_init(DjkDecoded *decoded, MemoryContext fields_context, MemoryContext context)
{
	memset(decoded, 0, sizeof(*decoded));
	decoded->fields_context = fields_context;
	decoded->context = context;
}

/*
 * Keys: format "auto" reads a JSON object by fields, a JSON string unquoted,
 * anything else as the scalar it stands (NUMBER-like text included, as
 * STRING), and what is no text at all (a serialized integer) as BYTES; it
 * refuses nothing.  "json", "json_schema",
 * "avro", "text", "raw" are strict.  The result is an
 * object, or a bare value.
 */
extern bool djk_codec_decode_key(const char *key_format, const char *bytes, int len,
								 DjkDecoded *out, DjkError *error);

/* Makes of what is wrong with a message, by its format, what is wrong with its key. */
extern void djk_codec_blame_key(DjkError *error, MemoryContext context);

/*
 * Checks (UTF-8 -> server encoding) and returns text valid in the server's
 * encoding without NUL: 'bytes' itself where nothing has to change.  false and
 * *error otherwise.  Never throws.
 */
extern bool djk_codec_to_server_text(const char *bytes, int len, MemoryContext context,
									 const char **text, int *text_len, DjkError *error);

/*
 * The same for what has no error to report, the name of a header: each byte of
 * what is not UTF-8, is NUL, or is not in the server's encoding becomes \xNN.
 * In the current context; needs a transaction if the encoding is not UTF-8.
 */
extern text *djk_codec_escaped_text(const char *bytes, int len);

#endif							/* DJK_CODEC_H */
