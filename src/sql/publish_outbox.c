/*-------------------------------------------------------------------------
 *
 * publish_outbox.c
 *	  A table of the shape that Debezium's outbox event router reads: its
 *	  columns, whatever they are called, and the messages of its rows.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publication.h"

#include "base/column.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static const char *const roles[] = {
	[DJK_OUTBOX_ID] = "id",
	[DJK_OUTBOX_TOPIC] = "aggregatetype",
	[DJK_OUTBOX_KEY] = "aggregateid",
	[DJK_OUTBOX_TYPE] = "type",
	[DJK_OUTBOX_PAYLOAD] = "payload",
	[DJK_OUTBOX_TIME] = "timestamp",
	[DJK_OUTBOX_PARTITION] = "partition"
};

/* What the publication says that a column is called; NULL: nothing. */
static const char *
mapped_name(const DjkPublicationRow *row, DjkOutboxColumn column)
{
	for (int i = 0; i < row->ncolumns; i++)
	{
		if (strcmp(row->column_names[i], roles[column]) == 0)
			return row->column_expressions[i];
	}
	return NULL;
}

/* A column that happens to be called partition may be something else. */
Form_pg_attribute
djk_outbox_column(const DjkPublicationRow *row, Relation rel, DjkOutboxColumn column)
{
	const char *name = mapped_name(row, column);

	if (name == NULL && column == DJK_OUTBOX_PARTITION)
		return NULL;
	return djk_publish_find_column(rel, name != NULL ? name : roles[column]);
}

/* ---------- what the table must have ---------- */

static void
require_column(Relation rel, const char *name)
{
	if (djk_publish_find_column(rel, name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", name, RelationGetRelationName(rel)),
				 errdetail("An outbox has the columns id, aggregatetype, aggregateid, type and payload, or others that columns names in their place."),
				 errhint("%s", djk_column_hint(RelationGetDescr(rel), name,
											   "Name them with columns => '{\"aggregatetype\": \"...\"}', or publish any other table with djkafka_publish."))));
}

static void
require_role(const char *name)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(roles); i++)
	{
		if (strcmp(roles[i], name) == 0)
			return;
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", roles[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("an outbox has no column \"%s\"", name),
			 errhint("columns maps %s to columns of the table.", names.data)));
}

static bool
is_time(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == INT8OID;
}

static bool
is_whole_number(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static void
require_type(Relation rel, Form_pg_attribute att, bool ok, const char *wanted)
{
	if (att != NULL && !ok)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" is of type %s", NameStr(att->attname),
						RelationGetRelationName(rel), format_type_be(att->atttypid)),
				 errdetail("%s", wanted),
				 errhint("Name another column with columns.")));
}

void
djk_outbox_require_columns(const DjkPublicationRow *row, Relation rel)
{
	Form_pg_attribute time;
	Form_pg_attribute partition;

	djk_catalog_look_at("columns");
	for (int i = 0; i < row->ncolumns; i++)
	{
		require_role(row->column_names[i]);
		require_column(rel, row->column_expressions[i]);
	}
	djk_catalog_look_at("relation");
	for (int i = 0; i < DJK_OUTBOX_TIME; i++)
	{
		if (mapped_name(row, i) == NULL)
			require_column(rel, roles[i]);
	}
	djk_catalog_look_at("headers");
	for (int i = 0; i < row->nheaders; i++)
		require_column(rel, row->headers[i]);
	djk_catalog_look_at("columns");
	time = djk_outbox_column(row, rel, DJK_OUTBOX_TIME);
	partition = djk_outbox_column(row, rel, DJK_OUTBOX_PARTITION);
	require_type(rel, time, time != NULL && is_time(getBaseType(time->atttypid)),
				 "A message's time is a timestamp, or a bigint in the unit that time_unit says.");
	require_type(rel, partition, partition != NULL && is_whole_number(getBaseType(partition->atttypid)),
				 "A partition is an integer.");
}

/* ---------- messages ---------- */

/* Bytes are sent as they are, all else as text. */
static const char *
sent_type(Form_pg_attribute att)
{
	return getBaseType(att->atttypid) == BYTEAOID ? "pg_catalog.bytea" : "pg_catalog.text";
}

static const char *
column_sql(const DjkPublishTable *table, DjkOutboxColumn column)
{
	Form_pg_attribute att = djk_outbox_column(table->row, table->rel, column);

	return psprintf("djk_t.%s", quote_identifier(NameStr(att->attname)));
}

static const char *
time_sql(const DjkPublishTable *table)
{
	static const char *const units[][2] = {{"s", "1.0"}, {"ms", "1000.0"}, {"us", "1000000.0"}, {"ns", "1000000000.0"}};
	Form_pg_attribute att = djk_outbox_column(table->row, table->rel, DJK_OUTBOX_TIME);
	const char *divisor = NULL;

	if (att == NULL)
		return "NULL::pg_catalog.timestamptz";
	if (getBaseType(att->atttypid) != INT8OID)
		return psprintf("%s::pg_catalog.timestamptz", column_sql(table, DJK_OUTBOX_TIME));
	for (int i = 0; i < lengthof(units); i++)
	{
		if (strcmp(units[i][0], table->row->time_unit) == 0)
			divisor = units[i][1];
	}
	return psprintf("pg_catalog.to_timestamp(%s OPERATOR(pg_catalog./) %s::pg_catalog.float8)",
					column_sql(table, DJK_OUTBOX_TIME), divisor);
}

void
djk_outbox_append_select(StringInfo sql, const DjkPublishTable *table)
{
	const DjkPublicationRow *row = table->row;
	Form_pg_attribute payload = djk_outbox_column(row, table->rel, DJK_OUTBOX_PAYLOAD);
	bool		has_partition = djk_outbox_column(row, table->rel, DJK_OUTBOX_PARTITION) != NULL;

	appendStringInfo(sql, "SELECT %s::pg_catalog.text AS k, %s::%s AS v,"
					 " %s OPERATOR(pg_catalog.||) %s::pg_catalog.text AS topic,"
					 " %s::pg_catalog.text AS id, %s::pg_catalog.text AS type, %s AS time, %s::pg_catalog.int4 AS partition",
					 column_sql(table, DJK_OUTBOX_KEY), column_sql(table, DJK_OUTBOX_PAYLOAD),
					 sent_type(payload), quote_literal_cstr(row->topic), column_sql(table, DJK_OUTBOX_TOPIC),
					 column_sql(table, DJK_OUTBOX_ID), column_sql(table, DJK_OUTBOX_TYPE), time_sql(table),
					 has_partition ? column_sql(table, DJK_OUTBOX_PARTITION) : "NULL");
	for (int i = 0; i < row->nheaders; i++)
		appendStringInfo(sql, ", djk_t.%s::%s AS h%d", quote_identifier(row->headers[i]),
						 sent_type(djk_publish_find_column(table->rel, row->headers[i])), i);
	appendStringInfo(sql, " FROM %s AS djk_t", table->new_rows);
}
