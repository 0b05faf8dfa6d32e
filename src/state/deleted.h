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
	const Oid  *types;			/* of these */
	int			ncolumns;
	Oid			seen_by;		/* a role, where rows may be others for another one; else InvalidOid */
} DjkDeletedTerms;

/* What was remembered of a row under its key before it was deleted. */
typedef enum DjkDeletedState
{
	DJK_DELETED_ANY,			/* whatever it is: the row was there, and locked since, so nobody else has deleted it */
	DJK_DELETED_NONE,
	DJK_DELETED_FOUND
} DjkDeletedState;

/* A row that is gone, as text. */
typedef struct DjkDeleted
{
	char	   *key;
	DjkDeletedState state;
	char	   *found;			/* the version that was found */
	int64		hash;			/* of a key that may be written otherwise: equal for all of these; -1: it may not */
	char	   *version;
} DjkDeleted;

/* A version of one of the rows that were asked for, by its number. */
typedef struct DjkRemembered
{
	int			row;
	char	   *key;
	char	   *version;
	bool		is_own;			/* not seen by somebody else */
	char	  **texts;			/* of the key, if it was found by its hash */
	int			ntexts;			/* -1: it was found by its key */
} DjkRemembered;

/* All between djk_catalog_enter() and leave. */

/*
 * What is remembered still of the rows of n keys, in 'context'; of one row there
 * may be several versions, as several roles have seen it go.  With hashes also
 * what has one of these and another key.
 */
extern DjkRemembered *djk_deleted_find(const DjkDeletedTerms *terms, char *const *keys, const int64 *hashes, int n,
									   MemoryContext context, int *nfound);

/*
 * Remembers the versions of rows that were deleted just now for 'keep_s'
 * seconds, 40001 if something else than before is remembered of one by now; and
 * forgets some of the target whose time is over.
 */
extern void djk_deleted_remember(const DjkDeletedTerms *terms, const DjkDeleted *rows, int n, int64 keep_s);

/* Forgets all versions of a target, if no route to it remembers any. */
extern void djk_deleted_forget(Oid target);

#endif							/* DJK_DELETED_H */
