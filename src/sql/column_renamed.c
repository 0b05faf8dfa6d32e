/*-------------------------------------------------------------------------
 *
 * column_renamed.c
 *	  Publications and routes follow a column that is renamed, routes the name
 *	  of their target, versions of deleted rows the label of an enum.
 *
 * What a publication leaves out or has something else in place of must stay so
 * under the new name, and what it includes must not be left out in silence.
 * The same is true of a route, whose messages go on with the old name besides
 * until their producer follows, if it ever does: 'renamed' remembers that a
 * field of this name fills the column.  The names of columns that were dropped
 * are left alone: they may come again.
 *
 * Expressions are not rewritten: those of a publication speak of columns, those
 * of a route of the message.  What looks into a table by SQL fails, and says so.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sql/route_follow.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(djkafka_column_renamed);

/* Of a search_path. */
#define SCHEMAS_MAX		100

/* Columns are renamed with those of the parent, and of the type that a typed table is made of. */
#define RENAMED_TABLES \
	"WITH RECURSIVE tables AS (SELECT objid AS relation FROM pg_event_trigger_ddl_commands()" \
	" WHERE classid = 'pg_class'::regclass AND objsubid > 0" \
	" UNION SELECT child FROM tables JOIN (SELECT inhparent AS parent, inhrelid AS child FROM pg_inherits" \
	" UNION ALL SELECT typrelid, c.oid FROM pg_class c JOIN pg_type t ON t.oid = c.reloftype) d ON parent = relation)"

/*
 * The new name may be there already.  As a column's it is that of one that was
 * dropped, and goes to the one that has it now.  A field of a publication need not
 * be a column: it stays what it is, and stands in place of the one that takes its
 * name.
 */
#define RENAMED_KEY(object) \
	"CASE WHEN " object " ? $1 THEN " object " - $1 || jsonb_build_object($2, " object "->$1) ELSE " object " END"
#define RENAMED_FIELD(object) \
	"CASE WHEN " object " ? $2 THEN " object " ELSE " RENAMED_KEY(object) " END"

#define RENAMED_NAME(column)	column " = CASE " column " WHEN $1 THEN $2 ELSE " column " END"
#define RENAMED_NAMES(column) \
	column " = CASE WHEN $1 = ANY (" column ")" \
	" THEN ARRAY(SELECT CASE n WHEN $1 THEN $2 ELSE n END FROM unnest(" column ") n WHERE n <> $2) ELSE " column " END"

/* What an outbox has by default is mapped from then on. */
#define RENAMED_ROLE \
	"(SELECT jsonb_object_agg(key, CASE value WHEN $1 THEN $2 ELSE value END) FROM (" \
	"SELECT key, value FROM jsonb_each_text(coalesce(columns, '{}')) UNION ALL" \
	" SELECT $1, $1 WHERE $1 IN ('id', 'aggregatetype', 'aggregateid', 'type', 'payload', 'timestamp')" \
	" AND NOT coalesce(columns, '{}') ? $1) r)"

static void
rename_in_publications(Datum *names)
{
	static DjkStatement update_publications = {
		.sql = RENAMED_TABLES
		" UPDATE @.djkafka_publication SET " RENAMED_NAMES("key_columns") ", " RENAMED_NAMES("include")
		", " RENAMED_NAMES("exclude") ", " RENAMED_NAMES("omit_nulls") ", " RENAMED_NAMES("headers")
		", columns = CASE shape WHEN 'outbox' THEN " RENAMED_ROLE " ELSE " RENAMED_FIELD("columns") " END"
		" WHERE relation::oid IN (SELECT relation FROM tables)"
		" AND ($1 = ANY (key_columns || include || exclude || omit_nulls || headers) OR columns ? $1 OR shape = 'outbox')",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};

	(void) djk_catalog_execute(&update_publications, names, NULL);
}

/*
 * A name belongs to the column that had it last, but for the parts of a message:
 * who holds one goes on holding it, by the first of its names, though another
 * column may have been made to hold it as well.
 */
