/*-------------------------------------------------------------------------
 *
 * letter_send.h
 *	  Dead letters go to a topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LETTER_SEND_H
#define DJK_LETTER_SEND_H

#include "base/djk.h"

#include "state/consumer_row.h"
#include "state/dead_letter.h"

typedef struct DjkLetterSender DjkLetterSender;

/* ERROR invalid_name unless messages can be written to it, or while they are silenced. */
extern void djk_letter_require_topic(const char *topic);

/*
 * For the letters of a consumer, through its server's outbox, with the rights of the
 * current user.  ERRORs as djkafka_produce().
 */
extern DjkLetterSender *djk_letter_sender(const DjkConsumerRow *consumer, const char *topic);

/* Sends letters that are locked, byte for byte, and gives what became of each to 'put'. */
extern void djk_letter_send(DjkLetterSender *sender, List *letters,
							void (*put) (const void *arg, const DjkLetterOutcome *outcome), const void *arg);

#endif							/* DJK_LETTER_SEND_H */
