/*-------------------------------------------------------------------------
 *
 * dead_letter_guard.c
 *	  Who may write dead letters with SQL, and what of them.
 *
 * They are messages that are applied with the rights of their consumer's owner,
 * so only those may write or edit one who may change the consumer.  Editing is
 * changing key, value or headers, before it is applied again: all else says what
 * happened.  It is noted at the letter, and what was there before in the log; so is
 * who deletes one by hand, which is for everybody with the right.  Workers that know
 * the letters of a partition (apply/overtaken.c) learn of new keys as they learn of
 * tables that change.
 *
 * A consumer that is gone for good leaves letters, which are anybody's who may write
 * here: no other consumer gets its number.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "base/compat.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/consumer_owner.h"
#include "state/catalog.h"
#include "state/dead_letter.h"
#include "state/offset_left.h"
#include "state/row.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(djkafka_dead_letter_guard);

static const char *const editable[] = {"key", "value", "headers"};

/* What edits say, and what follows from the key; of a letter that is edited these are ours. */
static const char *const derived[] = {"edited_at", "edited_by", "watched", "key_hash"};

static int64
get_int64(const DjkCatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* The consumer may be just being made; or be dropped, and another one made of its id, before the letter is committed. */
static void
require_owner(const DjkCatalogRow *row)
{
	int64		id = get_int64(row, "consumer_id");
	Oid			owner;

	djk_dead_letter_lock_id(id, ShareLock);
	owner = djk_offset_left_consumer_owner(id);
	if (OidIsValid(owner))
		djk_require_consumer_owner(owner);
}

/* What no message can have would fail when it is applied, and others with it. */
static void
require_headers(const DjkCatalogRow *row)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, "headers", &isnull);

	if (!isnull && array_contains_nulls(DatumGetArrayTypeP(value)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("headers of a dead letter must not contain nulls"),
				 errhint("A header without a value is ROW('name', NULL).")));
}

static int64
partition_hash(const DjkCatalogRow *row)
{
	bool		isnull;

	return djk_dead_letter_partition_hash(get_int64(row, "consumer_id"), djk_catalog_row_require_text(row, "topic"),
										  DatumGetInt32(djk_catalog_row_get(row, "partition", &isnull)));
}

/* By what a newer message finds it, as long as none is known. */
static void
set_hashes(DjkCatalogRow *row)
{
	bool		no_key;
	bool		no_newer;
	Datum		value = djk_catalog_row_get(row, "key", &no_key);
	bytea	   *key = no_key ? NULL : DatumGetByteaPP(value);
	bool		is_watched;

	(void) djk_catalog_row_get(row, "newer_offset", &no_newer);
	is_watched = !no_key && no_newer;
	djk_catalog_row_set(row, "key_hash", no_key ? (Datum) 0 :
						Int64GetDatum(djk_dead_letter_key_hash(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key))), no_key);
	djk_catalog_row_set(row, "watched", is_watched ? Int64GetDatum(partition_hash(row)) : (Datum) 0, !is_watched);
}

static bool
is_one_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* Byte for byte, however they are stored. */
static bool
is_equal(const DjkCatalogRow *old, const DjkCatalogRow *row, Form_pg_attribute att)
{
	bool		old_null;
	bool		new_null;
	Datum		old_value = djk_catalog_row_get(old, NameStr(att->attname), &old_null);
	Datum		new_value = djk_catalog_row_get(row, NameStr(att->attname), &new_null);

	if (old_null || new_null)
		return old_null && new_null;
	return datum_image_eq(old_value, new_value, att->attbyval, att->attlen);
}

/* Whether one of the columns that may be changed is; ERROR if another one is. */
static bool
is_edited(const DjkCatalogRow *old, const DjkCatalogRow *row)
{
	bool		edited = false;

	for (int i = 0; i < row->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->desc, i);

		if (att->attisdropped || is_one_of(NameStr(att->attname), derived, lengthof(derived)) || is_equal(old, row, att))
			continue;
		if (!is_one_of(NameStr(att->attname), editable, lengthof(editable)))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("column \"%s\" of a dead letter cannot be changed", NameStr(att->attname)),
					 errdetail("It says what happened. Key, value and headers can be changed before djkafka_replay applies them.")));
		edited = true;
	}
	return edited;
}

static void
keep_derived(DjkCatalogRow *row, const DjkCatalogRow *old)
{
	for (int i = 0; i < lengthof(derived); i++)
	{
		bool		isnull;
		Datum		value = djk_catalog_row_get(old, derived[i], &isnull);

		djk_catalog_row_set(row, derived[i], value, isnull);
	}
}

static void
log_change(const char *action, const DjkCatalogRow *old, bool with_bytes)
{
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	djk_dead_letter_log_change(action, get_int64(old, "id"), with_bytes);
	djk_catalog_leave(&identity);
}

static void
edit(Relation rel, DjkCatalogRow *row, const DjkCatalogRow *old)
{
	bool		edited = is_edited(old, row);

	keep_derived(row, old);
	if (!edited)
		return;
	require_headers(row);
	djk_catalog_row_set(row, "edited_at", TimestampTzGetDatum(GetCurrentTimestamp()), false);
	djk_catalog_row_set_text(row, "edited_by", GetUserNameFromId(GetSessionUserId(), true));
	CacheInvalidateRelcache(rel);
	log_change("edit", old, true);
}

Datum
djkafka_dead_letter_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkCatalogRow row;
	bool		entered;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_dead_letter_guard must be called as a trigger");
	row = djk_catalog_row_new(trigdata, "dead letter");
	entered = djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		set_hashes(&row);
		if (!entered)
		{
			require_owner(&row);
			require_headers(&row);
			CacheInvalidateRelcache(trigdata->tg_relation);
		}
	}
	else if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		if (!entered)
			log_change("delete", &row, false);
	}
	else
	{
		DjkCatalogRow old = {trigdata->tg_trigtuple, row.desc, row.what};

		if (!entered)
		{
			require_owner(&row);
			require_owner(&old);
			edit(trigdata->tg_relation, &row, &old);
		}
		set_hashes(&row);
	}
	return PointerGetDatum(row.tuple);
}
