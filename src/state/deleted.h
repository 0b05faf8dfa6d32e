/*-------------------------------------------------------------------------
 *
 * deleted.h
 *	  SQL on djkafka_deleted: the versions of rows that are gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_DELETED_H
#define DJK_DELETED_H

#include "base/djk.h"

/* By what rows and their versions are known: routes that know them alike share what is remembered. */
typedef struct DjkDeletedTerms
{
	Oid			target;
	char	  **columns;		/* of the key, and that of the version last */
	char	  **types;			/* of these, by name */
	int			ncolumns;
	const char *seen_by;		/* a role, where rows may be others for another one; else empty */
} DjkDeletedTerms;

/* A row that is gone, as text; version NULL: nothing is remembered of it. */
typedef struct DjkDeleted
{
	char	   *key;
	char	   *version;
} DjkDeleted;

/* All between djk_catalog_enter() and leave. */

/* Fills in the versions, in 'context', of what is remembered still. */
extern void djk_deleted_find(const DjkDeletedTerms *terms, DjkDeleted *rows, int n, MemoryContext context);

/*
 * Remembers the versions of rows that were deleted just now for 'keep_s'
 * seconds; and forgets some of the target whose time is over.
 */
extern void djk_deleted_remember(const DjkDeletedTerms *terms, const DjkDeleted *rows, int n, int64 keep_s);

/* Forgets all versions of a target, if no route to it remembers any. */
extern void djk_deleted_forget(Oid target);

#endif							/* DJK_DELETED_H */
