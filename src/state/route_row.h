/*-------------------------------------------------------------------------
 *
 * route_row.h
 *	  Rows of djkafka_route as structs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROUTE_ROW_H
#define DJK_ROUTE_ROW_H

#include "base/compat.h"
#include "base/djk.h"
#include "base/retry_policy.h"

#include "state/row.h"

typedef enum DjkOnError
{
	DJK_ON_ERROR_DEAD_LETTER,
	DJK_ON_ERROR_SKIP,
	DJK_ON_ERROR_STOP
} DjkOnError;

/* Where dead letters go. */
typedef enum DjkLetters
{
	DJK_LETTERS_TABLE,
	DJK_LETTERS_TOPIC,
	DJK_LETTERS_BOTH
} DjkLetters;

typedef enum DjkNotify
{
	DJK_NOTIFY_OFF,
	DJK_NOTIFY_BATCH,
	DJK_NOTIFY_KEYS
} DjkNotify;

/* The order counts: from UPSERT on a row is known by its key. */
typedef enum DjkOperation
{
	DJK_OPERATION_INSERT,
	DJK_OPERATION_INSERT_NEW,
	DJK_OPERATION_UPSERT,
	DJK_OPERATION_MIRROR
} DjkOperation;

/* Which column a field's name means, beside the one of that very name. */
typedef enum DjkNaming
{
	DJK_NAMING_EXACT,
	DJK_NAMING_SNAKE_CASE,
	DJK_NAMING_INSENSITIVE
} DjkNaming;

/* What becomes of rows that refer to one that is to be deleted. */
typedef enum DjkReferenced
{
	DJK_REFERENCED_WAIT,		/* the deletion waits until they are gone */
	DJK_REFERENCED_CASCADE,		/* they are deleted too */
	DJK_REFERENCED_SET_NULL		/* what refers becomes null */
} DjkReferenced;

/* A route's time_zone that is none: what has no zone is refused. */
#define DJK_TIME_ZONE_ERROR	"error"

typedef struct DjkRouteRow
{
	int64		id;
	char	   *topic;			/* or a pattern that begins with ^; of who reads its retries: theirs */
	char	   *main_topic;		/* as the route says it */
	char	   *retry_topic;	/* pattern of the topics of its retries; NULL: nobody reads them */
	Oid			target;			/* InvalidOid: a handler, or dropped */
	char	   *target_name;
	char	   *handler;		/* NULL: a target */
	DjkOperation operation;
	char	   *format;
	char	   *key_format;
	char	  **key_columns;	/* nkey_columns = 0: the primary key */
	int			nkey_columns;
	char	  **column_names;	/* mapped: */
	char	  **column_mappings;	/* an expression, or an object that begins with { */
	int			ncolumns;
	char	  **include;		/* NULL: all */
	int			ninclude;
	char	  **exclude;
	int			nexclude;
	char	   *filter;			/* NULL: none */
	char	   *deleted_field;	/* NULL: none */
	bool		replace_invalid_text;	/* what no text can hold becomes U+FFFD */
	bool		partial_deletes;	/* a deletion may have a part of the key alone */
	DjkReferenced on_referenced;
	DjkNaming	naming;
	char	   *deleted_when;	/* an expression; NULL: none */
	char	   *unchanged_value;	/* a field's that leaves its column alone; NULL: none */
	char	   *message_types;	/* JSON: of which types, and versions, its messages are; NULL: of all */
	bool		unknown_types_are_errors;
	char	   *root;			/* where the fields are within the value; NULL: they are the value's */
	bool		unknown_fields_are_errors;
	bool		strangers_are_ignored;	/* a value may have no field with a column */
	bool		has_on_error;	/* else on_error is the consumer's */
	bool		has_notify;
	bool		has_letters;
	DjkLetters	letters;		/* where its dead letters go */
	char	   *letter_topic;	/* template of the name of their topic; NULL until the consumer's is known */
	DjkOnError	on_error;
	DjkNotify	notify;
	bool		strict_types;	/* see convert_strict.c */
	char	   *time_zone;		/* or "error": a time without a zone is refused */
	char	   *time_unit;		/* a unit, or an object of column -> unit; NULL: none */
	char	   *skip_column;	/* NULL: none */
	char	   *version_column; /* NULL: none */
	int64		remember_deleted_s; /* versions of deleted rows, so long; -1: not at all */
	int64		parent_timeout_ms;	/* how long a message waits for a row that it refers to; 0: not at all */
	int64		max_lane_messages;	/* that wait of one key; 0: as many as there are */
	int64		max_lane_bytes; /* … of their keys and values; 0: the same */
	int64		max_lane_age_ms;	/* how long the first of them waits; 0: the same */
	bool		full_lane_stops;	/* its partition; else they become dead letters */
	bool		unordered;		/* a message that waits holds up no other */
	char	   *retry;			/* the route's own policy, JSON; NULL: none */
	DjkRetryPolicy policy;		/* with what lies below it; where only the route is known, its own */
	char	   *renamed;		/* an object of column -> names that it had before; NULL: none */
	char	   *search_path;
} DjkRouteRow;

/* How long a message waits for a row that it refers to. */
static inline int64
djk_route_row_wait_ms(const DjkRouteRow *route)
{
	bool		bounded = route->max_lane_age_ms > 0 && !route->full_lane_stops;

	return bounded ? Min(route->parent_timeout_ms, route->max_lane_age_ms) : route->parent_timeout_ms;
}

/* Whether it bounds what waits of one key. */
static inline bool
djk_route_row_bounds_lanes(const DjkRouteRow *route)
{
	return route->max_lane_messages > 0 || route->max_lane_bytes > 0 || route->max_lane_age_ms > 0;
}

/*
 * Everything in CurrentMemoryContext.  ERROR where a row cannot be one, as it may
 * if nothing has checked it yet.  on_error, notify and letters are what djkafka_consumer
 * has by default where the route has none.
 */
extern void djk_route_row_read(const DjkCatalogRow *row, DjkRouteRow *route);

/* ERROR undefined_object: a consumer has no route of this topic that is as was said. */
pg_noreturn extern void djk_route_row_throw_missing(const char *consumer, const char *topic);

/* When its messages are tried again, by what lies below its own words. */
extern void djk_route_row_overlay_retry(DjkRouteRow *route, const char *setting, const char *consumer);

/* What 'json' says, over what is there; ERROR invalid_parameter_value if that is wrong. */
extern void djk_retry_require(DjkRetryPolicy *policy, const char *json);

/* Words of the catalog; ERROR invalid_parameter_value naming the valid ones. */
extern DjkOnError djk_on_error_parse(const char *word);
extern DjkLetters djk_letters_parse(const char *word);
extern DjkNotify djk_notify_parse(const char *word);
extern DjkOperation djk_operation_parse(const char *word);
extern DjkNaming djk_naming_parse(const char *word);
extern DjkReferenced djk_referenced_parse(const char *word);

#endif							/* DJK_ROUTE_ROW_H */
