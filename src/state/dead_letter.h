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

#endif							/* DJK_DEAD_LETTER_H */
