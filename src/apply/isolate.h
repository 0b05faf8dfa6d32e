/*-------------------------------------------------------------------------
 *
 * isolate.h
 *	  One bad message never costs another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ISOLATE_H
#define DJK_ISOLATE_H

#include "apply/work.h"

/* Subtransactions in one transaction; more would overflow the snapshot's cache on standbys. */
#define DJK_ISOLATE_MAX		64

/*
 * Applies [from, to) by halves in subtransactions until the bad messages are
 * alone, and gives each its fate.  Returns the end of what was decided: before
 * 'to' after max_subtransactions (0: no bound), at a message that stops, or at
 * one of which it is not known whose fault it is.  Throws what is no message's
 * fault: transient errors, and a definition that does not fit (as
 * DJK_ERRCODE_BROKEN; see apply->doubtful).  Needs a transaction.
 */
extern int	djk_isolate(DjkApply *apply, int from, int to, int max_subtransactions);

#endif							/* DJK_ISOLATE_H */
