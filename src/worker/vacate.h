/*-------------------------------------------------------------------------
 *
 * vacate.h
 *	  Leaving databases that are about to be dropped, renamed, moved or cloned.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_VACATE_H
#define DJK_VACATE_H

/* From _PG_init while preloading. */
extern void djk_vacate_init(void);

#endif							/* DJK_VACATE_H */
