/*-------------------------------------------------------------------------
 *
 * publish_sql.c
 *	  The SQL that turns the rows of a published table into messages.
 *
 * One statement of ours for each statement on the table, over its transition
 * tables.  An inserted row gives its message, a deleted one a tombstone.  Of an
 * update, old and new rows are two sets: keys that are only among the old are
 * tombstones (the key was changed, or the filter no longer lets the row pass),
 * new rows are messages unless an old one has the same key and value.
 *
 * Keys are compared with the operators of their types' default operator
 * classes, which unique indexes and ORDER BY have too, wherever they are: by its
 * name "=" may not be found in the publication's search_path, or be another.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publication.h"

#include "access/stratnum.h"
#include "base/operator.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/*
 * What the rows of an update were and are.  Expressions see these names, so they
 * are none that a table of the user's has.
 */
#define ROWS_WERE			"djkafka_was"
#define ROWS_NOW			"djkafka_now"

/* What a row's fields and its key are called, unless something of the user's is. */
#define VALUE_ROW			"djk_value"
#define KEY_ROW				"djk_key"

/* ---------- pieces ---------- */

static void
append_key_list(StringInfo sql, const DjkPublishTable *table, const char *alias)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%s%s.%s", i > 0 ? ", " : "", alias, quote_identifier(table->keys[i]));
}

static bool
is_text(Oid type)
{
	type = getBaseType(type);
	return type == TEXTOID || type == VARCHAROID;
}

/* A column of the key as the one spelling that all values equal to it have. */
static void
append_key_value(StringInfo sql, const DjkPublishTable *table, int i)
{
	const char *name = psprintf("%s.%s", table->alias, quote_identifier(table->keys[i]));

	switch (table->key_forms[i])
	{
		case DJK_KEY_AS_IT_IS:
			appendStringInfoString(sql, name);
			return;
		case DJK_KEY_TRIMMED:
			appendStringInfo(sql, "pg_catalog.trim_scale(%s)", name);
			break;
		case DJK_KEY_NOT_NEGATIVE_ZERO:
			appendStringInfo(sql, "%s OPERATOR(pg_catalog.+) 0::pg_catalog.%s", name,
							 getBaseType(table->key_types[i]) == FLOAT4OID ? "float4" : "float8");
			break;
		case DJK_KEY_LOWER:
			/* Text by its own collation; what is cast, by the one that citext compares by. */
			appendStringInfo(sql, "pg_catalog.lower(%s::pg_catalog.text%s)", name,
							 is_text(table->key_types[i]) ?
							 "" : " COLLATE pg_catalog.\"default\"");
			break;
	}
	appendStringInfo(sql, " AS %s", quote_identifier(table->keys[i]));
}

/* ---------- comparing keys ---------- */

/* A row's key, or parameters. */
typedef struct KeyOperand
{
	const char *alias;			/* NULL: parameters */
	int			first;			/* number of the first one */
} KeyOperand;

/* The name alone where the type has no such operator: whoever reads the SQL says so. */
static char *
find_operator(Oid type, StrategyNumber strategy)
{
	static const char *const names[] = {
		[BTLessStrategyNumber] = "<",
		[BTLessEqualStrategyNumber] = "<=",
		[BTEqualStrategyNumber] = "=",
		[BTGreaterEqualStrategyNumber] = ">=",
		[BTGreaterStrategyNumber] = ">"
	};
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = InvalidOid;

	if (strategy == BTEqualStrategyNumber)
		operator = entry->eq_opr;
	else if (OidIsValid(entry->btree_opf))
		operator = get_opfamily_member(entry->btree_opf, entry->btree_opintype, entry->btree_opintype, strategy);
	return OidIsValid(operator) ? djk_operator_sql(operator) : pstrdup(names[strategy]);
}

static void
append_operand(StringInfo sql, const DjkPublishTable *table, KeyOperand operand, int i)
{
	if (operand.alias != NULL)
		appendStringInfo(sql, "%s.%s", operand.alias, quote_identifier(table->keys[i]));
	else
		appendStringInfo(sql, "$%d", operand.first + i);
	appendStringInfoString(sql, djk_operator_cast(table->key_types[i]));
}

static void
append_equal(StringInfo sql, const DjkPublishTable *table, KeyOperand left, KeyOperand right, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		appendStringInfoString(sql, i > from ? " AND " : "");
		append_operand(sql, table, left, i);
		appendStringInfo(sql, " %s ", find_operator(table->key_types[i], BTEqualStrategyNumber));
		append_operand(sql, table, right, i);
	}
}

