/*-------------------------------------------------------------------------
 *
 * awaited.h
 *	  Tables that messages wait for rows of: who writes one wakes the workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_AWAITED_H
#define DJK_AWAITED_H

#include "base/djk.h"

#include "nodes/nodes.h"

/* From _PG_init, while preloading. */
extern void djk_awaited_init(void);

/* From the hooks of segments.c. */
extern void djk_awaited_request(void);
extern void djk_awaited_start(void);

/* A utility statement is about to run (state/wake.c): rows may come by it. */
extern void djk_awaited_note_utility(const Node *stmt);

/* Whatever is waited for may be there when this transaction commits. */
extern void djk_awaited_note_any(void);

/* The same at once, of a transaction that has committed elsewhere. */
extern void djk_awaited_ring_all(void);

/* --- a worker --- */

/*
 * This process waits for rows of a table, of its partitions, and of what it is a
 * partition of: whoever commits any of them from now on rings.  Returns false if it
 * did so before.  Needs a transaction.
 */
extern bool djk_awaited_add(Oid table);

/* It waits for nothing any more. */
extern void djk_awaited_clear(void);

/* Whether somebody has rung since djk_awaited_look(). */
extern bool djk_awaited_has_rung(void);

/* It looks now: what was committed before is seen by what it does next. */
extern void djk_awaited_look(void);

#endif							/* DJK_AWAITED_H */
