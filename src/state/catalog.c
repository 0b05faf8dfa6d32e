/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  Access to djkafka's own tables.
 *
 * The tables belong to the role that the trusted install script ran as.  A
 * worker's session user is the consumer's owner, who needs no right on them:
 * djk_catalog_enter() makes the tables' owner the current user for one
 * statement of ours, in a security-restricted context and with search_path
 * pinned, and djk_catalog_leave() undoes it.  User code never runs in between.
 * An ERROR needs no clean-up here: aborting the transaction or subtransaction
 * restores user, security context and settings, and SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "state/catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/spi.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The row of pg_extension, and who wrote it; false if it is gone. */
static bool
read_extension(Oid oid, FormData_pg_extension *form, TransactionId *xid)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		*form = *(Form_pg_extension) GETSTRUCT(tuple);
		*xid = HeapTupleHeaderGetXmin(tuple->t_data);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
djk_catalog_find(Oid *extension, Oid *schema)
{
	Oid			oid = get_extension_oid(DJK_EXTENSION_NAME, true);
	FormData_pg_extension form;
	TransactionId xid;

	*extension = oid;
	*schema = InvalidOid;
	if (!OidIsValid(oid) || !read_extension(oid, &form, &xid))
		return false;
	*schema = form.extnamespace;
	return true;
}

Oid
djk_catalog_extension_owner(Oid extension)
{
	FormData_pg_extension form;
	TransactionId xid;

	return read_extension(extension, &form, &xid) ? form.extowner : InvalidOid;
}

bool
djk_catalog_is_own(void)
{
	FormData_pg_extension form;
	TransactionId xid;
	Oid			oid = get_extension_oid(DJK_EXTENSION_NAME, true);

	return OidIsValid(oid) && read_extension(oid, &form, &xid) && TransactionIdIsCurrentTransactionId(xid);
}

/*
 * Finds the extension and keeps it until the transaction ends.  Statements name
 * their tables: where one waits for a table that is being dropped with the
 * extension, it would be planned again for whatever has that name then, and run
 * by the tables' owner, who is a superuser, on tables that anybody has made.
 * So one of the extension's tables is locked before, by its number.  Not the
 * extension itself: a DROP EXTENSION locks that before it is looked whether it is
 * allowed, and whoever may connect could hold up everybody.
 */
static bool
find_and_keep(Oid *extension, Oid *schema)
{
	while (djk_catalog_find(extension, schema))
	{
		Oid			found = *extension;
		Oid			home = get_relname_relid("djkafka_home", *schema);
		LOCKTAG		tag;

		CHECK_FOR_INTERRUPTS();
		if (!OidIsValid(home))
			return true;		/* it is just being made */
		SET_LOCKTAG_RELATION(tag, MyDatabaseId, home);
		if (LockAcquire(&tag, AccessShareLock, false, false) != LOCKACQUIRE_OK)
			return true;		/* it was locked before */
		AcceptInvalidationMessages();
		if (djk_catalog_find(extension, schema) && *extension == found &&
			get_relname_relid("djkafka_home", *schema) == home)
			return true;
		(void) LockRelease(&tag, AccessShareLock, false);
	}
	return false;
}

static void
require_extension(Oid *extension, Oid *schema)
{
	if (!find_and_keep(extension, schema))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" is not installed in this database", DJK_EXTENSION_NAME),
				 errhint("Run CREATE EXTENSION %s.", DJK_EXTENSION_NAME)));
}

static Oid
require_schema(void)
{
	Oid			extension;
	Oid			schema;

	require_extension(&extension, &schema);
	return schema;
}

Oid
djk_catalog_extension(void)
{
	return get_extension_oid(DJK_EXTENSION_NAME, true);
}

char *
djk_catalog_schema_name(void)
{
	return get_namespace_name(require_schema());
}

char *
djk_catalog_schema(void)
{
	return pstrdup(quote_identifier(djk_catalog_schema_name()));
}

Oid
djk_catalog_type(const char *name)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
						   ObjectIdGetDatum(require_schema()));
}

Oid
djk_catalog_table(const char *name)
{
	return get_relname_relid(name, require_schema());
}

