/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The djkafka.* settings.  docs/reference.md describes each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SETTINGS_H
#define DJK_SETTINGS_H

#include "base/djk.h"
#include "datatype/timestamp.h"
#include "base/property.h"

#include "nodes/pg_list.h"

/* Constants in threes, used by setting and catalog column alike. */
#define DJK_BATCH_MESSAGES_DEFAULT	5000
#define DJK_BATCH_MESSAGES_MIN		1
#define DJK_BATCH_MESSAGES_MAX		1000000
#define DJK_BATCH_SIZE_DEFAULT		(8 * 1024)	/* kB */
#define DJK_BATCH_SIZE_MIN			1
#define DJK_BATCH_SIZE_MAX			(1024 * 1024)
#define DJK_QUEUE_SIZE_DEFAULT		(32 * 1024) /* kB */
#define DJK_QUEUE_SIZE_MIN			1024
#define DJK_QUEUE_SIZE_MAX			(2 * 1024 * 1024 - 1)
#define DJK_WORKERS_MIN				1
#define DJK_WORKERS_MAX				256
#define DJK_MAX_WORKERS_DEFAULT		64
#define DJK_MAX_WORKERS_MIN			1
#define DJK_MAX_WORKERS_MAX			4096
#define DJK_MAX_PARKED_DEFAULT		100000
#define DJK_MAX_PARKED_MIN			0
#define DJK_MAX_PARKED_MAX			10000000
#define DJK_STORM_SHARE_DEFAULT		0.9
#define DJK_STORM_WINDOW_DEFAULT	10000
#define DJK_STORM_WINDOW_MIN		1
#define DJK_STORM_WINDOW_MAX		1000000
#define DJK_MAX_PARTITIONS_DEFAULT	4096
#define DJK_MAX_PARTITIONS_MIN		16
#define DJK_MAX_PARTITIONS_MAX		1000000

/* What the outbox promises where the server does not say. */
typedef enum DjkDeliveryMode
{
	DJK_AT_LEAST_ONCE,
	DJK_EXACTLY_ONCE
} DjkDeliveryMode;

#define DJK_DELIVERY_AT_LEAST_ONCE	"at_least_once"
#define DJK_DELIVERY_EXACTLY_ONCE	"exactly_once"

extern int	djk_delivery;
extern int	djk_delivery_retention_s;
extern char *djk_databases;
extern bool djk_embedded_broker;
extern int	djk_max_workers;
extern int	djk_max_partitions;
extern int	djk_batch_messages;
extern int	djk_max_parked;
extern char *djk_retry;			/* see base/retry_policy.h */
extern int	djk_batch_size_kb;
extern int	djk_queue_size_kb;
extern int	djk_max_retry_interval_s;
extern int	djk_dead_letter_retention_s;	/* 0: none */
extern int	djk_max_dead_letters;	/* of a consumer; 0: no bound */
extern double djk_storm_share;	/* see apply/storm.c */
extern int	djk_storm_window;
extern int	djk_event_retention_s;

/* Rises whenever djkafka.properties is set. */
extern int	djk_properties_generation;

/* djkafka.topic_prefix; empty: the name of the database. */
extern char *djk_topic_prefix;

/* Who has set djkafka.suppress; lives as long as the value. */
typedef struct DjkSilencer
{
	Oid			role;			/* invalid: the session's user, as it began */
	TimestampTz transaction;	/* when the one that set it began; 0: outside of any */
} DjkSilencer;

/* Whether djkafka.suppress names the topic; then who says so. */
extern const DjkSilencer *djk_suppressed(const char *topic);

/*
 * The properties that the settings give, in CurrentMemoryContext; what has a
 * setting of its own wins over djkafka.properties.
 */
extern DjkProperty *djk_settings_properties(int *count);

/* From _PG_init; settings of the postmaster only while preloading. */
extern void djk_settings_init(void);

/*
 * The databases of djkafka.databases as a List of char *, in
 * CurrentMemoryContext; NIL if the setting cannot be parsed (its check hook
 * prevents that).
 */
extern List *djk_settings_databases(void);

/* Whether a database is in djkafka.databases. */
extern bool djk_settings_list_database(const char *name);

#endif							/* DJK_SETTINGS_H */
