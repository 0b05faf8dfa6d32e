/*-------------------------------------------------------------------------
 *
 * route_trigger.c
 *	  The triggers that check rows of djkafka_route, and keep them true.
 *
 * The deep check is to build what a worker would build: columns, key, handler
 * and expressions are found wrong here, with the same message, before a
 * message is lost time over them.  A route of a foreign consumer (a restored
 * dump) is not checked so: tables get their keys after their rows.  Nor is it by
 * what its consumer, a setting or another route says: these may have been changed
 * since it was checked, and one route that is refused is all routes of the dump.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "apply/renamed.h"
#include "apply/route_target.h"
#include "apply/statement.h"
#include "base/settings.h"
#include "base/topic.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "kafka/pattern.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "regex/regex.h"
#include "sql/publication.h"
#include "sql/route_follow.h"
#include "sql/route_look.h"
#include "state/row.h"
#include "sql/consumer_owner.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/deleted.h"
#include "state/produce.h"
#include "state/wake.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(djkafka_route_validate);
PG_FUNCTION_INFO_V1(djkafka_route_changed);
PG_FUNCTION_INFO_V1(djkafka_target_dropped);

#define PATTERN_MAX		1000

/* ---------- the consumer ---------- */

typedef struct ConsumerFacts
{
	Oid			owner;
	bool		is_home;
	char	   *group;
	DjkLetters	letters;
	char	   *letter_topic;
	char	   *retry;
	bool		reads_retries;
	bool		has_retries_read;
} ConsumerFacts;

static ConsumerFacts
load_consumer(int64 id)
{
	static DjkStatement select_consumer = {
		.sql = "SELECT c.owner::oid, c.home = h.home, c.group_id, c.dead_letters, c.dead_letter_topic,"
		" c.retry::text, c.retries_of IS NOT NULL, EXISTS (SELECT FROM @.djkafka_consumer k WHERE k.retries_of = c.id AND k.owner = c.owner"
		"  AND k.home = c.home) FROM @.djkafka_consumer c CROSS JOIN @.djkafka_home h"
		" WHERE c.id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(id)};
	ConsumerFacts facts = {0};
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	bool		isnull;
	bool		found;

	djk_catalog_enter(&identity);
	found = djk_catalog_execute(&select_consumer, values, NULL) == 1;
	if (found)
	{
		facts.owner = DatumGetObjectId(djk_row_datum(0, 1, &isnull));
		facts.is_home = djk_row_bool(0, 2);
		facts.group = djk_row_text(0, 3, context);
		facts.letters = djk_letters_parse(djk_row_text(0, 4, context));
		facts.letter_topic = djk_row_text(0, 5, context);
		facts.retry = djk_row_text(0, 6, context);
		facts.reads_retries = djk_row_bool(0, 7);
		facts.has_retries_read = djk_row_bool(0, 8);
	}
	djk_catalog_leave(&identity);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("consumer with id " INT64_FORMAT " does not exist", id),
				 errhint("SELECT id, name FROM djkafka_consumer shows those that do. " DJK_RESTORE_ORDER_HINT)));
	return facts;
}

/* ---------- values ---------- */

static void
check_topic(const char *topic)
{
	regex_t		regex;
	pg_wchar   *wide;
	int			nwide;
	int			code;
	char		reason[128];

	if (topic[0] != '^')
	{
		djk_topic_name_require(topic, "A regular expression begins with ^.");
		return;
	}
	if (strlen(topic) > PATTERN_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				 errmsg("pattern of topics is longer than %d bytes", PATTERN_MAX)));
	wide = palloc((strlen(topic) + 1) * sizeof(pg_wchar));
	nwide = pg_mb2wchar_with_len(topic, wide, strlen(topic));
	code = pg_regcomp(&regex, wide, nwide, REG_ADVANCED | REG_NOSUB, DEFAULT_COLLATION_OID);
	if (code != REG_OKAY)
	{
		pg_regerror(code, &regex, reason, sizeof(reason));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				 errmsg("invalid pattern of topics: \"%s\"", topic),
				 errdetail("PostgreSQL cannot read it: %s.", reason)));
	}
	pg_regfree(&regex);
	djk_pattern_require(topic, ERRCODE_INVALID_REGULAR_EXPRESSION);
}