Oid
djk_table_owner(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

Oid
djk_schema_owner(Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
djk_catalog_enter(DjkIdentity *saved)
{
	Oid			table = djk_catalog_table("djkafka_consumer");
	Oid			owner = djk_table_owner(table);

	if (!OidIsValid(owner))
		elog(ERROR, "cache lookup failed for relation %u", table);
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	saved->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* Tables that were never analyzed look large enough to be worth compiling for. */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	djk_spi_connect();
}

void
djk_catalog_leave(const DjkIdentity *saved)
{
	SPI_finish();
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

bool
djk_catalog_entered(Oid table_owner)
{
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	return userid == table_owner && (sec_context & SECURITY_LOCAL_USERID_CHANGE) != 0;
}

static char *
expand_schema(const char *sql, const char *schema)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = sql; *p; p++)
	{
		if (*p == '@' && p[1] == '.')
			appendStringInfoString(&buf, schema);
		else
			appendStringInfoChar(&buf, *p);
	}
	return buf.data;
}

static void
prepare_statement(DjkStatement *statement, Oid extension, Oid schema, const char *schema_name)
{
	char	   *sql = expand_schema(statement->sql, quote_identifier(schema_name));
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, statement->nargs, statement->argtypes,
										  statement->generic ? CURSOR_OPT_GENERIC_PLAN : 0);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = plan;
	statement->extension = extension;
	statement->schema = schema;
	strlcpy(statement->schema_name, schema_name, NAMEDATALEN);
	pfree(sql);
}

/* A schema that was renamed, or an extension made again, needs new plans. */
static SPIPlanPtr
find_plan(DjkStatement *statement)
{
	Oid			extension;
	Oid			schema;
	char	   *schema_name;

	require_extension(&extension, &schema);
	schema_name = get_namespace_name(schema);
	if (statement->plan == NULL || statement->extension != extension ||
		statement->schema != schema || strcmp(statement->schema_name, schema_name) != 0)
		prepare_statement(statement, extension, schema, schema_name);
	return statement->plan;
}

bool
djk_catalog_has(DjkStatement *statement, Datum *values, const char *nulls)
{
	DjkIdentity identity;
	bool		found;

	djk_catalog_enter(&identity);
	found = djk_catalog_execute(statement, values, nulls) > 0;
	djk_catalog_leave(&identity);
	return found;
}

bool
djk_catalog_has_latest(DjkStatement *statement, Datum *values, const char *nulls)
{
	DjkIdentity identity;
	bool		found;

	djk_catalog_enter(&identity);
	found = djk_catalog_query_latest(statement, values, nulls) > 0;
	djk_catalog_leave(&identity);
	return found;
}

char *
djk_catalog_text_latest(DjkStatement *statement, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	char	   *text = NULL;

	djk_catalog_enter(&identity);
	if (djk_catalog_query_latest(statement, values, nulls) > 0)
		text = djk_row_text(0, 1, context);
	djk_catalog_leave(&identity);
	return text;
}

Portal
djk_catalog_open(DjkStatement *statement, Datum *values, const char *nulls)
{
	Portal		portal = SPI_cursor_open(NULL, find_plan(statement), values, nulls, false);

	if (portal == NULL)
		elog(ERROR, "could not open \"%s\": %s", statement->sql, SPI_result_code_string(SPI_result));
	return portal;
}

