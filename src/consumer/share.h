/*-------------------------------------------------------------------------
 *
 * share.h
 *	  How much of a partition a worker asks for at once, and how many messages ahead.
 *
 * An answer that holds more of each partition takes fewer round trips, which
 * decide how fast a lone backlog is read over a network of milliseconds.  But
 * what is quiet waits for all that an answer holds of the others, and what it
 * holds is compressed: small messages are ten times as large in memory.  So a
 * worker begins with little, and looks how it fares.
 *
 * Of what is fetched ahead the library counts the bytes of values alone.  Where
 * keys or headers are large, its other bound, a number of messages, is lowered to
 * what keeps them within the cap as well.
 *
 * The library is told when it is created.  A worker that wants another share, or
 * another number, leaves it to the next one in its slot, and makes room.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SHARE_H
#define DJK_SHARE_H

#include "base/djk.h"

#include "datatype/timestamp.h"
#include "state/consumer_row.h"
#include "consumer/position.h"

typedef struct DjkShare
{
	int			bytes;			/* what the library was told */
	int			message_bytes;	/* of an average message, as far as is known */
	int			queue_messages; /* what the library was told */
	int			queue_fitting;	/* what fits the cap, as far as is known */

	/* since the last look */
	TimestampTz looked_at;
	TimestampTz waited_us;		/* for messages */
	int64		most_queued;

	TimestampTz roomy_since;	/* far more messages would fit the cap; 0: not so */
	int			hungry;			/* looks in a row that found it waiting beside a backlog */
} DjkShare;

/* The share to begin with; between djk_catalog_enter() and leave. */
extern void djk_share_begin(DjkShare *share, const DjkConsumerRow *consumer);

/* What has to be known: what is in the library's queue, a batch, a wait for messages. */
extern void djk_share_note_queue(DjkShare *share, int64 queued);
extern void djk_share_note_batch(DjkShare *share, const DjkBatch *batch);
extern void djk_share_note_wait(DjkShare *share, TimestampTz waited_us);

/* Looks a few times a second; true if the slot has another share now. */
extern bool djk_share_is_wrong(DjkShare *share, const DjkPositions *positions);

/* Looks at each batch before it is applied; true if the slot has another number of messages now. */
extern bool djk_share_queue_is_wrong(DjkShare *share);

#endif							/* DJK_SHARE_H */
