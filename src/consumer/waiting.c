/*-------------------------------------------------------------------------
 *
 * waiting.c
 *	  A consumer worker tries again what waits: for a row that it refers to, or until it is due.
 *
 * What waits (apply/park.c) is tried in rounds: the partitions' messages in
 * their order, a batch at a time, between the batches that are read.  A round is of
 * what waited when it began, but for what certainly lacks its parent still
 * (apply/lacking.c).  One that has helped is followed by the next at once; else one
 * begins when somebody has committed rows of a table that is waited for
 * (state/awaited.c), this worker, another or anybody, and when one has waited for too
 * long.  What is waited for by other
 * means (a trigger's or a handler's own error) is looked for after batches that
 * brought rows, and after a second, two, four and so on; all else once in a minute,
 * for rows may come by ways that nobody hears of.  A turn that fails is taken again,
 * and the round goes on behind it.  A turn in vain is paid for by a pause of some
 * times its length: what has to wait does not slow down what need not.
 *
 * What waits until it is due is left out of rounds until then.  The next time is
 * known, and what is due then is tried in a turn of its own, with what waits behind
 * it by its key: however many others wait, it does not wait for their round.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/waiting.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/transaction.h"
#include "state/awaited.h"
#include "state/parked.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "consumer/failure.h"
#include "consumer/schemas.h"

#define ROUND_MS			1000
#define ROUND_MAX_MS		60000
#define PAUSE_TIMES			4
#define TURN_MESSAGES		1000
#define TURN_PARTITIONS		64	/* as many as one transaction has room for */

/* ---------- the batch ---------- */

static bool
has_waiting(const DjkPosition *position)
{
	return position->parked > 0 && djk_position_is_resolved(position);
}

/* What is below has been tried in this round. */
static bool
is_next(const DjkConsumerWorker *worker, const DjkPosition *position)
{
	const DjkAgainCursor *at = &worker->waiting.at;

	return position->offset_id > at->offset_id || (position->offset_id == at->offset_id && at->offset < PG_INT64_MAX);
}

static int
compare_positions(const ListCell *a, const ListCell *b)
{
	const DjkPosition *x = lfirst(a);
	const DjkPosition *y = lfirst(b);

	return x->offset_id < y->offset_id ? -1 : x->offset_id > y->offset_id;
}

/* Partitions that are ours and of which something waits, in a round's order; those that are next in it alone. */
static List *
list_positions(DjkConsumerWorker *worker, bool of_round)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	List	   *list = NIL;

	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (has_waiting(position) && (!of_round || is_next(worker, position)))
			list = lappend(list, position);
	}
	list_sort(list, compare_positions);
	return list;
}

/* As many of them as there is room for, as a batch has them; *positions are theirs. */
static DjkBatchPartition *
describe_positions(const List *list, DjkPosition ***positions, int *n)
{
	DjkBatchPartition *partitions;

	*n = Min(list_length(list), TURN_PARTITIONS);
	*positions = palloc(Max(*n, 1) * sizeof(DjkPosition *));
	partitions = palloc0(Max(*n, 1) * sizeof(DjkBatchPartition));
	for (int p = 0; p < *n; p++)
	{
		(*positions)[p] = list_nth(list, p);
		djk_position_describe((*positions)[p], &partitions[p]);
		partitions[p].end_offset = partitions[p].next_offset;
		partitions[p].again_all = (*positions)[p]->waiting_all;
		partitions[p].again_end = (*positions)[p]->waiting_end;
		partitions[p].vain = (*positions)[p]->waiting_vain;
		partitions[p].vain_to = (*positions)[p]->waiting_vain_to;
	}
	return partitions;
}

static void
note_due(DjkConsumerWorker *worker, TimestampTz due)
{
	if (due != 0 && (worker->waiting.next == 0 || worker->waiting.next > due))
		worker->waiting.next = due;
}

/* As the owner: the tables that are asked for parents are anybody's. */
static DjkBatch *
load_batch(DjkConsumerWorker *worker, DjkBatchPartition *partitions, int n, bool *more)
{
	MemoryContext context = CurrentMemoryContext;
	DjkBatch   *batch;

	worker->waiting.from = worker->waiting.at;
	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	batch = djk_again_load(worker->apply, partitions, n, &worker->waiting.at,
						   Min(worker->row->batch_messages, TURN_MESSAGES), worker->row->batch_bytes, more);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return batch;
}