static void
check_timeout(const DjkCatalogRow *row)
{
	Interval	zero = {0};
	bool		isnull;
	Datum		timeout;

	(void) djk_catalog_row_require_text(row, "parent_timeout");
	timeout = djk_catalog_row_get(row, "parent_timeout", &isnull);
	if (DatumGetBool(DirectFunctionCall2(interval_lt, timeout, IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parent_timeout must not be negative"),
				 errhint("With 0 a message whose parent is missing fails at once.")));
}

/* A zone need not be where a dump is restored. */
static void
check_time_zone(const DjkCatalogRow *row, bool is_home)
{
	const char *zone = djk_catalog_row_require_text(row, "time_zone");
	bool		is_zone = strcmp(zone, DJK_TIME_ZONE_ERROR) != 0;

	if (is_home && is_zone && pg_tzset(zone) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", zone),
				 errhint("SELECT name FROM pg_timezone_names shows those that are; \"error\" refuses times without a zone.")));
	if (!is_zone && strcmp(djk_catalog_row_require_text(row, "types"), "strict") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time_zone \"error\" needs types \"strict\""),
				 errhint("Name the zone in which times without one are read, or set types to \"strict\".")));
}

static void
check_words(const DjkCatalogRow *row)
{
	static const char *const key_formats[] = {"auto", "json", "json_schema", "avro", "text", "raw", NULL};
	static const char *const unknown_fields[] = {"ignore", "ignore_all", "error", NULL};
	static const char *const unknown_types[] = {"error", "ignore", NULL};
	static const char *const types[] = {"strict", "postgres", NULL};
	static const char *const invalid_text[] = {"error", "replace", NULL};
	static const char *const orderings[] = {"key", "none", NULL};
	char	   *word;

	djk_catalog_row_check_word(row, "format", djk_codec_names());
	djk_catalog_row_check_word(row, "key_format", key_formats);
	djk_catalog_row_check_word(row, "unknown_fields", unknown_fields);
	djk_catalog_row_check_word(row, "unknown_types", unknown_types);
	djk_catalog_row_check_word(row, "types", types);
	djk_catalog_row_check_word(row, "invalid_text", invalid_text);
	djk_catalog_row_check_word(row, "ordering", orderings);
	check_timeout(row);
	(void) djk_operation_parse(djk_catalog_row_require_text(row, "operation"));
	(void) djk_naming_parse(djk_catalog_row_require_text(row, "naming"));
	if ((word = djk_catalog_row_text(row, "on_error")) != NULL)
		(void) djk_on_error_parse(word);
	if ((word = djk_catalog_row_text(row, "notify")) != NULL)
		(void) djk_notify_parse(word);
	(void) djk_catalog_row_require_text(row, "route_order");
}

static void
check_remember_deleted(const DjkCatalogRow *row)
{
	static const Interval none = {0};
	bool		isnull;
	bool		is_used;
	Datum		interval = djk_catalog_row_get(row, "remember_deleted", &isnull);

	if (isnull)
		return;
	is_used = djk_catalog_row_text(row, "version_column") != NULL &&
		strcmp(djk_catalog_row_require_text(row, "operation"), "mirror") == 0;
	djk_catalog_look_at("remember_deleted");
	if (!is_used)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("remember_deleted needs operation \"mirror\" and a version_column"),
				 errhint("Leave remember_deleted null, or set the others.")));
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, interval, IntervalPGetDatum(&none))) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("remember_deleted must be greater than zero")));
}

static void
check_on_referenced(const DjkCatalogRow *row)
{
	if (djk_referenced_parse(djk_catalog_row_require_text(row, "on_referenced")) == DJK_REFERENCED_WAIT)
		return;
	if (strcmp(djk_catalog_row_require_text(row, "operation"), "mirror") == 0 && djk_catalog_row_text(row, "handler") == NULL)
		return;
	djk_catalog_look_at("on_referenced");
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("on_referenced needs operation \"mirror\" and a table"),
			 errdetail("It says what becomes of rows that refer to one that is deleted."),
			 errhint("Set on_referenced of the route to \"wait\".")));
}

