/*-------------------------------------------------------------------------
 *
 * isolate.h
 *	  One bad message never costs another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ISOLATE_H
#define DJK_ISOLATE_H

#include "apply/work.h"

/* Subtransactions in one transaction; more would overflow the snapshot's cache on standbys. */
#define DJK_ISOLATE_MAX		64

/*
 * Applies [from, to) of the batch as it is, without any savepoint; returns the
 * end of what was applied, which lies before 'to' only where a message failed
 * under on_error = stop.  Throws.
 */
extern int	djk_isolate_apply(DjkApply *apply, int from, int to);

/*
 * Applies [from, to) by halves in subtransactions until the bad messages are
 * alone, and gives each its fate.  Returns the end of what was decided: before
 * 'to' after max_subtransactions (0: no bound), or at a message that stops.
 * Throws what is no message's fault: transient errors, and a definition that
 * failed for every message of a route (as DJK_ERRCODE_BROKEN).
 */
extern int	djk_isolate(DjkApply *apply, int from, int to, int max_subtransactions);

/* Deferred constraints are checked now: SET CONSTRAINTS ALL IMMEDIATE. */
extern void djk_isolate_check_constraints(void);

/* A caught error as a value, with the hints that djkafka can add; strings in 'context'. */
extern void djk_isolate_describe(const ErrorData *edata, bool is_delete, MemoryContext context, DjkError *error);

#endif							/* DJK_ISOLATE_H */
