/*-------------------------------------------------------------------------
 *
 * test_convert_random.c
 *	  Random messages against the codec and the converter.
 *
 * djkafka_test_convert_random() compares the converter with
 * jsonb_populate_record(), column by column, and where a text column takes an
 * object or array with json_populate_record(), which keeps the message's own
 * form of it as we do.  djkafka_test_fuzz() feeds
 * hostile messages, and compares what the scanner takes with what the server's
 * json type takes.  djkafka_test_codec_time() measures.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/subtransaction.h"
#include "codec/avro.h"
#include "codec/connect.h"
#include "codec/convert.h"

#include "generate.h"

PG_FUNCTION_INFO_V1(djkafka_test_convert_random);
PG_FUNCTION_INFO_V1(djkafka_test_fuzz);
PG_FUNCTION_INFO_V1(djkafka_test_codec_time);

#define COLUMNS_MAX 64
#define FINDINGS_SHOWN 20

typedef struct Column
{
	char	   *name;
	Oid			type;
	DjkConverter *converter;
	FmgrInfo	output;
} Column;

typedef struct Target
{
	Column		columns[COLUMNS_MAX];
	const char *names[COLUMNS_MAX];
	int			ncolumns;
	Oid			row_type;
	TupleDesc	desc;
	FmgrInfo	populate_jsonb;
	FmgrInfo	populate_json;
} Target;

/* What one conversion gave: an error, NULL, or the value's text form. */
typedef struct Outcome
{
	bool		failed;
	bool		thrown;
	bool		isnull;
	int			sqlstate;
	char	   *text;			/* or the error's message */
} Outcome;

