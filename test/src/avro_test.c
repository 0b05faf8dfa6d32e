/*-------------------------------------------------------------------------
 *
 * avro_test.c
 *	  Test-only SQL functions over the decoder of Avro.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/error.h"
#include "codec/avro.h"
#include "codec/convert_impl.h"
#include "codec/native.h"

#include "avro_check.h"
#include "describe.h"
#include "generate.h"

PG_FUNCTION_INFO_V1(djkafka_test_avro_schema);
PG_FUNCTION_INFO_V1(djkafka_test_avro);
PG_FUNCTION_INFO_V1(djkafka_test_avro_json);
PG_FUNCTION_INFO_V1(djkafka_test_avro_convert);
PG_FUNCTION_INFO_V1(djkafka_test_avro_fuzz);
PG_FUNCTION_INFO_V1(djkafka_test_avro_schema_fuzz);
PG_FUNCTION_INFO_V1(djkafka_test_native_random);

/* What a message, and a schema, may take: see docs/formats.md. */
#define MEMORY_FREE		(8 * 1024 * 1024)
#define MEMORY_OF_BYTE	400

/* ---------- schemas and messages as they are given ---------- */

static DjkAvroSchema *
compile(text *schema, ArrayType *references, DjkError *error)
{
	DjkAvroReference *texts = NULL;
	Datum	   *values;
	int			n = 0;

	if (references != NULL)
	{
		deconstruct_array(references, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
		texts = palloc(Max(n, 1) * sizeof(DjkAvroReference));
		for (int i = 0; i < n; i++)
		{
			texts[i].text = TextDatumGetCString(values[i]);
			texts[i].len = strlen(texts[i].text);
		}
	}
	return djk_avro_compile(VARDATA_ANY(schema), VARSIZE_ANY_EXHDR(schema), texts, n, CurrentMemoryContext, error);
}

static DjkAvroSchema *
must_compile(text *schema)
{
	DjkError	error = {0};
	DjkAvroSchema *compiled = compile(schema, NULL, &error);

	if (compiled == NULL)
		djk_error_throw(&error);
	return compiled;
}

/* (schema text, refs text[]) -> text */
Datum
djkafka_test_avro_schema(PG_FUNCTION_ARGS)
{
	DjkError	error = {0};
	DjkAvroSchema *schema = compile(PG_GETARG_TEXT_PP(0), PG_GETARG_ARRAYTYPE_P(1), &error);
	const char *name;

	if (schema == NULL)
		PG_RETURN_TEXT_P(describe_error(&error));
	if (djk_avro_size(schema) > MEMORY_FREE / 8 + 100 * VARSIZE_ANY(PG_GETARG_TEXT_PP(0)))
		elog(ERROR, "schema takes %zu bytes", djk_avro_size(schema));
	name = djk_avro_name(schema);
	PG_RETURN_TEXT_P(cstring_to_text(name == NULL ? "(no name)" : name));
}

/* (schema text, bytes bytea, bare bool, replace bool) -> text */
Datum
djkafka_test_avro(PG_FUNCTION_ARGS)
{
	DjkError	error = {0};
	DjkAvroSchema *schema = compile(PG_GETARG_TEXT_PP(0), NULL, &error);
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);
	DjkDecoded	decoded;

	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	decoded.replace_invalid = PG_GETARG_BOOL(3);
	if (schema == NULL ||
		!djk_avro_decode(schema, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), PG_GETARG_BOOL(2), &decoded, &error))
		PG_RETURN_TEXT_P(describe_error(&error));
	PG_RETURN_TEXT_P(describe_decoded(&decoded));
}

/* (schema text, messages bytea[]) -> text[] */
Datum
djkafka_test_avro_json(PG_FUNCTION_ARGS)
{
	DjkAvroSchema *schema = must_compile(PG_GETARG_TEXT_PP(0));
	Datum	   *messages;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BYTEAOID, -1, false, TYPALIGN_INT, &messages, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		bytea	   *bytes = DatumGetByteaPP(messages[i]);
		DjkError	error = {0};
		DjkDecoded	decoded;
		const char *finding;

		CHECK_FOR_INTERRUPTS();
		finding = avro_check(schema, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &decoded, &error);
		if (finding != NULL)
			elog(ERROR, "message %d: %s", i, finding);
		messages[i] = PointerGetDatum(decoded.text == NULL ? describe_error(&error) :
									  cstring_to_text_with_len(decoded.text, decoded.text_len));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(messages, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* (schema text, bytes bytea, type regtype, typmod int, strict bool) -> text: the value, or a record's first field */
Datum
djkafka_test_avro_convert(PG_FUNCTION_ARGS)
{
	DjkAvroSchema *schema = must_compile(PG_GETARG_TEXT_PP(0));
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);
	Oid			type = PG_GETARG_OID(2);
	DjkConvertOptions options = {.strict = PG_GETARG_BOOL(4)};
	DjkDecoded	decoded;
	DjkError	error = {0};
	Datum		value;
	bool		isnull;
	Oid			output;
	bool		is_varlena;

	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	if (!djk_avro_decode(schema, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), false, &decoded, &error) ||
		!djk_convert(djk_converter_create(type, PG_GETARG_INT32(3), &options),
					 decoded.is_object ? &decoded.fields[0] : &decoded.bare, &value, &isnull, &error))
		PG_RETURN_TEXT_P(describe_error(&error));
	if (isnull)
		PG_RETURN_NULL();
	getTypeOutputInfo(type, &output, &is_varlena);
	PG_RETURN_TEXT_P(cstring_to_text(OidOutputFunctionCall(output, value)));
}

