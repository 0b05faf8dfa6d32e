/*-------------------------------------------------------------------------
 *
 * waiters.h
 *	  Sessions that wait for a partition's position: djkafka_wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_WAITERS_H
#define DJK_WAITERS_H

#include "base/djk.h"

/* In place of a row's id: rows that are not there yet. */
#define DJK_WAITERS_NEW		INT64CONST(0)

/* From the hooks of segments.c. */
extern void djk_waiters_request(void);
extern void djk_waiters_start(void);

/* From _PG_init, while preloading. */
extern void djk_waiters_init(void);

/* This transaction has written the row of djkafka_offset: who waits for it is woken by its commit. */
extern void djk_waiters_note(int64 offset_id);

/* Wakes everybody; quiet if djkafka is not preloaded. */
extern void djk_waiters_wake_all(void);

/*
 * This session waits for the row from now on: what is committed after this wakes
 * it.  It has to leave at its end, also after an ERROR and with the process.
 */
extern void djk_waiters_join(int64 offset_id);
extern void djk_waiters_leave(void);

/* Until it is woken, or that long; it may be woken for nothing. */
extern void djk_waiters_sleep(long timeout_ms);

#endif							/* DJK_WAITERS_H */
