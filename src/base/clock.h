/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  Kafka's clock and PostgreSQL's, and one that nobody sets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CLOCK_H
#define DJK_CLOCK_H

#include "base/djk.h"

#include <time.h>

#include "datatype/timestamp.h"
#include "utils/timestamp.h"

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

/*
 * Microseconds of a clock that only goes forward, for how long something takes
 * and when it is due: a deadline by the time of day would be far away once that
 * is set back.  Its times compare with each other alone, and 0 was long ago.
 */
static inline TimestampTz
djk_clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return USECS_PER_DAY + (TimestampTz) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/* The time of day at that moment, for people; 0 stays 0. */
static inline TimestampTz
djk_clock_to_timestamp(TimestampTz moment)
{
	return moment == 0 ? 0 : GetCurrentTimestamp() + (moment - djk_clock_now());
}

#endif							/* DJK_CLOCK_H */
