/*-------------------------------------------------------------------------
 *
 * waiting.c
 *	  A consumer worker tries again what waits for a row that it refers to.
 *
 * What waits (apply/park.c) is tried in rounds: the partitions' messages in
 * their order, a batch at a time, between the batches that are read.  A batch
 * that brought rows, and one that waited and helped itself, are followed by the
 * next at once; else a round begins each second, for the row may come from
 * another worker, or from anybody.  A turn that fails is taken again, and the
 * round goes on behind it.  A turn in vain is paid for by a pause of some times
 * its length: what has to wait does not slow down what need not.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/waiting.h"

#include "base/clock.h"
#include "utils/timestamp.h"
#include "consumer/failure.h"

#define ROUND_MS			1000
#define PAUSE_TIMES			4
#define TURN_MESSAGES		1000
#define TURN_PARTITIONS		64	/* as many as one transaction has room for */

/* ---------- the batch ---------- */

static bool
has_waiting(const DjkConsumerWorker *worker, const DjkPosition *position)
{
	const DjkAgainCursor *at = &worker->waiting_at;

	if (position->parked <= 0 || !djk_position_is_ready(position))
		return false;
	/* What is below has been tried in this round. */
	return position->offset_id > at->offset_id || (position->offset_id == at->offset_id && at->offset < PG_INT64_MAX);
}

static int
compare_positions(const ListCell *a, const ListCell *b)
{
	const DjkPosition *x = lfirst(a);
	const DjkPosition *y = lfirst(b);

	return x->offset_id < y->offset_id ? -1 : x->offset_id > y->offset_id;
}

/*
 * Of the partitions that are ours and of which something waits those that are
 * next in the round, in its order; *positions are theirs.
 */
static DjkBatchPartition *
find_partitions(DjkConsumerWorker *worker, DjkPosition ***positions, int *n)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	List	   *list = NIL;
	DjkBatchPartition *partitions;

	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (has_waiting(worker, position))
			list = lappend(list, position);
	}
	list_sort(list, compare_positions);
	*n = Min(list_length(list), TURN_PARTITIONS);
	*positions = palloc(Max(*n, 1) * sizeof(DjkPosition *));
	partitions = palloc0(Max(*n, 1) * sizeof(DjkBatchPartition));
	for (int p = 0; p < *n; p++)
	{
		(*positions)[p] = list_nth(list, p);
		djk_position_describe((*positions)[p], &partitions[p]);
		partitions[p].end_offset = partitions[p].next_offset;
		partitions[p].vain = (*positions)[p]->waiting_vain;
		partitions[p].vain_to = (*positions)[p]->waiting_vain_to;
	}
	list_free(list);
	return partitions;
}

static DjkBatch *
load_batch(DjkConsumerWorker *worker, DjkBatchPartition *partitions, int n)
{
	DjkIdentity identity;
	MemoryContext context = CurrentMemoryContext;
	DjkBatch   *batch;

	worker->waiting_from = worker->waiting_at;
	djk_worker_begin(&identity);
	MemoryContextSwitchTo(context);
	batch = djk_again_load(partitions, n, &worker->waiting_at, Min(worker->row->batch_messages, TURN_MESSAGES),
						   worker->row->batch_bytes);
	djk_worker_commit(&identity);
	return batch;
}

/* ---------- what became of it ---------- */

static void
settle(DjkConsumerWorker *worker, const DjkBatch *batch, DjkPosition **positions)
{
	for (int p = 0; p < batch->npartitions; p++)
	{
		positions[p]->parked = batch->partitions[p].parked;
		positions[p]->waiting_vain = batch->partitions[p].vain;
		positions[p]->waiting_vain_to = batch->partitions[p].vain_to;
		if (batch->partitions[p].lost)
			djk_positions_reload(worker->positions, positions[p]);
	}
}

static bool
has_helped(const DjkApplyResult *result)
{
	return result->applied + result->filtered + result->duplicates + result->stale + result->dead + result->skipped > 0;
}

/*
 * Where the round goes on after a turn that failed: at this turn, or, with every
 * second failure in a row, at the beginning.  What is far behind gets its turn
 * where errors are frequent, and what is before a message that goes on failing too.
 */
static void
take_again(DjkConsumerWorker *worker, int tries)
{
	if (tries % 2 == 1)
		worker->waiting_at = worker->waiting_from;
	else
		memset(&worker->waiting_at, 0, sizeof(worker->waiting_at));
}

