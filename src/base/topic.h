/*-------------------------------------------------------------------------
 *
 * topic.h
 *	  Kafka's rules for the name of a topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TOPIC_H
#define DJK_TOPIC_H

#include "base/djk.h"

/* Whether Kafka takes this as the name of a topic. */
extern bool djk_topic_name_is_valid(const char *name);

/* ERROR invalid_name unless it is one; the hint may be NULL. */
extern void djk_topic_name_require(const char *name, const char *hint);

#endif							/* DJK_TOPIC_H */
