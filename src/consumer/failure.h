/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  What a consumer worker says of a batch that came to nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FAILURE_H
#define DJK_FAILURE_H

#include "base/compat.h"
#include "consumer/member.h"

/* A batch waits, and is tried again. */
extern void djk_failure_wait(DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result);

/* Now. */
extern void djk_failure_retry_now(DjkConsumerWorker *worker);

/* It is not tried again before the definition, the database or a person says so. */
pg_noreturn extern void djk_failure_throw(const DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result);

#endif							/* DJK_FAILURE_H */
