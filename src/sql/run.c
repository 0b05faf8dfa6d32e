/*-------------------------------------------------------------------------
 *
 * run.c
 *	  djkafka_run(): consumes in this session, in the caller's transaction.
 *
 * It assigns by hand and joins no group, so it works beside running workers
 * only where they do not hold the partition: the offset rows are locked NOWAIT.
 * What it does is the caller's to commit or roll back; Kafka is told nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/run_apply.h"
#include "sql/run_messages.h"
#include "sql/run_read.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(djkafka_run);

static void
read_arguments(FunctionCallInfo fcinfo, DjkRun *run)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "name" : "timeout")));
	run->max_messages = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);
	if (!PG_ARGISNULL(1) && run->max_messages <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_messages must be greater than zero")));
	if (!PG_ARGISNULL(2))
	{
		if (strcmp(text_to_cstring(PG_GETARG_TEXT_PP(2)), "eof") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for until: \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(2))),
					 errhint("The only value is \"eof\": the ends of the partitions as they are now.")));
		run->until_eof = true;
	}
	(void) djk_client_interval_us(PG_GETARG_INTERVAL_P(4), "timeout");
	run->idle_us = PG_ARGISNULL(3) ? 0 : djk_client_interval_us(PG_GETARG_INTERVAL_P(3), "idle");
	run->consumer = djk_run_consumer("djkafka_run", text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_ARGISNULL(5));
}

static void
take(DjkRun *run, DjkBatch *batch)
{
	djk_run_apply(run->apply, batch, &run->total);
}

static void
apply_messages(DjkRun *run, const DjkBatch *all)
{
	for (int from = 0; from < all->nmessages; from += run->consumer->batch_messages)
	{
		DjkBatch	batch = *all;

		CHECK_FOR_INTERRUPTS();
		batch.messages += from;
		batch.nmessages = Min(run->consumer->batch_messages, all->nmessages - from);
		djk_run_apply(run->apply, &batch, &run->total);
	}
}

/*
 * (name, max_messages, until, idle, timeout, messages)
 * -> (applied, filtered, duplicates, stale, dead, skipped, key_only, parked, reason)
 */
Datum
djkafka_run(PG_FUNCTION_ARGS)
{
	DjkRun		run = {.take = take, .tries_waiting = true};
	TupleDesc	desc;
	Datum		values[9];
	bool		nulls[9] = {false};
	const char *reason;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	read_arguments(fcinfo, &run);
	run.apply = djk_apply_create(run.consumer, CurrentMemoryContext, 0);
	if (PG_ARGISNULL(5))
		reason = djk_run_read(&run, PG_GETARG_INTERVAL_P(4));
	else
	{
		apply_messages(&run, djk_run_messages_parse(PG_GETARG_JSONB_P(5), run.consumer));
		reason = "messages";
	}
	djk_apply_destroy(run.apply);

	values[0] = Int64GetDatum(run.total.applied);
	values[1] = Int64GetDatum(run.total.filtered);
	values[2] = Int64GetDatum(run.total.duplicates);
	values[3] = Int64GetDatum(run.total.stale);
	values[4] = Int64GetDatum(run.total.dead);
	values[5] = Int64GetDatum(run.total.skipped);
	values[6] = Int64GetDatum(run.total.key_only);
	values[7] = Int64GetDatum(run.total.parked);
	values[8] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
