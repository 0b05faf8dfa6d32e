/*-------------------------------------------------------------------------
 *
 * column_renamed.c
 *	  Publications and routes follow a column that is renamed, routes the name
 *	  of their target.
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

#include "catalog/namespace.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(djkafka_column_renamed);

/* Columns are renamed with those of the parent, and of the type that a typed table is made of. */
#define RENAMED_TABLES \
	"WITH RECURSIVE tables AS (SELECT objid AS relation FROM pg_event_trigger_ddl_commands()" \
	" WHERE classid = 'pg_class'::regclass AND objsubid > 0" \
	" UNION SELECT child FROM tables JOIN (SELECT inhparent AS parent, inhrelid AS child FROM pg_inherits" \
	" UNION ALL SELECT typrelid, c.oid FROM pg_class c JOIN pg_type t ON t.oid = c.reloftype) d ON parent = relation)"

/* An object by column. */
#define RENAMED_KEY(object) \
	"CASE WHEN " object " ? $1 AND NOT " object " ? $2" \
	" THEN " object " - $1 || jsonb_build_object($2, " object "->$1) ELSE " object " END"

#define RENAMED_NAME(column)	column " = CASE " column " WHEN $1 THEN $2 ELSE " column " END"
#define RENAMED_NAMES(column)	column " = array_replace(" column ", $1, $2)"

static void
rename_in_publications(Datum *names)
{
	static DjkStatement update_publications = {
		.sql = RENAMED_TABLES
		" UPDATE @.djkafka_publication SET " RENAMED_NAMES("key_columns") ", " RENAMED_NAMES("include")
		", " RENAMED_NAMES("exclude") ", columns = " RENAMED_KEY("columns")
		" WHERE relation::oid IN (SELECT relation FROM tables)"
		" AND ($1 = ANY (key_columns || include || exclude) OR columns ? $1)",
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
		.sql = RENAMED_TABLES
		" UPDATE @.djkafka_route SET " RENAMED_NAMES("key_columns") ", " RENAMED_NAMES("include")
		", " RENAMED_NAMES("exclude") ", " RENAMED_NAME("skip_column") ", " RENAMED_NAME("version_column")
		", columns = " RENAMED_KEY("columns")
		", time_unit = CASE WHEN time_unit ~ '^\\s*\\{' THEN (" RENAMED_KEY("time_unit::jsonb") ")::text ELSE time_unit END"
		", renamed = coalesce(CASE WHEN format <> 'json' THEN renamed - $1 ELSE"
		" (SELECT jsonb_object_agg(key, value - $1) FROM jsonb_each(renamed) WHERE key <> $1) END, '{}')"
		" || jsonb_build_object($2, CASE WHEN renamed->$1 ? $1 THEN renamed->$1"
		" ELSE coalesce(renamed->$1, '[]') || to_jsonb($1) END)"
		" WHERE target::oid IN (SELECT relation FROM tables)",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};

	(void) djk_catalog_execute(&update_routes, names, NULL);
}

/* ---------- lookups, whose table is named as the route's session saw it ---------- */

typedef struct Lookup
{
	int64		route;
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

/* Those of this database's consumers that have the name in one of two options. */
static List *
find_lookups(const char *name, const char *option, const char *or_option)
{
	static DjkStatement select_lookups = {
		.sql = "SELECT r.id, l.key, r.search_path, l.value->'lookup'->>'table', o.key"
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

		lookup->route = djk_row_int64(i, 1, 0);
		lookup->column = djk_row_text(i, 2, CurrentMemoryContext);
		lookup->search_path = djk_row_text(i, 3, CurrentMemoryContext);
		lookup->table = textToQualifiedNameList(cstring_to_text(djk_row_text(i, 4, CurrentMemoryContext)));
		lookup->option = djk_row_text(i, 5, CurrentMemoryContext);
		lookups = lappend(lookups, lookup);
	}
	return lookups;
}

/* What the lookup's table is; nothing is run by that. */
static Oid
find_table(const Lookup *lookup)
{
	int			guc_level = NewGUCNestLevel();
	Oid			table;

	(void) set_config_option("search_path", lookup->search_path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	table = RangeVarGetRelid(makeRangeVarFromNameList(lookup->table), NoLock, true);
	AtEOXact_GUC(false, guc_level);
	return table;
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
	ListCell   *lc;

	foreach(lc, find_lookups(renaming->subname, "column", "returns"))
	{
		if (list_member_oid(tables, find_table(lfirst(lc))))
			update_lookup(lfirst(lc), renaming->newname);
	}
}

/* Whose table had the old name is found by the new one. */
static void
rename_table_in_lookups(const RenameStmt *renaming)
{
	static DjkStatement select_tables = {
		.sql = "SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass AND objsubid = 0"
	};
	List	   *tables = read_oids(&select_tables);
	ListCell   *lc;

	foreach(lc, find_lookups("", "table", "table"))
	{
		Lookup	   *lookup = lfirst(lc);

		if (strcmp(strVal(llast(lookup->table)), renaming->relation->relname) != 0)
			continue;
		llast(lookup->table) = makeString(pstrdup(renaming->newname));
		if (list_member_oid(tables, find_table(lookup)))
			update_lookup(lookup, NameListToQuotedString(lookup->table));
	}
}

/* ---------- targets ---------- */

/* A route knows its target by number; its name is for people, and for the day when it is dropped. */
static void
rename_targets(void)
{
	static DjkStatement update_targets = {
		.sql = "UPDATE @.djkafka_route r SET target_name = t.name"
		" FROM (SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c"
		" JOIN pg_namespace n ON n.oid = c.relnamespace) t"
		" WHERE t.oid = r.target::oid AND t.name <> r.target_name"
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
	rename_column_in_lookups(renaming);
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
