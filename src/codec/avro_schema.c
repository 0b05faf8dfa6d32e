/*-------------------------------------------------------------------------
 *
 * avro_schema.c
 *	  The text of a schema -> a program.
 *
 * A schema comes from a registry that anybody may write to, so its text is as
 * hostile as a message: levels, types, names and bytes are limited, and what is
 * made of it is in proportion to it.  Types are numbers in one array, so one that
 * is within itself is no cycle of pointers.
 *
 * Names need only be text: a reader has no use for the rule that they are letters
 * and digits, and a writer may not have kept it.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/avro_impl.h"

#include "codec/json.h"
#include "codec/text.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Megabytes of all texts of a schema. */
#define TEXT_MAX_MB		4

/* Types within types, each some levels of JSON, all of which are scanned again. */
#define DEPTH_MAX		64

/* Types, fields, symbols and branches; and types that have a name, of a length. */
#define PARTS_MAX		50000
#define NAMES_MAX		10000
#define NAME_LEN_MAX	1024

/* … and how much of a name that nobody knows an error shows. */
#define NAME_SHOWN_MAX	100

#define BUCKETS			1024

/* A type by its full name. */
typedef struct TypeName
{
	const char *name;
	uint32		hash;
	int			node;
	int			next;			/* in its bucket; -1 none */
} TypeName;

typedef struct Parser
{
	DjkAvroSchema *schema;
	int			nodes_size;
	int			parts_size;
	TypeName   *names;
	int			nnames;
	int			names_size;
	int			buckets[BUCKETS];
	MemoryContext scratch;		/* of the reading of the text */
	MemoryContext context;		/* for the error */
	DjkError   *error;
} Parser;

static const char *const primitives[] = {
	"null", "boolean", "int", "long", "float", "double", "bytes", "string"
};

/* ---------- errors ---------- */

static bool
refuse(const Parser *parser, const char *detail, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(parser->context);

	parser->error->name = NULL;
	parser->error->sqlstate = DJK_ERRCODE_MALFORMED;
	parser->error->message = pstrdup("the schema of the message is not valid Avro");
	parser->error->detail = psprintf(detail, name);
	parser->error->hint = pstrdup("Look at what was registered.");
	MemoryContextSwitchTo(old);
	return false;
}

/* … of a function that gives a number. */
static int
fail(const Parser *parser, const char *detail, const char *name)
{
	(void) refuse(parser, detail, name);
	return -1;
}

static int
fail_limit(const Parser *parser)
{
	(void) refuse(parser, "It has more than " CppAsString2(PARTS_MAX) " types, fields and symbols, more than "
				  CppAsString2(NAMES_MAX) " named types, or more than " CppAsString2(DEPTH_MAX) " levels.", NULL);
	return -1;
}

/* ---------- the program ---------- */

/* Makes an array twice as long, in its context. */
static void *
grow(MemoryContext context, void *array, int *size, Size element)
{
	int			larger = Max(*size * 2, 32);
	void	   *grown = array == NULL ? MemoryContextAlloc(context, larger * element) :
		repalloc(array, larger * element);

	*size = larger;
	return grown;
}

static DjkConnectKind
plain_kind(DjkAvroOp op)
{
	switch (op)
	{
		case DJK_AVRO_INT:
		case DJK_AVRO_LONG:
			return DJK_CONNECT_INTEGER;
		case DJK_AVRO_FLOAT:
			return DJK_CONNECT_FLOAT;
		case DJK_AVRO_DOUBLE:
			return DJK_CONNECT_DOUBLE;
		case DJK_AVRO_BYTES:
		case DJK_AVRO_FIXED:
			return DJK_CONNECT_BYTES;
		default:
			return DJK_CONNECT_PLAIN;
	}
}

static bool
is_full(const Parser *parser, int more)
{
	return parser->schema->nnodes + parser->schema->nparts + (int64) more > PARTS_MAX;
}

/* Its number; -1 if there are too many. */
static int
add_node(Parser *parser, DjkAvroOp op)
{
	DjkAvroSchema *schema = parser->schema;
	DjkAvroNode *node;

	if (is_full(parser, 1))
		return fail_limit(parser);
	if (schema->nnodes >= parser->nodes_size)
		schema->nodes = grow(schema->context, schema->nodes, &parser->nodes_size, sizeof(DjkAvroNode));
	node = &schema->nodes[schema->nnodes];
	memset(node, 0, sizeof(*node));
	node->op = op;
	node->type.kind = plain_kind(op);
	node->type.semantic = op <= DJK_AVRO_STRING ? primitives[op] : NULL;
	return schema->nnodes++;
}

