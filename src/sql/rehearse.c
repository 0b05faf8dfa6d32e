/*-------------------------------------------------------------------------
 *
 * rehearse.c
 *	  djkafka_test(): what would become of messages, without any of it staying.
 *
 * Reads, as djkafka_run does, what the consumer would read next, or takes what it
 * is given, and applies one message after the other through the real routes, in a
 * subtransaction that is rolled back.  What was a row before is asked for with a
 * snapshot from before the message, when its key is known.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/xact.h"
#include "apply/shown.h"
#include "apply/work.h"
#include "base/clock.h"
#include "base/subtransaction.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/run_schema.h"
#include "sql/run_apply.h"
#include "sql/run_messages.h"
#include "sql/run_read.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(djkafka_test);

enum
{
	OUT_TOPIC,
	OUT_PARTITION,
	OUT_OFFSET,
	OUT_ROUTE,
	OUT_OPERATION,
	OUT_FATE,
	OUT_BEFORE,
	OUT_AFTER,
	OUT_CODE,
	OUT_ERROR,
	OUT_DETAIL,
	OUT_HINT,
	OUT_TOOK,
	OUT_COLUMNS
};

typedef struct Rehearsal
{
	DjkRun		run;			/* first: it is what take() is given */
	ReturnSetInfo *rsinfo;
	MemoryContext context;		/* reset with each message */
	const Interval *timeout;
	Jsonb	   *messages;		/* NULL: Kafka's */
	List	   *stopped;		/* DjkPositionKey *: partitions at whose message the consumer would stop */
} Rehearsal;

/* ---------- what is told of a message ---------- */

static const char *
fate_name(DjkFate fate)
{
	static const char *const names[] = {
		[DJK_FATE_APPLIED] = "applied",
		[DJK_FATE_SUPERSEDED] = "applied",
		[DJK_FATE_FILTERED] = "filtered",
		[DJK_FATE_DUPLICATE] = "duplicate",
		[DJK_FATE_STALE] = "stale",
		[DJK_FATE_DEAD] = "dead",
		[DJK_FATE_SKIPPED] = "skipped",
		[DJK_FATE_RETRIED] = "retried",
		[DJK_FATE_PARKED] = "parked",
		[DJK_FATE_STOP] = "stopped"
	};

	return fate < lengthof(names) ? names[fate] : NULL;
}

/* What was tried; NULL: nothing. */
static const char *
operation_name(const Rehearsal *rehearsal, const DjkWork *work, bool was_there)
{
	const DjkRouteRow *route;
	bool		updates;

	if (work->route < 0 || work->fate == DJK_FATE_FILTERED)
		return NULL;
	route = &rehearsal->run.consumer->routes[work->route];
	if (route->handler != NULL)
		return "call";
	if (work->row.values == NULL || !djk_shown_has_key(rehearsal->run.apply, 0))
		return NULL;
	if (work->row.is_delete)
		return "delete";
	updates = route->operation == DJK_OPERATION_UPSERT || route->operation == DJK_OPERATION_MIRROR;
	return was_there && updates ? "update" : "insert";
}

static void
put_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	if (text != NULL)
		values[column] = CStringGetTextDatum(text);
}

static Interval *
span_of(TimestampTz us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return interval;
}

/* Both rows; the one after is what was given where the table tells no row by a key. */
static void
put_rows(Rehearsal *rehearsal, Snapshot before, Datum *values, bool *nulls)
{
	DjkApply   *apply = rehearsal->run.apply;
	const DjkWork *work = &apply->work[0];

	nulls[OUT_BEFORE] = nulls[OUT_AFTER] = true;
	if (work->route < 0 || work->fate == DJK_FATE_FILTERED)
		return;
	djk_shown_prepare(apply, 0);
	nulls[OUT_BEFORE] = !djk_shown_row(apply, 0, before, &values[OUT_BEFORE]);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	nulls[OUT_AFTER] = !djk_shown_row(apply, 0, GetActiveSnapshot(), &values[OUT_AFTER]);
	if (nulls[OUT_AFTER] && work->fate == DJK_FATE_APPLIED && !work->row.is_delete)
		nulls[OUT_AFTER] = !djk_shown_given(apply, 0, &values[OUT_AFTER]);
	PopActiveSnapshot();
}

static void
put_message(Rehearsal *rehearsal, const DjkBatch *one, Snapshot before, TimestampTz took)
{
	const DjkWork *work = &rehearsal->run.apply->work[0];
	Datum		values[OUT_COLUMNS];
	bool		nulls[OUT_COLUMNS] = {false};
	const DjkError *error = &work->error;

	put_rows(rehearsal, before, values, nulls);
	put_text(values, nulls, OUT_TOPIC, one->partitions[0].topic);
	values[OUT_PARTITION] = Int32GetDatum(one->partitions[0].partition);
	values[OUT_OFFSET] = Int64GetDatum(one->messages[0].offset);
	nulls[OUT_ROUTE] = work->route < 0;
	if (work->route >= 0)
		values[OUT_ROUTE] = Int64GetDatum(rehearsal->run.consumer->routes[work->route].id);
	put_text(values, nulls, OUT_OPERATION, operation_name(rehearsal, work, !nulls[OUT_BEFORE]));
	put_text(values, nulls, OUT_FATE, fate_name(work->fate));
	put_text(values, nulls, OUT_CODE, error->sqlstate != 0 ? unpack_sql_state(error->sqlstate) : NULL);
	put_text(values, nulls, OUT_ERROR, error->message);
	put_text(values, nulls, OUT_DETAIL, error->detail);
	put_text(values, nulls, OUT_HINT, error->hint);
	values[OUT_TOOK] = IntervalPGetDatum(span_of(took));
	tuplestore_putvalues(rehearsal->rsinfo->setResult, rehearsal->rsinfo->setDesc, values, nulls);
}

