/*-------------------------------------------------------------------------
 *
 * consumer_row.c
 *	  Consumers with their routes, as the workers load them.
 *
 *-------------------------------------------------------------------------
 */
#include "state/consumer_row.h"

#include "access/xact.h"
#include "base/settings.h"
#include "base/topic.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

bool
djk_consumer_row_wants(const DjkConsumerRow *consumer, const char *topic)
{
	for (int i = 0; i < consumer->nroutes; i++)
	{
		if (djk_topic_matches(consumer->routes[i].topic, topic))
			return true;
	}
	return false;
}

bool
djk_consumer_row_reads_internal(const DjkConsumerRow *consumer)
{
	for (int i = 0; i < consumer->nroutes; i++)
	{
		if (djk_topic_is_internal(consumer->routes[i].topic))
			return true;
	}
	return false;
}

/* ---------- loading ---------- */

static void
load_routes(DjkConsumerRow *consumer, MemoryContext context)
{
	static DjkStatement select_routes = {
		.sql = "SELECT r.*, t.topic AS read_topic, t.retry_topic FROM @.djkafka_route_topic t"
		" JOIN @.djkafka_route r ON r.id = t.route_id WHERE t.consumer_id = $1 ORDER BY r.route_order, r.id",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer->id)};
	MemoryContext old;

	consumer->nroutes = (int) djk_catalog_execute(&select_routes, values, NULL);
	consumer->routes = MemoryContextAllocZero(context, (consumer->nroutes + 1) * sizeof(DjkRouteRow));
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < consumer->nroutes; i++)
	{
		DjkCatalogRow row = djk_catalog_row_found(i, "route");
		DjkRouteRow *route = &consumer->routes[i];

		djk_route_row_read(&row, route);
		route->topic = djk_catalog_row_text(&row, "read_topic");
		route->retry_topic = djk_catalog_row_text(&row, "retry_topic");
		if (!route->has_on_error)
			route->on_error = consumer->on_error;
		if (!route->has_notify)
			route->notify = consumer->notify;
		if (!route->has_letters)
			route->letters = consumer->letters;
		if (route->letter_topic == NULL)
			route->letter_topic = consumer->letter_topic;
		djk_route_row_overlay_retry(route, djk_retry, consumer->retry);
	}
	MemoryContextSwitchTo(old);
}

#define SELECT_CONSUMER \
	"SELECT c.id, c.name, c.owner::oid, c.home = h.home AND h.database = d.oid," \
	" c.server, c.group_id, c.workers, c.assignment, c.start_from, c.enabled," \
	" (SELECT array_agg(e.key ORDER BY e.key) FROM jsonb_each_text(c.options) e)," \
	" (SELECT array_agg(e.value ORDER BY e.key) FROM jsonb_each_text(c.options) e)," \
	" c.batch_messages, c.batch_bytes, c.synchronous_commit, c.revision, c.on_new_topic = 'earliest', m.on_error, m.notify," \
	" m.retry::text, m.dead_letters, m.dead_letter_topic, c.storm_share, c.storm_window, c.retries_of, m.group_id, coalesce(c.retry_suffix, k.retry_suffix)," \
	" c.created_at" \
	" FROM @.djkafka_consumer c JOIN @.djkafka_consumer m ON m.id = coalesce(c.retries_of, c.id)" \
	" AND m.owner = c.owner AND m.home = c.home LEFT JOIN @.djkafka_consumer k ON k.retries_of = c.id" \
	" AND k.owner = c.owner AND k.home = c.home CROSS JOIN @.djkafka_home h" \
	" JOIN pg_database d ON d.datname = current_database()"

