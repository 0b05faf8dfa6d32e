/*-------------------------------------------------------------------------
 *
 * publish_sql.c
 *	  A published table, and the SQL that turns its rows into messages.
 *
 * One statement of ours for each statement on the table, over its transition
 * tables.  An inserted row gives its message, a deleted one a tombstone.  Of an
 * update, old and new rows are two sets: keys that are only among the old are
 * tombstones (the key was changed, or the filter no longer lets the row pass),
 * new rows are messages unless an old one has the same key and value.
 *
 * A trigger of the user's may change a row of the table again before ours
 * fires; what our transition table holds is then older than what that change
 * has published.  Where the table has such triggers, and its key an index, the
 * transition tables only say which keys were touched, and rows are read from
 * the table.  So they are where the key's constraint is deferrable: one of two
 * rows may leave a key that the other keeps.
 *
 * Virtual columns (PostgreSQL 18) are computed by whoever reads the table.
 * Nobody does so for a transition table: reading one from it is an error.  Here
 * the statement computes them.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publication.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"

#define TRIGGER_FUNCTION	"djkafka_publish_trigger"
/* pg_attribute.attgenerated of a virtual column. */
#define GENERATED_VIRTUAL	'v'

/*
 * What the rows of an update were and are.  Expressions see these names, so they
 * are none that a table of the user's has.
 */
#define ROWS_WERE			"djkafka_was"
#define ROWS_NOW			"djkafka_now"

/* ---------- the table ---------- */

static Form_pg_attribute
find_column(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	return NULL;
}

static bool
is_listed(const char *name, char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* The columns of the key; whether they have a unique index. */
static bool
find_key(DjkPublishTable *table)
{
	const DjkPublicationRow *row = table->row;
	TupleDesc	desc = RelationGetDescr(table->rel);
	List	   *indexes = RelationGetIndexList(table->rel);
	bool		unique = false;
	bool		immediate = false;
	ListCell   *lc;

	table->keys = row->key_columns;
	table->nkeys = row->nkey_columns;
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		plain = form->indisunique && form->indisvalid &&
			RelationGetIndexPredicate(index) == NIL && RelationGetIndexExpressions(index) == NIL;

		if (row->nkey_columns == 0 && form->indisprimary)
		{
			table->nkeys = form->indnkeyatts;
			table->keys = palloc(table->nkeys * sizeof(char *));
			for (int i = 0; i < table->nkeys; i++)
				table->keys[i] = pstrdup(NameStr(TupleDescAttr(desc, form->indkey.values[i] - 1)->attname));
			unique = true;
			immediate |= form->indimmediate;
		}
		else if (plain && form->indnkeyatts == row->nkey_columns)
		{
			bool		same = true;

			for (int i = 0; i < form->indnkeyatts && same; i++)
				same = is_listed(NameStr(TupleDescAttr(desc, form->indkey.values[i] - 1)->attname),
								 row->key_columns, row->nkey_columns);
			unique |= same;
			immediate |= same && form->indimmediate;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	table->deferrable = unique && !immediate;
	return unique;
}

static void
require_key(DjkPublishTable *table)
{
	const char *name = RelationGetRelationName(table->rel);

	if (table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("\"%s\" has no primary key", name),
				 errhint("Name the columns that identify a row with key_columns => ARRAY[...].")));
	if (table->row->key_is_text && table->nkeys > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key of %d columns cannot be text", table->nkeys),
				 errhint("Use key_format => 'json'.")));
	table->key_types = palloc(table->nkeys * sizeof(Oid));
	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute att = find_column(table->rel, table->keys[i]);

		if (att == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", table->keys[i], name),
					 errdetail("It is named in key_columns of the publication."),
					 errhint("Change djkafka_publication.key_columns, or end the publication with djkafka_unpublish.")));
		if (!att->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("key column \"%s\" of \"%s\" may be null", table->keys[i], name),
					 errhint("Declare it NOT NULL, or name other key_columns.")));
		table->key_types[i] = att->atttypid;
	}
}

/* The table is not locked: a partition may be somebody else's at work. */
static bool
has_other_trigger(Relation triggers, Oid table)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		char	   *function = get_func_name(trigger->tgfoid);

		found = !trigger->tgisinternal && trigger->tgenabled != TRIGGER_DISABLED &&
			(function == NULL || strcmp(function, TRIGGER_FUNCTION) != 0);
	}
	systable_endscan(scan);
	return found;
}

/* Whether somebody may change a row between a statement and our trigger. */
static bool
has_other_triggers(const DjkPublishTable *table)
{
	const List *tables = table->partitions != NIL ? table->partitions : list_make1_oid(RelationGetRelid(table->rel));
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, tables)
		found = found || has_other_trigger(triggers, lfirst_oid(lc));
	table_close(triggers, AccessShareLock);
	return found;
}

