/*-------------------------------------------------------------------------
 *
 * run_read.h
 *	  Reads in this session what a consumer would read next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RUN_READ_H
#define DJK_RUN_READ_H

#include "apply/apply.h"
#include "kafka/collect.h"
#include "sql/client.h"
#include "state/consumer_row.h"

typedef struct DjkRun DjkRun;

struct DjkRun
{
	/* what is wanted */
	DjkConsumerRow *consumer;
	DjkApply   *apply;
	void		(*take) (DjkRun *run, DjkBatch *batch); /* what is done with what was read */
	bool		tries_waiting;	/* what waits is tried again: at the end, */
	bool		makes_room;		/* … and before messages are read, for a route bounds it */
	bool		until_eof;
	int64		max_messages;	/* -1: no bound */
	int64		idle_us;		/* 0: no bound */
	DjkApplyResult total;		/* of all batches so far */

	/* how far it is */
	DjkClient	client;
	char	   *cluster_id;		/* NULL: the embedded broker, or unknown */
	struct DjkRunPartition *partitions;
	int			npartitions;
	int			partitions_size;
	DjkCollector collector;
	TimestampTz last_message_at;
	int64		taken;
};

/* Returns why it is over: max_messages, eof, idle or timeout. */
extern const char *djk_run_read(DjkRun *run, const Interval *timeout);

#endif							/* DJK_RUN_READ_H */
