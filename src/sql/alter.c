/*-------------------------------------------------------------------------
 *
 * alter.c
 *	  djkafka_alter_consumer and djkafka_alter_route.
 *
 * They take what makes a consumer or a route, find the row by what it was made
 * with, and change the columns of the arguments that are not null; those named in
 * "reset" get the default of the table.  It is an UPDATE like any other, with the
 * caller's rights on the table, which the triggers check.
 *
 * Both read the names of their own arguments, so that one that is added has no
 * place here but in the script.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/row.h"
#include "state/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(djkafka_alter_consumer);
PG_FUNCTION_INFO_V1(djkafka_alter_route);

typedef struct Alter
{
	FunctionCallInfo fcinfo;
	const char *const *found_by;	/* arguments by which the row is found, NULL at the end */
	int			nargs;
	char	  **names;			/* of the arguments */
	Oid		   *types;
	char	  **reset;			/* columns that get their default */
	int			nreset;

	StringInfoData set;
	TupleDesc	desc;			/* of the table */
	int			nvalues;
	Oid			value_types[FUNC_MAX_ARGS];
	Datum		values[FUNC_MAX_ARGS];
} Alter;

/* ---------- arguments ---------- */

static void
read_names(Alter *alter)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(alter->fcinfo->flinfo->fn_oid));
	char	   *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", alter->fcinfo->flinfo->fn_oid);
	alter->nargs = get_func_arg_info(tuple, &alter->types, &alter->names, &modes);
	ReleaseSysCache(tuple);
}

static int
find_argument(const Alter *alter, const char *name)
{
	for (int i = 0; i < alter->nargs; i++)
	{
		if (strcmp(alter->names[i], name) == 0)
			return i;
	}
	return -1;
}

/* Its number if the argument is given, else -1. */
static int
given(const Alter *alter, const char *name)
{
	int			n = find_argument(alter, name);

	return n < 0 || alter->fcinfo->args[n].isnull ? -1 : n;
}

static bool
finds(const Alter *alter, const char *name)
{
	for (int i = 0; alter->found_by[i] != NULL; i++)
	{
		if (strcmp(alter->found_by[i], name) == 0)
			return true;
	}
	return strcmp(name, "reset") == 0;
}

static bool
is_reset(const Alter *alter, const char *column)
{
	for (int i = 0; i < alter->nreset; i++)
	{
		if (strcmp(alter->reset[i], column) == 0)
			return true;
	}
	return false;
}

static void
check_reset(const Alter *alter, const char *name)
{
	int			n = name == NULL ? -1 : find_argument(alter, name);

	if (n < 0 || finds(alter, name) || strncmp(name, "new_", 4) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reset names no argument that has a default: \"%s\"", name == NULL ? "null" : name)));
	if (!alter->fcinfo->args[n].isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is both given and reset", name)));
}

