/*-------------------------------------------------------------------------
 *
 * connect.c
 *	  Kafka Connect's JSON with schemas.
 *
 * Each message brings its schema, which is the same for nearly all of a topic: it
 * is read once, and known again by its bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/connect.h"

#include "base/error.h"
#include "catalog/pg_type_d.h"
#include "codec/json.h"
#include "utils/memutils.h"

/* Schemas that are remembered, and how long one may be. */
#define CACHED_SCHEMAS		16
#define CACHED_SCHEMA_MAX	(256 * 1024)

/* Of one schema: types, and levels of them. */
#define TYPES_MAX			20000
#define DEPTH_MAX			32

typedef struct CachedSchema
{
	MemoryContext context;		/* of all below; NULL: none */
	const char *text;
	int			len;
	const DjkConnectType *types;
} CachedSchema;

struct DjkConnectCache
{
	MemoryContext context;
	CachedSchema schemas[CACHED_SCHEMAS];
	int			next;			/* is replaced next */
};

typedef struct Reader
{
	MemoryContext scratch;
	int			ntypes;
} Reader;

/* ---------- names ---------- */

typedef struct Semantic
{
	const char *name;
	DjkConnectKind kind;
} Semantic;

static const Semantic semantics[] = {
	{"org.apache.kafka.connect.data.Date", DJK_CONNECT_DATE},
	{"org.apache.kafka.connect.data.Time", DJK_CONNECT_TIME_MS},
	{"org.apache.kafka.connect.data.Timestamp", DJK_CONNECT_TIMESTAMP_MS},
	{"org.apache.kafka.connect.data.Decimal", DJK_CONNECT_DECIMAL},
	{"io.debezium.time.Date", DJK_CONNECT_DATE},
	{"io.debezium.time.Time", DJK_CONNECT_TIME_MS},
	{"io.debezium.time.MicroTime", DJK_CONNECT_TIME_US},
	{"io.debezium.time.NanoTime", DJK_CONNECT_TIME_NS},
	{"io.debezium.time.Timestamp", DJK_CONNECT_TIMESTAMP_MS},
	{"io.debezium.time.MicroTimestamp", DJK_CONNECT_TIMESTAMP_US},
	{"io.debezium.time.NanoTimestamp", DJK_CONNECT_TIMESTAMP_NS},
	{"io.debezium.time.ZonedTimestamp", DJK_CONNECT_ZONED_TIMESTAMP},
	{"io.debezium.time.IsoDate", DJK_CONNECT_LOCAL_ISO},
	{"io.debezium.time.IsoTime", DJK_CONNECT_LOCAL_ISO},
	{"io.debezium.time.IsoTimestamp", DJK_CONNECT_LOCAL_ISO},
	{"io.debezium.time.MicroDuration", DJK_CONNECT_DURATION_US},
	{"io.debezium.time.NanoDuration", DJK_CONNECT_DURATION_NS},
	{"io.debezium.data.VariableScaleDecimal", DJK_CONNECT_VARIABLE_DECIMAL},
	{"io.debezium.data.Bits", DJK_CONNECT_BITS},
	{"io.debezium.data.Json", DJK_CONNECT_JSON},
	{"io.debezium.data.geometry.Point", DJK_CONNECT_POINT}
};

static bool
is_text(const DjkField *field, const char *text)
{
	int			len = strlen(text);

	return field->kind == DJK_FIELD_STRING && field->text != NULL && field->len == len &&
		memcmp(field->text, text, len) == 0;
}

DjkConnectKind
djk_connect_kind(const char *name, int len, const char **semantic)
{
	for (int i = 0; i < lengthof(semantics); i++)
	{
		if (strncmp(semantics[i].name, name, len) == 0 && semantics[i].name[len] == '\0')
		{
			*semantic = semantics[i].name;
			return semantics[i].kind;
		}
	}
	*semantic = NULL;
	return DJK_CONNECT_PLAIN;
}

/* ---------- what is wrapped ---------- */

bool
djk_connect_is_wrapped(const DjkDecoded *decoded, DjkField *schema, DjkField *payload)
{
	memset(schema, 0, sizeof(*schema));
	memset(payload, 0, sizeof(*payload));
	return decoded->is_object && decoded->nfields == 2 &&
		djk_codec_find_named(decoded, "schema", schema) && djk_codec_find_named(decoded, "payload", payload) &&
		(schema->kind == DJK_FIELD_OBJECT || schema->kind == DJK_FIELD_NULL);
}

