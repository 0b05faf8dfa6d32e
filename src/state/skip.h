/*-------------------------------------------------------------------------
 *
 * skip.h
 *	  The message of a partition that is to be passed by, unseen.
 *
 * Every function but djk_skip_command() runs between djk_catalog_enter() and
 * leave.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SKIP_H
#define DJK_SKIP_H

#include "base/djk.h"

#include "state/event.h"

/* A partition's row, as far as it concerns what is to be skipped. */
typedef struct DjkSkipRow
{
	int64		id;
	int64		next_offset;	/* or DJK_OFFSET_UNRESOLVED */
	int64		skip_offset;	/* -1: none */
	bool		needs_decision;
} DjkSkipRow;

/* Locks the row; false if there is none. */
extern bool djk_skip_lock(int64 consumer_id, const char *topic, int partition, DjkSkipRow *row);

/* Which message of it is to be skipped; -1: none. */
extern void djk_skip_set(int64 id, int64 offset);

/* Skips one that waits in djkafka_parked; false if it does not. */
extern bool djk_skip_parked(int64 id, int64 offset);

typedef enum DjkSkipNews
{
	DJK_SKIP_ASKED,
	DJK_SKIP_TAKEN_BACK,
	DJK_SKIP_DONE,
	DJK_SKIP_DONE_WAITING,		/* in djkafka_parked */
	DJK_SKIP_IS_GAP				/* Kafka holds no message there */
} DjkSkipNews;

/* Writes the event, of which the consumer and the partition are given; 'before' is the offset that 'offset' replaces, or -1. */
extern void djk_skip_tell(DjkEvent *event, int64 offset, DjkSkipNews news, int64 before);

/* The command that skips a message, ready to be given to psql; palloc'd. */
extern char *djk_skip_command(const char *consumer, const char *topic, int partition, int64 offset);

#endif							/* DJK_SKIP_H */