/* Makes a call of (jsonb_)populate_record(NULL::row_type, json). */
static void
init_populate(FmgrInfo *function, Oid oid, Oid row_type, Oid json_type)
{
	List	   *args = list_make2(makeNullConst(row_type, -1, InvalidOid),
								  makeNullConst(json_type, -1, InvalidOid));

	fmgr_info(oid, function);
	fmgr_info_set_expr((Node *) makeFuncExpr(oid, row_type, args, InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   function);
}

static void
open_target(Oid relation, Target *target)
{
	Relation	rel = relation_open(relation, AccessShareLock);
	int			i;

	target->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	target->row_type = rel->rd_rel->reltype;
	target->ncolumns = 0;
	relation_close(rel, AccessShareLock);
	for (i = 0; i < target->desc->natts && i < COLUMNS_MAX; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(target->desc, i);
		Column	   *column = &target->columns[target->ncolumns];
		Oid			output;
		bool		is_varlena;

		column->name = pstrdup(NameStr(attribute->attname));
		column->type = attribute->atttypid;
		column->converter = djk_converter_create(attribute->atttypid, attribute->atttypmod, &djk_convert_lenient);
		getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
		fmgr_info(output, &column->output);
		target->names[target->ncolumns++] = column->name;
	}
	init_populate(&target->populate_jsonb, F_JSONB_POPULATE_RECORD, target->row_type, JSONBOID);
	init_populate(&target->populate_json, F_JSON_POPULATE_RECORD, target->row_type, JSONOID);
}

static void
convert_ours(Target *target, int column, const DjkField *field, Outcome *outcome)
{
	Datum		value;
	DjkError	error;

	if (!djk_convert(target->columns[column].converter, field, &value, &outcome->isnull, &error))
	{
		outcome->failed = true;
		outcome->sqlstate = error.sqlstate;
		outcome->text = error.message;
		if (!pg_verifymbstr(error.message, strlen(error.message), true) || strlen(error.message) > 5000)
			elog(ERROR, "error message is not fit to be shown");
	}
	else if (!outcome->isnull)
		outcome->text = OutputFunctionCall(&target->columns[column].output, value);
}

/* The value of a column of populate_record() of an object with one field. */
static void
populate(Target *target, FmgrInfo *function, Datum json, int column, Outcome *outcome)
{
	LOCAL_FCINFO(fcinfo, 2);
	HeapTupleHeader row;
	HeapTupleData tuple;
	Datum		value;

	InitFunctionCallInfoData(*fcinfo, function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].isnull = true;
	fcinfo->args[1].value = json;
	fcinfo->args[1].isnull = false;
	row = DatumGetHeapTupleHeader(FunctionCallInvoke(fcinfo));
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	value = heap_getattr(&tuple, column + 1, target->desc, &outcome->isnull);
	if (!outcome->isnull)
		outcome->text = OutputFunctionCall(&target->columns[column].output, value);
}

static char *
wrap_field(Target *target, int column, const DjkField *field)
{
	return psprintf("{\"%s\":%.*s}", target->names[column], field->raw_len, field->raw);
}

static void
convert_by_jsonb(Target *target, int column, const DjkField *field, Outcome *outcome)
{
	char	   *json = wrap_field(target, column, field);

	populate(target, &target->populate_jsonb, DirectFunctionCall1(jsonb_in, CStringGetDatum(json)),
			 column, outcome);
}

static void
convert_by_json(Target *target, int column, const DjkField *field, Outcome *outcome)
{
	populate(target, &target->populate_json, CStringGetTextDatum(wrap_field(target, column, field)),
			 column, outcome);
}

typedef void (*Conversion) (Target *, int, const DjkField *, Outcome *);

typedef struct Attempt
{
	Conversion	conversion;
	Target	   *target;
	int			column;
	const DjkField *field;
	Outcome    *outcome;
} Attempt;

static bool
convert(void *arg)
{
	Attempt    *attempt = arg;

	attempt->conversion(attempt->target, attempt->column, attempt->field, attempt->outcome);
	return true;
}

/* Runs one conversion in a subtransaction. */
static void
attempt(Conversion conversion, Target *target, int column, const DjkField *field, Outcome *outcome)
{
	Attempt		attempt = {conversion, target, column, field, outcome};
	ErrorData  *edata;

	memset(outcome, 0, sizeof(*outcome));
	edata = djk_subtransaction_try(convert, &attempt, CurrentMemoryContext);
	if (edata == NULL)
		return;
	if (edata->sqlerrcode == ERRCODE_INTERNAL_ERROR || edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(edata);
	outcome->failed = outcome->thrown = true;
	outcome->sqlstate = edata->sqlerrcode;
	outcome->text = edata->message;
}

/* The same JSON by jsonb's equality: where objects and arrays become text. */
static bool
same_json(const char *left, const char *right)
{
	Datum		a = DirectFunctionCall1(jsonb_in, CStringGetDatum(pstrdup(left)));
	Datum		b = DirectFunctionCall1(jsonb_in, CStringGetDatum(pstrdup(right)));

	return DatumGetBool(DirectFunctionCall2(jsonb_eq, a, b));
}

static bool
same_outcome(const Column *column, const Outcome *ours, const Outcome *reference)
{
	if (ours->failed && reference->failed)
		return true;
	/* bytea's escape form is refused */
	if (ours->failed && column->type == BYTEAOID)
		return ours->sqlstate == ERRCODE_INVALID_TEXT_REPRESENTATION;
	if (ours->failed != reference->failed || ours->isnull != reference->isnull)
		return false;
	if (ours->isnull)
		return true;
	if (column->type == JSONOID)
		return same_json(ours->text, reference->text);
	return strcmp(ours->text, reference->text) == 0;
}

/* Converts the field in all ways; true if they agree, else *ours and *reference. */
static bool
compare(Target *target, int i, const DjkField *field, Outcome *ours, Outcome *reference)
{
	const Column *column = &target->columns[i];
	Outcome		by_json;
	Oid			element;
	char	   *raw;

	attempt(convert_ours, target, i, field, ours);
	attempt(convert_by_jsonb, target, i, field, reference);
	if (same_outcome(column, ours, reference))
		return true;
	/* besides nested values, numbers that would print as hundreds of digits */
	if (field->kind != DJK_FIELD_OBJECT && field->kind != DJK_FIELD_ARRAY &&
		strstr(pnstrdup(field->text, field->len), "e-308") == NULL)
		return false;
	attempt(convert_by_json, target, i, field, &by_json);
	if (same_outcome(column, ours, &by_json))
		return true;
	/* an array of strings with most numbers from the one, and objects and such numbers from the other */
	raw = pnstrdup(field->raw + 1, field->raw_len - 1);
	element = get_element_type(column->type);
	return (element == TEXTOID || element == VARCHAROID || element == BPCHAROID) && !ours->failed && !reference->failed &&
		(strpbrk(raw, "[{") != NULL || strstr(raw, "e-308") != NULL);
}

static const char *
show_outcome(const Outcome *outcome)
{
	if (outcome->failed)
		return psprintf("%s%s %s", outcome->thrown ? "thrown " : "",
						unpack_sql_state(outcome->sqlstate), outcome->text);
	return outcome->isnull ? "NULL" : outcome->text;
}

/*
 * djkafka_test_convert_random(row regclass, seed bigint, values int) returns text
 *
 * Every value goes into every column.
 */
Datum
djkafka_test_convert_random(PG_FUNCTION_ARGS)
{
	Target		target;
	DjkGenerator generator;
	StringInfoData report;
	MemoryContext scratch;
	int			values = PG_GETARG_INT32(2);
	int64		equal = 0;
	int64		different = 0;
	int64		thrown = 0;

	open_target(PG_GETARG_OID(0), &target);
	djk_generate_init(&generator, (uint64) PG_GETARG_INT64(1), NULL, 0);
	initStringInfo(&report);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "random values", ALLOCSET_DEFAULT_SIZES);
	for (; values > 0; values--)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		DjkDecoded	decoded;
		DjkError	error;
		char	   *message;
		int			i;

		CHECK_FOR_INTERRUPTS();
		djk_generate_value(&generator);
		message = psprintf("{\"value\":%s}", generator.buf);
		djk_decoded_init(&decoded, scratch, scratch);
		if (!djk_codec_find("json")->decode(message, strlen(message), &decoded, &error))
			elog(ERROR, "generated value is refused: %s %s", generator.buf, error.detail);
		for (i = 0; i < target.ncolumns; i++)
		{
			Outcome		ours;
			Outcome		reference;

			if (compare(&target, i, &decoded.fields[0], &ours, &reference))
				equal++;
			else if (different++ < FINDINGS_SHOWN)
			{
				MemoryContextSwitchTo(old);
				appendStringInfo(&report, "%s from %s: %s, not %s\n", target.names[i], generator.buf,
								 show_outcome(&ours), show_outcome(&reference));
				MemoryContextSwitchTo(scratch);
			}
			thrown += ours.thrown;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
	}
	djk_generate_free(&generator);
	elog(DEBUG1, "%lld conversions equal, %lld different, %lld thrown",
		 (long long) equal, (long long) different, (long long) thrown);
	appendStringInfo(&report, "%lld different", (long long) different);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(report.data, report.len));
}