/* Those of partitions of which something is due; of the others it becomes known when it will be. */
static List *
find_due(DjkConsumerWorker *worker, List *list)
{
	int			n = list_length(list);
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	TimestampTz *next_due = palloc(Max(n, 1) * sizeof(TimestampTz));
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext context = CurrentMemoryContext;
	List	   *due = NIL;

	for (int i = 0; i < n; i++)
		ids[i] = ((DjkPosition *) list_nth(list, i))->offset_id;
	djk_parked_next_due(ids, n, DT_NOBEGIN, next_due);
	MemoryContextSwitchTo(context);
	worker->waiting.next = 0;
	for (int i = 0; i < n; i++)
	{
		if (next_due[i] != 0 && next_due[i] <= now)
			due = lappend(due, list_nth(list, i));
		else
			note_due(worker, next_due[i]);
	}
	/* There may be more of it. */
	if (due != NIL)
		worker->waiting.next = now;
	return due;
}

/* What is due; NULL: nothing is. */
static DjkBatch *
load_due(DjkConsumerWorker *worker, DjkPosition ***positions, bool *complete)
{
	DjkIdentity identity;
	MemoryContext context = CurrentMemoryContext;
	List	   *list = list_positions(worker, false);
	DjkBatch   *batch = NULL;

	djk_worker_begin(&identity);
	MemoryContextSwitchTo(context);
	list = find_due(worker, list);
	if (list != NIL)
	{
		int			n;
		DjkBatchPartition *partitions = describe_positions(list, positions, &n);

		batch = djk_again_load_due(partitions, n, Min(worker->row->batch_messages, TURN_MESSAGES), worker->row->batch_bytes,
								   complete);
	}
	djk_worker_commit(&identity);
	return batch;
}

/* ---------- who is heard ---------- */

static bool
watch(DjkConsumerWorker *worker)
{
	DjkIdentity identity;
	bool		any;

	djk_worker_begin(&identity);
	any = djk_apply_watch(worker->apply);
	djk_worker_commit(&identity);
	return any;
}

/*
 * What it waits for was not watched when it was tried, so it is tried again: a row
 * that came between wakes nobody.
 */
static void
watch_more(DjkConsumerWorker *worker)
{
	if (!djk_apply_awaits_more(worker->apply) || !watch(worker))
		return;
	worker->waiting.blind = true;
	worker->waiting.due = 0;
}

/* ---------- what became of it ---------- */

static void
note_partition(DjkConsumerWorker *worker, const DjkBatchPartition *partition)
{
	worker->positions->waiting |= partition->parked > 0;
	worker->waiting.lacks |= partition->lacking;
	worker->waiting.unwatched |= partition->unwatched;
	if (partition->unwatched && worker->waiting.round == 0)
	{
		worker->waiting.interval_ms = ROUND_MS;
		worker->waiting.due = Min(worker->waiting.due, djk_clock_now() + (TimestampTz) ROUND_MS * 1000);
	}
	if (partition->deadline != 0 && (worker->waiting.deadline == 0 || worker->waiting.deadline > partition->deadline))
		worker->waiting.deadline = partition->deadline;
	note_due(worker, partition->next_due);
}

void
djk_waiting_note_partition(DjkConsumerWorker *worker, const DjkBatchPartition *partition)
{
	note_partition(worker, partition);
	worker->waiting.news |= partition->unwatched;
}

