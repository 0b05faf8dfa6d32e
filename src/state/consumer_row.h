/*-------------------------------------------------------------------------
 *
 * consumer_row.h
 *	  Rows of djkafka_consumer, with their routes, as the workers load them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONSUMER_ROW_H
#define DJK_CONSUMER_ROW_H

#include "base/compat.h"
#include "base/djk.h"

#include "state/route_row.h"

typedef struct DjkConsumerRow
{
	int64		id;
	char	   *name;
	Oid			owner;
	bool		is_home;		/* belongs to this database */
	char	   *server;			/* NULL: the settings */
	char	   *group_id;
	int64		retries_of;		/* the consumer whose retries it reads, by whose routes; 0: none */
	char	   *main_group;		/* that one's group, or its own */
	char	   *retry_suffix;	/* of the topics of retries; NULL: nobody reads them */
	char	   *kafka_name;		/* name and group_id as Kafka is told them, in UTF-8 */
	char	   *kafka_group;
	int			workers;
	char	   *assignment;
	char	   *start_from;
	bool		enabled;
	DjkOnError	on_error;
	DjkNotify	notify;
	DjkLetters	letters;
	char	   *letter_topic;
	char	   *retry;			/* JSON; NULL: none */
	char	  **option_names;
	char	  **option_values;
	int			noptions;
	int			batch_messages; /* effective */
	int			batch_bytes;
	bool		synchronous_commit;
	double		storm_share;	/* effective: see apply/storm.c */
	int			storm_window;
	bool		new_topic_is_read;	/* a topic that was made again, from its beginning; else a person decides */
	int64		revision;
	TimestampTz created_at;		/* tells it from another one that is made under its id */
	DjkRouteRow *routes;		/* in the order they are tried */
	int			nroutes;
} DjkConsumerRow;

/* What a supervisor needs of each consumer. */
typedef struct DjkConsumerSummary
{
	int64		id;
	char	   *name;
	Oid			owner;
	int			workers;		/* 0 if it should not run */
	int64		revision;
} DjkConsumerSummary;

/*
 * All in 'context'; between djk_catalog_enter() and leave.  Loading returns
 * NULL if the consumer is gone.
 */
extern DjkConsumerRow *djk_consumer_row_load(int64 id, MemoryContext context);
extern DjkConsumerRow *djk_consumer_row_load_by_name(const char *name, MemoryContext context);

/* The id of the consumer of this name, by the rights of the current user; ERROR undefined_object without one.  Needs SPI. */
extern int64 djk_consumer_row_require(const char *name);

/* Its id and owner as of now, whatever the transaction's snapshot; false if there is none.  Enters and leaves by itself. */
extern bool djk_consumer_row_find(const char *name, int64 *id, Oid *owner);

/* ERROR undefined_object: there is no consumer of this name. */
pg_noreturn extern void djk_consumer_row_throw_missing(const char *name);
extern DjkConsumerSummary *djk_consumer_row_list(int *count, MemoryContext context);

/* Whether it came with a dump and was not adopted, as of now; enters and leaves by itself. */
extern bool djk_consumer_row_is_foreign(int64 id);

/* Workers of an older revision leave.  False if the consumer is gone; enters and leaves by itself. */
extern bool djk_consumer_row_raise_revision(int64 id);

/*
 * The same of the consumer that reads the retries of 'id', and of 'main_id' whose retries it reads itself, if they
 * are of one owner: a row that only says so is nothing to the other one.  In the catalog.
 */
extern bool djk_consumer_row_raise_other(int64 id, int64 main_id, Oid owner);

/* -1 if the consumer is gone (another may have its id) or disabled, or has no worker of this number any more. */
extern int64 djk_consumer_row_revision(const DjkConsumerRow *consumer, int worker);

/* Whether another transaction than this one has changed the definition, or made another consumer of the id; as of now. */
extern bool djk_consumer_row_is_changed(const DjkConsumerRow *consumer);

/* Whether any of the consumer's routes takes messages of this topic. */
extern bool djk_consumer_row_wants(const DjkConsumerRow *consumer, const char *topic);

/* Whether any of the consumer's routes wants topics of Kafka's own. */
extern bool djk_consumer_row_reads_internal(const DjkConsumerRow *consumer);

#endif							/* DJK_CONSUMER_ROW_H */