static void
rename_in_routes(Datum *names)
{
	static DjkStatement update_routes = {
		.sql = RENAMED_TABLES ", " DJK_ROUTES_OF("SELECT relation FROM tables")
		" UPDATE @.djkafka_route SET " RENAMED_NAMES("key_columns") ", " RENAMED_NAMES("include")
		", " RENAMED_NAMES("exclude") ", " RENAMED_NAME("skip_column") ", " RENAMED_NAME("version_column")
		", columns = " RENAMED_KEY("columns")
		/* The white space of JSON: what the check of a route takes for an object, and nothing else. */
		", time_unit = CASE WHEN time_unit ~ '^[ \\t\\n\\r]*\\{' THEN (" RENAMED_KEY("time_unit::jsonb") ")::text ELSE time_unit END"
		", renamed = coalesce(CASE WHEN format IN ('text', 'raw') THEN renamed - $1 ELSE"
		" (SELECT jsonb_object_agg(key, value - $1) FROM jsonb_each(renamed) WHERE key <> $1) END, '{}')"
		" || jsonb_build_object($2, CASE WHEN renamed->$1 ? $1 THEN renamed->$1"
		" ELSE coalesce(renamed->$1, '[]') || to_jsonb($1) END)"
		" WHERE id IN (SELECT id FROM routes)",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};

	(void) djk_catalog_execute(&update_routes, names, NULL);
}

