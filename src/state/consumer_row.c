/*-------------------------------------------------------------------------
 *
 * consumer_row.c
 *	  SQL on djkafka_consumer and djkafka_route.
 *
 *-------------------------------------------------------------------------
 */
#include "state/consumer_row.h"

#include "base/settings.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "regex/regex.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* ---------- words ---------- */

static const char *const on_error_words[] = {"dead_letter", "skip", "stop", NULL};
static const char *const notify_words[] = {"off", "batch", "keys", NULL};
static const char *const operation_words[] = {"insert", "insert_new", "upsert", "mirror", NULL};
static const char *const naming_words[] = {"exact", "snake_case", "insensitive", NULL};

static int
parse_word(const char *what, const char *word, const char *const *words)
{
	StringInfoData list;

	for (int i = 0; words[i] != NULL; i++)
	{
		if (strcmp(word, words[i]) == 0)
			return i;
	}

	initStringInfo(&list);
	for (int i = 0; words[i] != NULL; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", words[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", what, word),
			 errhint("Valid values are %s.", list.data)));
}

DjkOnError
djk_on_error_parse(const char *word)
{
	return (DjkOnError) parse_word("on_error", word, on_error_words);
}

DjkNotify
djk_notify_parse(const char *word)
{
	return (DjkNotify) parse_word("notify", word, notify_words);
}

DjkOperation
djk_operation_parse(const char *word)
{
	return (DjkOperation) parse_word("operation", word, operation_words);
}

DjkNaming
djk_naming_parse(const char *word)
{
	return (DjkNaming) parse_word("naming", word, naming_words);
}

/* ---------- topics ---------- */

/* Kafka's own topics, and what other programs keep for themselves. */
static bool
names_internal(const char *topic)
{
	return strncmp(topic[0] == '^' ? topic + 1 : topic, "__", 2) == 0;
}

bool
djk_topic_matches(const char *pattern, const char *topic)
{
	if (pattern[0] != '^')
		return strcmp(pattern, topic) == 0;
	if (names_internal(topic) && !names_internal(pattern))
		return false;
	return RE_compile_and_execute(cstring_to_text(pattern), unconstify(char *, topic), strlen(topic),
								  REG_ADVANCED, DEFAULT_COLLATION_OID, 0, NULL);
}

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
		if (names_internal(consumer->routes[i].topic))
			return true;
	}
	return false;
}

/* ---------- routes ---------- */

static void
fill_route(DjkRouteRow *route, int row, MemoryContext context)
{
	bool		isnull;

	route->id = djk_row_int64(row, 1, 0);
	route->topic = djk_row_text(row, 2, context);
	route->target = DatumGetObjectId(djk_row_datum(row, 3, &isnull));
	if (isnull)
		route->target = InvalidOid;
	route->target_name = djk_row_text(row, 4, context);
	route->handler = djk_row_text(row, 5, context);
	route->operation = djk_operation_parse(djk_row_text(row, 6, context));
	route->format = djk_row_text(row, 7, context);
	route->key_format = djk_row_text(row, 8, context);
	route->nkey_columns = djk_row_text_array(row, 9, context, &route->key_columns);
	route->ncolumns = djk_row_text_array(row, 10, context, &route->column_names);
	(void) djk_row_text_array(row, 11, context, &route->column_mappings);
	route->ninclude = djk_row_text_array(row, 12, context, &route->include);
	route->nexclude = djk_row_text_array(row, 13, context, &route->exclude);
	route->filter = djk_row_text(row, 14, context);
	route->deleted_field = djk_row_text(row, 15, context);
	route->unknown_fields_are_errors = djk_row_bool(row, 16);
	route->on_error = djk_on_error_parse(djk_row_text(row, 17, context));
	route->notify = djk_notify_parse(djk_row_text(row, 18, context));
	route->time_zone = djk_row_text(row, 19, context);
	route->search_path = djk_row_text(row, 20, context);
	route->skip_column = djk_row_text(row, 21, context);
	route->strict_types = djk_row_bool(row, 22);
	route->time_unit = djk_row_text(row, 23, context);
	route->strangers_are_ignored = djk_row_bool(row, 24);
	route->naming = djk_naming_parse(djk_row_text(row, 25, context));
	route->root = djk_row_text(row, 26, context);
	route->deleted_when = djk_row_text(row, 27, context);
	route->unchanged_value = djk_row_text(row, 28, context);
	route->version_column = djk_row_text(row, 29, context);
	route->partial_deletes = djk_row_bool(row, 30);
	route->replace_invalid_text = djk_row_bool(row, 31);
	route->renamed = djk_row_text(row, 32, context);
	route->remember_deleted_s = djk_row_int64(row, 33, -1);
	route->parent_timeout_ms = djk_row_int64(row, 34, 0);
}

