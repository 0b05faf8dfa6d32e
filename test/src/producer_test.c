/*-------------------------------------------------------------------------
 *
 * producer_test.c
 *	  SQL functions that drive kafka/producer by hand, for tests only.
 *
 * Producers live in slots of the session, so one session can play a producer
 * and the one that takes over from it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "driver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kafka/producer.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define SLOTS 8

static struct
{
	MemoryContext context;
	DjkProducer *producer;
}			slots[SLOTS];

PG_FUNCTION_INFO_V1(djkafka_test_producer_open);
PG_FUNCTION_INFO_V1(djkafka_test_producer_close);
PG_FUNCTION_INFO_V1(djkafka_test_producer_send);
PG_FUNCTION_INFO_V1(djkafka_test_producer_flood);
PG_FUNCTION_INFO_V1(djkafka_test_producer_transaction);
PG_FUNCTION_INFO_V1(djkafka_test_producer_check);
PG_FUNCTION_INFO_V1(djkafka_test_producer_state);
PG_FUNCTION_INFO_V1(djkafka_test_producer_poll);

static const char *const deliveries[] = {"pending", "done", "refused", "blocked", "failed"};

static DjkProducer *
get_producer(FunctionCallInfo fcinfo)
{
	int			slot = PG_GETARG_INT32(0);

	if (slot < 0 || slot >= SLOTS || slots[slot].producer == NULL)
		elog(ERROR, "no producer in slot %d", slot);
	return slots[slot].producer;
}

/* (slot, bootstrap, transactional_id, queue_kb, names text[], values text[]) */
Datum
djkafka_test_producer_open(PG_FUNCTION_ARGS)
{
	int			slot = PG_GETARG_INT32(0);
	DjkProducerConfig config = {0};

	if (slots[slot].context == NULL)
		slots[slot].context = AllocSetContextCreate(TopMemoryContext, "producer test", ALLOCSET_DEFAULT_SIZES);
	config.properties = driver_properties(fcinfo, 4, &config.nproperties);
	config.transactional_id = driver_text(fcinfo, 2);
	config.client_id = "producer_test";
	config.queue_kbytes = PG_GETARG_INT32(3);
	slots[slot].producer = djk_producer_create(slots[slot].context, &config);
	PG_RETURN_VOID();
}

/* (slot, timeout_ms, by_reset) → milliseconds it took */
Datum
djkafka_test_producer_close(PG_FUNCTION_ARGS)
{
	int			slot = PG_GETARG_INT32(0);
	TimestampTz start = GetCurrentTimestamp();
	DjkProducer *producer = get_producer(fcinfo);

	slots[slot].producer = NULL;
	if (!PG_GETARG_BOOL(2))
		djk_producer_destroy(producer, PG_GETARG_INT32(1));
	MemoryContextReset(slots[slot].context);
	PG_RETURN_INT32((int32) TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()));
}

static bool
wait_for_event(DjkProducer *producer, DjkProducerEvent *event, TimestampTz until)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (djk_producer_poll(producer, event))
			return true;
		if (GetCurrentTimestamp() >= until)
			return false;
		(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH,
								 djk_producer_fd(producer), 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		djk_producer_drain_fd(producer);
	}
}

static void
tell_event(const DjkProducerEvent *event)
{
	if (event->kind == DJK_PRODUCER_ERROR)
		elog(NOTICE, "event: %s%s", event->error.message, event->unreachable ? " (unreachable)" : "");
	else if (event->kind == DJK_PRODUCER_LOG)
		elog(NOTICE, "log: %d %s", event->log_level, event->log_text);
}

/* Sends all and waits for the answers; returns how many of the first were answered one way or the other. */
static int
send_all(DjkProducer *producer, DjkOutgoing *messages, int n, TimestampTz until)
{
	int			sent = 0;

	while (sent < n || djk_producer_in_flight(producer) > 0)
	{
		DjkProducerEvent event;

		sent += djk_producer_send(producer, messages + sent, n - sent);
		if (djk_producer_in_flight(producer) == 0)
			continue;
		if (!wait_for_event(producer, &event, until))
			break;
		tell_event(&event);
	}
	return sent;
}

