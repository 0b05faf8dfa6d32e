/*-------------------------------------------------------------------------
 *
 * applied.h
 *	  Whether a consumer has applied the message of an offset.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_APPLIED_H
#define DJK_APPLIED_H

#include "base/djk.h"

typedef struct DjkApplied
{
	bool		has_consumer;
	bool		has_route;		/* of the consumer, for the topic */
	int64		offset_id;		/* the partition's row; 0: it is not known yet */
	int64		first_offset;	/* or DJK_OFFSET_UNRESOLVED, */
	int64		next_offset;	/* … both */
	bool		is_parked;		/* it waits in djkafka_parked */
	int64		dead_letter;	/* its id; 0: it is none */
	bool		is_skipped;		/* by djkafka_skip */
} DjkApplied;

/* As of now, whatever the transaction's snapshot; enters and leaves by itself. */
extern void djk_applied_look(int64 consumer_id, const char *topic, int partition, int64 offset, DjkApplied *applied);

#endif							/* DJK_APPLIED_H */
