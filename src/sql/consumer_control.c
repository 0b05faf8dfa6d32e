/*-------------------------------------------------------------------------
 *
 * consumer_control.c
 *	  Functions that change consumers: thin, the triggers check.
 *
 * They run with the caller's rights on the catalog tables, so a GRANT on the
 * tables is what allows them; only a seek writes what nobody may write, and
 * asks for the right on the consumer first.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/consumer_control.h"

#include "base/compat.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "sql/consumer_owner.h"
#include "sql/start_at.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/event.h"
#include "state/offset.h"
#include "state/shmem.h"
#include "state/spi.h"
#include "state/wake.h"
#include "utils/builtins.h"
#include "utils/regproc.h"

PG_FUNCTION_INFO_V1(djkafka_consumer_id);
PG_FUNCTION_INFO_V1(djkafka_drop_consumer);
PG_FUNCTION_INFO_V1(djkafka_drop_route);
PG_FUNCTION_INFO_V1(djkafka_pause);
PG_FUNCTION_INFO_V1(djkafka_resume);
PG_FUNCTION_INFO_V1(djkafka_restart);
PG_FUNCTION_INFO_V1(djkafka_set_enabled);
PG_FUNCTION_INFO_V1(djkafka_seek);
PG_FUNCTION_INFO_V1(djkafka_unsubscribe);

char *
djk_require_text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* What one statement with the name of a consumer does. */
typedef enum Change
{
	CHANGE_DROP,
	CHANGE_PAUSE,
	CHANGE_RESUME,
	CHANGE_RESTART
} Change;

#define OF_NAME(statement) \
	{.sql = statement " WHERE name OPERATOR(pg_catalog.=) $1", .nargs = 1, .argtypes = {TEXTOID}}

static DjkStatement changes[] = {
	[CHANGE_DROP] = OF_NAME("DELETE FROM @.djkafka_consumer"),
	[CHANGE_PAUSE] = OF_NAME("UPDATE @.djkafka_consumer SET enabled = false"),
	[CHANGE_RESUME] = OF_NAME("UPDATE @.djkafka_consumer SET enabled = true"),
	/* Any update raises the revision, and workers of an older one leave. */
	[CHANGE_RESTART] = OF_NAME("UPDATE @.djkafka_consumer SET enabled = enabled")
};

/* As the caller; ERROR if there is no such consumer. */
static Datum
change_consumer(FunctionCallInfo fcinfo, Change change)
{
	char	   *name = djk_require_text_arg(fcinfo, 0, "name");
	Datum		values[1] = {CStringGetTextDatum(name)};

	djk_spi_connect();
	if (djk_catalog_execute(&changes[change], values, NULL) == 0)
		djk_consumer_row_throw_missing(name);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
djkafka_consumer_id(PG_FUNCTION_ARGS)
{
	char	   *name = djk_require_text_arg(fcinfo, 0, "consumer");
	int64		id;

	djk_spi_connect();
	id = djk_consumer_row_require(name);
	SPI_finish();
	PG_RETURN_INT64(id);
}

Datum
djkafka_drop_consumer(PG_FUNCTION_ARGS)
{
	return change_consumer(fcinfo, CHANGE_DROP);
}

Datum
djkafka_drop_route(PG_FUNCTION_ARGS)
{
	static DjkStatement delete_route = {
		.sql = "DELETE FROM @.djkafka_route WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1];

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"id\" must not be null")));
	values[0] = PG_GETARG_DATUM(0);
	djk_spi_connect();
	if (djk_catalog_execute(&delete_route, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("route " INT64_FORMAT " does not exist", DatumGetInt64(values[0])),
				 errhint("SELECT id, topic, target FROM djkafka_route shows those that do.")));
	SPI_finish();
	PG_RETURN_VOID();
}

/* Which routes; the same that djkafka_subscribe and djkafka_create_route have made. */
Datum
djkafka_unsubscribe(PG_FUNCTION_ARGS)
{
	static DjkStatement delete_routes = {
		.sql = "DELETE FROM @.djkafka_route r USING @.djkafka_consumer c"
		" WHERE c.id OPERATOR(pg_catalog.=) r.consumer_id AND c.name OPERATOR(pg_catalog.=) $4"
		" AND r.topic OPERATOR(pg_catalog.=) $1"
		" AND ($2 IS NULL OR r.target::pg_catalog.oid OPERATOR(pg_catalog.=) $2)"
		" AND ($3 IS NULL OR r.handler OPERATOR(pg_catalog.=) $3)",
		.nargs = 4,
		.argtypes = {TEXTOID, OIDOID, TEXTOID, TEXTOID}
	};
	char	   *topic = djk_require_text_arg(fcinfo, 0, "topic");
	char	   *consumer = djk_require_text_arg(fcinfo, 3, "consumer");
	Datum		values[4] = {CStringGetTextDatum(topic), (Datum) 0, (Datum) 0, CStringGetTextDatum(consumer)};
	char		nulls[5] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' ', ' ', '\0'};
	int			dropped;

	if (!PG_ARGISNULL(1))
		values[1] = PG_GETARG_DATUM(1);
	/* As it is stored. */
	if (!PG_ARGISNULL(2))
		values[2] = CStringGetTextDatum(format_procedure_qualified(PG_GETARG_OID(2)));
	djk_spi_connect();
	dropped = (int) djk_catalog_execute(&delete_routes, values, nulls);
	SPI_finish();
	if (dropped == 0)
		djk_route_row_throw_missing(consumer, topic);
	PG_RETURN_INT32(dropped);
}