/* ---------- partitions that have stopped ---------- */

static bool
has_stopped(const Rehearsal *rehearsal, const DjkBatchPartition *partition)
{
	ListCell   *lc;

	foreach(lc, rehearsal->stopped)
	{
		const DjkPositionKey *key = lfirst(lc);

		if (key->partition == partition->partition && strcmp(key->topic, partition->topic) == 0)
			return true;
	}
	return false;
}

static void
note_stopped(Rehearsal *rehearsal, const DjkBatchPartition *partition)
{
	DjkPositionKey *key = palloc(sizeof(DjkPositionKey));

	djk_position_make_key(key, partition->topic, partition->partition);
	rehearsal->stopped = lappend(rehearsal->stopped, key);
}

/* ---------- messages ---------- */

/* What is there now.  In REPEATABLE READ the transaction's own would go on to see what it writes. */
static Snapshot
take_snapshot(void)
{
	Snapshot	snapshot;

	CommandCounterIncrement();
	PushCopiedSnapshot(GetTransactionSnapshot());
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	PopActiveSnapshot();
	return snapshot;
}

/* A message as a batch of its own, of a partition of its own. */
static void
rehearse_message(Rehearsal *rehearsal, const DjkBatch *batch, int message)
{
	DjkBatchPartition *partition = &batch->partitions[batch->messages[message].partition];
	DjkMessage	alone = batch->messages[message];
	DjkBatch	one = *batch;
	DjkApplyResult result;
	Snapshot	before;
	TimestampTz started;
	MemoryContext old;

	alone.partition = 0;
	partition->end_offset = alone.offset + 1;
	one.partitions = partition;
	one.npartitions = 1;
	one.messages = &alone;
	one.nmessages = 1;
	before = take_snapshot();
	started = djk_clock_now();
	old = MemoryContextSwitchTo(rehearsal->context);
	djk_apply_inside(rehearsal->run.apply, &one, &result);
	while (result.status == DJK_APPLY_NO_SCHEMA)
	{
		djk_run_fetch_schema(rehearsal->run.apply, result.schema);
		djk_apply_inside(rehearsal->run.apply, &one, &result);
	}
	put_message(rehearsal, &one, before, djk_clock_now() - started);
	MemoryContextSwitchTo(old);
	MemoryContextReset(rehearsal->context);
	UnregisterSnapshot(before);
	if (result.status == DJK_APPLY_STOPPED)
		note_stopped(rehearsal, partition);
}

static void
take(DjkRun *run, DjkBatch *batch)
{
	Rehearsal  *rehearsal = (Rehearsal *) run;
	int64	   *ends = palloc(Max(batch->npartitions, 1) * sizeof(int64));

	for (int p = 0; p < batch->npartitions; p++)
		ends[p] = batch->partitions[p].end_offset;
	for (int i = 0; i < batch->nmessages; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!has_stopped(rehearsal, &batch->partitions[batch->messages[i].partition]))
			rehearse_message(rehearsal, batch, i);
	}
	for (int p = 0; p < batch->npartitions; p++)
		batch->partitions[p].end_offset = ends[p];
	pfree(ends);
}

static void
take_given(Rehearsal *rehearsal)
{
	DjkBatch   *batch = djk_run_messages_parse(rehearsal->messages, rehearsal->run.consumer);

	if (rehearsal->run.max_messages >= 0)
		batch->nmessages = Min(batch->nmessages, rehearsal->run.max_messages);
	take(&rehearsal->run, batch);
}

/* All of it is undone. */
static bool
rehearse(void *arg)
{
	Rehearsal  *rehearsal = arg;

	rehearsal->run.apply = djk_apply_create(rehearsal->run.consumer, CurrentMemoryContext, 0);
	if (rehearsal->messages != NULL)
		take_given(rehearsal);
	else
		(void) djk_run_read(&rehearsal->run, rehearsal->timeout);
	djk_apply_destroy(rehearsal->run.apply);
	return false;
}

static void
read_arguments(FunctionCallInfo fcinfo, Rehearsal *rehearsal)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "consumer" : "timeout")));
	rehearsal->run.take = take;
	rehearsal->run.until_eof = true;
	rehearsal->run.max_messages = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);
	if (!PG_ARGISNULL(1) && rehearsal->run.max_messages <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_messages must be greater than zero")));
	rehearsal->timeout = PG_GETARG_INTERVAL_P(2);
	(void) djk_client_interval_us(rehearsal->timeout, "timeout");
	rehearsal->messages = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	rehearsal->run.consumer = djk_run_consumer("djkafka_test", text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_ARGISNULL(3));
}

/* (consumer, max_messages, timeout, messages) -> a row for each message */
Datum
djkafka_test(PG_FUNCTION_ARGS)
{
	Rehearsal	rehearsal = {0};
	ErrorData  *edata;

	InitMaterializedSRF(fcinfo, 0);
	rehearsal.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	rehearsal.context = AllocSetContextCreate(CurrentMemoryContext, "djkafka rehearsal", ALLOCSET_DEFAULT_SIZES);
	read_arguments(fcinfo, &rehearsal);
	edata = djk_subtransaction_try(rehearse, &rehearsal, CurrentMemoryContext);
	if (edata != NULL)
		ReThrowError(edata);
	PG_RETURN_NULL();
}
