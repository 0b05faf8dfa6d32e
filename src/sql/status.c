/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What shared memory tells, for the status views.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "base/clock.h"
#include "base/settings.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/partition_table.h"
#include "state/shmem.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

/* Shorter waits are those of any busy server. */
#define LOCK_WAIT_MS	1000

/* A process that is later than this does not go on. */
#define UNSEEN_MS		30000

PG_FUNCTION_INFO_V1(djkafka_worker_status);
PG_FUNCTION_INFO_V1(djkafka_partition_owner);
PG_FUNCTION_INFO_V1(djkafka_is_home);
PG_FUNCTION_INFO_V1(djkafka_system_state);
PG_FUNCTION_INFO_V1(djkafka_embedded_broker);

static void
set_text(Datum *value, bool *null, const char *text)
{
	*null = text == NULL || text[0] == '\0';
	*value = *null ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
set_time(Datum *value, bool *null, TimestampTz time)
{
	*null = time == 0;
	*value = TimestampTzGetDatum(time);
}

/* ---------- who waits for whom ---------- */

/* Since when a process waits for a lock, 0 if it does not. */
static TimestampTz
waits_since(int pid)
{
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	if (proc == NULL || proc->waitStatus != PROC_WAIT_STATUS_WAITING)
		return 0;
	return (TimestampTz) pg_atomic_read_u64(&proc->waitStart);
}

/* The processes that a process waits for: "123, 456", "" if there is none any more; prepared transactions are 0. */
static char *
blockers_of(int pid)
{
	ArrayType  *pids = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	int			n = ArrayGetNItems(ARR_NDIM(pids), ARR_DIMS(pids));
	int32	   *list = (int32 *) ARR_DATA_PTR(pids);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s%d", i > 0 ? ", " : "", list[i]);
	return text.data;
}

/*
 * A process that waits for a lock cannot say so itself.  While it is waiting
 * its state is that, whatever it had been doing.
 */
static void
note_lock(DjkSlotStatus *s)
{
	TimestampTz since = waits_since(s->pid);
	char	   *blockers;

	if (since == 0 || !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), LOCK_WAIT_MS))
		return;
	blockers = blockers_of(s->pid);
	if (blockers[0] == '\0')
		return;
	s->state = DJK_STATE_WAITING_FOR_LOCK;
	s->since = since;
	if (strcmp(blockers, "0") == 0)
	{
		strlcpy(s->reason, "waits for a lock that a prepared transaction holds", sizeof(s->reason));
		strlcpy(s->hint, "Find it in pg_prepared_xacts, and end it with COMMIT PREPARED or ROLLBACK PREPARED.", sizeof(s->hint));
		return;
	}
	snprintf(s->reason, sizeof(s->reason), "waits for a lock that process %s holds", blockers);
	snprintf(s->hint, sizeof(s->hint),
			 "Let its transaction end, or end it: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (%s).",
			 blockers);
}

/* ---------- who does not go on ---------- */

/* When a process should have been seen again; PG_INT64_MAX: it need not be. */
static TimestampTz
expected_at(const DjkSlotStatus *s)
{
	TimestampTz due = s->resting && s->due_at == 0 ? PG_INT64_MAX : s->due_at;

	/* One that works notices what wakes it when it is done. */
	return s->resting && s->woken_at > s->seen_at ? Min(due, s->woken_at) : due;
}

/* Nor can a process that hangs, or that somebody has stopped, say so. */
static void
note_unseen(DjkSlotStatus *s)
{
	TimestampTz expected = expected_at(s);

	if (s->pid == 0 || s->state == DJK_STATE_WAITING_FOR_LOCK || expected == PG_INT64_MAX ||
		!TimestampDifferenceExceeds(expected, djk_clock_now(), UNSEEN_MS))
		return;
	s->state = DJK_STATE_UNSEEN;
	/* Of two clocks: whole seconds are the same each time. */
	s->since = djk_clock_to_timestamp(s->seen_at) / USECS_PER_SEC * USECS_PER_SEC;
	snprintf(s->reason, sizeof(s->reason), "has not been seen since %s", timestamptz_to_str(s->since));
	snprintf(s->hint, sizeof(s->hint),
			 "Process %d is stopped, hangs, or is in a statement or a commit that takes long: see pg_stat_activity and the operating system.",
			 s->pid);
}

/* ---------- workers ---------- */