static void
finish(DjkConsumerWorker *worker, const DjkBatch *batch, const DjkApplyResult *result)
{
	switch (result->status)
	{
		case DJK_APPLY_PAUSED:
			/* The rest in the next round; Kafka is polled before the next turn. */
			if (result->decided == 0)
				break;
			/* FALLTHROUGH */
		case DJK_APPLY_DONE:
			djk_member_note_success(worker);
			break;
		case DJK_APPLY_TRANSIENT:
		case DJK_APPLY_DOUBTFUL:
			take_again(worker, result->tries);
			djk_failure_wait(worker, batch, result);
			break;
		case DJK_APPLY_BROKEN:
		case DJK_APPLY_STOPPED:
			djk_failure_throw(worker, batch, result);
	}
}

/* ---------- turns ---------- */

/* All that waits has been tried: what had failed has passed since, or waits no more. */
static void
forget_vain(DjkConsumerWorker *worker)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	bool		any = false;

	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		any |= position->waiting_vain > 0;
		position->waiting_vain = 0;
	}
	if (any)
		djk_member_note_success(worker);
}

/* A round is over: the next begins at once only if this one has helped. */
static void
end_round(DjkConsumerWorker *worker)
{
	forget_vain(worker);
	worker->positions->waiting = worker->waiting_left;
	worker->waiting_due = worker->waiting_helped ? 0 : worker->waiting_round + (TimestampTz) ROUND_MS * 1000;
	worker->waiting_round = 0;
	worker->waiting_helped = worker->waiting_left = false;
	memset(&worker->waiting_at, 0, sizeof(worker->waiting_at));
}

/* What comes next in the round; NULL: nothing, it is over. */
static DjkBatch *
next_batch(DjkConsumerWorker *worker, DjkPosition ***positions)
{
	DjkBatch   *batch = NULL;
	int			n;

	do
	{
		DjkBatchPartition *partitions = find_partitions(worker, positions, &n);

		worker->waiting_left |= n > 0;
		if (n > 0)
			batch = load_batch(worker, partitions, n);
		/* Nothing more in these, but perhaps in those behind them. */
		if (n > 0 && batch == NULL)
			worker->waiting_at = (DjkAgainCursor) {partitions[n - 1].offset_id, PG_INT64_MAX};
	} while (n > 0 && batch == NULL);
	return batch;
}

static void
take_turn(DjkConsumerWorker *worker, TimestampTz started)
{
	DjkPosition **positions;
	DjkApplyResult result;
	DjkBatch   *batch = next_batch(worker, &positions);

	if (batch == NULL)
	{
		end_round(worker);
		return;
	}
	djk_worker_report_busy("applying what waited");
	djk_slot_note_work(worker->max_poll_ms / 3);
	djk_apply_batch(worker->apply, batch, &result);
	MemoryContextSwitchTo(worker->cycle);
	settle(worker, batch, positions);
	if (has_helped(&result))
		worker->waiting_helped = true;
	else
		worker->waiting_pause = djk_clock_now() + PAUSE_TIMES * (djk_clock_now() - started);
	finish(worker, batch, &result);
}

void
djk_waiting_turn(DjkConsumerWorker *worker, TimestampTz polled_at)
{
	TimestampTz now;

	if (!worker->positions->waiting || worker->retry_at != 0)
		return;
	now = djk_clock_now();
	if (TimestampDifferenceExceeds(polled_at, now, worker->max_poll_ms / 6))
		return;
	if (now < worker->waiting_pause || (worker->waiting_round == 0 && now < worker->waiting_due))
		return;
	if (worker->waiting_round == 0)
		worker->waiting_round = now;
	take_turn(worker, now);
}

void
djk_waiting_note_rows(DjkConsumerWorker *worker)
{
	worker->waiting_due = 0;
}

long
djk_waiting_ms(const DjkConsumerWorker *worker, long limit_ms)
{
	TimestampTz at = worker->waiting_pause;

	if (!worker->positions->waiting || worker->retry_at != 0)
		return limit_ms;
	if (worker->waiting_round == 0)
		at = Max(at, worker->waiting_due);
	return Min(limit_ms, Max((at - djk_clock_now()) / 1000, 0) + 1);
}
