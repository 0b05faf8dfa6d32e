/*-------------------------------------------------------------------------
 *
 * produce.c
 *	  djkafka_produce: a message into the outbox.
 *
 * Everything that can be known to be wrong is said here, where the caller can
 * do something about it.  Whether the topic exists cannot: nobody talks to
 * Kafka inside of a user's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/produce_value.h"
#include "sql/suppress.h"

#include "base/settings.h"
#include "base/topic.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"

PG_FUNCTION_INFO_V1(djkafka_produce);

enum
{
	ARG_TOPIC,
	ARG_VALUE,
	ARG_KEY,
	ARG_HEADERS,
	ARG_PARTITION,
	ARG_AT_TIME,
	ARG_SERVER
};

/* How this call's arguments are read: the same for each row of a statement. */
typedef struct ProduceCall
{
	DjkPayload	value;
	DjkPayload	key;
} ProduceCall;

static ProduceCall *
find_call(FmgrInfo *flinfo)
{
	ProduceCall *call = flinfo->fn_extra;

	if (call != NULL)
		return call;
	call = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(ProduceCall));
	djk_payload_init(&call->value, get_fn_expr_argtype(flinfo, ARG_VALUE), "value", flinfo->fn_mcxt);
	djk_payload_init(&call->key, get_fn_expr_argtype(flinfo, ARG_KEY), "key", flinfo->fn_mcxt);
	flinfo->fn_extra = call;
	return call;
}

static char *
require_topic(FunctionCallInfo fcinfo)
{
	char	   *topic;

	if (PG_ARGISNULL(ARG_TOPIC))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic of a message must not be null")));
	topic = text_to_cstring(PG_GETARG_TEXT_PP(ARG_TOPIC));
	djk_topic_require_writable(topic);
	return topic;
}

static int
read_partition(FunctionCallInfo fcinfo)
{
	int			partition;

	if (PG_ARGISNULL(ARG_PARTITION))
		return -1;
	partition = PG_GETARG_INT32(ARG_PARTITION);
	if (partition < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative: %d", partition),
				 errhint("Leave it out to have the partition chosen by the key.")));
	return partition;
}

/* Kafka counts milliseconds from 1970 on, and takes the first of them for "none". */
static TimestampTz
read_time(FunctionCallInfo fcinfo)
{
	TimestampTz time;

	if (PG_ARGISNULL(ARG_AT_TIME))
		return GetCurrentTimestamp();
	time = PG_GETARG_TIMESTAMPTZ(ARG_AT_TIME);
	if (TIMESTAMP_NOT_FINITE(time) || time < SetEpochTimestamp() + 1000)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("time of a message is out of range: %s", timestamptz_to_str(time)),
				 errdetail("Kafka's times begin with 1970.")));
	return time;
}

Datum
djkafka_produce(PG_FUNCTION_ARGS)
{
	ProduceCall *call = find_call(fcinfo->flinfo);
	DjkOutboxMessage message = {0};
	DjkProduceServer *server;
	Size		header_bytes = 0;

	message.topic = require_topic(fcinfo);
	if (djk_silenced(message.topic, GetUserId(), false, "messages of a function that runs with other rights",
					 "Let the function call djkafka_suppress() itself."))
	{
		djk_silenced_count(1);
		PG_RETURN_NULL();
	}
	server = djk_produce_server(PG_ARGISNULL(ARG_SERVER) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_SERVER)),
								GetUserId());
	message.partition = read_partition(fcinfo);
	message.message_time = read_time(fcinfo);
	if (!PG_ARGISNULL(ARG_KEY))
		message.key = djk_payload_bytes(&call->key, PG_GETARG_DATUM(ARG_KEY));
	if (!PG_ARGISNULL(ARG_VALUE))
		message.value = djk_payload_bytes(&call->value, PG_GETARG_DATUM(ARG_VALUE));
	if (!PG_ARGISNULL(ARG_HEADERS))
		header_bytes = djk_produce_headers(&message, PG_GETARG_DATUM(ARG_HEADERS));
	PG_RETURN_INT64(djk_produce_write(server, &message, header_bytes));
}
