/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  djkafka_wait(): until a consumer has applied a message.
 *
 * It looks at the partition's row and sleeps until whoever writes the row has
 * committed (state/waiters.c); then it looks again, with a snapshot of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include <limits.h>

#include "access/xact.h"
#include "apply/apply.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/message.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/timeout.h"
#include "state/applied.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/shmem.h"
#include "state/waiters.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(djkafka_wait);

typedef struct Wait
{
	char	   *consumer;
	int64		consumer_id;
	char	   *topic;
	int			partition;
	int64		offset;
	TimestampTz until;			/* by djk_clock_now() */
} Wait;

/* ---------- arguments ---------- */

static void
require_given(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"consumer", "topic", "partition", "at_offset", "timeout"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i]),
					 i == 2 || i == 3 ?
					 errhint("djkafka_delivery() knows them once Kafka has the message (djkafka_flush() waits for it), if djkafka.delivery_retention is set.") : 0));
	}
}

static void
read_arguments(FunctionCallInfo fcinfo, Wait *wait)
{
	require_given(fcinfo);
	wait->consumer = text_to_cstring(PG_GETARG_TEXT_PP(0));
	wait->topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	wait->partition = PG_GETARG_INT32(2);
	wait->offset = PG_GETARG_INT64(3);
	if (wait->partition < 0 || wait->offset < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", wait->partition < 0 ? "partition" : "offset")));
	wait->until = djk_clock_now() + djk_timeout_ms(PG_GETARG_INTERVAL_P(4)) * 1000;
}

/* Where waiting would be in vain, or its end a lie. */
static void
require_right_place(void)
{
	PreventCommandDuringRecovery("djkafka_wait()");
	if (!djk_shmem_available())
		ereport(ERROR,
				(errcode(DJK_ERRCODE_NOT_PRELOADED),
				 errmsg("djkafka is not in shared_preload_libraries"),
				 errdetail("No consumer applies messages."),
				 errhint("Add djkafka to shared_preload_libraries and restart the server.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("djkafka_wait() cannot run in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errdetail("The transaction would not see the rows that it has waited for."),
				 errhint("Call it before the transaction, or in a READ COMMITTED one.")));
	if (djk_apply_is_running())
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("djkafka_wait cannot be called while messages are applied"),
				 errhint("Call it in a session, and not in a handler, a trigger or an expression.")));
}

/* It tells how far a consumer is, as its status does. */
static void
require_reader(const Wait *wait, Oid owner)
{
	if (has_privs_of_role(GetUserId(), owner) ||
		pg_class_aclcheck(djk_catalog_table("djkafka_partition_status"), GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for consumer \"%s\"", wait->consumer),
			 errhint("Its owner may wait for it, and whoever may SELECT from djkafka_partition_status.")));
}

static void
find_consumer(Wait *wait)
{
	Oid			owner;

	if (!djk_consumer_row_find(wait->consumer, &wait->consumer_id, &owner))
		djk_consumer_row_throw_missing(wait->consumer);
	require_reader(wait, owner);
}

/* ---------- what is found ---------- */

typedef enum Verdict
{
	VERDICT_WAIT,
	VERDICT_APPLIED,
	VERDICT_NEVER
} Verdict;

/* The message has been passed, and is not applied: why. */
static void
warn(const Wait *wait, const DjkApplied *applied)
{
	char	   *where = psprintf("offset " INT64_FORMAT " of topic \"%s\", partition %d,", wait->offset, wait->topic, wait->partition);

	if (wait->offset < applied->first_offset)
		ereport(WARNING,
				(errmsg("%s is before the first that consumer \"%s\" has read", where, wait->consumer),
				 errdetail("It began at offset " INT64_FORMAT ", or was sought there.", applied->first_offset)));
	else if (applied->dead_letter != 0)
		ereport(WARNING,
				(errmsg("%s could not be applied: it is dead letter " INT64_FORMAT, where, applied->dead_letter),
				 errhint("See djkafka_dead_letter; djkafka_replay('{" INT64_FORMAT "}') applies it again.", applied->dead_letter)));
	else
		ereport(WARNING,
				(errmsg("%s was skipped by djkafka_skip", where)));
}

static Verdict
judge(const Wait *wait, const DjkApplied *applied)
{
	if (applied->next_offset == DJK_OFFSET_UNRESOLVED || wait->offset >= applied->next_offset)
		return VERDICT_WAIT;
	if (wait->offset < applied->first_offset || applied->dead_letter != 0 || applied->is_skipped)
		return VERDICT_NEVER;
	return applied->is_parked ? VERDICT_WAIT : VERDICT_APPLIED;
}

/* Who waits must have something to wait for. */
static void
require_hope(const Wait *wait, const DjkApplied *applied)
{
	if (!applied->has_consumer)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer \"%s\" was dropped", wait->consumer)));
	if (!applied->has_route)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer \"%s\" has no route for topic \"%s\"", wait->consumer, wait->topic),
				 errhint("SELECT id, topic, target, handler FROM djkafka_route shows those that exist.")));
}

/* ---------- waiting ---------- */

/*
 * Counted among those who wait before it looks, by the place of the row that it
 * finds then: a partition that nobody has read yet has none.
 */
static void
look(const Wait *wait, int64 *offset_id, DjkApplied *applied)
{
	int64		before;

	do
	{
		before = *offset_id;
		djk_waiters_join(before);
		djk_applied_look(wait->consumer_id, wait->topic, wait->partition, wait->offset, applied);
		*offset_id = applied->offset_id;
	} while (*offset_id != before);
}

static bool
wait_until_applied(const Wait *wait)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka wait", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkApplied	applied;
	Verdict		verdict;
	int64		offset_id = DJK_WAITERS_NEW;
	bool		is_over;

	do
	{
		is_over = djk_clock_now() >= wait->until;
		look(wait, &offset_id, &applied);
		verdict = judge(wait, &applied);
		if (verdict == VERDICT_WAIT)
			require_hope(wait, &applied);
		if (verdict == VERDICT_WAIT && !is_over)
		{
			/* Nothing of ours keeps dead rows meanwhile; the statement's own snapshot does. */
			InvalidateCatalogSnapshot();
			/* The look may have lasted until after the end. */
			djk_waiters_sleep(Max(Min((wait->until - djk_clock_now()) / 1000 + 1, INT_MAX), 0));
		}
		MemoryContextReset(context);
	} while (verdict == VERDICT_WAIT && !is_over);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (verdict == VERDICT_NEVER)
		warn(wait, &applied);
	return verdict == VERDICT_APPLIED;
}

static void
leave(int code, Datum arg)
{
	djk_waiters_leave();
}

Datum
djkafka_wait(PG_FUNCTION_ARGS)
{
	Wait		wait = {0};
	bool		applied = false;

	read_arguments(fcinfo, &wait);
	require_right_place();
	find_consumer(&wait);
	PG_ENSURE_ERROR_CLEANUP(leave, (Datum) 0);
	{
		applied = wait_until_applied(&wait);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave, (Datum) 0);
	djk_waiters_leave();
	PG_RETURN_BOOL(applied);
}
