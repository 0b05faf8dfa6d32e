/*-------------------------------------------------------------------------
 *
 * letter_topic.h
 *	  Dead letters that go to a topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LETTER_TOPIC_H
#define DJK_LETTER_TOPIC_H

#include "apply/work.h"

/*
 * Those of [from, to) that are dead, and whose letters go to a topic, go through
 * the outbox in the batch's own transaction.  What cannot be sent is told in
 * their work.
 */
extern void djk_letter_topic_send(DjkApply *apply, int from, int to);

/* Whether a message that is dead, and was sent if it is to be, is kept in the table. */
extern bool djk_letter_topic_keeps(const DjkApply *apply, int message);

#endif							/* DJK_LETTER_TOPIC_H */