/* What is given of a bound of lanes must be above zero. */
static bool
check_lane_bound(const DjkCatalogRow *row, const char *column)
{
	static const Interval none = {0};
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);
	bool		is_age = strcmp(column, "max_lane_age") == 0;

	if (isnull)
		return false;
	djk_catalog_look_at(column);
	if (is_age ? DatumGetInt32(DirectFunctionCall2(interval_cmp, value, IntervalPGetDatum(&none))) <= 0 :
		djk_catalog_row_int64(row, column, 0) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero", column),
				 errhint("With null there is no such bound; with parent_timeout 0 and no retry policy nothing of the route waits.")));
	return true;
}

static void
check_lanes(const DjkCatalogRow *row)
{
	static const char *const policies[] = {"dead_letter", "stop", NULL};
	bool		any = check_lane_bound(row, "max_lane_messages");

	any |= check_lane_bound(row, "max_lane_bytes");
	any |= check_lane_bound(row, "max_lane_age");
	djk_catalog_row_check_word(row, "on_full_lane", policies);
	if (any && strcmp(djk_catalog_row_require_text(row, "ordering"), "none") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bounds of what waits of a key need ordering \"key\""),
				 errdetail("With ordering \"none\" nothing waits behind a message of its key."),
				 errhint("Set max_lane_messages, max_lane_bytes and max_lane_age to null, or ordering to \"key\".")));
}

/* ---------- target and handler ---------- */

static void
check_target(DjkCatalogRow *row)
{
	bool		isnull;
	Oid			target = DatumGetObjectId(djk_catalog_row_get(row, "target", &isnull));

	if (isnull)
		return;
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(target)))
	{
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the target of a route no longer exists"),
				 errdetail("Relation %u is not in the database.", target),
				 errhint("Give it one with djkafka_alter_route(consumer, topic, new_target => ...); it is broken until then.")));
		djk_catalog_row_set(row, "target", (Datum) 0, true);
		if (djk_catalog_row_text(row, "target_name") == NULL)
			djk_catalog_row_set_text(row, "target_name", psprintf("%u", target));
		return;
	}
	djk_catalog_row_set_text(row, "target_name",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(target)),
														get_rel_name(target)));
}

/* Handlers are stored qualified, so that no search_path changes their meaning. */
static void
check_handler(DjkCatalogRow *row, bool is_home)
{
	LOCAL_FCINFO(fcinfo, 1);
	char	   *handler = djk_catalog_row_text(row, "handler");
	Datum		function;

	if (handler == NULL)
		return;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(handler);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	if (!fcinfo->isnull)
		djk_catalog_row_set_text(row, "handler", format_procedure_qualified(DatumGetObjectId(function)));
	else if (is_home)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler %s does not exist", handler),
				 errhint("Name a function with its argument's type, such as 'app.on_order(jsonb)'; in double quotes what has capitals, 'app.\"onOrder\"(jsonb)'.")));
}

static bool
is_same(const DjkCatalogRow *row, const DjkCatalogRow *old, const char *column)
{
	const char *before = djk_catalog_row_text(old, column);
	const char *after = djk_catalog_row_text(row, column);

	return before == NULL || after == NULL ? before == after : strcmp(before, after) == 0;
}

/* Names that columns of another target had say nothing of this one. */
static void
forget_renamed(DjkCatalogRow *row, const DjkCatalogRow *old)
{
	if (!is_same(row, old, "target") && is_same(row, old, "renamed"))
		djk_catalog_row_set(row, "renamed", (Datum) 0, true);
}

static void
check_one_destination(const DjkCatalogRow *row)
{
	bool		no_target;
	bool		dropped = djk_catalog_row_text(row, "target_name") != NULL;
	bool		no_handler = djk_catalog_row_text(row, "handler") == NULL;

	(void) djk_catalog_row_get(row, "target", &no_target);
	if (no_target && dropped && no_handler)
		return;
	if (no_target == no_handler)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a route has either a target or a handler"),
				 errhint("Name exactly one of target and handler.")));
}

