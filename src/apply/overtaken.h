/*-------------------------------------------------------------------------
 *
 * overtaken.h
 *	  Dead letters that newer messages of their keys overtake.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OVERTAKEN_H
#define DJK_OVERTAKEN_H

#include "apply/work.h"

/* Before the fence, which asks whether there are such letters. */
extern void djk_overtaken_begin(DjkApply *apply);

/* Letters have been written: workers that know those of their partitions hear of it, if none of them has. */
extern void djk_overtaken_written(const DjkApply *apply);

/* Letters of a partition have been written that are no messages of this batch. */
extern void djk_overtaken_read_again(DjkApply *apply, int partition);

/*
 * Notes at the dead letters of the keys that [from, to) has applied that there is
 * something newer; as the catalog's owner.
 */
extern void djk_overtaken_note(DjkApply *apply, int from, int to);

#endif							/* DJK_OVERTAKEN_H */
