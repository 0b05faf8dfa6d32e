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

#endif							/* DJK_READS_H */
