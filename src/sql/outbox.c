/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  What became of messages, and deciding about those that Kafka refused.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "base/topic.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/timeout.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/outbox.h"
#include "state/produce.h"
#include "state/shmem.h"
#include "state/wake.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(djkafka_flush);
PG_FUNCTION_INFO_V1(djkafka_delivery);
PG_FUNCTION_INFO_V1(djkafka_outbox_waiting);
PG_FUNCTION_INFO_V1(djkafka_outbox_resend);
PG_FUNCTION_INFO_V1(djkafka_outbox_discard);
PG_FUNCTION_INFO_V1(djkafka_outbox_decide);

Datum
djkafka_flush(PG_FUNCTION_ARGS)
{
	int64		timeout = djk_timeout_ms(PG_GETARG_INTERVAL_P(0));
	int64		dead;
	bool		done;

	if (!djk_shmem_available())
		ereport(ERROR,
				(errcode(DJK_ERRCODE_NOT_PRELOADED),
				 errmsg("djkafka is not in shared_preload_libraries"),
				 errdetail("Nothing sends the messages of the outbox."),
				 errhint("Add djkafka to shared_preload_libraries and restart the server.")));
	done = djk_produce_flush(timeout, &dead);
	if (dead > 0)
		ereport(WARNING,
				(errcode(DJK_ERRCODE_KAFKA),
				 errmsg_plural("Kafka refused " INT64_FORMAT " message of this session",
							   "Kafka refused " INT64_FORMAT " messages of this session", dead, dead),
				 errhint("See djkafka_outbox_dead; djkafka_outbox_resend() sends a message again.")));
	PG_RETURN_BOOL(done);
}

Datum
djkafka_delivery(PG_FUNCTION_ARGS)
{
	DjkOutboxFate fate;
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	djk_outbox_find_fate(PG_GETARG_INT64(0), &fate);
	values[0] = CStringGetTextDatum(fate.state);
	values[1] = Int32GetDatum(fate.partition);
	values[2] = Int64GetDatum(fate.offset);
	nulls[0] = false;
	nulls[1] = nulls[2] = fate.offset < 0;
	nulls[3] = fate.error == NULL;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(fate.error);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
djkafka_outbox_waiting(PG_FUNCTION_ARGS)
{
	DjkOutboxWaiting waiting = {0};
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	(void) djk_outbox_find_waiting(PG_GETARG_INT64(0), &waiting);
	values[0] = Int64GetDatum(waiting.depth);
	values[1] = BoolGetDatum(waiting.is_estimate);
	values[2] = TimestampTzGetDatum(waiting.oldest_at);
	nulls[2] = waiting.oldest_at == 0;
	values[3] = Int64GetDatum(waiting.held);
	values[4] = TimestampTzGetDatum(waiting.held_since);
	nulls[4] = waiting.held_since == 0;
	values[5] = Int64GetDatum(waiting.dead);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static void
take_dead(int64 id, DjkOutboxMessage *message)
{
	if (!djk_outbox_take_dead(id, message))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("dead message with id " INT64_FORMAT " does not exist", id),
				 errhint("See djkafka_outbox_dead for those that do; one whose batch is still being sent is to be had after that.")));
}

Datum
djkafka_outbox_resend(PG_FUNCTION_ARGS)
{
	DjkOutboxMessage message;
	DjkProduceServer *server;

	PreventCommandIfReadOnly("djkafka_outbox_resend()");
	take_dead(PG_GETARG_INT64(0), &message);
	/* It may have come with a dump, which nobody has checked. */
	djk_topic_name_require(message.topic, "Discard it with djkafka_outbox_discard.");
	server = djk_produce_server(message.server, GetUserId());
	PG_RETURN_INT64(djk_produce_write(server, &message, 0));
}

Datum
djkafka_outbox_discard(PG_FUNCTION_ARGS)
{
	DjkOutboxMessage message;

	PreventCommandIfReadOnly("djkafka_outbox_discard()");
	take_dead(PG_GETARG_INT64(0), &message);
	djk_connection_require_usage(message.server, GetUserId());
	PG_RETURN_VOID();
}

/*
 * A batch is claimed while Kafka is away, too, and Kafka knows of it then.  Only
 * the worker can tell that it does not, and the next one would do as was said.
 */
static bool
waits_for_decision(int64 server_id)
{
	DjkSlotStatus *slots;
	int			count;

	if (!djk_shmem_available())
		return false;
	slots = djk_slot_list(MyDatabaseId, &count);
	for (int i = 0; i < count; i++)
	{
		if (slots[i].key.kind == DJK_KIND_OUTBOX && slots[i].key.object_id == server_id)
			return slots[i].pid != 0 && slots[i].state == DJK_STATE_NEEDS_DECISION;
	}
	return false;
}

Datum
djkafka_outbox_decide(PG_FUNCTION_ARGS)
{
	const char *decision = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *server = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	DjkIdentity identity;
	int64		server_id;

	PreventCommandIfReadOnly("djkafka_outbox_decide()");
	if (strcmp(decision, "send") != 0 && strcmp(decision, "confirm") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid decision \"%s\"", decision),
				 errhint("It is \"send\", if the messages are not in Kafka, or \"confirm\", if they are.")));
	djk_connection_require_usage(server, GetUserId());
	djk_catalog_enter(&identity);
	server_id = djk_outbox_decide(server, decision);
	djk_catalog_leave(&identity);
	if (server_id == 0 || !waits_for_decision(server_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no batch of the outbox waits for a decision"),
				 errhint("It is taken while the state in djkafka_outbox_status is \"needs_decision\".")));
	djk_wake_at_commit();
	PG_RETURN_VOID();
}