/*
 * Whether the transition tables may lack stored generated columns: a row that
 * is routed to a partition whose columns lie otherwise than the root's is kept
 * there as it came.
 */
static bool
lacks_stored_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attgenerated == ATTRIBUTE_GENERATED_STORED)
			return true;
	}
	return false;
}

/* What Debezium's event router takes the columns of an outbox to be. */
static void
require_outbox_columns(Relation rel)
{
	static const char *const names[] = {"id", "aggregatetype", "aggregateid", "type", "payload"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (find_column(rel, names[i]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", names[i], RelationGetRelationName(rel)),
					 errdetail("An outbox has the columns id, aggregatetype, aggregateid, type and payload."),
					 errhint("Publish any other table with djkafka_publish.")));
	}
}

static void
append_generation(StringInfo sql, const DjkPublishTable *table, Form_pg_attribute att)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	List	   *context = deparse_context_for("djk_v", RelationGetRelid(table->rel));

	for (int i = 0; i < desc->constr->num_defval; i++)
	{
		const AttrDefault *generation = &desc->constr->defval[i];

		if (generation->adnum != att->attnum)
			continue;
		appendStringInfo(sql, "(%s)", deparse_expression(stringToNode(generation->adbin), context, true, true));
		if (OidIsValid(att->attcollation))
			appendStringInfo(sql, " COLLATE %s", generate_collation_name(att->attcollation));
		appendStringInfo(sql, " AS %s", quote_identifier(NameStr(att->attname)));
		return;
	}
	elog(ERROR, "no generation expression found for column number %d of table \"%s\"", att->attnum,
		 RelationGetRelationName(table->rel));
}

/* A transition table, with its virtual columns. */
static char *
transition_rows(const DjkPublishTable *table, const char *name)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	bool		computed = false;
	bool		first = true;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT ");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfoString(&sql, first ? "" : ", ");
		first = false;
		if (att->attgenerated == GENERATED_VIRTUAL)
		{
			computed = true;
			append_generation(&sql, table, att);
		}
		else
			appendStringInfo(&sql, "djk_v.%s", quote_identifier(NameStr(att->attname)));
	}
	appendStringInfo(&sql, " FROM %s AS djk_v)", name);
	return computed ? sql.data : pstrdup(name);
}

void
djk_publish_table_init(DjkPublishTable *table, const DjkPublicationRow *row, Relation rel,
					   const List *partitions)
{
	const char *alias = RelationGetRelationName(rel);

	memset(table, 0, sizeof(*table));
	table->row = row;
	table->rel = rel;
	table->partitions = partitions;
	table->name = pstrdup(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), alias));
	table->alias = pstrdup(quote_identifier(alias));
	table->old_rows = transition_rows(table, DJK_PUBLISH_OLD);
	table->new_rows = transition_rows(table, DJK_PUBLISH_NEW);
	if (row->is_outbox)
		require_outbox_columns(rel);
	else
	{
		bool		unique = find_key(table);

		require_key(table);
		table->hidden = check_enable_rls(RelationGetRelid(rel), rel->rd_rel->relowner, true) == RLS_ENABLED;
		table->read_back = unique && !table->hidden &&
			(table->deferrable || has_other_triggers(table) || lacks_stored_columns(rel));
	}
}

/* ---------- pieces ---------- */

static void
append_key_list(StringInfo sql, const DjkPublishTable *table, const char *alias)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%s%s.%s", i > 0 ? ", " : "", alias, quote_identifier(table->keys[i]));
}

static void
append_parameters(StringInfo sql, int first, int n)
{
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s$%d", i > 0 ? ", " : "", first + i);
}

/*
 * The rows that are published of a source, as djk_value and djk_key.  What
 * stands to the left of an expression is what it sees: the row alone.
 */
static void
append_rows(StringInfo sql, const DjkPublishTable *table, const char *source)
{
	const DjkPublicationRow *row = table->row;
	TupleDesc	desc = RelationGetDescr(table->rel);
	bool		first = true;

	appendStringInfo(sql, "(SELECT * FROM %s AS %s", source, table->alias);
	if (row->filter != NULL)
		appendStringInfo(sql, " WHERE (%s\n)", row->filter);
	appendStringInfo(sql, ") AS %s CROSS JOIN LATERAL (SELECT ", table->alias);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (TupleDescAttr(desc, i)->attisdropped || is_listed(name, row->exclude, row->nexclude) ||
			(row->include != NULL && !is_listed(name, row->include, row->ninclude)) ||
			is_listed(name, row->column_names, row->ncolumns))
			continue;
		appendStringInfo(sql, "%s%s.%s", first ? "" : ", ", table->alias, quote_identifier(name));
		first = false;
	}
	for (int i = 0; i < row->ncolumns; i++)
	{
		appendStringInfo(sql, "%s(%s\n) AS %s", first ? "" : ", ", row->column_expressions[i],
						 quote_identifier(row->column_names[i]));
		first = false;
	}
	appendStringInfoString(sql, ") AS djk_value CROSS JOIN LATERAL (SELECT ");
	append_key_list(sql, table, table->alias);
	appendStringInfoString(sql, ") AS djk_key");
}

