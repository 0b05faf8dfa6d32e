/*-------------------------------------------------------------------------
 *
 * segments.h
 *	  All that djkafka has in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SEGMENTS_H
#define DJK_SEGMENTS_H

/* From _PG_init, while preloading. */
extern void djk_segments_init(void);

#endif							/* DJK_SEGMENTS_H */
