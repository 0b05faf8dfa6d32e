/*-------------------------------------------------------------------------
 *
 * route_row.c
 *	  Rows of djkafka_route as structs.
 *
 *-------------------------------------------------------------------------
 */
#include "state/route_row.h"

#include <math.h>

#include "base/error.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

/* No longer than there are times before now, and what fits: for ever. */
#define LONGEST_MEMORY_S	1e11
#define LONGEST_WAIT_S		1e9

/* ---------- words ---------- */

static const char *const on_error_words[] = {"dead_letter", "skip", "stop", NULL};
static const char *const letters_words[] = {"table", "topic", "both", NULL};
static const char *const notify_words[] = {"off", "batch", "keys", NULL};
static const char *const operation_words[] = {"insert", "insert_new", "upsert", "mirror", NULL};
static const char *const naming_words[] = {"exact", "snake_case", "insensitive", NULL};
static const char *const referenced_words[] = {"wait", "cascade", "set_null", NULL};

DjkOnError
djk_on_error_parse(const char *word)
{
	return (DjkOnError) djk_word_index("on_error", word, on_error_words);
}

DjkLetters
djk_letters_parse(const char *word)
{
	return (DjkLetters) djk_word_index("dead_letters", word, letters_words);
}

DjkNotify
djk_notify_parse(const char *word)
{
	return (DjkNotify) djk_word_index("notify", word, notify_words);
}

DjkOperation
djk_operation_parse(const char *word)
{
	return (DjkOperation) djk_word_index("operation", word, operation_words);
}

DjkNaming
djk_naming_parse(const char *word)
{
	return (DjkNaming) djk_word_index("naming", word, naming_words);
}

DjkReferenced
djk_referenced_parse(const char *word)
{
	return (DjkReferenced) djk_word_index("on_referenced", word, referenced_words);
}

/* ---------- retries ---------- */

void
djk_retry_require(DjkRetryPolicy *policy, const char *json)
{
	DjkError	error = {0};

	if (!djk_retry_policy_overlay(policy, json, &error))
		djk_error_throw(&error);
}

void
djk_route_row_overlay_retry(DjkRouteRow *route, const char *setting, const char *consumer)
{
	djk_retry_policy_init(&route->policy);
	djk_retry_require(&route->policy, setting);
	djk_retry_require(&route->policy, consumer);
	djk_retry_require(&route->policy, route->retry);
}

/* ---------- rows ---------- */

static void
read_source(const DjkCatalogRow *row, DjkRouteRow *route)
{
	route->topic = route->main_topic = djk_catalog_row_text(row, "topic");
	route->format = djk_catalog_row_text(row, "format");
	route->key_format = djk_catalog_row_text(row, "key_format");
	route->filter = djk_catalog_row_text(row, "filter");
	route->message_types = djk_catalog_row_text(row, "message_types");
	route->unknown_types_are_errors = djk_catalog_row_is(row, "unknown_types", "error");
	route->root = djk_catalog_row_text(row, "root");
	route->deleted_field = djk_catalog_row_text(row, "deleted_field");
	route->deleted_when = djk_catalog_row_text(row, "deleted_when");
	route->unchanged_value = djk_catalog_row_text(row, "unchanged_value");
	route->replace_invalid_text = djk_catalog_row_is(row, "invalid_text", "replace");
	route->unknown_fields_are_errors = djk_catalog_row_is(row, "unknown_fields", "error");
	route->strangers_are_ignored = djk_catalog_row_is(row, "unknown_fields", "ignore_all");
}