static void
append_key(StringInfo sql, const DjkPublishTable *table)
{
	if (table->row->key_is_text)
		appendStringInfo(sql, "djk_key.%s::pg_catalog.text", quote_identifier(table->keys[0]));
	else
		appendStringInfoString(sql, "pg_catalog.row_to_json(djk_key)::pg_catalog.text");
	appendStringInfoString(sql, " COLLATE pg_catalog.\"C\" AS k");
}

static void
append_select(StringInfo sql, const DjkPublishTable *table, bool with_value, const char *source)
{
	appendStringInfoString(sql, "SELECT ");
	append_key(sql, table);
	appendStringInfoString(sql, with_value ?
						   ", pg_catalog.row_to_json(djk_value)::pg_catalog.text COLLATE pg_catalog.\"C\" AS v FROM " :
						   ", NULL::pg_catalog.text AS v FROM ");
	append_rows(sql, table, source);
}

/*
 * The rows of the table whose keys are in the transition tables, each found by
 * its index however many the planner expects.
 */
static char *
current_rows(const DjkPublishTable *table, const char *first, const char *second)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT djk_t.* FROM (SELECT ");
	append_key_list(&sql, table, "djk_r");
	appendStringInfo(&sql, " FROM %s AS djk_r", first);
	if (second != NULL)
	{
		appendStringInfoString(&sql, " UNION SELECT ");
		append_key_list(&sql, table, "djk_r");
		appendStringInfo(&sql, " FROM %s AS djk_r", second);
	}
	appendStringInfo(&sql, ") AS djk_k CROSS JOIN LATERAL (SELECT * FROM %s AS djk_s WHERE (", table->name);
	append_key_list(&sql, table, "djk_s");
	appendStringInfoString(&sql, ") = (");
	append_key_list(&sql, table, "djk_k");
	appendStringInfoString(&sql, ") OFFSET 0) AS djk_t)");
	return sql.data;
}

/* ---------- statements ---------- */

static void
append_delete(StringInfo sql, const DjkPublishTable *table)
{
	if (!table->read_back)
	{
		append_select(sql, table, false, table->old_rows);
		return;
	}
	appendStringInfoString(sql, "WITH " ROWS_NOW " AS MATERIALIZED (");
	append_select(sql, table, true, current_rows(table, table->old_rows, NULL));
	appendStringInfoString(sql, "), " ROWS_WERE " AS MATERIALIZED (");
	append_select(sql, table, false, table->old_rows);
	appendStringInfoString(sql, ") SELECT k, v FROM " ROWS_WERE " o WHERE NOT EXISTS (SELECT FROM " ROWS_NOW " n"
						   " WHERE n.k OPERATOR(pg_catalog.=) o.k)");
	/* The other row of the key may not be what was published last. */
	if (table->deferrable)
		appendStringInfoString(sql, " UNION ALL SELECT k, v FROM " ROWS_NOW);
}

static void
append_update(StringInfo sql, const DjkPublishTable *table)
{
	appendStringInfoString(sql, "WITH " ROWS_NOW " AS MATERIALIZED (");
	append_select(sql, table, true, table->read_back ?
				  current_rows(table, table->new_rows, table->old_rows) : table->new_rows);
	appendStringInfoString(sql, "), " ROWS_WERE " AS MATERIALIZED (");
	append_select(sql, table, true, table->old_rows);
	appendStringInfoString(sql, ") SELECT k, NULL::pg_catalog.text AS v FROM " ROWS_WERE " o"
						   " WHERE NOT EXISTS (SELECT FROM " ROWS_NOW " n WHERE n.k OPERATOR(pg_catalog.=) o.k)"
						   " UNION ALL SELECT k, v FROM " ROWS_NOW " n"
						   " WHERE NOT EXISTS (SELECT FROM " ROWS_WERE " o WHERE o.k OPERATOR(pg_catalog.=) n.k"
						   " AND o.v OPERATOR(pg_catalog.=) n.v)");
}

/* A row that its owner cannot see would be left out in silence. */
static void
require_visible(const DjkPublishTable *table)
{
	if (!table->hidden)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("row-level security may hide rows of \"%s\" from its owner", RelationGetRelationName(table->rel)),
			 errdetail("The table is read with the rights of its owner."),
			 errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY, or give the owner BYPASSRLS.")));
}

