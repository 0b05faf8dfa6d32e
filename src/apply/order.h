/*-------------------------------------------------------------------------
 *
 * order.h
 *	  Messages in the order in which parents come before those that look them up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ORDER_H
#define DJK_ORDER_H

#include "apply/work.h"

/*
 * Puts the batch's messages in the order in which parents come before those
 * that look them up; those of a partition stay as they are.  djk_order_begin()
 * finds out, once, which routes look up what others write.
 */
extern void djk_order_begin(DjkApply *apply);
extern void djk_order_batch(DjkApply *apply);

#endif							/* DJK_ORDER_H */
