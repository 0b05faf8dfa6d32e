/*-------------------------------------------------------------------------
 *
 * apply_test.c
 *	  Applies given batches as a worker does, in transactions of its own.
 *
 * djkafka_run() applies inside the caller's transaction, which is another way
 * through apply/: here a process is started for each call, whose session user
 * is the caller as a worker's is the consumer's owner, and which works through
 * the batches with djk_apply_batch().  What they are and what became of them
 * is in a segment of shared memory.
 *
 * djkafka_test_apply_waiting() gives the messages a place in Kafka: they move
 * offsets, and what fails for want of a parent waits, and is tried after each
 * batch as long as that helps.  Where one stops the consumer, somebody skips it;
 * where a partition waits until one is tried again, that is at once.  Between
 * batches SQL may be run, as others would.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/xact.h"
#include "apply/again.h"
#include "apply/apply.h"
#include "base/transaction.h"
#include "catalog/pg_type.h"
#include "driver.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "sql/run_messages.h"
#include "state/catalog.h"
#include "state/offset.h"
#include "storage/dsm.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How often what may pass is tried again: longer than a worker needs to give up a message. */
#define ATTEMPTS		100

/* What an answer may take. */
#define ANSWER_SIZE		4096

typedef struct Job
{
	int			nbatches;
	bool		waiting;		/* messages have a place in Kafka, and may wait */
	char		answer[ANSWER_SIZE];	/* JSON */
	char		texts[FLEXIBLE_ARRAY_MEMBER];	/* the consumer's name, then each batch, or SQL; NUL after each */
} Job;

typedef struct JobName
{
	dsm_handle	segment;
	Oid			database;
	Oid			user;
} JobName;

PGDLLEXPORT Datum djkafka_test_apply(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum djkafka_test_apply_waiting(PG_FUNCTION_ARGS);
PGDLLEXPORT void djkafka_test_apply_main(Datum arg);

PG_FUNCTION_INFO_V1(djkafka_test_apply);
PG_FUNCTION_INFO_V1(djkafka_test_apply_waiting);

/* ---------- the process ---------- */

static DjkConsumerRow *
load_consumer(const char *name)
{
	DjkIdentity identity;
	DjkConsumerRow *consumer;

	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_catalog_enter(&identity);
	consumer = djk_consumer_row_load_by_name(name, TopMemoryContext);
	djk_catalog_leave(&identity);
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (consumer == NULL)
		elog(ERROR, "there is no consumer \"%s\"", name);
	return consumer;
}

static DjkBatch *
parse(const char *text, const DjkConsumerRow *consumer)
{
	DjkBatch   *batch;

	djk_transaction_start();
	MemoryContextSwitchTo(TopMemoryContext);
	batch = djk_run_messages_parse(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))), consumer);
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	return batch;
}

/* One text of a job: messages, or what somebody else does between them. */
typedef struct Step
{
	DjkBatch   *batch;
	const char *sql;
} Step;

static Step
read_step(const char *text, const DjkConsumerRow *consumer)
{
	Step		step = {0};

	if (text[0] == '[')
		step.batch = parse(text, consumer);
	else
		step.sql = text;
	return step;
}

static void
add(DjkApplyResult *total, const DjkApplyResult *result)
{
	djk_apply_add_counts(total, result);
	total->status = result->status;
	total->error = result->error;
	total->attempt = result->attempt;
}

/* As a worker that fetches again from where it got to. */
static void
apply_batch(DjkApply *apply, DjkBatch *batch, DjkApplyResult *total)
{
	DjkApplyResult result;

	for (int attempt = 0; attempt < ATTEMPTS; attempt++)
	{
		djk_apply_batch(apply, batch, &result);
		add(total, &result);
		batch->messages += result.decided;
		batch->nmessages -= result.decided;
		if (result.status != DJK_APPLY_TRANSIENT && result.status != DJK_APPLY_DOUBTFUL)
			return;
	}
}

/* ---------- what holds up a partition, and what others do ---------- */