/* What is remembered under the new name was so of a column that is gone. */
static void
rename_in_deleted(Datum *names)
{
	static DjkStatement delete_deleted = {
		.sql = RENAMED_TABLES
		" DELETE FROM @.djkafka_deleted WHERE target::oid IN (SELECT relation FROM tables) AND $1 = ANY (columns)",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static DjkStatement update_deleted = {
		.sql = RENAMED_TABLES
		" UPDATE @.djkafka_deleted SET " RENAMED_NAMES("columns")
		" WHERE target::oid IN (SELECT relation FROM tables) AND $1 = ANY (columns)",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};

	(void) djk_catalog_execute(&delete_deleted, names + 1, NULL);
	(void) djk_catalog_execute(&update_deleted, names, NULL);
}

/* What a publication or a route that nobody has renamed in hides would be shown. */
static void
require_all_seen(void)
{
	static DjkStatement select_seen = {
		.sql = RENAMED_TABLES
		" SELECT ARRAY(SELECT id FROM @.djkafka_publication WHERE relation::oid IN (SELECT relation FROM tables)),"
		" ARRAY(SELECT id FROM @.djkafka_route WHERE target::oid IN (SELECT relation FROM tables))"
	};
	static DjkStatement select_unseen = {
		.sql = RENAMED_TABLES
		" SELECT FROM @.djkafka_publication WHERE relation::oid IN (SELECT relation FROM tables) AND id <> ALL ($1)"
		" UNION ALL SELECT FROM @.djkafka_route r JOIN @.djkafka_consumer c ON c.id = r.consumer_id"
		" JOIN @.djkafka_home h ON h.home = c.home WHERE target::oid IN (SELECT relation FROM tables) AND r.id <> ALL ($2)"
		" LIMIT 1",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		seen[2];
	bool		isnull;

	if (!IsolationUsesXactSnapshot())
		return;
	(void) djk_catalog_execute(&select_seen, NULL, NULL);
	seen[0] = djk_row_datum(0, 1, &isnull);
	seen[1] = djk_row_datum(0, 2, &isnull);
	djk_catalog_require_all_seen(&select_unseen, seen, "published or subscribed the table");
}

/* ---------- labels of enums ---------- */

/*
 * The enum, and the domains over it; and where what is remembered of rows that have
 * one is.  Anybody may have a table with a column of it, and keep that locked: for
 * what is of other owners nobody waits.
 */
#define RENAMED_ENUMS \
	"WITH RECURSIVE renamed AS MATERIALIZED (SELECT t.oid, t.typowner FROM pg_event_trigger_ddl_commands()" \
	" JOIN pg_type t ON t.oid = objid WHERE classid = 'pg_type'::regclass)," \
	" enums AS (SELECT oid AS type FROM renamed UNION SELECT t.oid FROM pg_type t JOIN enums ON t.typbasetype = type)," \
	" e AS (SELECT array_agg(type) AS list FROM enums)," \
	" named AS MATERIALIZED (SELECT d.ctid AS place, EXISTS (SELECT FROM pg_class c JOIN renamed ON typowner = c.relowner" \
	"  WHERE c.oid = d.target::oid) AS is_own FROM @.djkafka_deleted d, e WHERE d.types::oid[] && e.list)," \
	" free AS MATERIALIZED (SELECT ctid AS place FROM @.djkafka_deleted" \
	"  WHERE ctid IN (SELECT place FROM named WHERE NOT is_own) FOR UPDATE SKIP LOCKED)," \
	" places AS (SELECT place, true AS is_own FROM named WHERE is_own UNION ALL SELECT place, false FROM free)"

#define KEY_PARTS	"jsonb_array_elements(key::jsonb) WITH ORDINALITY k (part, n)"

/* A key with the new label. */
#define RENAMED_PARTS \
	"(SELECT coalesce(jsonb_agg(CASE WHEN part = to_jsonb($1) AND types[n]::oid = ANY (e.list)" \
	" THEN to_jsonb($2) ELSE part END ORDER BY n), '[]')::text FROM " KEY_PARTS ")"

/* There may be no room in the index for what is longer. */
#define KEY_MAX_BYTES	"2500"

/*
 * A version that is remembered under the old label could not be read any more,
 * and a key not be found.  What has the new one already is of no row.  A key that
 * becomes too long is forgotten, and so is one of another owner: its new one may be
 * just being written, and would be waited for.
 */
static void
rename_label_in_deleted(const AlterEnumStmt *renaming)
{
	static DjkStatement delete_deleted = {
		.sql = RENAMED_ENUMS
		" DELETE FROM @.djkafka_deleted d USING e, places p WHERE d.ctid = p.place"
		" AND (EXISTS (SELECT FROM " KEY_PARTS " WHERE part = to_jsonb($2) AND types[n]::oid = ANY (e.list))"
		" OR (key <> " RENAMED_PARTS " AND (NOT is_own OR octet_length(" RENAMED_PARTS ") > " KEY_MAX_BYTES ")))",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	static DjkStatement update_deleted = {
		.sql = RENAMED_ENUMS
		" UPDATE @.djkafka_deleted d SET"
		" version = CASE WHEN version = $1 AND types[cardinality(types)]::oid = ANY (e.list) THEN $2 ELSE version END,"
		" key = " RENAMED_PARTS
		" FROM e, places p WHERE d.ctid = p.place",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	Datum		labels[2];

	if (renaming->oldVal == NULL)
		return;
	labels[0] = CStringGetTextDatum(renaming->oldVal);
	labels[1] = CStringGetTextDatum(renaming->newVal);
	(void) djk_catalog_execute(&delete_deleted, labels, NULL);
	(void) djk_catalog_execute(&update_deleted, labels, NULL);
}

/* ---------- lookups, whose table is named as the route's session saw it ---------- */

typedef struct Lookup
{
	int64		route;
	Oid			owner;			/* of the consumer, who looks it up */
	char	   *column;			/* that is looked up */
	char	   *search_path;
	List	   *table;			/* its name */
	char	   *option;			/* what is to be changed: column, returns or table */
} Lookup;

static List *
read_oids(DjkStatement *statement)
{
	int			n = (int) djk_catalog_execute(statement, NULL, NULL);
	List	   *oids = NIL;

	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		oids = lappend_oid(oids, DatumGetObjectId(djk_row_datum(i, 1, &isnull)));
	}
	return oids;
}

/*
 * The name of a lookup's table; NIL if it has none.  That of a route without a
 * target nobody has checked, and it is no reason to fail for whoever renames
 * something else.
 */
static List *
read_table(char *text)
{
	List	   *parts;
	List	   *names = NIL;
	ListCell   *lc;

	if (text == NULL || !SplitIdentifierString(text, '.', &parts))
		return NIL;
	foreach(lc, parts)
		names = lappend(names, makeString(lfirst(lc)));
	return names;
}

/* Those of this database's consumers that have the name in one of two options. */
static List *
find_lookups(const char *name, const char *option, const char *or_option)
{
	static DjkStatement select_lookups = {
		.sql = "SELECT r.id, c.owner::oid, l.key, r.search_path, l.value->'lookup'->>'table', o.key"
		" FROM @.djkafka_route r JOIN @.djkafka_consumer c ON c.id = r.consumer_id JOIN @.djkafka_home h ON h.home = c.home,"
		" jsonb_each(r.columns) l, jsonb_each_text(l.value->'lookup') o"
		" WHERE jsonb_typeof(l.value) = 'object' AND jsonb_typeof(l.value->'lookup') = 'object'"
		" AND o.key IN ($2, $3) AND (o.value = $1 OR o.key = 'table')",
		.nargs = 3,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {CStringGetTextDatum(name), CStringGetTextDatum(option), CStringGetTextDatum(or_option)};
	int			n = (int) djk_catalog_execute(&select_lookups, values, NULL);
	List	   *lookups = NIL;

	for (int i = 0; i < n; i++)
	{
		Lookup	   *lookup = palloc(sizeof(Lookup));
		bool		isnull;

		lookup->route = djk_row_int64(i, 1, 0);
		lookup->owner = DatumGetObjectId(djk_row_datum(i, 2, &isnull));
		lookup->column = djk_row_text(i, 3, CurrentMemoryContext);
		lookup->search_path = djk_row_text(i, 4, CurrentMemoryContext);
		lookup->table = read_table(djk_row_text(i, 5, CurrentMemoryContext));
		lookup->option = djk_row_text(i, 6, CurrentMemoryContext);
		if (lookup->table != NIL)
			lookups = lappend(lookups, lookup);
	}
	return lookups;
}

/*
 * The schemas in which a worker looks for the lookup's table, the first first.
 * Not those of this session: temporary tables of whoever renames one are no
 * worker's, and "$user" is the consumer's owner.
 */
static int
find_schemas(const Lookup *lookup, Oid *schemas, int max)
{
	int			nnames = list_length(lookup->table);
	int			guc_level;
	int			sec_context;
	int			n;
	Oid			caller;

	if (nnames > 1)
	{
		schemas[0] = get_namespace_oid(strVal(list_nth(lookup->table, nnames - 2)), true);
		return OidIsValid(schemas[0]) ? 1 : 0;
	}
	GetUserIdAndSecContext(&caller, &sec_context);
	SetUserIdAndSecContext(lookup->owner, sec_context);
	guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", lookup->search_path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	n = fetch_search_path_array(schemas, max);
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(caller, sec_context);
	return Min(n, max);
}

/* Whether the lookup finds a table that is called so, or was until now, and not another one before it. */
static bool
finds(const Lookup *lookup, const char *name, Oid table)
{
	Oid			schema = get_rel_namespace(table);
	Oid			schemas[SCHEMAS_MAX];
	int			n;

	if (strcmp(strVal(llast(lookup->table)), name) != 0)
		return false;
	n = find_schemas(lookup, schemas, SCHEMAS_MAX);
	for (int i = 0; i < n; i++)
	{
		if (schemas[i] == schema)
			return true;
		if (OidIsValid(get_relname_relid(name, schemas[i])))
			return false;
	}
	return false;
}

static void
update_lookup(const Lookup *lookup, const char *value)
{
	static DjkStatement update_lookup = {
		.sql = "UPDATE @.djkafka_route SET columns = jsonb_set(columns, ARRAY[$2, 'lookup', $3], to_jsonb($4)) WHERE id = $1",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[4] = {
		Int64GetDatum(lookup->route), CStringGetTextDatum(lookup->column),
		CStringGetTextDatum(lookup->option), CStringGetTextDatum(value)
	};

	(void) djk_catalog_execute(&update_lookup, values, NULL);
}

static void
rename_column_in_lookups(const RenameStmt *renaming)
{
	static DjkStatement select_tables = {.sql = RENAMED_TABLES " SELECT relation FROM tables"};
	List	   *tables = read_oids(&select_tables);
	List	   *lookups = find_lookups(renaming->subname, "column", "returns");
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, lookups)
	{
		foreach(lc2, tables)
		{
			if (finds(lfirst(lc), get_rel_name(lfirst_oid(lc2)), lfirst_oid(lc2)))
				update_lookup(lfirst(lc), renaming->newname);
		}
	}
}

/* Under its new name it may be behind another one. */
static void
rename_table_in_lookup(Lookup *lookup, const char *name, Oid table)
{
	llast(lookup->table) = makeString(pstrdup(name));
	if (!finds(lookup, name, table))
		lookup->table = list_make2(makeString(get_namespace_name(get_rel_namespace(table))), llast(lookup->table));
	update_lookup(lookup, NameListToQuotedString(lookup->table));
}

static void
rename_table_in_lookups(const RenameStmt *renaming)
{
	static DjkStatement select_tables = {
		.sql = "SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass AND objsubid = 0"
	};
	List	   *tables = read_oids(&select_tables);
	List	   *lookups = find_lookups("", "table", "table");
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, tables)
	{
		foreach(lc2, lookups)
		{
			if (finds(lfirst(lc2), renaming->relation->relname, lfirst_oid(lc)))
				rename_table_in_lookup(lfirst(lc2), renaming->newname, lfirst_oid(lc));
		}
	}
}

/* ---------- targets ---------- */

/* A route knows its target by number; its name is for people, and for the day when it is dropped. */
static void
rename_targets(void)
{
	static DjkStatement update_targets = {
		.sql = "WITH t AS (SELECT r.id, c.oid, format('%I.%I', n.nspname, c.relname) AS name FROM @.djkafka_route r"
		"  JOIN pg_class c ON c.oid = r.target::oid JOIN pg_namespace n ON n.oid = c.relnamespace"
		"  WHERE format('%I.%I', n.nspname, c.relname) <> r.target_name), " DJK_ROUTES_OF("SELECT oid FROM t")
		" UPDATE @.djkafka_route r SET target_name = t.name FROM t WHERE t.id = r.id AND r.id IN (SELECT id FROM routes)"
	};

	(void) djk_catalog_execute(&update_targets, NULL, NULL);
}

static void
follow(const Node *statement)
{
	const RenameStmt *renaming = (const RenameStmt *) statement;
	Datum		names[2];

	if (!IsA(statement, RenameStmt))
	{
		if (IsA(statement, AlterObjectSchemaStmt))
			rename_targets();
		else if (IsA(statement, AlterEnumStmt))
			rename_label_in_deleted((const AlterEnumStmt *) statement);
		return;
	}
	if (renaming->renameType != OBJECT_COLUMN && renaming->renameType != OBJECT_ATTRIBUTE)
	{
		rename_targets();
		if (renaming->relation != NULL)
			rename_table_in_lookups(renaming);
		return;
	}
	names[0] = CStringGetTextDatum(renaming->subname);
	names[1] = CStringGetTextDatum(renaming->newname);
	rename_in_publications(names);
	rename_in_routes(names);
	rename_in_deleted(names);
	rename_column_in_lookups(renaming);
	require_all_seen();
}

Datum
djkafka_column_renamed(PG_FUNCTION_ARGS)
{
	Oid			extension;
	Oid			schema;
	DjkIdentity identity;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_column_renamed must be called as an event trigger");
	if (!djk_catalog_find(&extension, &schema) || !OidIsValid(djk_catalog_table("djkafka_publication")))
		PG_RETURN_NULL();
	djk_catalog_enter(&identity);
	follow((Node *) ((EventTriggerData *) fcinfo->context)->parsetree);
	djk_catalog_leave(&identity);
	PG_RETURN_NULL();
}