static void
take_bytes(Datum value, bool isnull, const char **bytes, int *length)
{
	*bytes = NULL;
	*length = 0;
	if (isnull)
		return;
	*bytes = VARDATA_ANY(DatumGetByteaPP(value));
	*length = VARSIZE_ANY_EXHDR(DatumGetByteaPP(value));
}

static DjkHeader *
take_headers(FunctionCallInfo fcinfo, int *n)
{
	Datum	   *names;
	Datum	   *values;
	bool	   *nulls;
	DjkHeader  *headers;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(6), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(7), BYTEAOID, -1, false, TYPALIGN_INT, &values, &nulls, n);
	headers = palloc0((*n + 1) * sizeof(DjkHeader));
	for (int i = 0; i < *n; i++)
	{
		headers[i].name = TextDatumGetCString(names[i]);
		headers[i].name_len = strlen(headers[i].name);
		take_bytes(values[i], nulls[i], &headers[i].value, &headers[i].value_len);
	}
	return headers;
}

/*
 * (slot, topics text[], partitions int[], keys bytea[], values bytea[], time_ms,
 * header_names text[], header_values bytea[], timeout_ms) → setof text, one for each
 */
Datum
djkafka_test_producer_send(PG_FUNCTION_ARGS)
{
	DjkProducer *producer = get_producer(fcinfo);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(8));
	Datum	   *topics;
	Datum	   *partitions;
	Datum	   *keys;
	Datum	   *values;
	bool	   *null_keys;
	bool	   *null_values;
	DjkOutgoing *messages;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &topics, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), INT4OID, 4, true, TYPALIGN_INT, &partitions, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), BYTEAOID, -1, false, TYPALIGN_INT, &keys, &null_keys, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(4), BYTEAOID, -1, false, TYPALIGN_INT, &values, &null_values, &n);
	messages = palloc0(n * sizeof(DjkOutgoing));
	for (int i = 0; i < n; i++)
	{
		messages[i].topic = TextDatumGetCString(topics[i]);
		messages[i].partition = DatumGetInt32(partitions[i]);
		take_bytes(keys[i], null_keys[i], &messages[i].key, &messages[i].key_len);
		take_bytes(values[i], null_values[i], &messages[i].value, &messages[i].value_len);
		messages[i].timestamp_ms = PG_GETARG_INT64(5);
		messages[i].headers = take_headers(fcinfo, &messages[i].nheaders);
	}

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	send_all(producer, messages, n, until);
	djk_producer_forget(producer);
	for (int i = 0; i < n; i++)
	{
		const DjkOutgoing *message = &messages[i];
		char	   *line = pstrdup(deliveries[message->delivery]);
		Datum		value;
		bool		isnull = false;

		if (message->delivery == DJK_DELIVERY_DONE)
			line = psprintf("done %d@" INT64_FORMAT, message->sent_partition, message->sent_offset);
		else if (message->delivery != DJK_DELIVERY_PENDING)
			line = psprintf("%s %s", line, message->error.name);
		value = CStringGetTextDatum(line);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* (slot, topic, first, count, size, keys, wait, timeout_ms) → "done refused blocked failed pending, ms" */
Datum
djkafka_test_producer_flood(PG_FUNCTION_ARGS)
{
	DjkProducer *producer = get_producer(fcinfo);
	char	   *topic = driver_text(fcinfo, 1);
	int			first = PG_GETARG_INT32(2);
	int			count = PG_GETARG_INT32(3);
	int			size = PG_GETARG_INT32(4);
	int			nkeys = PG_GETARG_INT32(5);
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(start, PG_GETARG_INT32(7));
	DjkOutgoing *messages = MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(DjkOutgoing));
	char	   *bytes = MemoryContextAllocHuge(CurrentMemoryContext, (Size) count * (size + 12));
	int			counts[5] = {0};

	memset(messages, 0, count * sizeof(DjkOutgoing));
	for (int i = 0; i < count; i++)
	{
		char	   *value = bytes + (Size) i * (size + 12);
		char	   *key = value + size;

		memset(value, 'x', size);
		snprintf(key, 12, "%d", (first + i) % nkeys);
		memcpy(value, psprintf("%012d", first + i), Min(size, 12));
		messages[i].topic = topic;
		messages[i].partition = -1;
		messages[i].key = key;
		messages[i].key_len = strlen(key);
		messages[i].value = value;
		messages[i].value_len = size;
	}
	start = GetCurrentTimestamp();
	if (PG_GETARG_BOOL(6))
		send_all(producer, messages, count, until);
	else
		djk_producer_send(producer, messages, count);
	djk_producer_forget(producer);
	for (int i = 0; i < count; i++)
		counts[messages[i].delivery]++;
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("done %d, refused %d, blocked %d, failed %d, pending %d, %ld ms",
											  counts[DJK_DELIVERY_DONE], counts[DJK_DELIVERY_REFUSED],
											  counts[DJK_DELIVERY_BLOCKED], counts[DJK_DELIVERY_FAILED],
											  counts[DJK_DELIVERY_PENDING],
											  TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()))));
}