bool
djk_connect_unwrap(DjkDecoded *decoded, DjkError *error)
{
	DjkField	schema;
	DjkField	payload;

	decoded->schema = NULL;
	decoded->schema_len = 0;
	decoded->types = NULL;
	if (!djk_connect_is_wrapped(decoded, &schema, &payload))
		return true;
	if (!djk_json_decode_part(&payload, decoded, error))
		return false;
	if (schema.kind == DJK_FIELD_OBJECT)
	{
		decoded->schema = schema.raw;
		decoded->schema_len = schema.raw_len;
	}
	return true;
}

/* ---------- a schema ---------- */

/* A parameter is a string that holds a number. */
static int
read_parameter(const Reader *reader, const DjkDecoded *schema, const char *name)
{
	char	   *path[2] = {"parameters", unconstify(char *, name)};
	DjkField	field;
	char		digits[8];
	char	   *end;
	long		number;

	if (!djk_codec_find_field(schema, path, 2, &field) || field.text == NULL || field.len >= (int) sizeof(digits) ||
		(field.kind != DJK_FIELD_STRING && field.kind != DJK_FIELD_NUMBER))
		return DJK_CONNECT_NONE;
	memcpy(digits, field.text, field.len);
	digits[field.len] = '\0';
	number = strtol(digits, &end, 10);
	return *end == '\0' && end > digits ? (int) number : DJK_CONNECT_NONE;
}

static bool read_type(Reader *reader, const DjkField *schema, int depth, DjkConnectType *type);

/* The fields of a struct. */
static bool
read_fields(Reader *reader, const DjkField *list, int depth, DjkConnectType *type)
{
	DjkJsonArray array;
	DjkField	element;
	DjkConnectType *fields = NULL;
	int			size = 0;

	if (list->kind != DJK_FIELD_ARRAY)
		return true;
	djk_json_array_begin(&array, list->text, list->len, reader->scratch);
	while (djk_json_array_next(&array, &element))
	{
		if (type->nfields >= size)
		{
			size = Max(16, size * 2);
			fields = fields == NULL ? palloc(size * sizeof(DjkConnectType)) :
				repalloc(fields, size * sizeof(DjkConnectType));
			type->fields = fields;
		}
		if (!read_type(reader, &element, depth + 1, &fields[type->nfields++]))
			return false;
	}
	return true;
}

/* What an array holds. */
static bool
read_items(Reader *reader, const DjkField *items, int depth, DjkConnectType *type)
{
	DjkConnectType *of = palloc(sizeof(DjkConnectType));

	if (!read_type(reader, items, depth + 1, of))
		return false;
	if (of->kind != DJK_CONNECT_PLAIN && of->kind != DJK_CONNECT_STRUCT)
		type->items = of;
	return true;
}

static bool
read_parts(Reader *reader, const DjkDecoded *decoded, int depth, DjkConnectType *type)
{
	DjkField	word;
	DjkField	part;

	if (djk_codec_find_named(decoded, "field", &word) && word.kind == DJK_FIELD_STRING && word.text != NULL)
	{
		type->name = pnstrdup(word.text, word.len);
		type->name_len = word.len;
	}
	if (djk_codec_find_named(decoded, "name", &word) && word.kind == DJK_FIELD_STRING && word.text != NULL)
		type->kind = djk_connect_kind(word.text, word.len, &type->semantic);
	if (type->semantic != NULL)
	{
		type->parameter = read_parameter(reader, decoded, type->kind == DJK_CONNECT_BITS ? "length" : "scale");
		return true;
	}
	if (!djk_codec_find_named(decoded, "type", &word))
		return true;
	if (is_text(&word, "bytes"))
		type->kind = DJK_CONNECT_BYTES;
	else if (is_text(&word, "struct"))
	{
		type->kind = DJK_CONNECT_STRUCT;
		return !djk_codec_find_named(decoded, "fields", &part) || read_fields(reader, &part, depth, type);
	}
	else if (is_text(&word, "array"))
	{
		type->kind = DJK_CONNECT_ARRAY;
		return !djk_codec_find_named(decoded, "items", &part) || read_items(reader, &part, depth, type);
	}
	return true;
}

/* False if it has more types, or levels, than anybody's. */
static bool
read_type(Reader *reader, const DjkField *schema, int depth, DjkConnectType *type)
{
	DjkDecoded	decoded;
	DjkError	ignored = {0};

	memset(type, 0, sizeof(*type));
	type->parameter = DJK_CONNECT_NONE;
	if (++reader->ntypes > TYPES_MAX || depth > DEPTH_MAX)
		return false;
	if (schema->kind != DJK_FIELD_OBJECT)
		return true;
	djk_decoded_init(&decoded, reader->scratch, reader->scratch);
	if (!djk_json_decode_part(schema, &decoded, &ignored) || !read_parts(reader, &decoded, depth, type))
		return false;
	if (decoded.fields != NULL)
		pfree(decoded.fields);
	return true;
}

