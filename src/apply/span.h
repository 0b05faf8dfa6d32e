/*-------------------------------------------------------------------------
 *
 * span.h
 *	  The transaction that a batch is applied in, and how long it may last.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SPAN_H
#define DJK_SPAN_H

#include "apply/work.h"

/* SET LOCAL, for as long as the transaction or the GUC nest level lasts. */
extern void djk_span_set_local(const char *name, const char *value);

/*
 * Begins a transaction with an active snapshot, as the consumer's owner.  FATAL
 * (42501) if the session's user is somebody else by now.  *limit_ms is how long
 * it may last, 0 for ever; then it is cancelled.
 */
extern void djk_span_begin(DjkApply *apply, int *limit_ms);
extern void djk_span_commit(void);

/* Ends the limit, also after an ERROR. */
extern void djk_span_disarm(void);

/* Makes *error say that 'what' took longer than the limit; strings palloc'd. */
extern void djk_span_describe_limit(const DjkApply *apply, const char *what, DjkError *error);

#endif							/* DJK_SPAN_H */