Datum
djkafka_pause(PG_FUNCTION_ARGS)
{
	return change_consumer(fcinfo, CHANGE_PAUSE);
}

/* What a storm of failures has stopped goes on too, and counts from zero again. */
static void
calm(const char *name)
{
	int64		id = djk_find_owned_consumer(name);
	DjkIdentity identity;
	DjkEvent	event = {0};
	int			calmed;

	djk_catalog_enter(&identity);
	calmed = djk_offset_calm(id);
	event.kind = "storm";
	event.consumer_id = id;
	event.consumer = name;
	event.partition = -1;
	event.state = "starting";
	event.reason = psprintf("goes on with what had stopped because too many messages failed: partitions %d", calmed);
	if (calmed > 0)
		djk_event_write(&event);
	djk_catalog_leave(&identity);
}

Datum
djkafka_resume(PG_FUNCTION_ARGS)
{
	(void) change_consumer(fcinfo, CHANGE_RESUME);
	calm(djk_require_text_arg(fcinfo, 0, "name"));
	PG_RETURN_VOID();
}

Datum
djkafka_restart(PG_FUNCTION_ARGS)
{
	return change_consumer(fcinfo, CHANGE_RESTART);
}

static bool
is_enabled(const char *name)
{
	static DjkStatement select_enabled = {
		.sql = "SELECT enabled FROM @.djkafka_consumer WHERE name OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(name)};
	bool		enabled;

	djk_spi_connect();
	if (djk_catalog_execute(&select_enabled, values, NULL) == 0)
		djk_consumer_row_throw_missing(name);
	enabled = djk_row_bool(0, 1);
	SPI_finish();
	return enabled;
}

/* Who pauses a consumer for one more route pauses all that it has. */
Datum
djkafka_set_enabled(PG_FUNCTION_ARGS)
{
	char	   *name = djk_require_text_arg(fcinfo, 0, "name");

	if (PG_ARGISNULL(1) || is_enabled(name) == PG_GETARG_BOOL(1))
		PG_RETURN_VOID();
	(void) change_consumer(fcinfo, PG_GETARG_BOOL(1) ? CHANGE_RESUME : CHANGE_PAUSE);
	if (!PG_GETARG_BOOL(1))
		ereport(NOTICE,
				(errmsg("consumer \"%s\" was running and is paused, with all of its routes", name),
				 errhint("SELECT djkafka_resume(%s) lets it go on where it stopped.", quote_literal_cstr(name))));
	PG_RETURN_VOID();
}

/* ---------- seek ---------- */

static void
write_seek_event(int64 consumer_id, const char *name, const char *topic, int partition, const char *start_at)
{
	DjkEvent	event = {0};

	event.kind = "seek";
	event.consumer_id = consumer_id;
	event.consumer = name;
	event.topic = topic;
	event.partition = partition;
	event.reason = psprintf("sought to %s", start_at);
	djk_event_write(&event);
}

Datum
djkafka_seek(PG_FUNCTION_ARGS)
{
	char	   *name = djk_require_text_arg(fcinfo, 0, "name");
	char	   *topic = djk_require_text_arg(fcinfo, 1, "topic");
	char	   *start_at = djk_start_at_normalize(djk_require_text_arg(fcinfo, 2, "start_at"), "start_at", true);
	int			partition = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT32(3);
	int64		id = djk_find_owned_consumer(name);
	DjkIdentity identity;
	int			changed;

	if (!PG_ARGISNULL(3) && partition < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative")));

	djk_catalog_enter(&identity);
	changed = djk_offset_seek(id, topic, partition, start_at);
	if (changed > 0)
		write_seek_event(id, name, topic, partition, start_at);
	djk_catalog_leave(&identity);
	if (changed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer \"%s\" knows no such partition of topic \"%s\"", name, topic),
				 errdetail("Partitions are known from when a worker has first been given them."),
				 errhint("For a topic that was never read, set start_from of the consumer.")));
	(void) djk_consumer_row_raise_revision(id);
	PG_RETURN_INT64(changed);
}
