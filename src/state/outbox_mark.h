/*-------------------------------------------------------------------------
 *
 * outbox_mark.h
 *	  A snapshot as a position in the outbox, and where its messages begin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_MARK_H
#define DJK_OUTBOX_MARK_H

#include "base/djk.h"

typedef struct DjkOutboxMark
{
	MemoryContext context;		/* of all below and of this */
	struct varlena *snapshot;	/* pg_snapshot */
	uint64		xmax;
	int			nxip;
	uint64	   *xip;			/* running when it was taken, ascending */
	uint64		next;			/* next transaction id, read before it was taken */
	int64		last_id;		/* last message id given out, read before that */

	/* Set once what it sees has been taken care of: see outbox_mark.c. */
	int64		floor;
	int64	   *floors;
} DjkOutboxMark;

/* In a context of its own below 'parent'; 'snapshot' is a pg_snapshot. */
extern DjkOutboxMark *djk_outbox_mark_create(MemoryContext parent, Datum snapshot, uint64 next, int64 last_id);
extern void djk_outbox_mark_destroy(DjkOutboxMark *mark);

extern bool djk_outbox_mark_same(const DjkOutboxMark *a, const DjkOutboxMark *b);

/* Whether the mark sees what a transaction has committed; one that has rolled back counts as well. */
extern bool djk_outbox_mark_sees(const DjkOutboxMark *mark, uint64 xid);

/* Whether a message has been taken care of where its server stands so; 'target' may be NULL. */
extern bool djk_outbox_mark_is_sent(const DjkOutboxMark *done, const DjkOutboxMark *target, int64 cursor_id,
									int64 id, uint64 xid);

/* The messages that 'after' sees and 'before' does not have ids above this. */
extern int64 djk_outbox_mark_first(const DjkOutboxMark *before, const DjkOutboxMark *after);

/* Message ids were given out again: whatever it does not see may have any. */
extern void djk_outbox_mark_forget_ids(DjkOutboxMark *mark);

/* Finds the floors of 'after' from those of 'before'. */
extern void djk_outbox_mark_succeed(DjkOutboxMark *after, const DjkOutboxMark *before);

#endif							/* DJK_OUTBOX_MARK_H */
