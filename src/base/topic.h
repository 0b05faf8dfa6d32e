/*-------------------------------------------------------------------------
 *
 * topic.h
 *	  Names of topics: Kafka's rules, and patterns.
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

/* Whether it is the name of a topic that others than Kafka write to; ERROR invalid_name unless it is. */
extern bool djk_topic_is_writable(const char *name);
extern void djk_topic_require_writable(const char *name);

/*
 * Whether the topic, or the pattern, of a route takes this topic.  Topics whose names begin
 * with "__" belong to Kafka: a pattern takes them only if it begins with "^__".
 */
extern bool djk_topic_matches(const char *pattern, const char *topic);

/* Whether a topic, or a pattern's topics, are such. */
extern bool djk_topic_is_internal(const char *topic);

/*
 * The name that a template gives a topic that is made for another one: {group} and {topic} in it stand
 * for these.  In CurrentMemoryContext; it need not be a name that Kafka takes.
 */
extern char *djk_topic_expand(const char *template, const char *group, const char *topic);

/* ERROR invalid_name unless the template of an option gives a name that can be written to, for a short topic. */
extern void djk_topic_template_require(const char *option, const char *template, const char *group);

#endif							/* DJK_TOPIC_H */