static void
read_reset(Alter *alter)
{
	int			n = given(alter, "reset");
	Datum	   *elements;
	bool	   *nulls;

	if (n < 0)
		return;
	deconstruct_array(DatumGetArrayTypeP(alter->fcinfo->args[n].value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &alter->nreset);
	alter->reset = palloc0(Max(alter->nreset, 1) * sizeof(char *));
	for (int i = 0; i < alter->nreset; i++)
	{
		alter->reset[i] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
		check_reset(alter, alter->reset[i]);
	}
}

static char *
require_text(const Alter *alter, const char *name)
{
	int			n = given(alter, name);

	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return TextDatumGetCString(alter->fcinfo->args[n].value);
}

/* ---------- the statement ---------- */

static void
begin_column(Alter *alter, const char *column)
{
	appendStringInfo(&alter->set, "%s%s = ", alter->set.len > 0 ? ", " : "", quote_identifier(column));
}

/* An argument as a parameter of the statement; its number. */
static int
add_value(Alter *alter, int argument)
{
	alter->value_types[alter->nvalues] = alter->types[argument];
	alter->values[alter->nvalues] = alter->fcinfo->args[argument].value;
	return ++alter->nvalues;
}

static void
set_value(Alter *alter, const char *column, int argument)
{
	int			attnum = SPI_fnumber(alter->desc, column);

	if (attnum <= 0)
		elog(ERROR, "the catalog has no column \"%s\"", column);
	begin_column(alter, column);
	appendStringInfo(&alter->set, "CAST($%d AS %s)", add_value(alter, argument),
					 format_type_be_qualified(TupleDescAttr(alter->desc, attnum - 1)->atttypid));
}

/* Without an owner one that is changed keeps its own, and one that is made gets who makes it. */
static void
set_default(Alter *alter, const char *column)
{
	begin_column(alter, column);
	appendStringInfoString(&alter->set, strcmp(column, "owner") == 0 ?
						   "CAST(pg_catalog.quote_ident(CURRENT_USER) AS pg_catalog.regrole)" : "DEFAULT");
}

/* Columns and lookups are one column of the table. */
static bool
is_mapping(const char *name)
{
	return strcmp(name, "columns") == 0 || strcmp(name, "lookups") == 0;
}

static void
set_columns(Alter *alter)
{
	for (int i = 0; i < alter->nargs; i++)
	{
		const char *name = alter->names[i];

		if (finds(alter, name) || is_mapping(name))
			continue;
		if (is_reset(alter, name))
			set_default(alter, name);
		else if (!alter->fcinfo->args[i].isnull)
			set_value(alter, strncmp(name, "new_", 4) == 0 ? name + 4 : name, i);
	}
}

/* What the function was given as an expression, or 'reset' or 'otherwise'. */
static char *
mapping_part(Alter *alter, const char *name, const char *reset, const char *otherwise)
{
	int			n = given(alter, name);

	if (n >= 0)
		return psprintf("$%d", add_value(alter, n));
	return pstrdup(is_reset(alter, name) ? reset : otherwise);
}

#define IS_LOOKUP \
	"(pg_catalog.jsonb_typeof(e.value) OPERATOR(pg_catalog.=) 'object' AND e.value OPERATOR(pg_catalog.?) 'lookup')"
#define OLD_PART(condition) \
	"(SELECT pg_catalog.jsonb_object_agg(e.key, e.value) FROM pg_catalog.jsonb_each(r.columns) e WHERE " condition ")"

/* Each of the two is kept where the other is changed. */
static void
set_mapping(Alter *alter)
{
	bool		columns = given(alter, "columns") >= 0 || is_reset(alter, "columns");
	bool		lookups = given(alter, "lookups") >= 0 || is_reset(alter, "lookups");
	char	   *base;

	if (!columns && !lookups)
		return;
	begin_column(alter, "columns");
	base = mapping_part(alter, "columns", "NULL::pg_catalog.jsonb", OLD_PART("NOT " IS_LOOKUP));
	if (lookups)
		appendStringInfo(&alter->set, "(SELECT CASE WHEN m.l IS NULL THEN m.c ELSE coalesce(m.c, '{}') OPERATOR(pg_catalog.||)"
						 " (SELECT coalesce(pg_catalog.jsonb_object_agg(l.key, pg_catalog.jsonb_strip_nulls("
						 "pg_catalog.jsonb_build_object('lookup', l.value, 'value', m.c OPERATOR(pg_catalog.->) l.key))), '{}')"
						 " FROM pg_catalog.jsonb_each(m.l) l) END FROM (SELECT %s AS c, %s AS l) m)",
						 base, mapping_part(alter, "lookups", "NULL::pg_catalog.jsonb", ""));
	else
		appendStringInfo(&alter->set, "(SELECT CASE WHEN m.l IS NULL THEN m.c ELSE m.l OPERATOR(pg_catalog.||) coalesce(m.c, '{}') END"
						 " FROM (SELECT %s AS c, " OLD_PART(IS_LOOKUP) " AS l) m)", base);
}

/* Runs UPDATE table SET … WHERE id = …; the id, if there is such a row. */
static bool
update(Alter *alter, const char *table, int64 id)
{
	char	   *sql;
	int			result;

	if (alter->set.len == 0)
		return true;
	alter->value_types[alter->nvalues] = INT8OID;
	alter->values[alter->nvalues++] = Int64GetDatum(id);
	sql = psprintf("UPDATE %s.%s r SET %s WHERE r.id OPERATOR(pg_catalog.=) $%d", djk_catalog_schema(), table,
				   alter->set.data, alter->nvalues);
	result = SPI_execute_with_args(sql, alter->nvalues, alter->value_types, alter->values, NULL, false, 0);
	if (result != SPI_OK_UPDATE)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed > 0;
}

static void
begin(Alter *alter, FunctionCallInfo fcinfo, const char *table, const char *const *found_by)
{
	Relation	rel;

	memset(alter, 0, sizeof(*alter));
	alter->fcinfo = fcinfo;
	alter->found_by = found_by;
	initStringInfo(&alter->set);
	read_names(alter);
	read_reset(alter);
	rel = table_open(djk_catalog_table(table), AccessShareLock);
	alter->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	table_close(rel, AccessShareLock);
	djk_spi_connect();
}

/* ---------- consumers ---------- */

Datum
djkafka_alter_consumer(PG_FUNCTION_ARGS)
{
	static const char *const found_by[] = {"name", NULL};
	Alter		alter;
	char	   *name;
	int64		id;

	begin(&alter, fcinfo, "djkafka_consumer", found_by);
	name = require_text(&alter, "name");
	id = djk_consumer_row_require(name);
	set_columns(&alter);
	if (!update(&alter, "djkafka_consumer", id))
		djk_consumer_row_throw_missing(name);
	SPI_finish();
	PG_RETURN_INT64(id);
}

/* ---------- routes ---------- */

/* None, or several. */
pg_noreturn static void
throw_route(const char *consumer, const char *topic, uint64 found)
{
	if (found == 0)
		djk_route_row_throw_missing(consumer, topic);
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
			 errmsg("consumer \"%s\" has several such routes for topic \"%s\"", consumer, topic),
			 errhint("Name the target or handler; or the id, which SELECT id, target, handler, filter FROM djkafka_route shows.")));
}

