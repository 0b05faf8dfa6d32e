/*-------------------------------------------------------------------------
 *
 * prepare.h
 *	  Which route takes a message, and the row it becomes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PREPARE_H
#define DJK_PREPARE_H

#include "apply/work.h"

/* Route and decode the pending messages of [from, to); may throw. */
extern void djk_prepare(DjkApply *apply, int from, int to);

#endif							/* DJK_PREPARE_H */
