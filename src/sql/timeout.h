/*-------------------------------------------------------------------------
 *
 * timeout.h
 *	  How long a session is willing to wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SQL_TIMEOUT_H
#define DJK_SQL_TIMEOUT_H

#include "base/djk.h"

#include "datatype/timestamp.h"

/* In milliseconds, from 0 on; ERROR invalid_parameter_value if it is less, or more than latches wait. */
extern int64 djk_timeout_ms(const Interval *timeout);

#endif							/* DJK_SQL_TIMEOUT_H */
