/*-------------------------------------------------------------------------
 *
 * publication.c
 *	  Reading rows of djkafka_publication.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publication.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static bool
get_bool(const DjkCatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

static DjkKeySpelling
read_spelling(const DjkCatalogRow *row)
{
	if (djk_catalog_row_is(row, "key_spelling", "lower"))
		return DJK_SPELLING_LOWER;
	return djk_catalog_row_is(row, "key_spelling", "any") ? DJK_SPELLING_ANY : DJK_SPELLING_EXACT;
}

void
djk_publication_fill(const DjkCatalogRow *row, DjkPublicationRow *publication)
{
	bool		isnull;

	memset(publication, 0, sizeof(*publication));
	publication->id = DatumGetInt64(djk_catalog_row_get(row, "id", &isnull));
	publication->relation = DatumGetObjectId(djk_catalog_row_get(row, "relation", &isnull));
	publication->topic = djk_catalog_row_text(row, "topic");
	publication->is_outbox = strcmp(djk_catalog_row_require_text(row, "shape"), "outbox") == 0;
	publication->server = djk_catalog_row_text(row, "server");
	publication->enabled = get_bool(row, "enabled");
	publication->nkey_columns = djk_catalog_row_names(row, "key_columns", &publication->key_columns);
	publication->key_is_text = strcmp(djk_catalog_row_require_text(row, "key_format"), "text") == 0;
	publication->key_spelling = read_spelling(row);
	publication->nomit_nulls = djk_catalog_row_names(row, "omit_nulls", &publication->omit_nulls);
	publication->ncolumns = djk_catalog_row_object(row, "columns", false, &publication->column_names,
												   &publication->column_expressions);
	publication->ninclude = djk_catalog_row_names(row, "include", &publication->include);
	publication->nexclude = djk_catalog_row_names(row, "exclude", &publication->exclude);
	publication->filter = djk_catalog_row_text(row, "filter");
	publication->republish = get_bool(row, "republish");
	publication->origin = get_bool(row, "origin");
	publication->delete_rows = get_bool(row, "delete_rows");
	publication->nheaders = djk_catalog_row_names(row, "headers", &publication->headers);
	publication->time_unit = djk_catalog_row_text(row, "time_unit");
	publication->writers_silence = djk_catalog_row_is(row, "silence", "writers");
	publication->home = *DatumGetUUIDP(djk_catalog_row_get(row, "home", &isnull));
	publication->search_path = djk_catalog_row_text(row, "search_path");
	publication->nsettings = djk_catalog_row_object(row, "settings", false, &publication->setting_names,
													&publication->setting_values);
}

bool
djk_publication_load(int64 id, DjkPublicationRow *publication)
{
	Relation	rel = table_open(djk_catalog_table("djkafka_publication"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	memset(publication, 0, sizeof(*publication));
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		DjkCatalogRow row = {tuple, RelationGetDescr(rel), "publication"};

		djk_publication_fill(&row, publication);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

Form_pg_attribute
djk_publish_find_column(Relation rel, const char *name)
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

bool
djk_publish_is_listed(const char *name, char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}