static DjkConsumerRow *
fill_consumer(MemoryContext context)
{
	DjkConsumerRow *consumer = MemoryContextAllocZero(context, sizeof(DjkConsumerRow));
	Datum		share;
	bool		isnull;

	consumer->id = djk_row_int64(0, 1, 0);
	consumer->name = djk_row_text(0, 2, context);
	consumer->owner = DatumGetObjectId(djk_row_datum(0, 3, &isnull));
	consumer->is_home = djk_row_bool(0, 4);
	consumer->server = djk_row_text(0, 5, context);
	consumer->group_id = djk_row_text(0, 6, context);
	consumer->kafka_name = MemoryContextStrdup(context, djk_connection_text(consumer->name));
	consumer->kafka_group = MemoryContextStrdup(context, djk_connection_text(consumer->group_id));
	consumer->workers = (int) djk_row_int64(0, 7, 1);
	consumer->assignment = djk_row_text(0, 8, context);
	consumer->start_from = djk_row_text(0, 9, context);
	consumer->enabled = djk_row_bool(0, 10);
	consumer->noptions = djk_row_text_array(0, 11, context, &consumer->option_names);
	(void) djk_row_text_array(0, 12, context, &consumer->option_values);
	consumer->batch_messages = (int) djk_row_int64(0, 13, djk_batch_messages);
	consumer->batch_bytes = (int) djk_row_int64(0, 14, Min((int64) djk_batch_size_kb * 1024, PG_INT32_MAX));
	consumer->synchronous_commit = djk_row_bool(0, 15);
	consumer->revision = djk_row_int64(0, 16, 0);
	consumer->new_topic_is_read = djk_row_bool(0, 17);
	consumer->on_error = djk_on_error_parse(djk_row_text(0, 18, context));
	consumer->notify = djk_notify_parse(djk_row_text(0, 19, context));
	consumer->retry = djk_row_text(0, 20, context);
	consumer->letters = djk_letters_parse(djk_row_text(0, 21, context));
	consumer->letter_topic = djk_row_text(0, 22, context);
	share = djk_row_datum(0, 23, &isnull);
	consumer->storm_share = isnull ? djk_storm_share : DatumGetFloat8(share);
	consumer->storm_window = (int) djk_row_int64(0, 24, djk_storm_window);
	consumer->retries_of = djk_row_int64(0, 25, 0);
	consumer->main_group = djk_row_text(0, 26, context);
	consumer->retry_suffix = djk_row_text(0, 27, context);
	consumer->created_at = DatumGetTimestampTz(djk_row_datum(0, 28, &isnull));
	load_routes(consumer, context);
	return consumer;
}

DjkConsumerRow *
djk_consumer_row_load(int64 id, MemoryContext context)
{
	static DjkStatement select_consumer = {
		.sql = SELECT_CONSUMER " WHERE c.id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(id)};

	return djk_catalog_execute(&select_consumer, values, NULL) == 1 ? fill_consumer(context) : NULL;
}

DjkConsumerRow *
djk_consumer_row_load_by_name(const char *name, MemoryContext context)
{
	static DjkStatement select_consumer = {
		.sql = SELECT_CONSUMER " WHERE c.name = $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(name)};

	return djk_catalog_execute(&select_consumer, values, NULL) == 1 ? fill_consumer(context) : NULL;
}

bool
djk_consumer_row_find(const char *name, int64 *id, Oid *owner)
{
	static DjkStatement select_consumer = {
		.sql = "SELECT id, owner::oid FROM @.djkafka_consumer WHERE name = $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(name)};
	DjkIdentity identity;
	bool		found;
	bool		isnull;

	*id = 0;
	*owner = InvalidOid;
	djk_catalog_enter(&identity);
	found = djk_catalog_query_latest(&select_consumer, values, NULL) > 0;
	if (found)
	{
		*id = djk_row_int64(0, 1, 0);
		*owner = DatumGetObjectId(djk_row_datum(0, 2, &isnull));
	}
	djk_catalog_leave(&identity);
	return found;
}

int64
djk_consumer_row_require(const char *name)
{
	static DjkStatement select_id = {
		.sql = "SELECT id FROM @.djkafka_consumer WHERE name OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(name)};

	if (djk_catalog_execute(&select_id, values, NULL) == 0)
		djk_consumer_row_throw_missing(name);
	return djk_row_int64(0, 1, 0);
}

void
djk_consumer_row_throw_missing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("consumer \"%s\" does not exist", name),
			 errhint("SELECT name FROM djkafka_consumer shows those that do.")));
	pg_unreachable();
}

DjkConsumerSummary *
djk_consumer_row_list(int *count, MemoryContext context)
{
	static DjkStatement select_consumers = {
		.sql = "SELECT c.id, c.name, c.owner::oid,"
		" CASE WHEN c.enabled AND c.home = h.home AND h.database = d.oid"
		"       AND EXISTS (SELECT FROM @.djkafka_route_topic t WHERE t.consumer_id = c.id)"
		"      THEN c.workers ELSE 0 END, c.revision"
		" FROM @.djkafka_consumer c CROSS JOIN @.djkafka_home h"
		" JOIN pg_database d ON d.datname = current_database() ORDER BY c.id"
	};
	int			n = (int) djk_catalog_execute(&select_consumers, NULL, NULL);
	DjkConsumerSummary *list = MemoryContextAllocZero(context, (n + 1) * sizeof(DjkConsumerSummary));
	bool		isnull;

	for (int i = 0; i < n; i++)
	{
		list[i].id = djk_row_int64(i, 1, 0);
		list[i].name = djk_row_text(i, 2, context);
		list[i].owner = DatumGetObjectId(djk_row_datum(i, 3, &isnull));
		list[i].workers = (int) djk_row_int64(i, 4, 0);
		list[i].revision = djk_row_int64(i, 5, 0);
	}
	*count = n;
	return list;
}

int64
djk_consumer_row_revision(const DjkConsumerRow *consumer, int worker)
{
	static DjkStatement select_revision = {
		.sql = "SELECT revision FROM @.djkafka_consumer WHERE id = $1 AND created_at = $2 AND enabled AND workers >= $3",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, INT4OID}
	};
	Datum		values[3] = {Int64GetDatum(consumer->id), TimestampTzGetDatum(consumer->created_at), Int32GetDatum(worker)};

	return djk_catalog_execute(&select_revision, values, NULL) == 1 ? djk_row_int64(0, 1, -1) : -1;
}

