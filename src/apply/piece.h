/*-------------------------------------------------------------------------
 *
 * piece.h
 *	  Consecutive messages of a batch become rows, as they are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PIECE_H
#define DJK_PIECE_H

#include "apply/work.h"

/*
 * Applies [from, to) of the batch without any savepoint; returns the end of
 * what was applied, which lies before 'to' only where a message failed under
 * on_error = stop.  Throws what the database or user code throws.
 */
extern int	djk_piece_apply(DjkApply *apply, int from, int to);

/* Only makes their rows of what is pending. */
extern void djk_piece_prepare(DjkApply *apply, int from, int to);

/* What was applied is pending again, for another attempt; false if nothing is pending. */
extern bool djk_piece_reset(DjkApply *apply, int from, int to);

/* The first message of [from, to) that stops its consumer, or 'to'. */
extern int	djk_piece_first_stop(const DjkApply *apply, int from, int to);

/* SET CONSTRAINTS ALL: what is pending is checked now, and from now on; or nothing that can be deferred is. */
extern void djk_piece_set_constraints(bool deferred);

/*
 * The same in a subtransaction that is always rolled back, because a released
 * SET CONSTRAINTS would stay: what is pending is pending afterwards.  Returns
 * the error, copied to 'error_context', or NULL.
 */
extern ErrorData *djk_piece_find_violation(MemoryContext error_context);

#endif							/* DJK_PIECE_H */