/* What changes the consumer starts a worker again. */
static void
run_sql(DjkConsumerRow *consumer, const char *sql)
{
	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	(void) SPI_execute(sql, false, 0);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	consumer->revision = load_consumer(consumer->name)->revision;
}

/* Somebody passes by the message that has stopped the consumer. */
static void
skip(DjkConsumerRow *consumer, const DjkBatch *batch)
{
	const DjkMessage *message = &batch->messages[0];
	const DjkBatchPartition *partition = &batch->partitions[message->partition];

	run_sql(consumer, psprintf("SELECT djkafka_skip(%s, %s, %d, " INT64_FORMAT ")", quote_literal_cstr(consumer->name),
							   quote_literal_cstr(partition->topic), partition->partition, message->offset));
}

/* As consumer/held.c writes it down. */
static void
hold(const DjkBatch *batch, const DjkApplyResult *result)
{
	const DjkMessage *message = &batch->messages[0];
	const DjkBatchPartition *partition = &batch->partitions[message->partition];
	DjkIdentity identity;

	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_catalog_enter(&identity);
	(void) djk_offset_hold(partition->offset_id, partition->generation, partition->next_offset, message->offset,
						   result->attempt, GetCurrentTimestamp(), &result->error);
	djk_catalog_leave(&identity);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
}

/* ---------- what waits ---------- */

/* The offset row of a partition, which begins at 0. */
static void
load_offset(const DjkConsumerRow *consumer, DjkBatchPartition *partition)
{
	DjkOffsetRow *row;
	int			count;

	djk_offset_create(consumer->id, partition->topic, partition->partition + 1, "earliest");
	row = djk_offset_load(consumer->id, partition->topic, &partition->partition, 1, false, TopMemoryContext, &count);
	if (row->next_offset == DJK_OFFSET_UNRESOLVED)
	{
		(void) djk_offset_resolve(row->id, row->generation, 0, NULL, NULL);
		row->next_offset = 0;
	}
	partition->offset_id = row->id;
	partition->generation = row->generation;
	partition->next_offset = row->next_offset;
	partition->anchor = row->anchor;
	partition->parked = row->parked;
	partition->held_offset = row->held_offset;
	partition->held_attempt = row->held_attempt;
}

static void
load_offsets(const DjkConsumerRow *consumer, DjkBatchPartition *partitions, int npartitions)
{
	DjkIdentity identity;

	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_catalog_enter(&identity);
	for (int p = 0; p < npartitions; p++)
		load_offset(consumer, &partitions[p]);
	djk_catalog_leave(&identity);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
}

static DjkBatch *
load_again(DjkApply *apply, DjkBatchPartition *partitions, int npartitions, DjkAgainCursor *cursor, int batch_messages, bool *more)
{
	DjkBatch   *batch;

	djk_transaction_start();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(TopMemoryContext);
	batch = djk_again_load(apply, partitions, npartitions, cursor, batch_messages, SIZE_MAX, more);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	return batch;
}

static int
compare_partitions(const void *a, const void *b)
{
	const DjkBatchPartition *x = a;
	const DjkBatchPartition *y = b;

	return x->offset_id < y->offset_id ? -1 : x->offset_id > y->offset_id;
}

/* One by one all is tried, whatever it lacks; else as a worker does it. */
static void
begin_round(DjkApply *apply, DjkConsumerRow *consumer, DjkBatchPartition *partitions, int npartitions, bool *all)
{
	*all |= djk_apply_is_changed(apply) || consumer->batch_messages == 1;
	djk_apply_note_trying(apply);
	load_offsets(consumer, partitions, npartitions);
	qsort(partitions, npartitions, sizeof(DjkBatchPartition), compare_partitions);
	for (int p = 0; p < npartitions; p++)
	{
		partitions[p].again_all = *all;
		partitions[p].again_end = partitions[p].next_offset;
	}
}