static uint64
execute(DjkStatement *statement, Datum *values, const char *nulls, bool read_only)
{
	int			result = SPI_execute_plan(find_plan(statement), values, nulls, read_only, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
djk_catalog_execute(DjkStatement *statement, Datum *values, const char *nulls)
{
	return execute(statement, values, nulls, false);
}

static uint64
execute_without(const char *const *others, int nothers, DjkStatement *statement, Datum *values, const char *nulls)
{
	int			guc_level = NewGUCNestLevel();
	uint64		rows;

	for (int i = 0; i < nothers; i++)
		(void) set_config_option(others[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	rows = djk_catalog_execute(statement, values, nulls);
	AtEOXact_GUC(false, guc_level);
	return rows;
}

uint64
djk_catalog_execute_by_index(DjkStatement *statement, Datum *values, const char *nulls)
{
	static const char *const others[] = {"enable_seqscan"};

	return execute_without(others, lengthof(others), statement, values, nulls);
}

uint64
djk_catalog_execute_along_index(DjkStatement *statement, Datum *values, const char *nulls)
{
	static const char *const others[] = {"enable_seqscan", "enable_bitmapscan", "enable_sort"};

	return execute_without(others, lengthof(others), statement, values, nulls);
}

uint64
djk_catalog_query_latest(DjkStatement *statement, Datum *values, const char *nulls)
{
	uint64		rows;

	PushActiveSnapshot(GetLatestSnapshot());
	rows = execute(statement, values, nulls, true);
	PopActiveSnapshot();
	return rows;
}

void
djk_catalog_require_all_seen(DjkStatement *statement, Datum *values, const char *what)
{
	if (IsolationUsesXactSnapshot() && djk_catalog_query_latest(statement, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access: another transaction has %s meanwhile", what),
				 errhint("Try the transaction again.")));
}

/* ---------- rows ---------- */

Datum
djk_row_datum(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

char *
djk_row_text(int row, int column, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	MemoryContextSwitchTo(old);
	return text;
}

int64
djk_row_int64(int row, int column, int64 if_null)
{
	bool		isnull;
	Datum		value = djk_row_datum(row, column, &isnull);

	if (isnull)
		return if_null;
	return SPI_gettypeid(SPI_tuptable->tupdesc, column) == INT8OID ?
		DatumGetInt64(value) : DatumGetInt32(value);
}

bool
djk_row_bool(int row, int column)
{
	bool		isnull;
	Datum		value = djk_row_datum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

int
djk_row_text_array(int row, int column, MemoryContext context, char ***values)
{
	bool		isnull;
	Datum		array = djk_row_datum(row, column, &isnull);
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	MemoryContext old;

	*values = NULL;
	if (isnull)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	old = MemoryContextSwitchTo(context);
	*values = palloc0((n + 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		(*values)[i] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
	MemoryContextSwitchTo(old);
	return n;
}

Datum
djk_bytea_datum(const char *bytes, int len)
{
	bytea	   *datum = palloc(VARHDRSZ + len);

	SET_VARSIZE(datum, VARHDRSZ + len);
	memcpy(VARDATA(datum), bytes, len);
	return PointerGetDatum(datum);
}

Datum
djk_text_datum(const char *text, char *null)
{
	*null = text != NULL ? ' ' : 'n';
	return text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
}

Datum
djk_bytes_datum(const char *bytes, int len, char *null)
{
	*null = bytes != NULL ? ' ' : 'n';
	return bytes != NULL ? djk_bytea_datum(bytes, len) : (Datum) 0;
}

Datum
djk_int8_array_datum(const int64 *values, int n)
{
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
djk_text_array_datum(char *const *values, int n)
{
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* ---------- home ---------- */

void
djk_home_load(DjkHome *home)
{
	static DjkStatement select_home = {
		.sql = "SELECT home, database FROM @.djkafka_home",
	};
	bool		isnull;

	if (djk_catalog_execute(&select_home, NULL, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"djkafka_home\" does not hold its one row"),
				 errhint("Restore the row, or drop and create the extension.")));
	home->id = *DatumGetUUIDP(djk_row_datum(0, 1, &isnull));
	home->database = DatumGetObjectId(djk_row_datum(0, 2, &isnull));
	home->is_clone = home->database != MyDatabaseId;
}

void
djk_home_renew(void)
{
	static DjkStatement update_home = {
		.sql = "UPDATE @.djkafka_home SET home = gen_random_uuid(), database = $1, created_at = now()",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(MyDatabaseId);

	(void) djk_catalog_execute(&update_home, &value, NULL);
}

/* Whoever comes second waits for the first, and finds it done. */
void
djk_home_renew_if_empty(void)
{
	static DjkStatement update_home = {
		.sql = "UPDATE @.djkafka_home SET home = gen_random_uuid(), database = $1, created_at = now()"
		" WHERE database <> $1 AND NOT EXISTS (SELECT FROM @.djkafka_consumer)"
		" AND NOT EXISTS (SELECT FROM @.djkafka_publication) AND NOT EXISTS (SELECT FROM @.djkafka_outbox_server)",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(MyDatabaseId);

	(void) djk_catalog_execute(&update_home, &value, NULL);
}

void
djk_home_require(DjkHome *home)
{
	djk_home_load(home);
	if (!home->is_clone)
		return;
	djk_home_renew_if_empty();
	djk_home_load(home);
}

void
djk_home_prefix(const DjkHome *home, char prefix[9])
{
	for (int i = 0; i < 4; i++)
		snprintf(prefix + 2 * i, 3, "%02x", home->id.data[i]);
}
