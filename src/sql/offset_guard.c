/*-------------------------------------------------------------------------
 *
 * offset_guard.c
 *	  Who may write, with SQL, what djkafka keeps of a consumer's messages.
 *
 * Offsets and what waits are the workers', who write as the tables' owner; so a
 * row that somebody else inserts can only be one that a dump brings, of a
 * consumer that is foreign here, until it is adopted.  So only those may who may
 * change the consumer.  All that says of whom a row is has to agree:
 * a message that waits is found by its offset's row, and applied with the rights
 * of that one's consumer.
 *
 * Versions of deleted rows may be written by the owner of the table: they decide
 * which messages of all its routes are stale.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "state/row.h"
#include "sql/consumer_owner.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/offset_left.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(djkafka_offset_guard);
PG_FUNCTION_INFO_V1(djkafka_owner_guard);

static int64
row_int64(const DjkCatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static bool
is_offset_of(int64 offset_id, int64 consumer_id)
{
	static DjkStatement select_offset = {
		.sql = "SELECT FROM @.djkafka_offset WHERE id = $1 AND consumer_id = $2",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(offset_id), Int64GetDatum(consumer_id)};

	return djk_catalog_has(&select_offset, values, NULL);
}

/* Whether there is such a consumer, and it is this database's. */
static bool
is_own(int64 consumer_id)
{
	static DjkStatement select_own = {
		.sql = "SELECT FROM @.djkafka_consumer c JOIN @.djkafka_home h ON h.home = c.home WHERE c.id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(consumer_id);

	return djk_catalog_has_latest(&select_own, &value, NULL);
}

/* What no partition ever comes to, and the sums of any number of partitions can still hold. */
#define COUNT_MAX	INT64CONST(1000000000000000)

/* Views add up the counts of all consumers, and would fail for everybody. */
static void
require_counts(const DjkCatalogRow *row)
{
	for (int i = 0; i < row->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->desc, i);
		const char *name = NameStr(att->attname);
		int64		value;

		if (att->attisdropped || att->atttypid != INT8OID || strcmp(name, "id") == 0 ||
			strcmp(name, "consumer_id") == 0 || strcmp(name, "anchor_hash") == 0)
			continue;
		value = row_int64(row, name);
		if (value < -COUNT_MAX || value > COUNT_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("%s of an offset is out of range: " INT64_FORMAT, name, value)));
	}
}

/*
 * A lane is made of the numbers of tables and types (apply/route_state.c), which here may be those of others: later
 * messages would not wait.  Of one that no route has all do, until the message is tried again.
 */
static void
give_lane_of_no_route(DjkCatalogRow *row)
{
	bool		isnull;
	Datum		lane = djk_catalog_row_get(row, "lane", &isnull);

	if (!isnull)
		djk_catalog_row_set(row, "lane", DirectFunctionCall2(hashint8extended, lane, Int64GetDatum(1)), false);
}

Datum
djkafka_offset_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkCatalogRow row;
	int64		consumer_id;
	bool		waits;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_offset_guard must be called as a trigger");
	row = djk_catalog_row_new(trigdata, "offset");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	consumer_id = row_int64(&row, "consumer_id");
	waits = SPI_fnumber(row.desc, "offset_id") > 0;
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && djk_consumer_row_is_foreign(consumer_id) &&
		(!waits || is_offset_of(row_int64(&row, "offset_id"), consumer_id)))
	{
		djk_require_consumer_owner(djk_offset_left_consumer_owner(consumer_id));
		if (waits)
			give_lane_of_no_route(&row);
		else
			require_counts(&row);
		return PointerGetDatum(row.tuple);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 waits ? errmsg("messages that wait are written by workers only") :
			 errmsg("offsets are written by workers only"),
			 !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) || is_own(consumer_id) ?
			 errhint("Use djkafka_seek(name, topic, start_at, partition).") : errhint(DJK_RESTORE_ORDER_HINT)));
}

/* A table that is not there is still to come, and may be anybody's then. */
static void
require_owner(const DjkCatalogRow *row, bool stays)
{
	bool		isnull;
	Oid			target = DatumGetObjectId(djk_catalog_row_get(row, "target", &isnull));
	Oid			owner = djk_table_owner(target);

	if (OidIsValid(owner))
		djk_require_consumer_owner(owner);
	else if (stays)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", target)));
}

/* Whoever renames a label of an enum reads the keys of all, and writes them so. */
static void
require_key(const DjkCatalogRow *row)
{
	char	   *key = djk_catalog_row_require_text(row, "key");
	Jsonb	   *parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(key)));

	if (!JB_ROOT_IS_ARRAY(parsed) || JB_ROOT_IS_SCALAR(parsed) ||
		strcmp(JsonbToCString(NULL, &parsed->root, VARSIZE(parsed)), key) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key of a deleted row must be an array of JSON, as jsonb is written")));
}

Datum
djkafka_owner_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkCatalogRow row;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_owner_guard must be called as a trigger");
	row = djk_catalog_row_new(trigdata, "message");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	require_owner(&row, !TRIGGER_FIRED_BY_DELETE(trigdata->tg_event));
	if (!TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		require_key(&row);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		DjkCatalogRow old = {trigdata->tg_trigtuple, row.desc, row.what};

		require_owner(&old, false);
	}
	return PointerGetDatum(row.tuple);
}