/* Conversion, for attempt(): throws unless json's input function takes it. */
static void
check_by_json_in(Target *target, int column, const DjkField *field, Outcome *outcome)
{
	outcome->text = DatumGetCString(DirectFunctionCall1(json_in, CStringGetDatum(pnstrdup(field->text, field->len))));
}

/* Whether the server's own json would take these bytes. */
static bool
server_takes(Target *target, const char *bytes, int len)
{
	DjkField	field = {.text = bytes, .len = len};
	Outcome		outcome;

	if (pg_encoding_verifymbstr(PG_UTF8, bytes, len) != len)
		return false;
	attempt(check_by_json_in, target, 0, &field, &outcome);
	return !outcome.failed;
}

/* As a schema of any kind would have it. */
static void
convert_restated(Target *target, int column, const DjkField *field, Outcome *outcome)
{
	static int	turn = 0;
	DjkConnectType items = {.kind = turn % (DJK_CONNECT_POINT + 1), .parameter = turn % 40 - 5};
	DjkConnectType type = items;
	DjkField	buffer;
	DjkField	restated;
	DjkError	error = {0};
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "djkafka test", ALLOCSET_SMALL_SIZES);
	const DjkField *given;

	turn++;
	if (turn % 3 == 0)
		type.kind = DJK_CONNECT_ARRAY;
	type.items = &items;
	given = djk_connect_restate(&type, TupleDescAttr(target->desc, column)->atttypid, turn % 2 == 0, field, &buffer,
								scratch, &error);
	if (given == NULL)
	{
		if (error.sqlstate == 0 || error.message == NULL)
			elog(ERROR, "error is not complete");
		outcome->failed = true;
		return;
	}
	restated = *given;
	convert_ours(target, column, &restated, outcome);
	MemoryContextDelete(scratch);
}

/* Converts what fits a column; counts what was refused. */
static void
fuzz_fields(Target *target, const DjkDecoded *decoded, int64 *converted, int64 *refused)
{
	int			i;
	int			column;

	for (i = 0; i < decoded->nfields && i < 200; i++)
	{
		const DjkField *field = &decoded->fields[i];

		for (column = 0; column < target->ncolumns; column++)
		{
			const char *name = target->names[column];
			Outcome		outcome;

			if (strlen(name) != field->name_len || memcmp(name, field->name, field->name_len) != 0)
				continue;
			attempt(convert_restated, target, column, field, &outcome);
			attempt(convert_ours, target, column, field, &outcome);
			if (outcome.failed)
				(*refused)++;
			else
				(*converted)++;
			if (!outcome.failed && !outcome.isnull &&
				!pg_verifymbstr(outcome.text, strlen(outcome.text), true))
				elog(ERROR, "value is not valid in the server's encoding");
		}
	}
}

/*
 * djkafka_test_fuzz(row regclass, seed bigint, messages int, compare bool) returns text
 *
 * The message is copied to memory of exactly its size, so that a checker of
 * addresses sees any read beyond it.
 */