static void
load_routes(DjkConsumerRow *consumer, MemoryContext context)
{
	static DjkStatement select_routes = {
		.sql = "SELECT r.id, r.topic, r.target::oid, r.target_name, r.handler, r.operation, r.format,"
		" r.key_format, r.key_columns,"
		" (SELECT array_agg(e.key ORDER BY e.key) FROM jsonb_each_text(r.columns) e),"
		" (SELECT array_agg(e.value ORDER BY e.key) FROM jsonb_each_text(r.columns) e),"
		" r.include, r.exclude, r.filter, r.deleted_field, r.unknown_fields = 'error',"
		" coalesce(r.on_error, c.on_error), coalesce(r.notify, c.notify), r.time_zone, r.search_path, r.skip_column,"
		" r.types = 'strict', r.time_unit, r.unknown_fields = 'ignore_all', r.naming, r.root, r.deleted_when, r.unchanged_value,"
		" r.version_column, r.partial_deletes, r.invalid_text = 'replace', r.renamed,"
		/* no longer than there are times before now, which is for ever */
		" CASE WHEN r.remember_deleted IS NOT NULL THEN least(ceil(extract(epoch FROM r.remember_deleted)), 1e11)::bigint END,"
		" (least(extract(epoch FROM r.parent_timeout), 1e9) * 1000)::bigint"
		" FROM @.djkafka_route r JOIN @.djkafka_consumer c ON c.id = r.consumer_id"
		" WHERE r.consumer_id = $1 ORDER BY r.route_order, r.id",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer->id)};

	consumer->nroutes = (int) djk_catalog_execute(&select_routes, values, NULL);
	consumer->routes = MemoryContextAllocZero(context, (consumer->nroutes + 1) * sizeof(DjkRouteRow));
	for (int i = 0; i < consumer->nroutes; i++)
		fill_route(&consumer->routes[i], i, context);
}

/* ---------- consumers ---------- */

#define SELECT_CONSUMER \
	"SELECT c.id, c.name, c.owner::oid, c.home = h.home AND h.database = d.oid," \
	" c.server, c.group_id, c.workers, c.assignment, c.start_from, c.enabled," \
	" (SELECT array_agg(e.key ORDER BY e.key) FROM jsonb_each_text(c.options) e)," \
	" (SELECT array_agg(e.value ORDER BY e.key) FROM jsonb_each_text(c.options) e)," \
	" c.batch_messages, c.batch_bytes, c.synchronous_commit, c.revision, c.on_new_topic = 'earliest'" \
	" FROM @.djkafka_consumer c CROSS JOIN @.djkafka_home h" \
	" JOIN pg_database d ON d.datname = current_database()"

static DjkConsumerRow *
fill_consumer(MemoryContext context)
{
	DjkConsumerRow *consumer = MemoryContextAllocZero(context, sizeof(DjkConsumerRow));
	bool		isnull;

	consumer->id = djk_row_int64(0, 1, 0);
	consumer->name = djk_row_text(0, 2, context);
	consumer->owner = DatumGetObjectId(djk_row_datum(0, 3, &isnull));
	consumer->is_home = djk_row_bool(0, 4);
	consumer->server = djk_row_text(0, 5, context);
	consumer->group_id = djk_row_text(0, 6, context);
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

DjkConsumerSummary *
djk_consumer_row_list(int *count, MemoryContext context)
{
	static DjkStatement select_consumers = {
		.sql = "SELECT c.id, c.name, c.owner::oid,"
		" CASE WHEN c.enabled AND c.home = h.home AND h.database = d.oid"
		"       AND EXISTS (SELECT FROM @.djkafka_route r WHERE r.consumer_id = c.id)"
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
djk_consumer_row_revision(int64 id, int worker)
{
	static DjkStatement select_revision = {
		.sql = "SELECT revision FROM @.djkafka_consumer WHERE id = $1 AND enabled AND workers >= $2",
		.nargs = 2,
		.argtypes = {INT8OID, INT4OID}
	};
	Datum		values[2] = {Int64GetDatum(id), Int32GetDatum(worker)};

	return djk_catalog_execute(&select_revision, values, NULL) == 1 ? djk_row_int64(0, 1, -1) : -1;
}