static void
append_bound(StringInfo sql, const DjkPublishTable *table, bool first_chunk)
{
	int			next = first_chunk ? 1 : table->nkeys + 1;

	appendStringInfoString(sql, "SELECT ");
	append_key_list(sql, table, "djk_t");
	appendStringInfo(sql, " FROM %s AS djk_t", table->name);
	if (!first_chunk)
	{
		appendStringInfoString(sql, " WHERE (");
		append_key_list(sql, table, "djk_t");
		appendStringInfoString(sql, ") > (");
		append_parameters(sql, 1, table->nkeys);
		appendStringInfoChar(sql, ')');
	}
	appendStringInfoString(sql, " ORDER BY ");
	append_key_list(sql, table, "djk_t");
	appendStringInfo(sql, " OFFSET $%d LIMIT 1", next);
}

/* Rows are locked in the order of their key, before anything is made of them. */
static void
append_chunk(StringInfo sql, const DjkPublishTable *table, bool first_chunk, bool last_chunk)
{
	StringInfoData source;
	int			next = 1;

	initStringInfo(&source);
	appendStringInfo(&source, "(SELECT * FROM %s AS djk_t WHERE true", table->name);
	if (!first_chunk)
	{
		appendStringInfoString(&source, " AND (");
		append_key_list(&source, table, "djk_t");
		appendStringInfoString(&source, ") > (");
		append_parameters(&source, next, table->nkeys);
		appendStringInfoChar(&source, ')');
		next += table->nkeys;
	}
	if (!last_chunk)
	{
		appendStringInfoString(&source, " AND (");
		append_key_list(&source, table, "djk_t");
		appendStringInfoString(&source, ") <= (");
		append_parameters(&source, next, table->nkeys);
		appendStringInfoChar(&source, ')');
	}
	appendStringInfoString(&source, " ORDER BY ");
	append_key_list(&source, table, "djk_t");
	appendStringInfoString(&source, " FOR SHARE)");
	append_select(sql, table, true, source.data);
}

/* The message of an outbox' row: what Debezium's event router makes of it by default. */
static void
append_outbox(StringInfo sql, const DjkPublishTable *table)
{
	Form_pg_attribute payload = find_column(table->rel, "payload");
	Form_pg_attribute time = find_column(table->rel, "timestamp");
	const char *event_time = "NULL::pg_catalog.timestamptz";

	if (time != NULL && (time->atttypid == TIMESTAMPTZOID || time->atttypid == TIMESTAMPOID))
		event_time = "djk_t.\"timestamp\"::pg_catalog.timestamptz";
	else if (time != NULL && time->atttypid == INT8OID)
		event_time = "pg_catalog.to_timestamp(djk_t.\"timestamp\" OPERATOR(pg_catalog./) 1000.0::pg_catalog.float8)";
	appendStringInfo(sql, "SELECT djk_t.aggregateid::pg_catalog.text AS k, djk_t.payload%s AS v,"
					 " %s OPERATOR(pg_catalog.||) djk_t.aggregatetype::pg_catalog.text AS topic,"
					 " djk_t.id::pg_catalog.text AS id, djk_t.type::pg_catalog.text AS type, %s AS time FROM %s AS djk_t",
					 payload->atttypid == BYTEAOID ? "" : "::pg_catalog.text",
					 quote_literal_cstr(table->row->topic), event_time, table->new_rows);
}

char *
djk_publish_sql(const DjkPublishTable *table, DjkPublishEvent event, bool first_chunk, bool last_chunk)
{
	StringInfoData sql;

	initStringInfo(&sql);
	switch (event)
	{
		case DJK_PUBLISH_INSERT:
			if (table->row->is_outbox)
				append_outbox(&sql, table);
			else
				append_select(&sql, table, true, table->read_back ?
							  current_rows(table, table->new_rows, NULL) : table->new_rows);
			break;
		case DJK_PUBLISH_UPDATE:
			append_update(&sql, table);
			break;
		case DJK_PUBLISH_DELETE:
			append_delete(&sql, table);
			break;
		case DJK_PUBLISH_TRUNCATE:
			require_visible(table);
			append_select(&sql, table, false, table->name);
			break;
		case DJK_PUBLISH_BOUND:
			require_visible(table);
			append_bound(&sql, table, first_chunk);
			break;
		case DJK_PUBLISH_CHUNK:
			append_chunk(&sql, table, first_chunk, last_chunk);
			break;
		case DJK_PUBLISH_EVENTS:
			Assert(false);
			break;
	}
	return sql.data;
}

char *
djk_publish_sql_delete(const DjkPublishTable *table)
{
	return psprintf("DELETE FROM %s AS djk_t USING %s AS djk_n WHERE djk_t.id = djk_n.id",
					table->name, table->new_rows);
}
