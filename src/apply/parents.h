/*-------------------------------------------------------------------------
 *
 * parents.h
 *	  What a batch does to the rows that a foreign key refers to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PARENTS_H
#define DJK_PARENTS_H

#include "apply/reference.h"
#include "apply/work.h"

/*
 * Whether a table is one that meets nothing but its own constraints; with what else
 * writes it by themselves, such as its triggers, it may be any.  The caller has a lock.
 */
extern bool djk_parents_are_bare(Oid table);

/* Whether what was applied of [from, to) has taken no parent away that was there before, or for a while. */
extern bool djk_parents_stay(const DjkApply *apply, int from, int to, const DjkReference *reference);

/* Whether rows of a table refer to rows of another one, by however many tables. */
extern bool djk_parents_refer_to(Oid table, Oid other);

#endif							/* DJK_PARENTS_H */
