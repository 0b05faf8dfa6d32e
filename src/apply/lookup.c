/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  A column that is filled by the row of another table.
 *
 * What a message calls customer "x" is customer_id 17 here.  A sub-select in
 * 'columns' does the same, but gives null where there is no such row; a lookup
 * tells a message without a parent from one whose parent is null.  All those of
 * a batch are resolved by the statement that evaluates its expressions.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/lookup.h"

#include "access/relation.h"
#include "base/operator.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

/* Of a value in an error's text. */
#define SHOWN_BYTES		100

static Relation
open_table(const DjkLookup *lookup, const char *for_column)
{
	RangeVar   *name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(lookup->table)));
	Relation	rel = relation_openrv_extended(name, AccessShareLock, true);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist", lookup->table),
				 errdetail("Column \"%s\" of the route is looked up in it.", for_column),
				 errhint("Create it, or name another one; names with capitals need double quotes.")));
	return rel;
}

/* The type of a column, as SQL; ERROR if there is none. */
static char *
column_type(Relation rel, const char *name, const char *for_column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Oid			type;
	int32		typmod;
	Oid			collation;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", name, RelationGetRelationName(rel)),
				 errdetail("Column \"%s\" of the route is looked up by it.", for_column),
				 errhint("Name a column of that table in the route's lookup.")));
	get_atttypetypmodcoll(RelationGetRelid(rel), attnum, &type, &typmod, &collation);
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* The one column of the primary key. */
static char *
primary_key(Relation rel, const char *for_column)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			member;

	if (!bms_get_singleton_member(key, &member))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("\"%s\" has no primary key of one column", RelationGetRelationName(rel)),
				 errdetail("Column \"%s\" of the route is looked up in it.", for_column),
				 errhint("Say with \"returns\" of the lookup which column fills it.")));
	return get_attname(RelationGetRelid(rel), member + FirstLowInvalidHeapAttributeNumber, false);
}

/* That of its type's default operator class, which an index of the column has too. */
static char *
equal_operator(const char *column, Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);

	if (!OidIsValid(entry->eq_opr))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("column \"%s\" of the lookup is of type %s, which has no equality operator", column,
						format_type_be(type)),
				 errhint("Look up by another column.")));
	return djk_operator_sql(entry->eq_opr);
}

void
djk_lookup_resolve(DjkLookup *lookup, const char *for_column)
{
	Relation	rel = open_table(lookup, for_column);
	Oid			type;

	lookup->relation = RelationGetRelid(rel);
	lookup->table_sql = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												   RelationGetRelationName(rel));
	lookup->type_sql = column_type(rel, lookup->column, for_column);
	type = get_atttype(lookup->relation, get_attnum(lookup->relation, lookup->column));
	lookup->equal_operator = equal_operator(lookup->column, type);
	lookup->compared_as = djk_operator_cast(type);
	if (lookup->returns == NULL)
		lookup->returns = primary_key(rel, for_column);
	else
		(void) column_type(rel, lookup->returns, for_column);
	relation_close(rel, AccessShareLock);
}

char *
djk_lookup_sql(const DjkLookup *lookup, const char *wanted)
{
	return psprintf("SELECT t.%s FROM %s AS t WHERE t.%s%s %s %s%s", quote_identifier(lookup->returns), lookup->table_sql,
					quote_identifier(lookup->column), lookup->compared_as, lookup->equal_operator, wanted, lookup->compared_as);
}

bool
djk_lookup_reads(const DjkLookup *lookup, const char *target_name)
{
	const char *dot = target_name ? strrchr(target_name, '.') : NULL;

	return target_name != NULL &&
		(strcmp(lookup->table, target_name) == 0 || (dot != NULL && strcmp(lookup->table, dot + 1) == 0));
}

void
djk_lookup_describe_missing(const DjkLookup *lookup, const char *value, DjkError *error)
{
	int			len = pg_mbcliplen(value, strlen(value), SHOWN_BYTES);

	error->sqlstate = ERRCODE_FOREIGN_KEY_VIOLATION;
	error->message = psprintf("no row of %s has %s \"%s\"%s", lookup->table, lookup->column, pnstrdup(value, len),
							  value[len] != '\0' ? "…" : "");
	error->hint = pstrdup("Send that row first, or say \"missing\": \"null\" in the route's lookup.");
}
