/*-------------------------------------------------------------------------
 *
 * orphans.h
 *	  All messages of a piece that lack a parent, found at once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ORPHANS_H
#define DJK_ORPHANS_H

#include "apply/work.h"

typedef struct DjkOrphan
{
	int			message;
	char	   *detail;			/* of the error that it fails with alone */
} DjkOrphan;

/*
 * The piece [from, to) has failed with an error, and what was prepared of it is still
 * there: those of its messages that are certain to fail alone with the same, but for
 * the detail, for want of a row that their foreign key refers to.  In their order, in
 * CurrentMemoryContext; NULL: none is.
 */
extern DjkOrphan *djk_orphans_find(DjkApply *apply, int from, int to, const ErrorData *edata, int *n);

#endif							/* DJK_ORPHANS_H */
