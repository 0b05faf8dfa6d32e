/*-------------------------------------------------------------------------
 *
 * postpone.h
 *	  Whether a message that failed is tried again, and when.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_POSTPONE_H
#define DJK_POSTPONE_H

#include "apply/work.h"

/* How often a message was tried again before: what is stored of it says. */
extern int	djk_postpone_attempt(const DjkApply *apply, int message);

/*
 * Whether a message that failed so is to be tried again: when, and as which
 * attempt.  That there is room for it is its caller's to know.
 */
extern bool djk_postpone(const DjkApply *apply, int message, int sqlstate, int *attempt, TimestampTz *due_at);

/* What is said beside the error of a message that was tried again before; NULL: nothing.  In CurrentMemoryContext. */
extern char *djk_postpone_detail(const DjkApply *apply, int message, int sqlstate);

/* Whether its route wants the next try of a message in the log. */
extern bool djk_postpone_is_logged(const DjkApply *apply, int message);

/* Whether the partition of a message waits for it until it is tried again. */
extern bool djk_postpone_is_blocking(const DjkApply *apply, int message);

/* Says of those of [from, to) that are tried again later what their routes want in the log. */
extern void djk_postpone_log(const DjkApply *apply, int from, int to);

/* Whether a message that is to be tried again waits for that in a topic. */
extern bool djk_postpone_is_sent(const DjkApply *apply, int message);

#endif							/* DJK_POSTPONE_H */
