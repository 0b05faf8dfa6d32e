/*-------------------------------------------------------------------------
 *
 * run_again.c
 *	  djkafka_run() tries what waits for a row that it refers to.
 *
 * At its end, until a round helps none: nobody comes after it who would.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_again.h"

#include "apply/again.h"
#include "miscadmin.h"
#include "sql/run_apply.h"
#include "utils/memutils.h"

#define BATCH_MESSAGES		1000

static DjkBatchPartition *
find_partitions(DjkPosition **positions, int npositions, DjkPosition ***waiting, int *n)
{
	DjkBatchPartition *partitions = palloc0(Max(npositions, 1) * sizeof(DjkBatchPartition));

	*waiting = palloc(Max(npositions, 1) * sizeof(DjkPosition *));
	*n = 0;
	for (int i = 0; i < npositions; i++)
	{
		DjkBatchPartition *partition = &partitions[*n];

		if (positions[i]->parked <= 0)
			continue;
		djk_position_describe(positions[i], partition);
		partition->end_offset = partition->next_offset;
		(*waiting)[(*n)++] = positions[i];
	}
	return partitions;
}

/* Returns how many messages wait no longer. */
static int64
run_round(DjkApply *apply, DjkBatchPartition *partitions, int n, Size batch_bytes, DjkApplyResult *total)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka messages that waited",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkAgainCursor cursor = {0};
	DjkBatch   *batch;
	int64		before = 0;

	for (int p = 0; p < n; p++)
		before += partitions[p].parked;
	while ((batch = djk_again_load(partitions, n, &cursor, BATCH_MESSAGES, batch_bytes)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
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
djk_run_again(DjkApply *apply, DjkPosition **positions, int npositions, Size batch_bytes, DjkApplyResult *total)
{
	DjkPosition **waiting;
	int			n;
	DjkBatchPartition *partitions = find_partitions(positions, npositions, &waiting, &n);

	while (n > 0 && run_round(apply, partitions, n, batch_bytes, total) > 0)
		;
	for (int p = 0; p < n; p++)
		waiting[p]->parked = partitions[p].parked;
}