static int64
find_route(const Alter *alter, const char *consumer, const char *topic)
{
	static DjkStatement select_routes = {
		.sql = "SELECT r.id FROM @.djkafka_route r JOIN @.djkafka_consumer c ON c.id OPERATOR(pg_catalog.=) r.consumer_id"
		" WHERE c.name OPERATOR(pg_catalog.=) $1 AND r.topic OPERATOR(pg_catalog.=) $2"
		" AND ($3 IS NULL OR r.target::pg_catalog.oid OPERATOR(pg_catalog.=) $3)"
		" AND ($4 IS NULL OR r.handler OPERATOR(pg_catalog.=) $4)"
		" AND ($5 IS NULL OR r.id OPERATOR(pg_catalog.=) $5)",
		.nargs = 5,
		.argtypes = {TEXTOID, TEXTOID, OIDOID, TEXTOID, INT8OID}
	};
	Datum		values[5] = {CStringGetTextDatum(consumer), CStringGetTextDatum(topic)};
	char		nulls[6] = "  nnn";
	int			n;

	if ((n = given(alter, "target")) >= 0)
		values[2] = alter->fcinfo->args[n].value;
	nulls[2] = n >= 0 ? ' ' : 'n';
	/* As it is stored. */
	if ((n = given(alter, "handler")) >= 0)
		values[3] = CStringGetTextDatum(format_procedure_qualified(DatumGetObjectId(alter->fcinfo->args[n].value)));
	nulls[3] = n >= 0 ? ' ' : 'n';
	if ((n = given(alter, "id")) >= 0)
		values[4] = alter->fcinfo->args[n].value;
	nulls[4] = n >= 0 ? ' ' : 'n';
	(void) djk_consumer_row_require(consumer);
	if (djk_catalog_execute(&select_routes, values, nulls) != 1)
		throw_route(consumer, topic, SPI_processed);
	return djk_row_int64(0, 1, 0);
}

/* A route has one of the two: the other goes. */
static void
set_destination(Alter *alter)
{
	bool		target = given(alter, "new_target") >= 0;
	bool		handler = given(alter, "new_handler") >= 0;

	if (target && !handler)
		set_default(alter, "handler");
	if (handler && !target)
	{
		set_default(alter, "target");
		set_default(alter, "target_name");
	}
}

Datum
djkafka_alter_route(PG_FUNCTION_ARGS)
{
	static const char *const found_by[] = {"consumer", "topic", "target", "handler", "id", NULL};
	Alter		alter;
	char	   *consumer;
	char	   *topic;
	int64		id;

	begin(&alter, fcinfo, "djkafka_route", found_by);
	consumer = require_text(&alter, "consumer");
	topic = require_text(&alter, "topic");
	id = find_route(&alter, consumer, topic);
	set_columns(&alter);
	set_mapping(&alter);
	set_destination(&alter);
	if (!update(&alter, "djkafka_route", id))
		djk_route_row_throw_missing(consumer, topic);
	SPI_finish();
	PG_RETURN_INT64(id);
}