Datum
djkafka_test_fuzz(PG_FUNCTION_ARGS)
{
	Target		target;
	DjkGenerator generator;
	DjkDecoded	decoded;
	StringInfoData report;
	MemoryContext scratch;
	int			messages = PG_GETARG_INT32(2);
	bool		with_server = PG_GETARG_BOOL(3);
	int64		accepted = 0;
	int64		findings = 0;
	int64		converted = 0;
	int64		refused = 0;
	Size		kept = 0;
	int			i;

	open_target(PG_GETARG_OID(0), &target);
	djk_generate_init(&generator, (uint64) PG_GETARG_INT64(1), target.names, target.ncolumns);
	initStringInfo(&report);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "fuzz", ALLOCSET_DEFAULT_SIZES);
	djk_decoded_init(&decoded, CurrentMemoryContext, scratch);
	for (i = 0; i < messages; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		DjkError	error;
		char	   *bytes;
		bool		taken;

		CHECK_FOR_INTERRUPTS();
		djk_generate_hostile(&generator);
		bytes = malloc(generator.len > 0 ? generator.len : 1);
		memcpy(bytes, generator.buf, generator.len);
		taken = djk_codec_find("json")->decode(bytes, generator.len, &decoded, &error);
		if (with_server && server_takes(&target, bytes, generator.len) != taken &&
			!(taken == false && (strstr(error.detail, "Nesting") || strstr(error.detail, "Field name"))) &&
			findings++ < FINDINGS_SHOWN)
		{
			MemoryContextSwitchTo(old);
			appendStringInfo(&report, "%s: %.200s\n", taken ? "taken" : error.detail,
							 pg_verifymbstr(bytes, generator.len, true) ? generator.buf : "(not text)");
			MemoryContextSwitchTo(scratch);
		}
		accepted += taken;
		if (taken)
			fuzz_fields(&target, &decoded, &converted, &refused);
		djk_codec_decode_key("auto", bytes, generator.len, &decoded, &error);
		free(bytes);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		/* everything that caches has done so by half the way */
		if (i == messages / 2)
			kept = MemoryContextMemAllocated(old, true);
	}
	djk_generate_free(&generator);
	elog(DEBUG1, "%lld of %d messages taken, %lld fields converted, %lld refused, memory grew by %lld",
		 (long long) accepted, messages, (long long) converted, (long long) refused,
		 (long long) MemoryContextMemAllocated(CurrentMemoryContext, true) - (long long) kept);
	appendStringInfo(&report, "%lld findings", (long long) findings);
	if (MemoryContextMemAllocated(CurrentMemoryContext, true) > kept + 1024 * 1024)
		appendStringInfoString(&report, ", memory is kept");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(report.data, report.len));
}

/*
 * djkafka_test_codec_time(row regclass, bytes bytea, n int, avro text) returns text
 *
 * Nanoseconds a message: decoding alone, and with the conversion of fields to
 * the columns of the same position.  It is JSON, or of a schema of Avro.
 */
Datum
djkafka_test_codec_time(PG_FUNCTION_ARGS)
{
	Target		target;
	bytea	   *bytes = PG_GETARG_BYTEA_PP(1);
	int			n = PG_GETARG_INT32(2);
	text	   *avro = PG_GETARG_TEXT_PP(3);
	DjkAvroSchema *schema = NULL;
	DjkError	error = {0};
	double		nanoseconds[2];
	MemoryContext scratch;
	DjkDecoded	decoded;
	int			pass;

	if (VARSIZE_ANY_EXHDR(avro) > 0)
		schema = djk_avro_compile(VARDATA_ANY(avro), VARSIZE_ANY_EXHDR(avro), NULL, 0, CurrentMemoryContext, &error);
	open_target(PG_GETARG_OID(0), &target);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "time", ALLOCSET_DEFAULT_SIZES);
	djk_decoded_init(&decoded, CurrentMemoryContext, scratch);
	for (pass = 0; pass < 2; pass++)
	{
		const DjkCodec *codec = djk_codec_find("json");
		MemoryContext old = MemoryContextSwitchTo(scratch);
		instr_time	start;
		instr_time	end;
		int			i;
		int			field;

		INSTR_TIME_SET_CURRENT(start);
		for (i = 0; i < n; i++)
		{
			Datum		value;
			bool		isnull;
			bool		taken;

			if (schema != NULL)
				taken = djk_avro_decode(schema, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), false, &decoded, &error);
			else
				taken = codec->decode(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &decoded, &error);
			if (!taken)
				elog(ERROR, "%s: %s", error.message, error.detail);
			for (field = 0; pass == 1 && field < decoded.nfields; field++)
			{
				if (!djk_convert(target.columns[field].converter, &decoded.fields[field],
								 &value, &isnull, &error))
					elog(ERROR, "%s", error.message);
			}
			if (i % 1000 == 999)
				MemoryContextReset(scratch);
		}
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		nanoseconds[pass] = INSTR_TIME_GET_DOUBLE(end) * 1e9 / n;
		MemoryContextSwitchTo(old);
	}
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("decode %.0f ns, decode and convert %.0f ns",
											  nanoseconds[0], nanoseconds[1])));
}
