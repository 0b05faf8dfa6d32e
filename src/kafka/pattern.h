/*-------------------------------------------------------------------------
 *
 * pattern.h
 *	  What librdkafka makes of a pattern of topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PATTERN_H
#define DJK_PATTERN_H

/*
 * ERROR 'sqlstate' if the library could not subscribe to a pattern, or would
 * take it for another than PostgreSQL does.
 */
extern void djk_pattern_require(const char *pattern, int sqlstate);

/* Why the library could not cope with a pattern, and what to write instead; NULL if it can. */
extern const char *djk_pattern_find_burden(const char *pattern, const char **hint);

/* Where the bracket expression that opens at 'start' ends: its closing bracket, or the end. */
extern const char *djk_pattern_bracket_end(const char *start);

/* Whether a subscription to 'pattern', or to a topic of that name, brings the topic. */
extern bool djk_pattern_subscribes(const char *pattern, const char *topic);

#endif							/* DJK_PATTERN_H */
