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

/* Applies a batch, and adds to the counts of all. */
extern void djk_run_apply(DjkApply *apply, DjkBatch *batch, DjkApplyResult *total);

#endif							/* DJK_RUN_APPLY_H */
