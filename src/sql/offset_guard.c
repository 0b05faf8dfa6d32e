/*-------------------------------------------------------------------------
 *
 * offset_guard.c
 *	  Who may write, with SQL, what djkafka keeps of a consumer's messages.
 *
 * Offsets and what waits are the workers', who write as the tables' owner; so a
 * row that somebody else inserts can only be one that a dump brings, of a
 * consumer that is foreign here.  All that says of whom a row is has to agree:
 * a message that waits is found by its offset's row, and applied with the rights
 * of that one's consumer.
 *
 * Versions of deleted rows and dead letters may be written, by those who may
 * change the consumer: the ones decide which of its messages are stale, the
 * others are messages that are applied again with its owner's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "sql/row.h"
#include "sql/start_at.h"
#include "state/catalog.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(djkafka_offset_guard);
PG_FUNCTION_INFO_V1(djkafka_owner_guard);

static int64
row_int64(const DjkTriggerRow *row, const char *column)
{
	bool		isnull;
	Datum		value = djk_trigger_row_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static bool
is_found(DjkStatement *statement, Datum *values)
{
	DjkIdentity identity;
	bool		found;

	djk_catalog_enter(&identity);
	found = djk_catalog_execute(statement, values, NULL) > 0;
	djk_catalog_leave(&identity);
	return found;
}

static bool
is_foreign(int64 consumer_id)
{
	static DjkStatement select_foreign = {
		.sql = "SELECT FROM @.djkafka_consumer c CROSS JOIN @.djkafka_home h WHERE c.id = $1 AND c.home <> h.home",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	return is_found(&select_foreign, values);
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

	return is_found(&select_offset, values);
}

Datum
djkafka_offset_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkTriggerRow row;
	int64		consumer_id;
	bool		waits;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_offset_guard must be called as a trigger");
	row = djk_trigger_row(trigdata, "offset");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	consumer_id = row_int64(&row, "consumer_id");
	waits = SPI_fnumber(row.desc, "offset_id") > 0;
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && is_foreign(consumer_id) &&
		(!waits || is_offset_of(row_int64(&row, "offset_id"), consumer_id)))
		return PointerGetDatum(row.tuple);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 waits ? errmsg("messages that wait are written by workers only") :
			 errmsg("offsets are written by workers only"),
			 errhint("Use djkafka_seek(name, topic, start_at, partition).")));
}

/* Of whom nobody is, because the consumer or the route is gone, is anybody's who may write the table. */
static void
require_owner(const DjkTriggerRow *row)
{
	static DjkStatement select_of_route = {
		.sql = "SELECT c.owner::oid FROM @.djkafka_route r JOIN @.djkafka_consumer c ON c.id = r.consumer_id WHERE r.id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement select_of_consumer = {
		.sql = "SELECT owner::oid FROM @.djkafka_consumer WHERE id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	bool		has_consumer = SPI_fnumber(row->desc, "consumer_id") > 0;
	Datum		values[1] = {Int64GetDatum(row_int64(row, has_consumer ? "consumer_id" : "route_id"))};
	Oid			owner = InvalidOid;
	DjkIdentity identity;
	bool		isnull;

	djk_catalog_enter(&identity);
	if (djk_catalog_execute(has_consumer ? &select_of_consumer : &select_of_route, values, NULL) > 0)
		owner = DatumGetObjectId(djk_row_datum(0, 1, &isnull));
	djk_catalog_leave(&identity);
	if (OidIsValid(owner))
		djk_require_consumer_owner(owner);
}

Datum
djkafka_owner_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkTriggerRow row;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_owner_guard must be called as a trigger");
	row = djk_trigger_row(trigdata, "message");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	require_owner(&row);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		DjkTriggerRow old = {trigdata->tg_trigtuple, row.desc, row.what};

		require_owner(&old);
	}
	return PointerGetDatum(row.tuple);
}
