/*-------------------------------------------------------------------------
 *
 * run_apply.h
 *	  Messages applied in the caller's transaction, by whom it may be.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RUN_APPLY_H
#define DJK_RUN_APPLY_H

#include "apply/apply.h"

/*
 * Routes run code of the consumer's owner in the caller's session, at COMMIT
 * too.  ERROR insufficient_privilege unless the caller is that owner, and could
 * not become somebody with more rights.
 */
extern void djk_run_require_owner(const DjkConsumerRow *consumer);

/*
 * The consumer of a function that applies messages in its caller's transaction, and
 * reads them from Kafka or not; in CurrentMemoryContext.  ERROR as above, in a
 * transaction that is read only, and if it were to read as one of another home.
 */
extern DjkConsumerRow *djk_run_consumer(const char *function, const char *name, bool reads);

/* Applies a batch, and adds to the counts of all. */
extern void djk_run_apply(DjkApply *apply, DjkBatch *batch, DjkApplyResult *total);

#endif							/* DJK_RUN_APPLY_H */
