/*-------------------------------------------------------------------------
 *
 * publish_key.c
 *	  The columns of a published key: equal values must be equal bytes.
 *
 * Kafka knows keys by their bytes: by them it chooses the partition, keeps the
 * order and compacts.  Two spellings of what is one key in SQL would be two rows
 * of a copy, one of which is lost when the messages arrive in another order.
 *
 * Whether equal values of a type are written in one way is known of those whose
 * B-trees may leave out duplicates: their operator classes say that what is
 * equal is the same image, and text's that it is so by its collation.  Numbers
 * get the one form that all equal ones share.  All others are refused, unless the
 * owner says how to write them.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publication.h"

#include "access/nbtree.h"
#include "catalog/dependency.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

static bool is_exact(Oid type, Oid collation);

/* As a B-tree asks whether it may leave out duplicates. */
static bool
is_equal_image(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			function;

	if (!OidIsValid(entry->btree_opf))
		return false;
	function = get_opfamily_proc(entry->btree_opf, entry->btree_opintype, entry->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(function) &&
		DatumGetBool(OidFunctionCall1Coll(function, collation, ObjectIdGetDatum(entry->btree_opintype)));
}

static bool
is_exact_record(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	bool		exact = true;

	for (int i = 0; i < desc->natts && exact; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		exact = att->attisdropped || is_exact(att->atttypid, att->attcollation);
	}
	ReleaseTupleDesc(desc);
	return exact;
}

/* Whether equal values of a type are always written in one way. */
static bool
is_exact(Oid type, Oid collation)
{
	Oid			element;

	check_stack_depth();
	type = getBaseType(type);
	element = get_base_element_type(type);
	if (OidIsValid(element))
		return is_exact(element, collation);
	if (type_is_multirange(type))
		return is_exact(get_multirange_range(type), collation);
	if (type_is_range(type))
		return is_exact(get_range_subtype(type), get_range_collation(type));
	if (get_typtype(type) == TYPTYPE_COMPOSITE)
		return is_exact_record(type);
	return is_equal_image(type, collation);
}

/* char(n) has as many blanks at its end as it is long; without a length they are written and do not count. */
static bool
is_exact_column(Oid type, int32 typmod, Oid collation)
{
	if (type == BPCHAROID)
		return typmod >= 0 && get_collation_isdeterministic(collation);
	return is_exact(type, collation);
}

static bool
is_citext(Oid type)
{
	Oid			extension = get_extension_oid("citext", true);

	return OidIsValid(extension) && getExtensionOfObject(TypeRelationId, type) == extension;
}

/* One in which case may not count: of a type whose own rules say so, or by its collation. */
static bool
may_ignore_case(Oid type, Oid collation)
{
	return is_citext(type) ||
		((type == TEXTOID || type == VARCHAROID) && OidIsValid(collation) && !get_collation_isdeterministic(collation));
}

/* pg_attribute.atttypmod of numeric(p, s) gives all values s digits. */
static bool
find_number_form(Oid type, int32 typmod, DjkKeyForm *form)
{
	if (type == NUMERICOID)
		*form = typmod < 0 ? DJK_KEY_TRIMMED : DJK_KEY_AS_IT_IS;
	else if (type == FLOAT4OID || type == FLOAT8OID)
		*form = DJK_KEY_NOT_NEGATIVE_ZERO;
	else
		return false;
	return true;
}

DjkKeyForm
djk_publish_key_form(const DjkPublicationRow *row, Relation rel, Form_pg_attribute att)
{
	int32		typmod = att->atttypmod;
	Oid			type = getBaseTypeAndTypmod(att->atttypid, &typmod);
	bool		ignores_case = may_ignore_case(type, att->attcollation);
	DjkKeyForm	form;

	if (find_number_form(type, typmod, &form))
		return form;
	if (row->key_spelling == DJK_SPELLING_ANY || is_exact_column(type, typmod, att->attcollation))
		return DJK_KEY_AS_IT_IS;
	if (row->key_spelling == DJK_SPELLING_LOWER && ignores_case)
		return DJK_KEY_LOWER;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("equal values of key column \"%s\" of \"%s\" may be written in several ways",
					NameStr(att->attname), NameStr(rel->rd_rel->relname)),
			 errdetail("Its type is %s; Kafka takes keys that differ in one byte for two, and may keep both or lose the order between them.",
					   format_type_with_typemod(att->atttypid, att->atttypmod)),
			 ignores_case ?
			 errhint("Use key_spelling => 'lower' to write it in lower case, or 'any' to write it as it stands; or name other key_columns.") :
			 errhint("Use key_spelling => 'any' to write it as it stands, or name other key_columns.")));
}
