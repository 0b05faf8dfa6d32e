/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  The transaction that a batch is applied in, and how long it may last.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_APPLY_TRANSACTION_H
#define DJK_APPLY_TRANSACTION_H

#include "apply/work.h"

/* SET LOCAL, for as long as the transaction or the GUC nest level lasts. */
extern void djk_set_local(const char *name, const char *value);

/*
 * Begins a transaction with an active snapshot, as the consumer's owner.  FATAL
 * (42501) if the session's user is somebody else by now.  At apply->limit_at it
 * is cancelled.
 */
extern void djk_apply_begin(DjkApply *apply);

/* The same where no batch is at hand, with another limit for the wait for a lock. */
extern void djk_apply_begin_between(DjkApply *apply, int lock_ms);

extern void djk_apply_commit(void);

/* … or all of it is undone. */
extern void djk_apply_rollback(void);

/* Whether its limit is reached: what is cancelled now is so by it. */
extern bool djk_apply_time_is_over(const DjkApply *apply);

/* Ends the limit, also after an ERROR. */
extern void djk_apply_disarm_limit(void);

/* Makes *error say that 'what' took longer than the limit; strings palloc'd. */
extern void djk_apply_describe_limit(const DjkApply *apply, const char *what, DjkError *error);

#endif							/* DJK_APPLY_TRANSACTION_H */
