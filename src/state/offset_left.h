/*-------------------------------------------------------------------------
 *
 * offset_left.h
 *	  Rows of djkafka_offset_left: where dropped consumers had stopped.
 *
 * Every function runs between djk_catalog_enter() and leave.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OFFSET_LEFT_H
#define DJK_OFFSET_LEFT_H

#include "base/djk.h"

/*
 * Before a consumer is dropped: keeps where it stands, once no batch of its is
 * open.  What waits becomes dead letters.  Nothing of a copy's.
 */
extern void djk_offset_leave(int64 consumer_id);

/*
 * Gives a consumer that was just made the offsets, and the dead letters, that one
 * of its owner in its group has left; with start_from 'group' not the offsets.
 * Returns of how many partitions it has the offsets.
 */
extern int	djk_offset_take_left(int64 consumer_id);

/* Whether one that was dropped here had the id, and nobody has had it since; as of now. */
extern bool djk_offset_left_has_id(int64 consumer_id);

/*
 * Whose a consumer is, or one that was dropped and may be made again; InvalidOid if there
 * is neither; as of now.  Enters and leaves by itself.
 */
extern Oid	djk_offset_left_consumer_owner(int64 consumer_id);

/* Whose those are that the consumer could not take; NULL: there are none. */
extern char *djk_offset_left_owner(int64 consumer_id, MemoryContext context);

#endif							/* DJK_OFFSET_LEFT_H */
