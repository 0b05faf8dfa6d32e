/*-------------------------------------------------------------------------
 *
 * timeout.c
 *	  How long a session is willing to wait.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/timeout.h"

#include <limits.h>

#include "common/int.h"
#include "utils/timestamp.h"

int64
djk_timeout_ms(const Interval *timeout)
{
	int64		days = timeout->month * (int64) DAYS_PER_MONTH + timeout->day;
	int64		ms;

	if (pg_mul_s64_overflow(days, SECS_PER_DAY * INT64CONST(1000), &ms) ||
		pg_add_s64_overflow(ms, timeout->time / 1000, &ms) || ms < 0 || ms > INT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be between 0 and %d days", (int) (INT_MAX / 1000 / SECS_PER_DAY))));
	return ms;
}
