/*-------------------------------------------------------------------------
 *
 * run.h
 *	  What functions share that apply messages in the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RUN_H
#define DJK_RUN_H

#include "apply/apply.h"
#include "kafka/collect.h"

/*
 * Routes run code of the consumer's owner in the caller's session, at COMMIT
 * too.  ERROR insufficient_privilege unless the caller is that owner, and could
 * not become somebody with more rights.
 */
extern void djk_run_require_owner(const DjkConsumerRow *consumer);

/* Raises the error of a message that stops its consumer. */
extern void djk_run_throw_stopped(const DjkApplyResult *result);

/* Applies a batch, and adds to the counts of all. */
extern void djk_run_apply(DjkApply *apply, DjkBatch *batch, DjkApplyResult *total);

/* Tries what waits of these partitions for rows that it refers to, as long as it helps (run_again.c). */
extern void djk_run_again(DjkApply *apply, DjkPosition **positions, int npositions, Size batch_bytes,
						  DjkApplyResult *total);

#endif							/* DJK_RUN_H */
