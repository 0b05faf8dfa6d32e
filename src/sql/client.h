/*-------------------------------------------------------------------------
 *
 * client.h
 *	  A Kafka consumer inside one SQL call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SQL_CLIENT_H
#define DJK_SQL_CLIENT_H

#include "base/compat.h"
#include "base/djk.h"
#include "datatype/timestamp.h"
#include "kafka/consumer.h"

/* A longer timeout counts as this one: milliseconds must fit into the library's int. */
#define DJK_CLIENT_MAX_DAYS		1

/* A call that lasts as long as its caller lets it. */
typedef struct DjkClient
{
	MemoryContext context;		/* owns the consumer; child of the caller's */
	DjkConsumer *consumer;
	bool		embedded;		/* it is the embedded broker's */
	const char *registry;		/* URLs of the schema registry that goes with it; NULL: none */
	TimestampTz until;
} DjkClient;

/* The argument 'name' in microseconds, at most DJK_CLIENT_MAX_DAYS; ERROR unless greater than zero. */
extern int64 djk_client_interval_us(const Interval *interval, const char *name);

/*
 * Connects as the current user, without a group: 'server' NULL means the
 * settings.  ERRORs as djk_connection_load() and djk_consumer_create().
 */
extern void djk_client_open(DjkClient *client, const char *server,
							const DjkProperty *options, int noptions,
							int queue_kbytes, const Interval *timeout);
extern void djk_client_close(DjkClient *client);

/* Milliseconds left, at least 1; and whether the time is over. */
extern int	djk_client_left_ms(const DjkClient *client);
extern bool djk_client_expired(const DjkClient *client);

/*
 * ERROR as *error says, which a question to Kafka ended with.  Where no broker
 * answered it says what the library has told of the last connection; where one
 * refused us, what it said.
 */
pg_noreturn extern void djk_client_throw(DjkClient *client, const DjkError *error);

/* Waits until there may be something to poll, at most up to the deadline. */
extern void djk_client_wait(DjkClient *client);

/*
 * Partitions of a topic, or the one that is wanted (-1: all), in
 * CurrentMemoryContext.  ERROR undefined_object if there is no such topic or
 * partition.
 */
extern DjkTopicPartition *djk_client_partitions(DjkClient *client, const char *topic, int wanted, int *n);

#endif							/* DJK_SQL_CLIENT_H */
