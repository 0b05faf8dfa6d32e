/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  Waking the workers when a transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_WAKE_H
#define DJK_WAKE_H

#include "base/djk.h"

/* From _PG_init; the hooks proper are only installed while preloading. */
extern void djk_wake_init(void);

/* The database's processes are woken once, when this transaction commits. */
extern void djk_wake_at_commit(void);

/* The same for the outbox workers alone. */
extern void djk_wake_outbox_at_commit(void);

#endif							/* DJK_WAKE_H */