/* The first of 'n' parts that follow each other; -1 if there are too many. */
static int
add_parts(Parser *parser, int n)
{
	DjkAvroSchema *schema = parser->schema;
	int			first = schema->nparts;

	if (is_full(parser, n))
		return fail_limit(parser);
	while (first + n > parser->parts_size)
		schema->parts = grow(schema->context, schema->parts, &parser->parts_size, sizeof(DjkAvroPart));
	if (n > 0)
		memset(&schema->parts[first], 0, n * sizeof(DjkAvroPart));
	schema->nparts += n;
	return first;
}

/* ---------- attributes ---------- */

static bool
find_text(const DjkDecoded *object, const char *name, DjkField *field)
{
	return djk_codec_find_named(object, name, field) && field->kind == DJK_FIELD_STRING && field->text != NULL;
}

static bool
is_word(const DjkField *field, const char *word)
{
	return field->len == (int) strlen(word) && memcmp(field->text, word, field->len) == 0;
}

/* How many elements an array has. */
static int
count_elements(const Parser *parser, const DjkField *list)
{
	DjkJsonArray array;
	DjkField	element;
	int			count = 0;

	djk_json_array_begin(&array, list->text, list->len, parser->scratch);
	while (count <= PARTS_MAX && djk_json_array_next(&array, &element))
		count++;
	return count;
}

