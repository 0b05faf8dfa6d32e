/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  What a consumer worker says of a batch that came to nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FAILURE_H
#define DJK_FAILURE_H

#include "worker/member.h"

/* The error, and at which message of the batch at hand; palloc'd. */
extern char *djk_failure_tell(const DjkMember *worker, const DjkApplyResult *result);

/* What to do about it, and what else will come of it; palloc'd, or NULL. */
extern char *djk_failure_remedy(const DjkMember *worker, const DjkApplyResult *result);

#endif							/* DJK_FAILURE_H */