static void
put_worker(ReturnSetInfo *rsinfo, const DjkSlotStatus *s)
{
	Datum		values[17];
	bool		nulls[17] = {false};

	set_text(&values[0], &nulls[0], djk_kind_name(s->key.kind));
	values[1] = Int64GetDatum(s->key.object_id);
	nulls[1] = s->key.kind != DJK_KIND_CONSUMER && s->key.kind != DJK_KIND_OUTBOX;
	values[2] = Int32GetDatum(s->key.worker);
	nulls[2] = s->key.kind != DJK_KIND_CONSUMER;
	values[3] = Int32GetDatum(s->pid);
	nulls[3] = s->pid == 0;
	set_text(&values[4], &nulls[4], djk_state_name(s->state));
	set_text(&values[5], &nulls[5], s->reason);
	set_text(&values[6], &nulls[6], s->hint);
	set_time(&values[7], &nulls[7], s->since);
	values[8] = Int32GetDatum(s->attempt);
	nulls[8] = s->attempt == 0;
	set_time(&values[9], &nulls[9], s->next_retry);
	values[10] = Int64GetDatum(s->revision);
	values[11] = Int64GetDatum(s->batches);
	values[12] = Int64GetDatum(s->messages);
	values[13] = Float8GetDatum(s->last_batch_at != 0 &&
								!TimestampDifferenceExceeds(s->last_batch_at, GetCurrentTimestamp(), 5000) ?
								s->rows_per_second : 0.0);
	set_time(&values[14], &nulls[14], s->last_batch_at);
	set_text(&values[15], &nulls[15], s->last_error);
	set_time(&values[16], &nulls[16], s->last_error_at);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
djkafka_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DjkSlotStatus *slots;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (!djk_shmem_available())
		return (Datum) 0;
	slots = djk_slot_list(InvalidOid, &count);
	for (int i = 0; i < count; i++)
	{
		if (slots[i].key.database == MyDatabaseId || !OidIsValid(slots[i].key.database))
		{
			note_lock(&slots[i]);
			note_unseen(&slots[i]);
			put_worker(rsinfo, &slots[i]);
		}
	}
	return (Datum) 0;
}

Datum
djkafka_partition_owner(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DjkPartitionStatus *list;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (!djk_shmem_available())
		return (Datum) 0;
	list = djk_partition_list(MyDatabaseId, &count);
	for (int i = 0; i < count; i++)
	{
		Datum		values[6];
		bool		nulls[6] = {false};

		values[0] = Int64GetDatum(list[i].offset_id);
		values[1] = Int32GetDatum(list[i].pid);
		values[2] = Int32GetDatum(list[i].worker);
		values[3] = Int64GetDatum(list[i].position);
		nulls[3] = list[i].position < 0;
		values[4] = Int64GetDatum(list[i].high_watermark);
		nulls[4] = list[i].high_watermark < 0;
		set_time(&values[5], &nulls[5], list[i].seen_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
djkafka_is_home(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0);
	DjkIdentity identity;
	DjkHome		home;

	if (id == NULL)
		PG_RETURN_BOOL(false);
	djk_catalog_enter(&identity);
	djk_home_load(&home);
	djk_catalog_leave(&identity);
	PG_RETURN_BOOL(!home.is_clone && memcmp(&home.id, id, sizeof(pg_uuid_t)) == 0);
}

/* Whether this database has its supervisor; and if not, why there is no room for it, or NULL. */
static bool
is_supervised(const char **shortage, const char **hint)
{
	int			count;
	DjkSlotStatus *slots = djk_slot_list(InvalidOid, &count);

	*shortage = *hint = NULL;
	if (count >= djk_max_workers)
	{
		*shortage = psprintf("all %d processes of djkafka.max_workers are in use", djk_max_workers);
		*hint = "Raise djkafka.max_workers and restart the server.";
	}
	for (int i = 0; i < count; i++)
	{
		if (slots[i].key.kind != DJK_KIND_SUPERVISOR || slots[i].key.database != MyDatabaseId)
			continue;
		if (slots[i].pid != 0)
			return true;
		/* It is on its way, or has found no worker. */
		*shortage = slots[i].state == DJK_STATE_NO_WORKER_SLOT ? slots[i].reason : NULL;
		*hint = slots[i].hint;
	}
	return false;
}

Datum
djkafka_system_state(PG_FUNCTION_ARGS)
{
	const char *database = get_database_name(MyDatabaseId);
	const char *texts[3] = {NULL, NULL, NULL};
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3];
	const char *shortage;
	const char *hint;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!djk_shmem_available())
	{
		texts[0] = "not_preloaded";
		texts[1] = "djkafka is not in shared_preload_libraries";
		texts[2] = "Set shared_preload_libraries = 'djkafka' and restart the server.";
	}
	else if (RecoveryInProgress())
	{
		texts[0] = "standby";
		texts[1] = "the server is a standby";
		texts[2] = "Consumers run once it is promoted.";
	}
	else if (!djk_settings_list_database(database))
	{
		texts[0] = "not_listed";
		texts[1] = psprintf("database \"%s\" is not in djkafka.databases", database);
		/* One literal: a list of identifiers would lose its double quotes in ALTER SYSTEM. */
		texts[2] = psprintf("Add it: ALTER SYSTEM SET djkafka.databases = %s; SELECT pg_reload_conf().",
							quote_literal_cstr(psprintf("%s%s%s", djk_databases ? djk_databases : "",
														djk_databases && djk_databases[0] ? ", " : "",
														quote_identifier(database))));
	}
	else if (!is_supervised(&shortage, &hint) && shortage != NULL)
	{
		texts[0] = "no_worker_slot";
		texts[1] = shortage;
		texts[2] = hint;
	}
	else if (!is_supervised(&shortage, &hint))
	{
		texts[0] = "starting";
		texts[1] = "the supervisor of the database does not run yet";
		texts[2] = "It starts within seconds; else see the server log, max_worker_processes and djkafka.max_workers.";
	}
	for (int i = 0; i < 3; i++)
		set_text(&values[i], &nulls[i], texts[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
djkafka_embedded_broker(PG_FUNCTION_ARGS)
{
	char	   *bootstrap = djk_shmem_available() ? djk_embedded_bootstrap() : NULL;

	if (bootstrap == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(bootstrap));
}
