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

/* By what an expression counts, so that its values follow the order in which it is evaluated. */
typedef struct DjkCounters
{
	List	   *sequences;		/* OIDs of those that it takes numbers from, in the caller's context */
	bool		clock;			/* a clock, or what else differs from call to call */
	bool		anything;		/* whatever it likes: what it calls cannot be looked into */
} DjkCounters;

typedef struct DjkReads
{
	List	   *tables;			/* OIDs of plain tables, in the caller's context */
	bool		anything;		/* it calls what may read whatever it likes */
	DjkCounters counters;
} DjkReads;

/* What an analyzed and rewritten query may read, in place of what was there. */
extern void djk_reads_collect(Query *query, DjkReads *reads);

/* Whether to make a value of a type may read tables: checks of domains, within it too, may call what does. */
extern bool djk_reads_by_type(Oid type);

/* What an expression that belongs to the target, such as a column's default, may see of rows. */
typedef enum DjkSight
{
	DJK_SIGHT_NONE,
	DJK_SIGHT_ROWS,				/* all rows before the one that it is evaluated for */
	DJK_SIGHT_STATEMENT			/* those before the statement that it is evaluated in */
} DjkSight;

extern DjkSight djk_reads_sight(Node *expression);

/* Adds by what an expression or a query counts, if another may count by the same. */
extern void djk_counters_collect(Node *expression, DjkCounters *counters);

/* Whether it counts at all. */
extern bool djk_counters_any(const DjkCounters *counters);

/* Whether two may count by the same. */
extern bool djk_counters_meet(const DjkCounters *a, const DjkCounters *b);

/* Whether a function is written in C: such make numbers and names; those that read tables are written in SQL. */
extern bool djk_reads_is_in_c(Oid function);

#endif							/* DJK_READS_H */
