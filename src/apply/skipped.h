/*-------------------------------------------------------------------------
 *
 * skipped.h
 *	  The message that djkafka_skip has asked to pass by.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SKIPPED_H
#define DJK_SKIPPED_H

#include "apply/work.h"
#include "state/offset.h"

/* After the fence: those of [from, to) that are to be skipped have their fate, and no others for that. */
extern void djk_skipped_mark(DjkApply *apply, int from, int to);

/* An event for each that a partition goes past; between enter and leave. */
extern void djk_skipped_tell(DjkApply *apply, int from, int to, const DjkOffsetAdvance *advances, int n);

#endif							/* DJK_SKIPPED_H */