static void
settle(DjkConsumerWorker *worker, const DjkBatch *batch, DjkPosition **positions)
{
	for (int p = 0; p < batch->npartitions; p++)
	{
		note_partition(worker, &batch->partitions[p]);
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
		worker->waiting.at = worker->waiting.from;
	else
		memset(&worker->waiting.at, 0, sizeof(worker->waiting.at));
}

/* Those that have stopped are not tried any more; what is left of a turn is for the next. */
static void
note_storms(DjkConsumerWorker *worker, const DjkBatch *batch, DjkPosition **positions)
{
	for (int p = 0; p < batch->npartitions; p++)
	{
		if (batch->partitions[p].storms)
			djk_positions_note_storm(worker->positions, positions[p]);
	}
	worker->waiting.lacks = true;
}

/* The round goes on with what a turn that took too long has left; Kafka is polled before. */
static void
take_rest(DjkConsumerWorker *worker, const DjkBatch *batch, int decided)
{
	for (int i = decided; i < batch->nmessages; i++)
	{
		DjkAgainCursor before = {batch->partitions[batch->messages[i].partition].offset_id, batch->messages[i].offset - 1};

		if (before.offset_id < worker->waiting.at.offset_id ||
			(before.offset_id == worker->waiting.at.offset_id && before.offset < worker->waiting.at.offset))
			worker->waiting.at = before;
	}
}

/*
 * A turn for what is due has its rest by that.  But what waited behind what has passed in it
 * waits for nothing any more, and only a round comes across it.
 */
static void
leave_followers(DjkConsumerWorker *worker)
{
	worker->waiting.lacks = worker->waiting.blind = true;
	worker->waiting.due = 0;
}

static void
finish(DjkConsumerWorker *worker, const DjkBatch *batch, DjkPosition **positions, const DjkApplyResult *result, bool of_round)
{
	if (!of_round && result->status != DJK_APPLY_DONE)
		leave_followers(worker);
	switch (result->status)
	{
		case DJK_APPLY_PAUSED:
			if (of_round)
				take_rest(worker, batch, result->decided);
			if (result->decided == 0)
				break;
			/* FALLTHROUGH */
		case DJK_APPLY_DONE:
			djk_member_note_success(worker);
			break;
		case DJK_APPLY_TRANSIENT:
		case DJK_APPLY_DOUBTFUL:
			if (of_round)
				take_again(worker, result->tries);
			djk_failure_wait(worker, batch, result);
			break;
		case DJK_APPLY_STORM:
			note_storms(worker, batch, positions);
			break;
		case DJK_APPLY_HELD:	/* what waits already holds up no partition, */
		case DJK_APPLY_NO_SCHEMA:	/* … and goes on waiting for its schema */
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

/* How long no round begins that nobody asks for. */
static long
next_interval(const DjkConsumerWorker *worker)
{
	if (worker->waiting.helped || worker->waiting.blind || (worker->waiting.unwatched && worker->waiting.news))
		return 0;
	if (!worker->waiting.unwatched)
		return ROUND_MAX_MS;
	return Min(Max(worker->waiting.interval_ms * 2, ROUND_MS), ROUND_MAX_MS);
}

/* A round is over: the next begins at once only if this one has helped. */
static void
end_round(DjkConsumerWorker *worker)
{
	forget_vain(worker);
	worker->positions->waiting = worker->waiting.left;
	worker->waiting.lacks |= worker->waiting.helped;
	worker->waiting.interval_ms = next_interval(worker);
	worker->waiting.due = worker->waiting.round + (TimestampTz) worker->waiting.interval_ms * 1000;
	if (!worker->waiting.left)
		djk_apply_unwatch(worker->apply);
	djk_schemas_end_round(worker);
	worker->waiting.round = 0;
	worker->waiting.helped = worker->waiting.left = false;
	memset(&worker->waiting.at, 0, sizeof(worker->waiting.at));
}

/* What comes next in the round; NULL: nothing, and if not *more it is over. */
static DjkBatch *
next_batch(DjkConsumerWorker *worker, DjkPosition ***positions, bool *more)
{
	DjkBatch   *batch = NULL;
	int			n;

	do
	{
		DjkBatchPartition *partitions = describe_positions(list_positions(worker, true), positions, &n);

		*more = false;
		worker->waiting.left |= n > 0;
		if (n > 0)
			batch = load_batch(worker, partitions, n, more);
		for (int p = 0; p < n && batch == NULL; p++)
			note_partition(worker, &partitions[p]);
		/* Nothing more in these, but perhaps in those behind them. */
		if (n > 0 && batch == NULL && !*more)
			worker->waiting.at = (DjkAgainCursor) {partitions[n - 1].offset_id, PG_INT64_MAX};
	} while (n > 0 && batch == NULL && !*more);
	return batch;
}

static void
pause_after(TimestampTz *until, TimestampTz started)
{
	TimestampTz now = djk_clock_now();

	*until = now + PAUSE_TIMES * (now - started);
}

/* Applies a batch of what waits; what is in vain is paid for by a pause.  Whether it has helped. */
static bool
apply_turn(DjkConsumerWorker *worker, DjkBatch *batch, DjkPosition **positions, TimestampTz started, bool of_round)
{
	DjkApplyResult result;
	bool		helped;

	djk_worker_report_busy("applying what waited");
	djk_slot_note_work(worker->max_poll_ms / 3);
	djk_apply_batch(worker->apply, batch, &result);
	MemoryContextSwitchTo(worker->cycle);
	settle(worker, batch, positions);
	helped = has_helped(&result);
	if (!helped)
		pause_after(of_round ? &worker->waiting.pause : &worker->waiting.due_pause, started);
	/* What is due goes on being so. */
	if (djk_schemas_want_again(worker) && !of_round)
		worker->waiting.due_pause = djk_clock_now() + ROUND_MS * 1000;
	finish(worker, batch, positions, &result, of_round);
	return helped;
}

static void
take_turn(DjkConsumerWorker *worker, TimestampTz started)
{
	DjkPosition **positions;
	bool		more;
	DjkBatch   *batch = next_batch(worker, &positions, &more);

	if (batch == NULL && more)
		pause_after(&worker->waiting.pause, started);
	else if (batch == NULL)
		end_round(worker);
	else if (apply_turn(worker, batch, positions, started, true))
		worker->waiting.helped = true;
}

/* What is left behind what was due, and what refers to it, is for a round. */
static void
take_due_turn(DjkConsumerWorker *worker, TimestampTz started)
{
	DjkPosition **positions;
	bool		complete;
	DjkBatch   *batch = load_due(worker, &positions, &complete);

	if (batch == NULL)
		return;
	worker->waiting.lacks |= !complete;
	if (!apply_turn(worker, batch, positions, started, false))
		return;
	worker->waiting.blind = true;
	worker->waiting.due = 0;
}

/* ---------- when ---------- */

/* When a round is to begin because something has waited for too long; they are not told apart within a second. */
static TimestampTz
deadline_at(const DjkConsumerWorker *worker, TimestampTz now)
{
	if (worker->waiting.deadline == 0)
		return PG_INT64_MAX;
	return Max(worker->waiting.begun + (TimestampTz) ROUND_MS * 1000,
			   now + Max(worker->waiting.deadline - GetCurrentTimestamp(), 0));
}

/* When the next turn of a round comes; PG_INT64_MAX: nothing that is known of waits for one. */
static TimestampTz
turn_at(const DjkConsumerWorker *worker, TimestampTz now)
{
	TimestampTz at = PG_INT64_MAX;

	if (worker->waiting.lacks)
		at = Min(worker->waiting.due, deadline_at(worker, now));
	if (worker->waiting.round != 0 || worker->positions->waiting_unseen || (worker->waiting.lacks && djk_awaited_has_rung()))
		at = 0;
	return Max(worker->waiting.pause, at);
}

/* The same of one for what is due.  The time of day may be set. */
static TimestampTz
due_turn_at(const DjkConsumerWorker *worker, TimestampTz now)
{
	if (worker->waiting.next == 0)
		return PG_INT64_MAX;
	return Max(worker->waiting.due_pause, now + Max(worker->waiting.next - GetCurrentTimestamp(), 0));
}

/*
 * What is parked from now on has been tried since now.  What was tried by other routes,
 * or before this worker, is tried once whatever it lacks.
 */
static void
begin_positions(DjkConsumerWorker *worker)
{
	bool		changed = djk_apply_is_changed(worker->apply);
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	djk_apply_note_trying(worker->apply);
	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		bool		waits = has_waiting(position);

		position->waiting_all = changed || !position->waiting_known;
		position->waiting_end = waits ? position->next_offset : 0;
		position->waiting_known = waits || position->parked == 0 || (position->waiting_known && !changed);
	}
}

static void
begin_round(DjkConsumerWorker *worker, TimestampTz now)
{
	worker->waiting.round = worker->waiting.begun = now;
	/* The round finds out. */
	worker->waiting.lacks = worker->waiting.unwatched = false;
	worker->waiting.deadline = 0;
	/* Its tables may have other partitions by now. */
	(void) watch(worker);
	worker->waiting.blind = worker->waiting.news = false;
	djk_awaited_look();
	/* What has been said of a table, as by each autovacuum, is not that it has changed. */
	djk_apply_renew_routes(worker->apply);
	begin_positions(worker);
	worker->positions->waiting_unseen = false;
}

/* It is known what becomes of messages that lacked their schema. */
static void
take_schemas(DjkConsumerWorker *worker)
{
	if (!worker->waiting.schemas)
		return;
	worker->waiting.schemas = false;
	worker->waiting.lacks = worker->waiting.blind = true;
	worker->waiting.due = worker->waiting.due_pause = 0;
}

void
djk_waiting_turn(DjkConsumerWorker *worker, TimestampTz polled_at)
{
	TimestampTz now;

	take_schemas(worker);
	watch_more(worker);
	if (!worker->positions->waiting)
		djk_apply_note_trying(worker->apply);
	if (!worker->positions->waiting || worker->retry_at != 0)
		return;
	now = djk_clock_now();
	if (TimestampDifferenceExceeds(polled_at, now, worker->max_poll_ms / 6))
		return;
	if (now >= due_turn_at(worker, now))
	{
		take_due_turn(worker, now);
		return;
	}
	if (now < turn_at(worker, now))
		return;
	if (worker->waiting.round == 0)
		begin_round(worker, now);
	take_turn(worker, now);
}

void
djk_waiting_note_rows(DjkConsumerWorker *worker)
{
	worker->waiting.news = true;
	if (worker->waiting.unwatched)
		worker->waiting.due = 0;
}

long
djk_waiting_ms(const DjkConsumerWorker *worker, long limit_ms)
{
	TimestampTz now = djk_clock_now();
	TimestampTz at;

	if (!worker->positions->waiting || worker->retry_at != 0)
		return limit_ms;
	if (djk_apply_awaits_more(worker->apply))
		return 0;
	at = Min(turn_at(worker, now), due_turn_at(worker, now));
	return at >= now + (TimestampTz) limit_ms * 1000 ? limit_ms : Max(at - now, 0) / 1000 + 1;
}