/* ---------- hostile bytes ---------- */

/* A copy that ends where its memory does. */
static char *
exact_copy(const char *bytes, int len)
{
	char	   *copy = malloc(Max(len, 1));

	memcpy(copy, bytes, len);
	return copy;
}

/* What is wrong with how damaged bytes are taken, or NULL. */
typedef const char *(*TryDamaged) (const char *bytes, int len, const void *arg, int *taken);

/* One damaged message of a schema (DjkAvroSchema *). */
static const char *
try_message(const char *bytes, int len, const void *arg, int *taken)
{
	const DjkAvroSchema *schema = arg;
	char	   *copy = exact_copy(bytes, len);
	DjkDecoded	decoded;
	DjkError	error = {0};
	const char *finding = avro_check(schema, copy, len, &decoded, &error);

	if (decoded.text != NULL)
		(*taken)++;
	if (MemoryContextMemAllocated(CurrentMemoryContext, true) > MEMORY_FREE + MEMORY_OF_BYTE * (Size) len)
		finding = "memory is out of proportion";
	free(copy);
	return finding;
}

/* The buffer that messages are damaged in. */
static char *
damage_copy(DjkGenerator *chance, const char *bytes, int len, int *damaged_len)
{
	int			size = 2 * len + 64;
	char	   *damaged = palloc(size);

	memcpy(damaged, bytes, len);
	*damaged_len = djk_generate_damage(chance, damaged, len, size);
	return damaged;
}

static text *
report(int how_many, int taken, const char *finding, const char *bytes, int len, int nth)
{
	StringInfoData text;

	initStringInfo(&text);
	elog(DEBUG1, "%d damaged, %d taken", how_many, taken);
	if (finding == NULL)
		appendStringInfoString(&text, "0 findings");
	else
	{
		appendStringInfo(&text, "number %d: %s: \\x", nth, finding);
		for (int i = 0; i < Min(len, 2000); i++)
			appendStringInfo(&text, "%02x", (unsigned char) bytes[i]);
	}
	return cstring_to_text_with_len(text.data, text.len);
}

/* Damages bytes so many times, until something is found. */
static text *
fuzz(const char *bytes, int bytes_len, int64 seed, int how_many, TryDamaged try_damaged, const void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "damaged", ALLOCSET_DEFAULT_SIZES);
	DjkGenerator chance;
	const char *finding = NULL;
	char	   *damaged = NULL;
	int			len = 0;
	int			taken = 0;
	int			i;

	djk_generate_init(&chance, (uint64) seed, NULL, 0);
	for (i = 0; i < how_many && finding == NULL; i++)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		old = MemoryContextSwitchTo(context);
		damaged = damage_copy(&chance, bytes, bytes_len, &len);
		finding = try_damaged(damaged, len, arg, &taken);
		MemoryContextSwitchTo(old);
	}
	djk_generate_free(&chance);
	return report(how_many, taken, finding, damaged, len, i);
}

/* (schema text, bytes bytea, seed bigint, how_many int) -> text */
Datum
djkafka_test_avro_fuzz(PG_FUNCTION_ARGS)
{
	DjkAvroSchema *schema = must_compile(PG_GETARG_TEXT_PP(0));
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);

	PG_RETURN_TEXT_P(fuzz(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), PG_GETARG_INT64(2), PG_GETARG_INT32(3),
						  try_message, schema));
}

/* One damaged schema, with a message of the whole one (bytea *). */
static const char *
try_schema(const char *schema, int len, const void *arg, int *taken)
{
	const bytea *bytes = arg;
	char	   *copy = exact_copy(schema, len);
	DjkError	error = {0};
	DjkDecoded	decoded;
	const char *finding;
	DjkAvroSchema *compiled = djk_avro_compile(copy, len, NULL, 0, CurrentMemoryContext, &error);

	free(copy);
	if (compiled == NULL)
		return error.sqlstate == DJK_ERRCODE_MALFORMED && error.detail != NULL ? NULL : "error is not complete";
	(*taken)++;
	finding = avro_check(compiled, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &decoded, &error);
	if (MemoryContextMemAllocated(CurrentMemoryContext, true) >
		2 * MEMORY_FREE + MEMORY_OF_BYTE * (Size) (len + VARSIZE_ANY(bytes)))
		finding = "memory is out of proportion";
	return finding;
}

