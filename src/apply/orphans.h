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

/*
 * The same where [from, to) was applied, and its deferred constraints are violated
 * so; before it is undone.  What was prepared is prepared again, and the result is in
 * attempt_context.
 */
extern DjkOrphan *djk_orphans_find_deferred(DjkApply *apply, int from, int to, const ErrorData *edata, int *n);

/*
 * All of [from, to) is undone: whether it is certain still that these fail so.  Keeps the
 * table as it was prepared for, until they are set aside.
 */
extern bool djk_orphans_confirm(DjkApply *apply, int from, int to, const DjkOrphan *orphans, int n);

#endif							/* DJK_ORPHANS_H */