static void
check_duplicate(const DjkCatalogRow *row)
{
	static DjkStatement select_same = {
		.sql = "SELECT 1 FROM @.djkafka_route WHERE consumer_id = $1 AND topic = $2 AND id <> $3"
		" AND target IS NOT DISTINCT FROM $4 AND handler IS NOT DISTINCT FROM $5"
		" AND filter IS NOT DISTINCT FROM $6",
		.nargs = 6,
		.argtypes = {INT8OID, TEXTOID, INT8OID, REGCLASSOID, TEXTOID, TEXTOID}
	};
	static const char *const columns[] = {"consumer_id", "topic", "id", "target", "handler", "filter"};
	Datum		values[6];
	char		nulls[7] = "      ";

	for (int i = 0; i < 6; i++)
	{
		bool		isnull;

		values[i] = djk_catalog_row_get(row, columns[i], &isnull);
		nulls[i] = isnull ? 'n' : ' ';
	}
	if (djk_catalog_has(&select_same, values, nulls))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the consumer has this route for topic \"%s\" already",
						djk_catalog_row_text(row, "topic")),
				 errhint("Change it with djkafka_alter_route, or end it with djkafka_unsubscribe.")));
}

/*
 * Whoever owns the target, the handler or a table that is read decides what
 * runs with the rights of the consumer's owner: triggers, defaults, the
 * function's body, a view's functions.
 */
static void
warn_of_superuser(const char *what, Oid object_owner, Oid owner)
{
	const char *name;

	if (!OidIsValid(object_owner) || !superuser_arg(owner) || superuser_arg(object_owner))
		return;
	name = quote_identifier(GetUserNameFromId(object_owner, false));
	ereport(WARNING,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role %s can make itself a superuser by this route", name),
			 errdetail("It owns the %s, and code of its own will run with the rights of the consumer's owner, who is a superuser.", what),
			 errhint("Make the consumer with owner => %s, or SELECT djkafka_alter_consumer(name, owner => %s).",
					 quote_literal_cstr(name), quote_literal_cstr(name))));
}

static void
check_trust(const DjkCatalogRow *row, Oid owner)
{
	bool		isnull;
	Oid			target = DatumGetObjectId(djk_catalog_row_get(row, "target", &isnull));
	char	   *handler = djk_catalog_row_text(row, "handler");
	HeapTuple	tuple;

	if (!isnull)
		warn_of_superuser("target", djk_table_owner(target), owner);
	tuple = handler == NULL ? NULL : SearchSysCache1(PROCOID, DirectFunctionCall1(regprocedurein, CStringGetDatum(handler)));
	if (HeapTupleIsValid(tuple))
	{
		warn_of_superuser("handler", ((Form_pg_proc) GETSTRUCT(tuple))->proowner, owner);
		ReleaseSysCache(tuple);
	}
}

/* ---------- the deep check ---------- */

/* Who owns a table that is read may make a view of it, and so decides too. */
static void
check_trust_of_reads(DjkRouteState *state, Oid owner)
{
	List	   *tables = list_copy(djk_route_sql_reads(state)->tables);
	ListCell   *lc;

	for (int i = 0; i < state->nexpressions; i++)
	{
		if (state->expressions[i]->lookup != NULL)
			tables = list_append_unique_oid(tables, state->expressions[i]->lookup->relation);
	}
	foreach(lc, tables)
		warn_of_superuser("table that is read", djk_table_owner(lfirst_oid(lc)), owner);
}

static void
check_statements(DjkRouteState *state, void *arg)
{
	const Oid  *owner = arg;

	djk_route_sql_check(state);
	check_trust_of_reads(state, *owner);
}

static void
check_deeply(const DjkRouteRow *route, Oid owner)
{
	if (route->handler != NULL || OidIsValid(route->target))
		djk_route_look(route, owner, check_statements, &owner);
}

/*
 * What holds whatever there is in the database, and so for a foreign consumer
 * and without a target too: what reads the routes of all relies on it.
 */
static void
check_shape(const DjkRouteRow *route)
{
	char	  **names;
	List	   *schemas;

	djk_catalog_look_at("search_path");
	if (!SplitIdentifierString(pstrdup(route->search_path), ',', &schemas))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid search_path of a route: \"%s\"", route->search_path),
				 errhint("Write names of schemas with commas between them.")));
	djk_catalog_look_at("time_unit");
	(void) djk_route_timed_columns(route, &names);
	djk_catalog_look_at("renamed");
	(void) djk_renamed_parse(route->renamed);
}

