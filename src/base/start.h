/*-------------------------------------------------------------------------
 *
 * start.h
 *	  Where to begin in a partition, as people write it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_START_H
#define DJK_START_H

#include "base/djk.h"

typedef enum DjkStartKind
{
	DJK_START_EARLIEST,
	DJK_START_LATEST,
	DJK_START_GROUP,			/* what the group has committed in Kafka */
	DJK_START_OFFSET,			/* value: the offset */
	DJK_START_BEFORE_END,		/* value: so many messages before the end, > 0 */
	DJK_START_TIME				/* value: milliseconds since 1970 */
} DjkStartKind;

typedef struct DjkStart
{
	DjkStartKind kind;
	int64		value;
} DjkStart;

/*
 * 'earliest', 'latest', 'group', '12345', '-10', or a time in any form that
 * PostgreSQL reads, in the session's time zone.  ERROR
 * invalid_parameter_value, or what the time's input function raises.
 */
extern DjkStart djk_start_parse(const char *text);

#endif							/* DJK_START_H */
