/*-------------------------------------------------------------------------
 *
 * run_again.h
 *	  djkafka_run() tries what waits for a row that it refers to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RUN_AGAIN_H
#define DJK_RUN_AGAIN_H

#include "apply/apply.h"
#include "kafka/collect.h"

/*
 * Tries what waits of these partitions for rows that it refers to, as long as it helps:
 * all of it first, or what may have found its row since it was tried here.
 */
extern void djk_run_again(DjkApply *apply, DjkPosition **positions, int npositions, bool all, Size batch_bytes,
						  DjkApplyResult *total);

#endif							/* DJK_RUN_AGAIN_H */