/* (slot, what, group, topic, partition, number, timeout_ms) → text; a number's note is the number once more */
Datum
djkafka_test_producer_transaction(PG_FUNCTION_ARGS)
{
	static const char *const results[] = {"ok", "retry", "abort", "spent"};
	DjkProducer *producer = get_producer(fcinfo);
	char	   *what = driver_text(fcinfo, 1);
	char	   *group = driver_text(fcinfo, 2);
	char	   *topic = driver_text(fcinfo, 3);
	int			partition = PG_GETARG_INT32(4);
	int64		number = PG_GETARG_INT64(5);
	int			timeout = PG_GETARG_INT32(6);
	DjkError	error = {0};
	DjkTransactionResult result;

	if (strcmp(what, "carried") == 0)
	{
		char	   *note;
		char	   *number_text;

		if (!djk_producer_carried(producer, group, topic, partition, &number, &note, timeout, &error))
			PG_RETURN_TEXT_P(cstring_to_text(psprintf("unknown: %s", error.message)));
		number_text = psprintf(INT64_FORMAT, number);
		if (number >= 0 && (note == NULL || strcmp(note, number_text) != 0))
			number_text = psprintf("%s with note %s", number_text, note ? note : "(none)");
		PG_RETURN_TEXT_P(cstring_to_text(number_text));
	}
	if (strcmp(what, "purged") == 0)
		PG_RETURN_TEXT_P(cstring_to_text(djk_producer_has_purged(producer) ? "yes" : "no"));
	if (strcmp(what, "init") == 0)
		result = djk_producer_init_transactions(producer, timeout, &error);
	else if (strcmp(what, "begin") == 0)
		result = djk_producer_begin(producer, &error);
	else if (strcmp(what, "carry") == 0)
		result = djk_producer_carry(producer, group, topic, partition, number,
									psprintf(INT64_FORMAT, number), timeout, &error);
	else if (strcmp(what, "commit") == 0)
		result = djk_producer_commit(producer, timeout, &error);
	else
		result = djk_producer_abort(producer, timeout, &error);
	if (result != DJK_TRANSACTION_OK)
		elog(NOTICE, "%s: %s %s", what, error.message, error.detail);
	PG_RETURN_TEXT_P(cstring_to_text(results[result]));
}

/* (slot, topic, timeout_ms) → text */
Datum
djkafka_test_producer_check(PG_FUNCTION_ARGS)
{
	DjkTopicLook look;
	DjkDelivery delivery = djk_producer_check_topic(get_producer(fcinfo), driver_text(fcinfo, 1),
													PG_GETARG_INT32(2), &look);

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s %d%s", deliveries[delivery], look.npartitions,
											  look.error.name ? look.error.name : "")));
}

/* (slot) → text */
Datum
djkafka_test_producer_state(PG_FUNCTION_ARGS)
{
	DjkProducer *producer = get_producer(fcinfo);
	DjkError	error = {0};
	bool		spent = djk_producer_spent(producer, &error);

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s, %d in flight%s%s",
											  spent ? "spent" : "good",
											  djk_producer_in_flight(producer),
											  spent ? ": " : "", spent ? error.detail : "")));
}

/* (slot, timeout_ms) → how many events came until nothing is in flight or the time is over */
Datum
djkafka_test_producer_poll(PG_FUNCTION_ARGS)
{
	DjkProducer *producer = get_producer(fcinfo);
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(1));
	DjkProducerEvent event;
	int			n = 0;

	while (djk_producer_in_flight(producer) > 0 && wait_for_event(producer, &event, until))
	{
		tell_event(&event);
		n++;
	}
	PG_RETURN_INT32(n);
}