/* All that waits of the partitions, once.  Whether it has helped any. */
static bool
apply_round(DjkApply *apply, DjkConsumerRow *consumer, DjkBatchPartition *partitions, int npartitions, bool *all,
			DjkApplyResult *total)
{
	DjkApplyResult before = *total;
	DjkAgainCursor cursor = {0};
	bool		more = true;

	begin_round(apply, consumer, partitions, npartitions, all);
	while (total->status == DJK_APPLY_DONE && more)
	{
		DjkBatch   *batch = load_again(apply, partitions, npartitions, &cursor, consumer->batch_messages, &more);

		if (batch != NULL)
			apply_batch(apply, batch, total);
		if (total->status == DJK_APPLY_STOPPED)
		{
			skip(consumer, batch);
			total->status = DJK_APPLY_DONE;
			return true;
		}
	}
	*all = false;
	return total->status == DJK_APPLY_DONE &&
		before.applied + before.filtered + before.duplicates + before.stale + before.dead + before.skipped !=
		total->applied + total->filtered + total->duplicates + total->stale + total->dead + total->skipped;
}

static int
add_partitions(DjkBatchPartition *all, int nall, const DjkBatch *batch)
{
	for (int p = 0; p < batch->npartitions; p++)
	{
		const DjkBatchPartition *partition = &batch->partitions[p];
		int			known = 0;

		while (known < nall && (all[known].partition != partition->partition || strcmp(all[known].topic, partition->topic) != 0))
			known++;
		if (known == nall)
			all[nall++] = *partition;
	}
	return nall;
}

/* A batch, as often as it is fetched again because of one of its messages. */
static void
apply_fetched(DjkApply *apply, DjkConsumerRow *consumer, DjkBatch *batch, DjkApplyResult *total)
{
	batch->detached = false;
	for (;;)
	{
		load_offsets(consumer, batch->partitions, batch->npartitions);
		apply_batch(apply, batch, total);
		if (total->status == DJK_APPLY_STOPPED)
			skip(consumer, batch);
		else if (total->status == DJK_APPLY_HELD)
			hold(batch, total);
		else
			return;
	}
}

static void
apply_waiting(DjkApply *apply, DjkConsumerRow *consumer, const Step *steps, int nsteps, DjkApplyResult *total)
{
	int			nall = 0;
	DjkBatchPartition *all;
	bool		tries_all = false;

	for (int i = 0; i < nsteps; i++)
		nall += steps[i].batch ? steps[i].batch->npartitions : 0;
	all = palloc0_array(DjkBatchPartition, Max(nall, 1));
	nall = 0;
	for (int i = 0; i < nsteps && total->status == DJK_APPLY_DONE; i++)
	{
		if (steps[i].sql != NULL)
			run_sql(consumer, steps[i].sql);
		else
		{
			nall = add_partitions(all, nall, steps[i].batch);
			apply_fetched(apply, consumer, steps[i].batch, total);
		}
		while (total->status == DJK_APPLY_DONE && apply_round(apply, consumer, all, nall, &tries_all, total))
			;
	}
}

/* ---------- the whole ---------- */

static void
answer(Job *job, const DjkApplyResult *total)
{
	static const char *const states[] = {
		[DJK_APPLY_DONE] = "done",
		[DJK_APPLY_PAUSED] = "paused",
		[DJK_APPLY_TRANSIENT] = "transient",
		[DJK_APPLY_DOUBTFUL] = "doubtful",
		[DJK_APPLY_BROKEN] = "broken",
		[DJK_APPLY_STOPPED] = "stopped",
		[DJK_APPLY_HELD] = "held",
		[DJK_APPLY_STORM] = "storm"
	};
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"counts\": [" INT64_FORMAT ", " INT64_FORMAT ", " INT64_FORMAT ", " INT64_FORMAT ", "
					 INT64_FORMAT ", " INT64_FORMAT ", " INT64_FORMAT "], \"state\": \"%s\"", total->applied, total->filtered, total->duplicates,
					 total->stale, total->dead, total->skipped, total->key_only, states[total->status]);
	if (total->status != DJK_APPLY_DONE)
	{
		appendStringInfo(&buf, ", \"sqlstate\": \"%s\", \"message\": ", unpack_sql_state(total->error.sqlstate));
		escape_json(&buf, total->error.message ? total->error.message : "");
	}
	appendStringInfoChar(&buf, '}');
	if (buf.len >= ANSWER_SIZE)
		elog(ERROR, "the answer is too long");
	memcpy(job->answer, buf.data, buf.len + 1);
}