/* Of a pattern one topic stands for all. */
static void
check_letters(const DjkRouteRow *route, const ConsumerFacts *consumer)
{
	DjkLetters	letters = route->has_letters ? route->letters : consumer->letters;
	const char *template = route->letter_topic != NULL ? route->letter_topic : consumer->letter_topic;
	const char *topic = route->topic[0] == '^' ? "t" : route->topic;
	const char *name = djk_topic_expand(template, consumer->group, topic);
	bool		is_used = consumer->is_home && letters != DJK_LETTERS_TABLE;

	djk_catalog_look_at("dead_letter_topic");
	djk_topic_template_require("dead_letter_topic", template, is_used ? consumer->group : "g");
	if (!is_used)
		return;
	djk_topic_require_writable(name);
	if (djk_topic_matches(route->topic, name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dead letters of topic \"%s\" would go to topic \"%s\", which the route reads itself", topic, name),
				 errdetail("What fails there would become another letter of that topic."),
				 errhint("Narrow the pattern of topics, or name another dead_letter_topic.")));
	djk_produce_require_execute(consumer->owner);
}

/* What is tried again from a topic comes after later messages of its key: that must have been said to be right. */
static void
check_retry_topics(DjkRouteRow *route, const ConsumerFacts *consumer)
{
	if (!route->policy.through_topics)
		return;
	djk_route_row_overlay_retry(route, djk_retry, consumer->retry);
	djk_catalog_look_at("retry");
	if (route->policy.blocking)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a retry policy that is blocking sends nothing through topics"),
				 errdetail("What the route, its consumer and djkafka.retry say together is both."),
				 errhint("Say \"blocking\": false, or \"through\": \"table\".")));
	if (!route->unordered)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retries through topics keep no order, and the route has ordering \"key\""),
				 errdetail("A message that is tried again may be applied after later ones of its key."),
				 errhint("Use ordering => 'none', with a version_column where an older message must not win; or \"through\": \"table\".")));
	if (consumer->is_home)
		djk_produce_require_execute(consumer->owner);
	if (!consumer->has_retries_read)
		ereport(NOTICE,
				(errmsg("nobody here reads topics of retries of the consumer: messages wait in djkafka_parked"),
				 errhint("SELECT djkafka_create_consumer(name, retries_of => ...).")));
}

static void
require_main(const ConsumerFacts *consumer)
{
	if (consumer->reads_retries)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a consumer that reads the retries of another one has no routes of its own"),
				 errhint("Add the route to that consumer.")));
}

static Datum
validate(TriggerData *trigdata)
{
	DjkCatalogRow row;
	ConsumerFacts consumer;
	DjkRouteRow route;
	bool		isnull;
	int64		consumer_id;

	row = djk_catalog_row_new(trigdata, "route");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);

	(void) djk_catalog_row_require_text(&row, "consumer_id");
	consumer_id = DatumGetInt64(djk_catalog_row_get(&row, "consumer_id", &isnull));
	consumer = load_consumer(consumer_id);
	djk_require_consumer_owner(consumer.owner);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		return PointerGetDatum(row.tuple);
	require_main(&consumer);
	djk_catalog_row_empty_is_null(&row);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		DjkCatalogRow old = {trigdata->tg_trigtuple, row.desc, row.what};

		djk_require_consumer_owner(load_consumer(DatumGetInt64(djk_catalog_row_get(&old, "consumer_id", &isnull))).owner);
		djk_catalog_row_fill_times(&row, &old);
		forget_renamed(&row, &old);
	}
	else
		djk_catalog_row_fill_times(&row, NULL);

	if (djk_catalog_row_text(&row, "search_path") == NULL)
		djk_catalog_row_set_text(&row, "search_path", GetConfigOption("search_path", false, false));
	check_topic(djk_catalog_row_require_text(&row, "topic"));
	check_words(&row);
	check_time_zone(&row, consumer.is_home);
	check_remember_deleted(&row);
	check_on_referenced(&row);
	check_lanes(&row);
	check_target(&row);
	check_handler(&row, consumer.is_home);
	check_one_destination(&row);
	if (consumer.is_home)
		check_duplicate(&row);
	djk_route_row_read(&row, &route);
	check_shape(&route);
	check_letters(&route, &consumer);
	if (consumer.is_home)
	{
		check_retry_topics(&route, &consumer);
		check_deeply(&route, consumer.owner);
		check_trust(&row, consumer.owner);
	}
	return PointerGetDatum(row.tuple);
}

