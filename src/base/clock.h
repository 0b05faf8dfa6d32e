/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  Kafka's clock and PostgreSQL's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CLOCK_H
#define DJK_CLOCK_H

#include "base/djk.h"

#include "datatype/timestamp.h"

/*
 * Kafka's milliseconds since 1970 as a timestamp.  What a producer wrote may
 * lie beyond what a timestamp can hold: it becomes the last one that can be.
 */
static inline TimestampTz
djk_timestamp_from_kafka(int64 timestamp_ms)
{
	const int64 epoch_ms = ((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
	const int64 highest_ms = END_TIMESTAMP / 1000 - 1;

	return Min(timestamp_ms - epoch_ms, highest_ms) * 1000;
}

/* The inverse, rounded down to milliseconds. */
static inline int64
djk_timestamp_to_kafka(TimestampTz timestamp)
{
	const int64 epoch_ms = ((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	return timestamp / 1000 + epoch_ms;
}

#endif							/* DJK_CLOCK_H */