void
djkafka_test_apply_main(Datum arg)
{
	JobName		name;
	dsm_segment *segment;
	Job		   *job;
	const char *text;
	DjkConsumerRow *consumer;
	Step	   *steps;
	DjkApply   *apply;
	DjkApplyResult total = {0};

	BackgroundWorkerUnblockSignals();
	memcpy(&name, MyBgworkerEntry->bgw_extra, sizeof(name));
	BackgroundWorkerInitializeConnectionByOid(name.database, name.user, 0);
	segment = dsm_attach(name.segment);
	if (segment == NULL)
		return;					/* the caller has given up */
	dsm_pin_mapping(segment);
	job = dsm_segment_address(segment);
	text = job->texts;

	MemoryContextSwitchTo(TopMemoryContext);
	consumer = load_consumer(text);
	apply = djk_apply_create(consumer, TopMemoryContext, 0);
	steps = palloc_array(Step, Max(job->nbatches, 1));
	for (int i = 0; i < job->nbatches; i++)
	{
		text += strlen(text) + 1;
		steps[i] = read_step(text, consumer);
	}
	if (job->waiting)
		apply_waiting(apply, consumer, steps, job->nbatches, &total);
	for (int i = 0; !job->waiting && i < job->nbatches && total.status == DJK_APPLY_DONE; i++)
		apply_batch(apply, steps[i].batch, &total);
	answer(job, &total);
}

/* ---------- the caller ---------- */

static dsm_segment *
write_job(const char *consumer, Datum *batches, int nbatches, bool waiting)
{
	StringInfoData texts;
	dsm_segment *segment;
	Job		   *job;

	initStringInfo(&texts);
	appendBinaryStringInfo(&texts, consumer, strlen(consumer) + 1);
	for (int i = 0; i < nbatches; i++)
	{
		char	   *batch = TextDatumGetCString(batches[i]);

		appendBinaryStringInfo(&texts, batch, strlen(batch) + 1);
	}
	segment = dsm_create(offsetof(Job, texts) + texts.len, 0);
	job = dsm_segment_address(segment);
	job->nbatches = nbatches;
	job->waiting = waiting;
	job->answer[0] = '\0';
	memcpy(job->texts, texts.data, texts.len);
	return segment;
}

static void
run_process(dsm_segment *segment)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	JobName		name = {dsm_segment_handle(segment), MyDatabaseId, GetUserId()};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, DJK_LIBRARY_NAME, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "djkafka_test_apply_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "djkafka test", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "djkafka test", BGW_MAXLEN);
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, &name, sizeof(name));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		elog(ERROR, "no process could be started");
	if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
		elog(FATAL, "the postmaster died");
}

static Datum
apply_given(FunctionCallInfo fcinfo, bool waiting)
{
	Datum	   *batches;
	int			nbatches;
	dsm_segment *segment;
	char	   *text;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &batches, NULL, &nbatches);
	segment = write_job(driver_text(fcinfo, 0), batches, nbatches, waiting);
	run_process(segment);
	text = pstrdup(((Job *) dsm_segment_address(segment))->answer);
	dsm_detach(segment);
	if (text[0] == '\0')
		elog(ERROR, "the process failed; the server's log says why");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* (consumer text, batches text[]) → jsonb: counts, and how it ended */
Datum
djkafka_test_apply(PG_FUNCTION_ARGS)
{
	return apply_given(fcinfo, false);
}

/* The same, with offsets; what waits in the end waits for the next call with its partition. */
Datum
djkafka_test_apply_waiting(PG_FUNCTION_ARGS)
{
	return apply_given(fcinfo, true);
}