Datum
djkafka_route_validate(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_route_validate must be called as a trigger");
	return djk_catalog_validate((TriggerData *) fcinfo->context, validate);
}

/* ---------- after a change ---------- */

/* What is remembered of the deleted rows of a target goes with the last route that remembers them. */
static void
forget_deleted(const DjkCatalogRow *old)
{
	DjkIdentity identity;
	bool		isnull;
	Datum		target;

	(void) djk_catalog_row_get(old, "remember_deleted", &isnull);
	if (isnull)
		return;
	target = djk_catalog_row_get(old, "target", &isnull);
	if (isnull)
		return;
	djk_catalog_enter(&identity);
	djk_deleted_forget(DatumGetObjectId(target));
	djk_catalog_leave(&identity);
}

/*
 * Whoever owned the consumer when the route was checked may have lost it before its row was had.
 * What a command on its target changes is nothing to the workers of a foreign one, who are none.
 */
static void
note_change(int64 consumer_id, bool checks)
{
	if (!checks && djk_consumer_row_is_foreign(consumer_id))
		return;
	if (djk_consumer_row_raise_revision(consumer_id) && checks)
		djk_require_consumer_owner(load_consumer(consumer_id).owner);
}

Datum
djkafka_route_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkCatalogRow row;
	bool		checks;
	bool		isnull;
	int64		id;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_route_changed must be called as a trigger");
	row = djk_catalog_row_new(trigdata, "route");
	checks = !djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner);
	id = DatumGetInt64(djk_catalog_row_get(&row, "consumer_id", &isnull));
	note_change(id, checks);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		DjkCatalogRow old = {trigdata->tg_trigtuple, row.desc, row.what};
		int64		old_id = DatumGetInt64(djk_catalog_row_get(&old, "consumer_id", &isnull));

		if (old_id != id)
			note_change(old_id, checks);
		if (!is_same(&row, &old, "target") || !is_same(&row, &old, "remember_deleted"))
			forget_deleted(&old);
	}
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		forget_deleted(&row);
	return PointerGetDatum(NULL);
}

/* ---------- dropped targets, and dropped tables that were published ---------- */

Datum
djkafka_target_dropped(PG_FUNCTION_ARGS)
{
	static DjkStatement update_routes = {
		.sql = "WITH d AS MATERIALIZED (SELECT * FROM pg_event_trigger_dropped_objects()"
		"  WHERE classid = 'pg_class'::regclass AND objsubid = 0), " DJK_ROUTES_OF("SELECT objid FROM d")
		" UPDATE @.djkafka_route r SET target = NULL, target_name = d.object_identity"
		" FROM d WHERE r.target::oid = d.objid AND r.id IN (SELECT id FROM routes)",
	};
	static DjkStatement delete_publications = {
		.sql = "DELETE FROM @.djkafka_publication p USING pg_event_trigger_dropped_objects() d"
		" WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND p.relation::oid = d.objid",
	};
	static DjkStatement select_left = {
		.sql = "SELECT FROM pg_event_trigger_dropped_objects() d WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0"
		" AND (EXISTS (SELECT FROM @.djkafka_route r JOIN @.djkafka_consumer c ON c.id = r.consumer_id"
		"  JOIN @.djkafka_home h ON h.home = c.home WHERE r.target::oid = d.objid)"
		" OR EXISTS (SELECT FROM @.djkafka_publication p WHERE p.relation::oid = d.objid)) LIMIT 1",
	};
	Oid			extension;
	Oid			schema;
	DjkIdentity identity;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_target_dropped must be called as an event trigger");
	if (!djk_catalog_find(&extension, &schema) || !OidIsValid(djk_catalog_table("djkafka_route")))
		PG_RETURN_NULL();
	djk_catalog_enter(&identity);
	(void) djk_catalog_execute(&update_routes, NULL, NULL);
	(void) djk_catalog_execute(&delete_publications, NULL, NULL);
	djk_catalog_require_all_seen(&select_left, NULL, "published or subscribed a table that is dropped");
	djk_catalog_leave(&identity);
	djk_publication_require_columns();
	PG_RETURN_NULL();
}