bool
djk_consumer_row_is_changed(const DjkConsumerRow *consumer)
{
	static DjkStatement select_change = {
		.sql = "SELECT xmin FROM @.djkafka_consumer WHERE id = $1 AND (revision <> $2 OR created_at <> $3)",
		.nargs = 3,
		.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {
		Int64GetDatum(consumer->id), Int64GetDatum(consumer->revision), TimestampTzGetDatum(consumer->created_at)
	};
	bool		isnull;

	return djk_catalog_query_latest(&select_change, values, NULL) == 1 &&
		!TransactionIdIsCurrentTransactionId(DatumGetTransactionId(djk_row_datum(0, 1, &isnull)));
}

bool
djk_consumer_row_is_foreign(int64 id)
{
	static DjkStatement select_foreign = {
		.sql = "SELECT FROM @.djkafka_consumer c CROSS JOIN @.djkafka_home h WHERE c.id = $1 AND c.home <> h.home",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(id)};

	return djk_catalog_has_latest(&select_foreign, values, NULL);
}

bool
djk_consumer_row_raise_revision(int64 id)
{
	static DjkStatement raise_revision = {
		.sql = "UPDATE @.djkafka_consumer SET revision = revision + 1 WHERE id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};

	/* Anybody may name it in a row of another owner or home, and keep that locked. */
	static DjkStatement raise_reader = {
		.sql = "UPDATE @.djkafka_consumer k SET revision = k.revision + 1 FROM @.djkafka_consumer m"
		" WHERE m.id = $1 AND k.retries_of = m.id AND k.owner = m.owner AND k.home = m.home",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(id)};

	if (!djk_catalog_has(&raise_revision, values, NULL))
		return false;
	(void) djk_catalog_has(&raise_reader, values, NULL);
	return true;
}

bool
djk_consumer_row_raise_other(int64 id, int64 main_id, Oid owner)
{
	static DjkStatement raise_other = {
		.sql = "UPDATE @.djkafka_consumer SET revision = revision + 1 WHERE (retries_of = $1 OR id = $2) AND owner = $3",
		.nargs = 3,
		.argtypes = {INT8OID, INT8OID, OIDOID}
	};
	Datum		values[3] = {Int64GetDatum(id), Int64GetDatum(main_id), ObjectIdGetDatum(owner)};

	return djk_catalog_execute(&raise_other, values, NULL) > 0;
}