static const char *
copy_text(const Parser *parser, const char *text, int len)
{
	char	   *copy = MemoryContextAlloc(parser->schema->context, len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

/* ---------- names ---------- */

static const TypeName *
find_name(const Parser *parser, const char *name)
{
	uint32		hash = hash_bytes((const unsigned char *) name, strlen(name));

	for (int n = parser->buckets[hash % BUCKETS]; n >= 0; n = parser->names[n].next)
	{
		if (parser->names[n].hash == hash && strcmp(parser->names[n].name, name) == 0)
			return &parser->names[n];
	}
	return NULL;
}

static bool
add_name(Parser *parser, const char *name, int node)
{
	TypeName   *added;

	if (find_name(parser, name) != NULL)
		return refuse(parser, "Type \"%s\" is defined twice.", name);
	if (parser->nnames >= NAMES_MAX)
	{
		(void) fail_limit(parser);
		return false;
	}
	if (parser->nnames >= parser->names_size)
		parser->names = grow(parser->scratch, parser->names, &parser->names_size, sizeof(TypeName));
	added = &parser->names[parser->nnames];
	added->name = name;
	added->hash = hash_bytes((const unsigned char *) name, strlen(name));
	added->node = node;
	added->next = parser->buckets[added->hash % BUCKETS];
	parser->buckets[added->hash % BUCKETS] = parser->nnames++;
	return true;
}

/* A name within a namespace (may be empty), in 'full'; false if it is too long, or no name. */
static bool
make_full(const char *space, const char *text, int len, char *full)
{
	bool		is_full_already = memchr(text, '.', len) != NULL;

	if (len == 0 || len + (is_full_already ? 0 : strlen(space) + 1) > NAME_LEN_MAX)
		return false;
	if (is_full_already || space[0] == '\0')
		snprintf(full, NAME_LEN_MAX + 1, "%.*s", len, text);
	else
		snprintf(full, NAME_LEN_MAX + 1, "%s.%.*s", space, len, text);
	return true;
}

/* The full name that a type is defined with; NULL for none. */
static const char *
read_full_name(const Parser *parser, const DjkDecoded *object, const char *space)
{
	char		full[NAME_LEN_MAX + 1];
	char		given[NAME_LEN_MAX + 1];
	DjkField	name;
	DjkField	field;

	if (!find_text(object, "name", &name))
	{
		(void) refuse(parser, "A record, enum or fixed has no name.", NULL);
		return NULL;
	}
	if (find_text(object, "namespace", &field))
	{
		snprintf(given, sizeof(given), "%.*s", Min(field.len, NAME_LEN_MAX), field.text);
		space = given;
	}
	if (!make_full(space, name.text, name.len, full))
	{
		(void) refuse(parser, "The name of a type is empty, or longer than " CppAsString2(NAME_LEN_MAX) " bytes.", NULL);
		return NULL;
	}
	return copy_text(parser, full, strlen(full));
}

/* The namespace of a full name, in 'space'. */
static void
space_of(const char *full, char *space)
{
	const char *dot = strrchr(full, '.');
	int			len = dot == NULL ? 0 : (int) (dot - full);

	memcpy(space, full, len);
	space[len] = '\0';
}

/* ---------- types ---------- */

static int	read_type(Parser *parser, const DjkField *json, const char *space, int depth);

/* A primitive type, or one that was defined before. */
static int
read_word(Parser *parser, const DjkField *word, const char *space)
{
	char		full[NAME_LEN_MAX + 1];
	const TypeName *name = NULL;

	for (int i = 0; i < lengthof(primitives); i++)
	{
		if (is_word(word, primitives[i]))
			return i;			/* made first, by djk_avro_compile() */
	}
	if (make_full(space, word->text, word->len, full))
		name = find_name(parser, full);
	if (name == NULL && make_full("", word->text, word->len, full))
		name = find_name(parser, full);
	if (name != NULL)
		return name->node;
	return fail(parser, "It has no type \"%s\".", pnstrdup(word->text, pg_mbcliplen(word->text, word->len, NAME_SHOWN_MAX)));
}

static int
read_union(Parser *parser, const DjkField *list, const char *space, int depth)
{
	int			node = add_node(parser, DJK_AVRO_UNION);
	int			size = count_elements(parser, list);
	int			first = node < 0 ? -1 : add_parts(parser, size);
	DjkJsonArray array;
	DjkField	element;

	if (first < 0)
		return -1;
	djk_json_array_begin(&array, list->text, list->len, parser->scratch);
	for (int i = 0; i < size && djk_json_array_next(&array, &element); i++)
	{
		int			branch = read_type(parser, &element, space, depth + 1);

		if (branch < 0)
			return -1;
		if (parser->schema->nodes[branch].op == DJK_AVRO_UNION)
			return fail(parser, "A union is a branch of a union.", NULL);
		parser->schema->parts[first + i].node = branch;
	}
	parser->schema->nodes[node].first = first;
	parser->schema->nodes[node].size = size;
	return node;
}

static bool
read_field(Parser *parser, const DjkField *json, const char *space, int depth, int part)
{
	DjkDecoded	object;
	DjkError	ignored = {0};
	DjkField	name;
	DjkField	type;
	int			node = -1;

	djk_decoded_init(&object, parser->scratch, parser->scratch);
	if (json->kind != DJK_FIELD_OBJECT || !djk_json_decode_part(json, &object, &ignored) ||
		!find_text(&object, "name", &name) || name.len == 0 || !djk_codec_find_named(&object, "type", &type))
		(void) refuse(parser, "A field of a record has no name, or no type.", NULL);
	else if (name.len > NAME_LEN_MAX)
		(void) refuse(parser, "The name of a field is longer than " CppAsString2(NAME_LEN_MAX) " bytes.", NULL);
	else
	{
		parser->schema->parts[part].name = copy_text(parser, name.text, name.len);
		parser->schema->parts[part].name_len = name.len;
		node = read_type(parser, &type, space, depth + 1);
		parser->schema->parts[part].node = node;
	}
	if (object.fields != NULL)
		pfree(object.fields);
	return node >= 0;
}

static bool
read_record(Parser *parser, const DjkDecoded *object, const char *full, int depth, int node)
{
	char		space[NAME_LEN_MAX + 1];
	DjkField	list;
	DjkField	element;
	DjkJsonArray array;
	int			first;
	int			size;

	if (!djk_codec_find_named(object, "fields", &list) || list.kind != DJK_FIELD_ARRAY)
		return refuse(parser, "Record \"%s\" has no fields.", full);
	size = count_elements(parser, &list);
	first = add_parts(parser, size);
	if (first < 0)
		return false;
	space_of(full, space);
	djk_json_array_begin(&array, list.text, list.len, parser->scratch);
	for (int i = 0; i < size && djk_json_array_next(&array, &element); i++)
	{
		if (!read_field(parser, &element, space, depth, first + i))
			return false;
	}
	parser->schema->nodes[node].first = first;
	parser->schema->nodes[node].size = size;
	return true;
}

static bool
read_enum(Parser *parser, const DjkDecoded *object, const char *full, int node)
{
	DjkField	list;
	DjkField	symbol;
	DjkJsonArray array;
	int			first;
	int			size;

	if (!djk_codec_find_named(object, "symbols", &list) || list.kind != DJK_FIELD_ARRAY)
		return refuse(parser, "Enum \"%s\" has no symbols.", full);
	size = count_elements(parser, &list);
	first = add_parts(parser, size);
	if (first < 0)
		return false;
	djk_json_array_begin(&array, list.text, list.len, parser->scratch);
	for (int i = 0; i < size && djk_json_array_next(&array, &symbol); i++)
	{
		DjkAvroPart *part = &parser->schema->parts[first + i];

		if (symbol.kind != DJK_FIELD_STRING || symbol.text == NULL || symbol.len > NAME_LEN_MAX)
			return refuse(parser, "A symbol of enum \"%s\" is no text, or is longer than " CppAsString2(NAME_LEN_MAX) " bytes.", full);
		part->name = copy_text(parser, symbol.text, symbol.len);
		part->name_len = symbol.len;
	}
	parser->schema->nodes[node].first = first;
	parser->schema->nodes[node].size = size;
	return true;
}

static bool
read_fixed(Parser *parser, const DjkDecoded *object, const char *full, int node)
{
	DjkField	field;
	char		digits[12];
	char	   *end;
	long		size = -1;

	if (djk_codec_find_named(object, "size", &field) && field.kind == DJK_FIELD_NUMBER && field.len < (int) sizeof(digits))
	{
		memcpy(digits, field.text, field.len);
		digits[field.len] = '\0';
		size = strtol(digits, &end, 10);
		if (*end != '\0')
			size = -1;
	}
	if (size < 0 || size > (long) MaxAllocSize)
		return refuse(parser, "Fixed \"%s\" has no size.", full);
	parser->schema->nodes[node].size = (int) size;
	return true;
}

/* A record, enum or fixed.  Its name is known within it. */
static int
read_named(Parser *parser, DjkAvroOp op, const DjkDecoded *object, const char *space, int depth)
{
	const char *full = read_full_name(parser, object, space);
	int			node = full == NULL ? -1 : add_node(parser, op);
	bool		read;

	if (node < 0 || !add_name(parser, full, node))
		return -1;
	parser->schema->nodes[node].name = full;
	if (op == DJK_AVRO_RECORD)
		read = read_record(parser, object, full, depth, node);
	else if (op == DJK_AVRO_ENUM)
		read = read_enum(parser, object, full, node);
	else
		read = read_fixed(parser, object, full, node);
	return read ? node : -1;
}

/* An array or map. */
static int
read_items(Parser *parser, DjkAvroOp op, const DjkDecoded *object, const char *space, int depth)
{
	int			node = add_node(parser, op);
	DjkField	field;
	int			items;

	if (node < 0)
		return -1;
	if (!djk_codec_find_named(object, op == DJK_AVRO_ARRAY ? "items" : "values", &field))
		return fail(parser, "An array has no items, or a map no values.", NULL);
	items = read_type(parser, &field, space, depth + 1);
	parser->schema->nodes[node].first = items;
	return items < 0 ? -1 : node;
}

/* A primitive type that has attributes is one of its own. */
static int
read_primitive(Parser *parser, const DjkField *word, const DjkDecoded *object, const char *space)
{
	int			node = read_word(parser, word, space);

	if (node < 0 || node > DJK_AVRO_STRING || object->nfields == 1)
		return node;
	return add_node(parser, (DjkAvroOp) node);
}

static int
read_attributes(Parser *parser, const DjkDecoded *object, const char *space, int depth)
{
	DjkField	type;
	int			node;

	if (!djk_codec_find_named(object, "type", &type) || type.text == NULL)
		return fail(parser, "A type has no attribute \"type\".", NULL);
	if (type.kind != DJK_FIELD_STRING)
		return read_type(parser, &type, space, depth + 1);
	if (is_word(&type, "record") || is_word(&type, "error"))
		node = read_named(parser, DJK_AVRO_RECORD, object, space, depth);
	else if (is_word(&type, "enum"))
		node = read_named(parser, DJK_AVRO_ENUM, object, space, depth);
	else if (is_word(&type, "fixed"))
		node = read_named(parser, DJK_AVRO_FIXED, object, space, depth);
	else if (is_word(&type, "array"))
		return read_items(parser, DJK_AVRO_ARRAY, object, space, depth);
	else if (is_word(&type, "map"))
		return read_items(parser, DJK_AVRO_MAP, object, space, depth);
	else
	{
		node = read_primitive(parser, &type, object, space);
		/* What was defined before means what it meant there. */
		if (node <= DJK_AVRO_STRING || parser->schema->nodes[node].name != NULL)
			return node;
	}
	if (node >= 0)
		djk_avro_read_meaning(parser->schema, object, &parser->schema->nodes[node]);
	return node;
}

/* The number of its node; -1 if it is none. */
static int
read_type(Parser *parser, const DjkField *json, const char *space, int depth)
{
	DjkDecoded	object;
	DjkError	ignored = {0};
	int			node;

	CHECK_FOR_INTERRUPTS();
	if (depth > DEPTH_MAX)
		return fail_limit(parser);
	if (json->kind == DJK_FIELD_STRING && json->text != NULL)
		return read_word(parser, json, space);
	if (json->kind == DJK_FIELD_ARRAY)
		return read_union(parser, json, space, depth);
	djk_decoded_init(&object, parser->scratch, parser->scratch);
	if (json->kind != DJK_FIELD_OBJECT || !djk_json_decode_part(json, &object, &ignored))
		return fail(parser, "A type is neither a name nor an object nor an array.", NULL);
	node = read_attributes(parser, &object, space, depth);
	if (object.fields != NULL)
		pfree(object.fields);
	return node;
}

/* ---------- a schema ---------- */

/* A text as JSON; its field, not scanned beyond itself, in *json. */
static bool
read_text(Parser *parser, const char *text, size_t len, DjkField *json)
{
	DjkDecoded	decoded;
	DjkError	refused = {0};

	djk_decoded_init(&decoded, parser->scratch, parser->scratch);
	if (!djk_json_decode(text, (int) len, &decoded, &refused))
		return refuse(parser, "It is not JSON: %s", refused.detail == NULL ? refused.message : refused.detail);
	*json = decoded.bare;
	if (decoded.is_object)
	{
		memset(json, 0, sizeof(*json));
		json->kind = DJK_FIELD_OBJECT;
		json->text = json->raw = decoded.text;
		json->len = json->raw_len = decoded.text_len;
	}
	if (decoded.fields != NULL)
		pfree(decoded.fields);
	return true;
}

static int
read_schema(Parser *parser, const char *text, size_t len)
{
	DjkField	json;

	return read_text(parser, text, len, &json) ? read_type(parser, &json, "", 1) : -1;
}

/* All texts, the schema's own as the last; false and the error if one of them is none. */
static bool
read_schemas(Parser *parser, const char *text, size_t len, const DjkAvroReference *references, int nreferences)
{
	size_t		sum = len;

	for (int i = 0; i < nreferences && sum <= TEXT_MAX_MB * 1024 * 1024; i++)
		sum += references[i].len;
	if (sum > TEXT_MAX_MB * 1024 * 1024)
		return refuse(parser, "It is longer than " CppAsString2(TEXT_MAX_MB) " MB.", NULL);
	for (int i = 0; i <= DJK_AVRO_STRING; i++)
		(void) add_node(parser, (DjkAvroOp) i);
	for (int i = 0; i < nreferences; i++)
	{
		if (read_schema(parser, references[i].text, references[i].len) < 0)
			return false;
	}
	parser->schema->root = read_schema(parser, text, len);
	return parser->schema->root >= 0;
}

DjkAvroSchema *
djk_avro_compile(const char *text, size_t len, const DjkAvroReference *references, int nreferences,
				 MemoryContext parent, DjkError *error)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka Avro schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old;
	Parser		parser = {.context = CurrentMemoryContext, .error = error};
	bool		read;

	parser.schema = MemoryContextAllocZero(context, sizeof(DjkAvroSchema));
	parser.schema->context = context;
	parser.schema->is_utf8 = djk_text_server_takes_utf8();
	parser.scratch = AllocSetContextCreate(context, "djkafka Avro text", ALLOCSET_DEFAULT_SIZES);
	memset(parser.buckets, 0xff, sizeof(parser.buckets));
	old = MemoryContextSwitchTo(parser.scratch);
	read = read_schemas(&parser, text, len, references, nreferences);
	MemoryContextSwitchTo(old);
	if (!read)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	MemoryContextDelete(parser.scratch);
	djk_avro_tell_types(parser.schema);
	MemoryContextSetParent(context, parent);
	return parser.schema;
}

size_t
djk_avro_size(const DjkAvroSchema *schema)
{
	return MemoryContextMemAllocated(schema->context, true);
}

/* Of a union of null and one other its name is the other's. */
const char *
djk_avro_name(const DjkAvroSchema *schema)
{
	const DjkAvroNode *node = &schema->nodes[schema->root];

	if (node->op == DJK_AVRO_UNION && node->size == 2)
	{
		const DjkAvroPart *branches = &schema->parts[node->first];
		int			other = branches[0].node == DJK_AVRO_NULL ? 1 : 0;

		node = &schema->nodes[branches[other].node];
	}
	return node->name;
}
