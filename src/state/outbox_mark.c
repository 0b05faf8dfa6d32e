/*-------------------------------------------------------------------------
 *
 * outbox_mark.c
 *	  A snapshot as a position in the outbox, and where its messages begin.
 *
 * The messages between two snapshots are found by the index on their ids, so
 * it must be known above which id they all are; looking from the beginning
 * would read what has been sent over and over.  A transaction's id is assigned
 * before it draws message ids.  So if the last message id given out (last_id)
 * is read first and the next transaction id (next) after it, the transactions
 * from 'next' on have message ids above last_id.  It must not be too high: what
 * is below a floor is never looked at again.
 *
 * That gives each transaction that a snapshot does not see a floor, an id that
 * its messages are above: one floor for each transaction that it found
 * running, and one for all from its xmax on.  A floor stays true as long as its
 * transaction runs, so a transaction that runs for hours costs one look at
 * what was written since it began, and others nothing.
 *
 * (xmax of a snapshot may be below the next transaction id: those between them
 * ran already when it was taken.  Their floor is the last id of the mark before.
 * Where there are none, the floor is the mark's own last id, and what it has
 * found is not read again.)
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_mark.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* "xmin:xmax:xip,xip,…", as pg_snapshot is written. */
static void
parse_snapshot(DjkOutboxMark *mark, const char *text)
{
	char	   *p;

	mark->xmax = strtou64(strchr(text, ':') + 1, &p, 10);
	mark->xip = palloc(strlen(p) * sizeof(uint64));
	for (p++; *p != '\0'; p += *p == ',')
		mark->xip[mark->nxip++] = strtou64(p, &p, 10);
}

DjkOutboxMark *
djk_outbox_mark_create(MemoryContext parent, Datum snapshot, uint64 next, int64 last_id)
{
	MemoryContext context = AllocSetContextCreate(parent, "djkafka outbox mark", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkOutboxMark *mark = palloc0(sizeof(DjkOutboxMark));

	mark->context = context;
	mark->snapshot = PG_DETOAST_DATUM_COPY(snapshot);
	mark->next = next;
	mark->last_id = last_id;
	parse_snapshot(mark, DatumGetCString(DirectFunctionCall1(pg_snapshot_out, PointerGetDatum(mark->snapshot))));
	mark->floors = palloc0(Max(mark->nxip, 1) * sizeof(int64));
	MemoryContextSwitchTo(old);
	return mark;
}

void
djk_outbox_mark_destroy(DjkOutboxMark *mark)
{
	MemoryContextDelete(mark->context);
}

bool
djk_outbox_mark_same(const DjkOutboxMark *a, const DjkOutboxMark *b)
{
	return a->xmax == b->xmax && a->nxip == b->nxip &&
		memcmp(a->xip, b->xip, a->nxip * sizeof(uint64)) == 0;
}

/* Index of a transaction that the mark found running, or -1. */
static int
find_running(const DjkOutboxMark *mark, uint64 xid)
{
	int			low = 0;
	int			high = mark->nxip;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (mark->xip[middle] == xid)
			return middle;
		if (mark->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

bool
djk_outbox_mark_sees(const DjkOutboxMark *mark, uint64 xid)
{
	return xid < mark->xmax && find_running(mark, xid) < 0;
}

/* As djkafka_outbox_is_sent() has it. */
bool
djk_outbox_mark_is_sent(const DjkOutboxMark *done, const DjkOutboxMark *target, int64 cursor_id, int64 id, uint64 xid)
{
	return djk_outbox_mark_sees(done, xid) ||
		(target != NULL && id <= cursor_id && djk_outbox_mark_sees(target, xid));
}

int64
djk_outbox_mark_first(const DjkOutboxMark *before, const DjkOutboxMark *after)
{
	int64		first = before->floor;

	for (int i = 0; i < before->nxip; i++)
	{
		if (before->floors[i] < first && djk_outbox_mark_sees(after, before->xip[i]))
			first = before->floors[i];
	}
	return first;
}

/* Of a transaction that neither of the two sees, from what is known since 'before'. */
static int64
floor_of(const DjkOutboxMark *after, const DjkOutboxMark *before, uint64 xid)
{
	int			running;

	if (xid >= after->next)
		return after->last_id;
	if (xid >= before->next)
		return before->last_id;
	if (xid >= before->xmax)
		return before->floor;
	running = find_running(before, xid);
	/* It cannot be that an earlier snapshot sees what a later one does not. */
	return running >= 0 ? before->floors[running] : 0;
}

void
djk_outbox_mark_succeed(DjkOutboxMark *after, const DjkOutboxMark *before)
{
	after->floor = floor_of(after, before, after->xmax);
	for (int i = 0; i < after->nxip; i++)
		after->floors[i] = floor_of(after, before, after->xip[i]);
}

void
djk_outbox_mark_forget_ids(DjkOutboxMark *mark)
{
	mark->last_id = mark->floor = 0;
	memset(mark->floors, 0, mark->nxip * sizeof(int64));
}
