/*-------------------------------------------------------------------------
 *
 * retry_topic.h
 *	  Topics from which messages that failed are tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RETRY_TOPIC_H
#define DJK_RETRY_TOPIC_H

#include "apply/work.h"

/* As django-kafka names them. */
#define DJK_RETRY_MESSAGE	"RETRY_MESSAGE"
#define DJK_RETRY_TIMESTAMP "RETRY_TIMESTAMP"

/* The topic that a message was in at first, and how often it was tried again as the name of its topic says. */
extern const char *djk_retry_topic_origin(const DjkApply *apply, int message);
extern int	djk_retry_topic_attempt(const DjkApply *apply, int message);

/* Where a message waits for its next try, in CurrentMemoryContext; it need not be a name that Kafka takes. */
extern char *djk_retry_topic_next(const DjkApply *apply, int message);

/* The time at which a message is due, as its header says it. */
extern char *djk_retry_topic_format(TimestampTz due_at);

/* Of [from, to), those that are not due yet get the fate STOP: their partitions wait. */
extern void djk_retry_topic_mark(DjkApply *apply, int from, int to);

#endif							/* DJK_RETRY_TOPIC_H */
