/*-------------------------------------------------------------------------
 *
 * run_again.c
 *	  djkafka_run() tries what waits for a row that it refers to.
 *
 * At its end, until a round helps none: nobody comes after it who would.  Before it
 * reads, too, where a route bounds what waits of a key: what has found its row makes room.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_again.h"

#include "apply/again.h"
#include "miscadmin.h"
#include "sql/run_apply.h"
#include "utils/memutils.h"

#define BATCH_MESSAGES		1000

static int
compare_positions(const void *a, const void *b)
{
	const DjkPosition *x = *(DjkPosition *const *) a;
	const DjkPosition *y = *(DjkPosition *const *) b;

	return x->offset_id < y->offset_id ? -1 : x->offset_id > y->offset_id;
}

static DjkBatchPartition *
find_partitions(DjkPosition **positions, int npositions, DjkPosition ***waiting, int *n)
{
	DjkBatchPartition *partitions = palloc0(Max(npositions, 1) * sizeof(DjkBatchPartition));

	*waiting = palloc(Max(npositions, 1) * sizeof(DjkPosition *));
	*n = 0;
	for (int i = 0; i < npositions; i++)
	{
		if (positions[i]->parked > 0)
			(*waiting)[(*n)++] = positions[i];
	}
	qsort(*waiting, *n, sizeof(DjkPosition *), compare_positions);
	for (int p = 0; p < *n; p++)
	{
		djk_position_describe((*waiting)[p], &partitions[p]);
		partitions[p].end_offset = partitions[p].again_end = partitions[p].next_offset;
	}
	return partitions;
}

/* What has waited before is tried once, whatever it lacks: it may have been tried by other routes. */
static void
begin_round(DjkApply *apply, DjkBatchPartition *partitions, int n, bool all)
{
	all |= djk_apply_is_changed(apply);
	djk_apply_note_trying(apply);
	for (int p = 0; p < n; p++)
		partitions[p].again_all = all;
}

/* Returns how many messages wait no longer. */
static int64
run_round(DjkApply *apply, DjkBatchPartition *partitions, int n, Size batch_bytes, DjkApplyResult *total)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka messages that waited",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkAgainCursor cursor = {0};
	int64		before = 0;
	bool		more = true;

	for (int p = 0; p < n; p++)
		before += partitions[p].parked;
	while (more)
	{
		DjkBatch   *batch = djk_again_load(apply, partitions, n, &cursor, BATCH_MESSAGES, batch_bytes, &more);

		CHECK_FOR_INTERRUPTS();
		if (batch != NULL)
			djk_run_apply(apply, batch, total);
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	for (int p = 0; p < n; p++)
		before -= partitions[p].parked;
	return before;
}

void
djk_run_again(DjkApply *apply, DjkPosition **positions, int npositions, bool all, Size batch_bytes, DjkApplyResult *total)
{
	DjkPosition **waiting;
	int			n;
	DjkBatchPartition *partitions = find_partitions(positions, npositions, &waiting, &n);
	int64		helped = n;

	for (; helped > 0; all = false)
	{
		begin_round(apply, partitions, n, all);
		helped = run_round(apply, partitions, n, batch_bytes, total);
	}
	for (int p = 0; p < n; p++)
		waiting[p]->parked = partitions[p].parked;
}
