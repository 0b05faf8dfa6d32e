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

/* PostgreSQL's epoch in Kafka's time. */
#define DJK_EPOCH_MS	(((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

/* The first and the last whole millisecond that a timestamp can hold, in Kafka's time. */
#define DJK_LOWEST_MS	(MIN_TIMESTAMP / 1000 + DJK_EPOCH_MS)
#define DJK_HIGHEST_MS	(END_TIMESTAMP / 1000 - 1 + DJK_EPOCH_MS)

/*
 * Kafka's milliseconds since 1970 as a timestamp.  What a producer wrote may be
 * any number: what lies beyond what a timestamp can hold becomes the first or
 * the last one that can be.  Compared before anything is computed, and not by
 * Min(): under -fwrapv gcc 12 makes Min(a, b) * 1000 the lesser of two products,
 * one of which has overflowed.
 */
static inline TimestampTz
djk_timestamp_from_kafka(int64 timestamp_ms)
{
	if (timestamp_ms < DJK_LOWEST_MS)
		timestamp_ms = DJK_LOWEST_MS;
	else if (timestamp_ms > DJK_HIGHEST_MS)
		timestamp_ms = DJK_HIGHEST_MS;
	return (timestamp_ms - DJK_EPOCH_MS) * 1000;
}

/* The time with which a message of Kafka's is sent again: its own, or now.  Kafka's begin with 1970, the first of which is none. */
static inline TimestampTz
djk_timestamp_to_send(int64 timestamp_ms)
{
	return timestamp_ms > 0 ? djk_timestamp_from_kafka(timestamp_ms) : GetCurrentTimestamp();
}

/* The inverse, rounded down to milliseconds; infinite times lie beyond all others. */
static inline int64
djk_timestamp_to_kafka(TimestampTz timestamp)
{
	return timestamp / 1000 - (timestamp % 1000 < 0) + DJK_EPOCH_MS;
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

/* Its milliseconds; calls nothing of the server, so that any thread may ask. */
static inline double
djk_clock_ms(void)
{
	return djk_clock_now() / 1000.0;
}

/* That moment as CLOCK_MONOTONIC itself has it, for what waits by it. */
static inline struct timespec
djk_clock_ms_to_timespec(double moment)
{
	TimestampTz usecs = Max((TimestampTz) (moment * 1000.0) - USECS_PER_DAY, 0);
	struct timespec then = {usecs / USECS_PER_SEC, usecs % USECS_PER_SEC * 1000};

	return then;
}

/* The time of day at that moment, for people; 0 stays 0. */
static inline TimestampTz
djk_clock_to_timestamp(TimestampTz moment)
{
	return moment == 0 ? 0 : GetCurrentTimestamp() + (moment - djk_clock_now());
}

#endif							/* DJK_CLOCK_H */
