/*-------------------------------------------------------------------------
 *
 * bar.h
 *	  Databases that djkafka's processes keep out of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_BAR_H
#define DJK_BAR_H

#include "base/djk.h"

#include "storage/lwlock.h"

/* From the hooks of segments.c. */
extern void djk_bar_request(void);
extern void djk_bar_start(LWLock *lock);

/*
 * Bars a database to djkafka's processes until djk_bar_lift(), which this
 * process has to call at its end at the latest; false if too many are barred
 * already.  Those that run are not told, see djk_slot_list(), nor is the
 * launcher when a bar is lifted.  All need djk_shmem_available().
 */
extern bool djk_bar_place(Oid database);
extern bool djk_bar_is_placed(Oid database);

/* Takes back this process's bars of a database, or all if InvalidOid; false if there was none. */
extern bool djk_bar_lift(Oid database);

#endif							/* DJK_BAR_H */