static void
read_target(const DjkCatalogRow *row, DjkRouteRow *route)
{
	bool		isnull;
	Oid			target = DatumGetObjectId(djk_catalog_row_get(row, "target", &isnull));

	route->target = isnull ? InvalidOid : target;
	route->target_name = djk_catalog_row_text(row, "target_name");
	route->handler = djk_catalog_row_text(row, "handler");
	route->operation = djk_operation_parse(djk_catalog_row_text(row, "operation"));
	route->nkey_columns = djk_catalog_row_names(row, "key_columns", &route->key_columns);
	route->ninclude = djk_catalog_row_names(row, "include", &route->include);
	route->nexclude = djk_catalog_row_names(row, "exclude", &route->exclude);
	route->skip_column = djk_catalog_row_text(row, "skip_column");
	route->version_column = djk_catalog_row_text(row, "version_column");
	route->remember_deleted_s = (int64) Min(ceil(djk_catalog_row_seconds(row, "remember_deleted", -1)), LONGEST_MEMORY_S);
	route->parent_timeout_ms = (int64) (Min(djk_catalog_row_seconds(row, "parent_timeout", 0), LONGEST_WAIT_S) * 1000);
	route->max_lane_messages = djk_catalog_row_int64(row, "max_lane_messages", 0);
	route->max_lane_bytes = djk_catalog_row_int64(row, "max_lane_bytes", 0);
	route->max_lane_age_ms = (int64) (Min(djk_catalog_row_seconds(row, "max_lane_age", 0), LONGEST_WAIT_S) * 1000);
	route->full_lane_stops = djk_catalog_row_is(row, "on_full_lane", "stop");
	route->unordered = djk_catalog_row_is(row, "ordering", "none");
	route->partial_deletes = djk_catalog_row_bool(row, "partial_deletes");
	route->on_referenced = djk_referenced_parse(djk_catalog_row_text(row, "on_referenced"));
}

/* From fields to columns. */
static void
read_mapping(const DjkCatalogRow *row, DjkRouteRow *route)
{
	route->ncolumns = djk_catalog_row_object(row, "columns", true, &route->column_names, &route->column_mappings);
	route->naming = djk_naming_parse(djk_catalog_row_text(row, "naming"));
	route->renamed = djk_catalog_row_text(row, "renamed");
	route->strict_types = djk_catalog_row_is(row, "types", "strict");
	route->time_zone = djk_catalog_row_text(row, "time_zone");
	route->time_unit = djk_catalog_row_text(row, "time_unit");
	route->search_path = djk_catalog_row_text(row, "search_path");
}

/* Each word is parsed when it is read, for an error is of the column that was read last. */
static void
read_failures(const DjkCatalogRow *row, DjkRouteRow *route)
{
	const char *word;

	route->retry = djk_catalog_row_text(row, "retry");
	djk_route_row_overlay_retry(route, NULL, NULL);
	word = djk_catalog_row_text(row, "on_error");
	route->has_on_error = word != NULL;
	route->on_error = word != NULL ? djk_on_error_parse(word) : DJK_ON_ERROR_DEAD_LETTER;
	word = djk_catalog_row_text(row, "dead_letters");
	route->has_letters = word != NULL;
	route->letters = word != NULL ? djk_letters_parse(word) : DJK_LETTERS_TABLE;
	route->letter_topic = djk_catalog_row_text(row, "dead_letter_topic");
}

void
djk_route_row_read(const DjkCatalogRow *row, DjkRouteRow *route)
{
	const char *notify;
	bool		isnull;

	memset(route, 0, sizeof(*route));
	route->id = DatumGetInt64(djk_catalog_row_get(row, "id", &isnull));
	read_source(row, route);
	read_target(row, route);
	read_mapping(row, route);
	read_failures(row, route);
	notify = djk_catalog_row_text(row, "notify");
	route->has_notify = notify != NULL;
	route->notify = notify != NULL ? djk_notify_parse(notify) : DJK_NOTIFY_OFF;
}

void
djk_route_row_throw_missing(const char *consumer, const char *topic)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("consumer \"%s\" has no such route for topic \"%s\"", consumer, topic),
			 errhint("SELECT id, topic, target, handler FROM djkafka_route shows those that exist.")));
}
