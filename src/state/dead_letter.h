/*-------------------------------------------------------------------------
 *
 * dead_letter.h
 *	  Rows of djkafka_dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_DEAD_LETTER_H
#define DJK_DEAD_LETTER_H

#include "base/djk.h"
#include "base/message.h"

/*
 * Writes one message with its error; between djk_catalog_enter() and leave.
 * 'headers' is a djkafka_header[] Datum, or 0 for none.
 */
extern void djk_dead_letter_write(int64 consumer_id, const char *consumer, int64 route_id,
								  const DjkBatchPartition *partition, const DjkMessage *message,
								  Datum headers, const DjkError *error, const char *context);

/* A row, as it was when its message could not be applied. */
typedef struct DjkDeadLetter
{
	int64		id;
	int64		consumer_id;
	char	   *consumer;
	char	   *topic;
	int			partition;
	int64		offset;
	int64		timestamp_ms;	/* DJK_TIMESTAMP_NONE if Kafka had none */
	Datum		key;			/* bytea, 0: null */
	Datum		value;
	Datum		headers;		/* djkafka_header[], 0: none */
} DjkDeadLetter;

/* Locks a row and reads it, in 'context'; false if there is none.  Between enter and leave. */
extern bool djk_dead_letter_lock(int64 id, DjkDeadLetter *letter, MemoryContext context);

/* Deletes a row; between enter and leave. */
extern void djk_dead_letter_delete(int64 id);

/* Gives the newest row of the same message, which has failed again, the id of the first. */
extern void djk_dead_letter_replace(const DjkDeadLetter *letter);

/* Whether a consumer of this id, which may be gone, has left any, as of now; between enter and leave. */
extern bool djk_dead_letter_is_left(int64 consumer_id);

#endif							/* DJK_DEAD_LETTER_H */