/* (a, b) > (c, d); all these columns have the operator by the same name. */
static void
append_row_comparison(StringInfo sql, const DjkPublishTable *table, KeyOperand left, StrategyNumber strategy,
					  KeyOperand right, int from, int to)
{
	for (int side = 0; side < 2; side++)
	{
		appendStringInfoChar(sql, '(');
		for (int i = from; i < to; i++)
		{
			appendStringInfoString(sql, i > from ? ", " : "");
			append_operand(sql, table, side == 0 ? left : right, i);
		}
		appendStringInfoChar(sql, ')');
		if (side == 0)
			appendStringInfo(sql, " %s ", find_operator(table->key_types[from], strategy));
	}
}

/* Whether both have their operators by the same names in the same schema. */
static bool
same_operators(Oid type, Oid other)
{
	if (type == other)
		return true;
	for (StrategyNumber strategy = BTLessStrategyNumber; strategy <= BTGreaterStrategyNumber; strategy++)
	{
		if (strcmp(find_operator(type, strategy), find_operator(other, strategy)) != 0)
			return false;
	}
	return true;
}

/*
 * Compares the keys' columns from 'from' on, as an index orders them.  A row
 * comparison is one range of an index, but has one operator for all its
 * columns.  Where their operators are in several schemas it is spelled out; the
 * first condition then is what an index can use.
 */
static void
append_order(StringInfo sql, const DjkPublishTable *table, KeyOperand left, StrategyNumber strategy,
			 KeyOperand right, int from)
{
	bool		greater = strategy > BTEqualStrategyNumber;
	int			to = from + 1;

	while (to < table->nkeys && same_operators(table->key_types[from], table->key_types[to]))
		to++;
	if (to == table->nkeys)
	{
		append_row_comparison(sql, table, left, strategy, right, from, to);
		return;
	}
	append_row_comparison(sql, table, left, greater ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber,
						  right, from, to);
	appendStringInfoString(sql, " AND (");
	append_row_comparison(sql, table, left, greater ? BTGreaterStrategyNumber : BTLessStrategyNumber,
						  right, from, to);
	appendStringInfoString(sql, " OR ");
	append_equal(sql, table, left, right, from, to);
	appendStringInfoString(sql, " AND ");
	append_order(sql, table, left, strategy, right, to);
	appendStringInfoChar(sql, ')');
}

/* ---------- rows ---------- */

/* Whether a name is the table's or, of what is published of it, a field's. */
static bool
is_used(const DjkPublishTable *table, const char *name)
{
	return strcmp(RelationGetRelationName(table->rel), name) == 0 ||
		djk_publish_find_column(table->rel, name) != NULL ||
		djk_publish_is_listed(name, table->row->column_names, table->row->ncolumns);
}

/* A name for a row, by which no column and no table can be meant. */
static char *
row_name(const DjkPublishTable *table, const char *name)
{
	char	   *unused = pstrdup(name);

	while (is_used(table, unused))
		unused = psprintf("%s_", unused);
	return unused;
}

static bool
is_left_out(const DjkPublicationRow *row, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);

	return att->attisdropped || djk_publish_is_listed(name, row->exclude, row->nexclude) ||
		(row->include != NULL && !djk_publish_is_listed(name, row->include, row->ninclude)) ||
		djk_publish_is_listed(name, row->column_names, row->ncolumns);
}

/* The names of the fields of a message, in their order. */
static List *
field_names(const DjkPublishTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		if (!is_left_out(table->row, TupleDescAttr(desc, i)))
			names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	}
	for (int i = 0; i < table->row->ncolumns; i++)
		names = lappend(names, table->row->column_names[i]);
	return names;
}

/*
 * The rows that are published of a source: their values and their keys.  What
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
		if (is_left_out(row, TupleDescAttr(desc, i)))
			continue;
		appendStringInfo(sql, "%s%s.%s", first ? "" : ", ", table->alias,
						 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
		first = false;
	}
	for (int i = 0; i < row->ncolumns; i++)
	{
		/* A set would make one message of each of its rows, and none of an empty one: CASE takes no set. */
		appendStringInfo(sql, "%s(CASE WHEN true THEN (%s\n) END) AS %s", first ? "" : ", ",
						 row->column_expressions[i], quote_identifier(row->column_names[i]));
		first = false;
	}
	appendStringInfo(sql, ") AS %s CROSS JOIN LATERAL (SELECT ", row_name(table, VALUE_ROW));
	for (int i = 0; i < table->nkeys; i++)
	{
		appendStringInfoString(sql, i > 0 ? ", " : "");
		append_key_value(sql, table, i);
	}
	appendStringInfo(sql, ") AS %s", row_name(table, KEY_ROW));
}

static void
append_key(StringInfo sql, const DjkPublishTable *table)
{
	const char *key = row_name(table, KEY_ROW);

	if (table->row->key_is_text)
		appendStringInfo(sql, "%s.%s::pg_catalog.text", key, quote_identifier(table->keys[0]));
	else
		appendStringInfo(sql, "pg_catalog.row_to_json(%s)::pg_catalog.text", key);
	appendStringInfoString(sql, " COLLATE pg_catalog.\"C\" AS k");
}

