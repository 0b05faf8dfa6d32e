/*-------------------------------------------------------------------------
 *
 * reads.h
 *	  What an expression may read besides its message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_READS_H
#define DJK_READS_H

#include "base/djk.h"

#include "nodes/parsenodes.h"

typedef struct DjkReads
{
	List	   *tables;			/* OIDs of plain tables, in the caller's context */
	bool		anything;		/* it calls what may read whatever it likes */
} DjkReads;

/* What an analyzed and rewritten query may read, in place of what was there. */
extern void djk_reads_collect(Query *query, DjkReads *reads);

/* What an expression that belongs to the target, such as a column's default, may see of rows. */
typedef enum DjkSight
{
	DJK_SIGHT_NONE,
	DJK_SIGHT_ROWS,				/* all rows before the one that it is evaluated for */
	DJK_SIGHT_STATEMENT			/* those before the statement that it is evaluated in */
} DjkSight;

extern DjkSight djk_reads_sight(Node *expression);

#endif							/* DJK_READS_H */
