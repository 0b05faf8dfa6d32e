/*-------------------------------------------------------------------------
 *
 * publish_table.c
 *	  A published table: its key, and where its rows are to be read.
 *
 * A trigger of the user's may change a row of the table again before ours
 * fires; what our transition table holds is then older than what that change
 * has published.  Where the table has such triggers, and its key an index, the
 * transition tables only say which keys were touched, and rows are read from
 * the table.  So they are where the key's constraint is deferrable: one of two
 * rows may leave a key that the other keeps.  And so they are when the client's
 * command has published rows of the table before: the statement may have called
 * what did, by a function or by a trigger of another table, or PostgreSQL may
 * have put our trigger behind that of an INSERT which took a key again.
 *
 * Virtual columns (PostgreSQL 18) are computed by whoever reads the table.
 * Nobody does so for a transition table: reading one from it is an error.  Nor
 * has it the stored generated columns of a row that was routed to a partition
 * whose columns lie otherwise than the root's.  Here the statement computes both.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publish.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "base/column.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"

/* pg_attribute.attgenerated of a virtual column. */
#define GENERATED_VIRTUAL	'v'

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
				same = djk_publish_is_listed(NameStr(TupleDescAttr(desc, form->indkey.values[i] - 1)->attname),
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

	djk_catalog_look_at("key_columns");
	if (table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("\"%s\" has no primary key", name),
				 errhint("Name the columns that identify a row with key_columns => ARRAY[...].")));
	djk_catalog_look_at(table->row->key_is_text && table->nkeys > 1 ? "key_format" : "key_columns");
	if (table->row->key_is_text && table->nkeys > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key of %d columns cannot be text", table->nkeys),
				 errhint("Use key_format => 'json'.")));
	table->key_types = palloc(table->nkeys * sizeof(Oid));
	table->key_forms = palloc(table->nkeys * sizeof(DjkKeyForm));
	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute att = djk_publish_find_column(table->rel, table->keys[i]);

		if (att == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", table->keys[i], name),
					 errdetail("It is named in key_columns of the publication."),
					 errhint("%s", djk_column_hint(RelationGetDescr(table->rel), table->keys[i],
												   "Change djkafka_publication.key_columns, or end the publication with djkafka_unpublish."))));
		if (!att->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("key column \"%s\" of \"%s\" may be null", table->keys[i], name),
					 errhint("Declare it NOT NULL, or name other key_columns.")));
		table->key_types[i] = att->atttypid;
		table->key_forms[i] = djk_publish_key_form(table->row, table->rel, att);
	}
}

/*
 * A name that no column has: the column was dropped, or renamed where nobody
 * followed.  What it had hidden may be published under another name, so nothing
 * is.
 */
static void
require_columns(Relation rel, const char *what, char *const *names, int n)
{
	djk_catalog_look_at(what);
	for (int i = 0; i < n; i++)
	{
		if (djk_publish_find_column(rel, names[i]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", names[i], RelationGetRelationName(rel)),
					 errdetail("It is named in %s of the publication.", what),
					 errhint("%s", djk_column_hint(RelationGetDescr(rel), names[i],
												   psprintf("Change djkafka_publication.%s, or end the publication with djkafka_unpublish.", what)))));
	}
}

/* The table is not locked: a partition may be somebody else's at work. */
static bool
has_other_trigger(Relation triggers, Oid table, Oid ours)
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

		found = !trigger->tgisinternal && trigger->tgenabled != TRIGGER_DISABLED && trigger->tgfoid != ours;
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
	Oid			ours = djk_publish_trigger_function();
	bool		found = false;
	ListCell   *lc;

	foreach(lc, tables)
		found = found || has_other_trigger(triggers, lfirst_oid(lc), ours);
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

static Node *
generation_of(const DjkPublishTable *table, Form_pg_attribute att)
{
	const TupleConstr *constr = RelationGetDescr(table->rel)->constr;

	for (int i = 0; i < constr->num_defval; i++)
	{
		if (constr->defval[i].adnum == att->attnum)
			return stringToNode(constr->defval[i].adbin);
	}
	elog(ERROR, "no generation expression found for column number %d of table \"%s\"", att->attnum,
		 RelationGetRelationName(table->rel));
}

/* A transition table has no tableoid. */
static bool
names_system_column(Node *expression)
{
	Bitmapset  *columns = NULL;
	int			first;

	pull_varattnos(expression, 1, &columns);
	first = bms_next_member(columns, -1);
	return first >= 0 && first < -FirstLowInvalidHeapAttributeNumber;
}

static bool
is_computed(const DjkPublishTable *table, Form_pg_attribute att)
{
	if (att->attgenerated == GENERATED_VIRTUAL)
		return true;
	return att->attgenerated == ATTRIBUTE_GENERATED_STORED &&
		table->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && !names_system_column(generation_of(table, att));
}

static void
append_generation(StringInfo sql, const DjkPublishTable *table, Form_pg_attribute att)
{
	List	   *context = deparse_context_for("djk_v", RelationGetRelid(table->rel));

	appendStringInfo(sql, "(%s)", deparse_expression(generation_of(table, att), context, true, true));
	if (OidIsValid(att->attcollation))
		appendStringInfo(sql, " COLLATE %s", generate_collation_name(att->attcollation));
	appendStringInfo(sql, " AS %s", quote_identifier(NameStr(att->attname)));
}

/* A transition table, with the generated columns that it lacks. */
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
		if (is_computed(table, att))
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
		djk_outbox_require_columns(row, rel);
	else
	{
		bool		unique = find_key(table);

		require_key(table);
		require_columns(rel, "include", row->include, row->ninclude);
		require_columns(rel, "exclude", row->exclude, row->nexclude);
		table->hidden = check_enable_rls(RelationGetRelid(rel), rel->rd_rel->relowner, true) == RLS_ENABLED;
		table->can_read_back = unique && !table->hidden;
		table->read_back = table->can_read_back &&
			(table->deferrable || has_other_triggers(table) || lacks_stored_columns(rel));
	}
}