/* (schema text, bytes bytea, seed bigint, how_many int) -> text */
Datum
djkafka_test_avro_schema_fuzz(PG_FUNCTION_ARGS)
{
	text	   *schema = PG_GETARG_TEXT_PP(0);
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);

	PG_RETURN_TEXT_P(fuzz(VARDATA_ANY(schema), VARSIZE_ANY_EXHDR(schema), PG_GETARG_INT64(2), PG_GETARG_INT32(3),
						  try_schema, bytes));
}

/* ---------- what goes to a column as it is ---------- */

static void
random_native(DjkGenerator *chance, DjkConnectType *type, char *bytes, DjkField *field)
{
	static const DjkConnectKind kinds[] = {
		DJK_CONNECT_INTEGER, DJK_CONNECT_FLOAT, DJK_CONNECT_DOUBLE, DJK_CONNECT_DECIMAL, DJK_CONNECT_DATE,
		DJK_CONNECT_TIME_MS, DJK_CONNECT_TIME_US, DJK_CONNECT_TIME_NS,
		DJK_CONNECT_TIMESTAMP_MS, DJK_CONNECT_TIMESTAMP_US, DJK_CONNECT_TIMESTAMP_NS,
		DJK_CONNECT_INSTANT_MS, DJK_CONNECT_INSTANT_US, DJK_CONNECT_INSTANT_NS,
		DJK_CONNECT_DURATION_US, DJK_CONNECT_DURATION_NS, DJK_CONNECT_BITS, DJK_CONNECT_INTERVAL, DJK_CONNECT_UUID
	};
	int			nbits = djk_generate_below(chance, 64);

	memset(field, 0, sizeof(*field));
	type->kind = kinds[djk_generate_below(chance, lengthof(kinds))];
	field->kind = DJK_FIELD_NATIVE;
	field->native = type;
	field->text = bytes;
	field->len = type->kind == DJK_CONNECT_UUID ? 16 : type->kind == DJK_CONNECT_INTERVAL ? 12 :
		1 + djk_generate_below(chance, 12);
	for (int i = 0; i < 16; i++)
		bytes[i] = (char) djk_generate_below(chance, 256);
	memcpy(&field->number, bytes, sizeof(field->number));
	if (type->kind == DJK_CONNECT_DECIMAL || type->kind == DJK_CONNECT_BITS)
		field->number = djk_generate_below(chance, 24) - (type->kind == DJK_CONNECT_DECIMAL ? 3 : 0);
	else if (type->kind == DJK_CONNECT_FLOAT)
		djk_native_set_double(field, (float) djk_native_double(field));
	else if (type->kind != DJK_CONNECT_DOUBLE)
		field->number >>= nbits;
}

/* Whether two ways came to the same; all of one that is not quite a value counts as the same. */
static bool
is_same(const DjkConverter *converter, const DjkField *native, const DjkField *shown, Datum direct, DjkConverter *full)
{
	Datum		value;
	bool		isnull;
	DjkError	error = {0};

	/* exactly the float's value, and not its shortest digits; and zero with its sign */
	if ((native->native->kind == DJK_CONNECT_FLOAT && converter->type == FLOAT8OID) ||
		(native->native->kind == DJK_CONNECT_FLOAT && djk_native_double(native) == 0))
		return true;
	return djk_convert(full, shown, &value, &isnull, &error) &&
		datumIsEqual(direct, value, converter->byval, converter->typlen);
}

/* (row_of regclass, seed bigint, how_many int) -> text */
Datum
djkafka_test_native_random(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));
	DjkConvertOptions strict = {.strict = true};
	DjkConverter **converters = palloc(2 * desc->natts * sizeof(DjkConverter *));
	DjkGenerator chance;
	char		bytes[16];
	int			direct = 0;

	relation_close(rel, AccessShareLock);
	for (int c = 0; c < desc->natts; c++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, c);

		converters[2 * c] = djk_converter_create(attribute->atttypid, attribute->atttypmod, &djk_convert_lenient);
		converters[2 * c + 1] = djk_converter_create(attribute->atttypid, attribute->atttypmod, &strict);
	}
	djk_generate_init(&chance, (uint64) PG_GETARG_INT64(1), NULL, 0);
	for (int i = 0; i < PG_GETARG_INT32(2); i++)
	{
		DjkConnectType type = {.semantic = "random", .of_source = i % 2 == 0};
		DjkField	field;
		DjkField	shown;
		DjkError	error = {0};
		bool		fits;

		random_native(&chance, &type, bytes, &field);
		fits = djk_native_show(&field, &shown, &error);
		for (int c = 0; c < 2 * desc->natts; c++)
		{
			Datum		value;

			CHECK_FOR_INTERRUPTS();
			if (!djk_convert_direct_native(converters[c], &field, &value))
				continue;
			direct++;
			if (!fits || !is_same(converters[c], &field, &shown, value, converters[c]))
				elog(ERROR, "case %d: column %s: kind %d is not as %s", i, NameStr(TupleDescAttr(desc, c / 2)->attname),
					 type.kind, shown.text);
		}
	}
	djk_generate_free(&chance);
	elog(DEBUG1, "%d values went to a column as they are", direct);
	PG_RETURN_TEXT_P(cstring_to_text(direct > 0 ? "0 different" : "none went"));
}