static char *
field_literal(const char *name)
{
	StringInfoData field;

	initStringInfo(&field);
	escape_json(&field, name);
	appendStringInfoChar(&field, ':');
	return quote_literal_cstr(field.data);
}

/*
 * An object as row_to_json() makes it, but without the fields that are null and
 * may be left out: text is null where its field is, and a JSON null is not.
 */
static void
append_object(StringInfo sql, const DjkPublishTable *table, const char *value)
{
	const DjkPublicationRow *row = table->row;
	List	   *names = field_names(table);
	ListCell   *lc;

	appendStringInfoString(sql, "pg_catalog.concat('{', pg_catalog.concat_ws(',', VARIADIC ARRAY[");
	foreach(lc, names)
	{
		const char *name = lfirst(lc);
		char	   *field = psprintf("pg_catalog.to_json(%s.%s)::pg_catalog.text", value, quote_identifier(name));

		if (!djk_publish_is_listed(name, row->omit_nulls, row->nomit_nulls))
			field = psprintf("COALESCE(%s, 'null')", field);
		appendStringInfo(sql, "%s%s OPERATOR(pg_catalog.||) %s", lc == list_head(names) ? "" : ", ",
						 field_literal(name), field);
	}
	appendStringInfoString(sql, "]::pg_catalog.text[]), '}')");
}

static void
append_value(StringInfo sql, const DjkPublishTable *table)
{
	const char *value = row_name(table, VALUE_ROW);

	if (table->row->nomit_nulls > 0)
		append_object(sql, table, value);
	else
		appendStringInfo(sql, "pg_catalog.row_to_json(%s)::pg_catalog.text", value);
	appendStringInfoString(sql, " COLLATE pg_catalog.\"C\" AS v");
}

static void
append_select(StringInfo sql, const DjkPublishTable *table, bool with_value, const char *source)
{
	appendStringInfoString(sql, "SELECT ");
	append_key(sql, table);
	appendStringInfoString(sql, ", ");
	if (with_value)
		append_value(sql, table);
	else
		appendStringInfoString(sql, "NULL::pg_catalog.text AS v");
	appendStringInfoString(sql, " FROM ");
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
	appendStringInfo(&sql, ") AS djk_k CROSS JOIN LATERAL (SELECT * FROM %s AS djk_s WHERE ", table->name);
	append_equal(&sql, table, (KeyOperand) {.alias = "djk_s"}, (KeyOperand) {.alias = "djk_k"}, 0, table->nkeys);
	appendStringInfoString(&sql, " OFFSET 0) AS djk_t)");
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
		appendStringInfoString(sql, " WHERE ");
		append_order(sql, table, (KeyOperand) {.alias = "djk_t"}, BTGreaterStrategyNumber, (KeyOperand) {.first = 1}, 0);
	}
	appendStringInfoString(sql, " ORDER BY ");
	append_key_list(sql, table, "djk_t");
	appendStringInfo(sql, " OFFSET $%d LIMIT 1", next);
}

/* Rows are locked in the order of their key. */
static void
append_lock(StringInfo sql, const DjkPublishTable *table, bool first_chunk, bool last_chunk)
{
	int			next = 1;

	appendStringInfo(sql, "SELECT * FROM %s AS djk_t WHERE true", table->name);
	if (!first_chunk)
	{
		appendStringInfoString(sql, " AND ");
		append_order(sql, table, (KeyOperand) {.alias = "djk_t"}, BTGreaterStrategyNumber,
					 (KeyOperand) {.first = next}, 0);
		next += table->nkeys;
	}
	if (!last_chunk)
	{
		appendStringInfoString(sql, " AND ");
		append_order(sql, table, (KeyOperand) {.alias = "djk_t"}, BTLessEqualStrategyNumber,
					 (KeyOperand) {.first = next}, 0);
	}
	appendStringInfoString(sql, " ORDER BY ");
	append_key_list(sql, table, "djk_t");
	appendStringInfoString(sql, " FOR SHARE");
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
				djk_outbox_append_select(&sql, table);
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
		case DJK_PUBLISH_LOCK:
			append_lock(&sql, table, first_chunk, last_chunk);
			break;
		case DJK_PUBLISH_CHUNK:
			append_select(&sql, table, true, DJK_PUBLISH_NEW);
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
	Form_pg_attribute id = djk_outbox_column(table->row, table->rel, DJK_OUTBOX_ID);
	const char *name = quote_identifier(NameStr(id->attname));

	return psprintf("DELETE FROM %s AS djk_t USING %s AS djk_n WHERE djk_t.%s %s djk_n.%s",
					table->name, table->new_rows, name, find_operator(id->atttypid, BTEqualStrategyNumber), name);
}