/* In CurrentMemoryContext. */
static const DjkConnectType *
read_schema(const char *text, int len, DjkError *error)
{
	DjkConnectType *types = palloc(sizeof(DjkConnectType));
	DjkField	field = {.kind = DJK_FIELD_OBJECT, .text = text, .len = len, .raw = text, .raw_len = len};
	Reader		reader = {0};
	bool		read;

	reader.scratch = AllocSetContextCreate(CurrentMemoryContext, "djkafka schema", ALLOCSET_DEFAULT_SIZES);
	read = read_type(&reader, &field, 1, types);
	MemoryContextDelete(reader.scratch);
	if (read)
		return types;
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = pstrdup("the schema of the message is too large");
	error->detail = psprintf("It has more than %d types, or more than %d levels.", TYPES_MAX, DEPTH_MAX);
	error->hint = pstrdup("Let the producer leave the schema out (schemas.enable=false).");
	return NULL;
}

/* ---------- what is remembered ---------- */

DjkConnectCache *
djk_connect_cache_create(MemoryContext context)
{
	DjkConnectCache *cache = MemoryContextAllocZero(context, sizeof(DjkConnectCache));

	cache->context = context;
	return cache;
}

static const DjkConnectType *
remember(DjkConnectCache *cache, const char *text, int len, DjkError *error)
{
	CachedSchema *cached = &cache->schemas[cache->next];
	MemoryContext context = AllocSetContextCreate(cache->context, "djkafka schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkError	refused = {0};
	const DjkConnectType *types = read_schema(text, len, &refused);
	char	   *copy = palloc(len);

	MemoryContextSwitchTo(old);
	if (types == NULL)
	{
		djk_error_copy(&refused, old, error);
		MemoryContextDelete(context);
		return NULL;
	}
	memcpy(copy, text, len);
	if (cached->context != NULL)
		MemoryContextDelete(cached->context);
	cached->context = context;
	cached->text = copy;
	cached->len = len;
	cached->types = types;
	cache->next = (cache->next + 1) % CACHED_SCHEMAS;
	return types;
}

bool
djk_connect_read_schema(DjkDecoded *decoded, DjkError *error)
{
	DjkConnectCache *cache = decoded->schemas;
	MemoryContext old;

	decoded->types = NULL;
	if (decoded->schema == NULL || cache == NULL)
		return true;
	for (int i = 0; i < CACHED_SCHEMAS; i++)
	{
		const CachedSchema *cached = &cache->schemas[i];

		if (cached->context != NULL && cached->len == decoded->schema_len &&
			memcmp(cached->text, decoded->schema, cached->len) == 0)
		{
			decoded->types = cached->types;
			return true;
		}
	}
	old = MemoryContextSwitchTo(decoded->context);
	if (decoded->schema_len <= CACHED_SCHEMA_MAX)
		decoded->types = remember(cache, decoded->schema, decoded->schema_len, error);
	else
		decoded->types = read_schema(decoded->schema, decoded->schema_len, error);
	MemoryContextSwitchTo(old);
	return decoded->types != NULL;
}

/* ---------- types ---------- */

static bool
has_name(const DjkConnectType *type, const char *name, int len)
{
	return type->name_len == len && type->name != NULL && memcmp(type->name, name, len) == 0;
}

const DjkConnectType *
djk_connect_find(const DjkConnectType *types, const char *name, int len, int hint)
{
	if (types == NULL || types->kind != DJK_CONNECT_STRUCT)
		return NULL;
	if (hint < types->nfields && has_name(&types->fields[hint], name, len))
		return &types->fields[hint];
	for (int i = types->nfields - 1; i >= 0; i--)
	{
		if (has_name(&types->fields[i], name, len))
			return &types->fields[i];
	}
	return NULL;
}

const DjkConnectType *
djk_connect_find_path(const DjkConnectType *types, char *const *path, int npath)
{
	for (int i = 0; i < npath; i++)
		types = djk_connect_find(types, path[i], strlen(path[i]), 0);
	return types;
}

const DjkConnectType *
djk_connect_assume(Oid type)
{
	static const DjkConnectType json = {.kind = DJK_CONNECT_JSON, .parameter = DJK_CONNECT_NONE};
	static const DjkConnectType documents = {.kind = DJK_CONNECT_ARRAY, .parameter = DJK_CONNECT_NONE, .items = &json};
	static const DjkConnectType point = {.kind = DJK_CONNECT_POINT, .parameter = DJK_CONNECT_NONE};

	switch (type)
	{
		case JSONOID:
		case JSONBOID:
			return &json;
		case JSONARRAYOID:
		case JSONBARRAYOID:
			return &documents;
		case POINTOID:
			return &point;
		default:
			return NULL;
	}
}
