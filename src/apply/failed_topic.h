/*-------------------------------------------------------------------------
 *
 * failed_topic.h
 *	  What failed goes to a topic: dead letters, and what is tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FAILED_TOPIC_H
#define DJK_FAILED_TOPIC_H

#include "apply/work.h"

/*
 * Those of [from, to) that are dead and whose letters go to a topic, and those that
 * are tried again from one, go through the outbox in the batch's own transaction.
 * A letter that cannot be sent is told in its work; what was to be tried again and
 * cannot is PARKED.
 */
extern void djk_failed_send(DjkApply *apply, int from, int to);

/* Whether a message that is dead, and was sent if it is to be, is kept in the table. */
extern bool djk_failed_is_kept(const DjkApply *apply, int message);

#endif							/* DJK_FAILED_TOPIC_H */
