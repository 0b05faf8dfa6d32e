/*-------------------------------------------------------------------------
 *
 * stretch.h
 *	  Which messages can be evaluated before any of them is written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STRETCH_H
#define DJK_STRETCH_H

#include "apply/work.h"

typedef struct DjkStretches DjkStretches;

/*
 * Looks at what the routes of [from, to) read and write; may plan their
 * expressions.  In CurrentMemoryContext.
 */
extern DjkStretches *djk_stretches_find(DjkApply *apply, int from, int to);

/* The end of the stretch that begins at 'from'. */
extern int	djk_stretch_end(DjkApply *apply, const DjkStretches *stretches, int from, int to);

#endif							/* DJK_STRETCH_H */
