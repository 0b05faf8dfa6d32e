/*-------------------------------------------------------------------------
 *
 * letter_topic.c
 *	  Dead letters that go to a topic: as django-kafka sends them, and more.
 *
 * Through the outbox, in the transaction that moves the offset, so a letter is in
 * Kafka once.  Key, value and headers are the message's, byte for byte, and so is
 * its time; django-kafka's five headers follow, then some of our own.  What the
 * message has brought of these names is left out: django-kafka reads the first.
 *
 * Nothing is lost for want of a topic: a letter that cannot be sent is a row of
 * djkafka_dead_letter, which says why.  So all of it is one subtransaction; what
 * fails in it by nobody's fault fails the batch, which is tried again.
 *
 * No letter goes to a topic that the consumer itself reads: it would fail there
 * too, and make another letter.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/letter_topic.h"

#include "apply/message_row.h"
#include "apply/postpone.h"
#include "apply/retry.h"
#include "base/clock.h"
#include "base/settings.h"
#include "base/subtransaction.h"
#include "base/topic.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/header.h"
#include "state/produce.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* An error may quote a whole value. */
#define SUMMARY_MAX		2000
#define DETAIL_MAX		10000

typedef struct Sending
{
	DjkApply   *apply;
	int			from;
	int			to;
} Sending;

/* ---------- whether, and where to ---------- */

static DjkLetters
letters_of(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;

	return route >= 0 ? apply->consumer->routes[route].letters : apply->consumer->letters;
}

static bool
is_wanted(const DjkApply *apply, int message)
{
	return apply->work[message].fate == DJK_FATE_DEAD && letters_of(apply, message) != DJK_LETTERS_TABLE;
}

bool
djk_letter_topic_keeps(const DjkApply *apply, int message)
{
	return !apply->work[message].is_sent || letters_of(apply, message) == DJK_LETTERS_BOTH;
}

static const DjkBatchPartition *
partition_of(const DjkApply *apply, int message)
{
	return &apply->batch->partitions[apply->batch->messages[message].partition];
}

static const char *
topic_of(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;

	return djk_topic_expand(route >= 0 ? apply->consumer->routes[route].letter_topic : apply->consumer->letter_topic,
							apply->consumer->group_id, partition_of(apply, message)->topic);
}

/* Why nothing is sent to a topic; NULL if it can be. */
static const char *
refusal_of(DjkApply *apply, const char *topic)
{
	if (!djk_topic_is_writable(topic))
		return psprintf("\"%s\" is not the name of a topic that can be written to", topic);
	if (!bms_is_empty(djk_work_routes(apply, topic)))
		return psprintf("the consumer reads topic \"%s\" itself, by a route that matches it", topic);
	if (djk_suppressed(topic) != NULL)
		return psprintf("djkafka.suppress silences topic \"%s\"", topic);
	return NULL;
}

/* ---------- headers ---------- */

/* In the order in which they are added; what is known of the error and the place. */
static const char *const names[] = {
	"DEAD_LETTER_MESSAGE_TOPIC", "DEAD_LETTER_MESSAGE_PARTITION", "DEAD_LETTER_MESSAGE_OFFSET",
	"DEAD_LETTER_SUMMARY", "DEAD_LETTER_DETAIL",
	"DJKAFKA_TOPIC", "DJKAFKA_PARTITION", "DJKAFKA_OFFSET", "DJKAFKA_TIMESTAMP",
	"DJKAFKA_CONSUMER", "DJKAFKA_SQLSTATE", "DJKAFKA_ATTEMPTS"
};

static bool
is_replaced(const DjkHeader *header)
{
	for (int i = 0; i < lengthof(names); i++)
	{
		if (header->name_len == strlen(names[i]) && memcmp(header->name, names[i], header->name_len) == 0)
			return true;
	}
	return false;
}

/* In UTF-8, and not longer than so many bytes of the database's encoding. */
static const char *
clipped(const char *text, int max)
{
	int			len = strlen(text);

	return djk_connection_text(pnstrdup(text, pg_mbcliplen(text, len, Min(len, max))));
}

/* As a client shows an error. */
static const char *
error_detail(const DjkWork *work)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "ERROR:  %s: %s", unpack_sql_state(work->error.sqlstate),
					 work->error.message ? work->error.message : "unknown error");
	if (work->error.detail != NULL)
		appendStringInfo(&buf, "\nDETAIL:  %s", work->error.detail);
	if (work->error.hint != NULL)
		appendStringInfo(&buf, "\nHINT:  %s", work->error.hint);
	if (work->context != NULL)
		appendStringInfo(&buf, "\nCONTEXT:  %s", work->context);
	return clipped(buf.data, DETAIL_MAX);
}

static void
describe(const DjkApply *apply, int message, const char *values[])
{
	const DjkMessage *m = &apply->batch->messages[message];
	const DjkBatchPartition *partition = partition_of(apply, message);
	const DjkWork *work = &apply->work[message];
	int			n = 0;

	for (int place = 0; place < 2; place++)
	{
		values[n++] = djk_connection_text(partition->topic);
		values[n++] = psprintf("%d", partition->partition);
		values[n++] = psprintf(INT64_FORMAT, m->offset);
		if (place > 0)
			break;
		values[n++] = clipped(work->error.message ? work->error.message : "unknown error", SUMMARY_MAX);
		values[n++] = error_detail(work);
	}
	values[n++] = m->timestamp_ms >= 0 ? psprintf(INT64_FORMAT, m->timestamp_ms) : NULL;
	values[n++] = djk_connection_text(apply->consumer->name);
	values[n++] = pstrdup(unpack_sql_state(work->error.sqlstate));
	values[n++] = psprintf("%d", djk_postpone_attempt(apply, message) + 1);
	Assert(n == lengthof(names));
}

static Datum
headers_of(const DjkApply *apply, int message, Oid type)
{
	DjkHeader  *own = NULL;
	int			nown = 0;
	DjkHeader  *headers;
	int			n = 0;
	const char *values[lengthof(names)];

	if (apply->batch->load_headers != NULL)
		nown = apply->batch->load_headers(apply->batch, &apply->batch->messages[message], &own);
	headers = palloc((nown + lengthof(names)) * sizeof(DjkHeader));
	for (int i = 0; i < nown; i++)
	{
		if (!is_replaced(&own[i]))
			headers[n++] = own[i];
	}
	describe(apply, message, values);
	for (int i = 0; i < lengthof(names); i++)
	{
		if (values[i] != NULL)
			headers[n++] = (DjkHeader) {names[i], strlen(names[i]), values[i], strlen(values[i])};
	}
	return djk_headers_datum(type, headers, n);
}

/* ---------- sending ---------- */

static struct varlena *
bytes_of(const char *bytes, int len)
{
	return bytes == NULL ? NULL : (struct varlena *) DatumGetPointer(djk_bytea_datum(bytes, len));
}

/* Kafka's times begin with 1970, and the first of them is none. */
static TimestampTz
time_of(const DjkMessage *message)
{
	return message->timestamp_ms > 0 ? djk_timestamp_from_kafka(message->timestamp_ms) : GetCurrentTimestamp();
}

/* False if the message is too large. */
static bool
send_one(const DjkApply *apply, int message, DjkProduceServer *server, Oid header_type, const char *topic)
{
	const DjkMessage *m = &apply->batch->messages[message];
	DjkOutboxMessage letter = {0};
	Size		header_bytes;

	letter.topic = topic;
	letter.partition = -1;
	letter.message_time = time_of(m);
	letter.key = bytes_of(m->key, m->key_len);
	letter.value = bytes_of(m->value, m->value_len);
	letter.headers = headers_of(apply, message, header_type);
	letter.has_headers = true;
	header_bytes = djk_headers_bytes(letter.headers);
	if (!djk_produce_fits(server, &letter, header_bytes))
		return false;
	(void) djk_produce_write(server, &letter, header_bytes);
	return true;
}

static bool
send_all(void *arg)
{
	Sending    *sending = arg;
	DjkApply   *apply = sending->apply;
	DjkProduceServer *server = djk_produce_server(apply->consumer->server, apply->consumer->owner);
	Oid			header_type = djk_catalog_type("djkafka_header");
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka letter", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	djk_produce_require_execute(apply->consumer->owner);
	for (int i = sending->from; i < sending->to; i++)
	{
		const char *topic;
		const char *refusal;

		CHECK_FOR_INTERRUPTS();
		if (!is_wanted(apply, i))
			continue;
		MemoryContextReset(context);
		topic = topic_of(apply, i);
		refusal = refusal_of(apply, topic);
		if (refusal == NULL && !send_one(apply, i, server, header_type, topic))
			refusal = psprintf("the message is too large for topic \"%s\" with its headers", topic);
		apply->work[i].is_sent = refusal == NULL;
		if (refusal != NULL)
			apply->work[i].not_sent = MemoryContextStrdup(apply->batch_context, refusal);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return true;
}

void
djk_letter_topic_send(DjkApply *apply, int from, int to)
{
	Sending		sending = {apply, from, to};
	ErrorData  *edata;
	bool		any = false;

	for (int i = from; i < to; i++)
	{
		apply->work[i].is_sent = false;
		apply->work[i].not_sent = NULL;
		any |= is_wanted(apply, i);
	}
	if (!any)
		return;
	edata = djk_subtransaction_try(send_all, &sending, apply->batch_context);
	if (edata == NULL)
		return;
	if (djk_retry_verdict(edata->sqlerrcode) == DJK_VERDICT_TRANSIENT)
		ReThrowError(edata);
	for (int i = from; i < to; i++)
	{
		apply->work[i].is_sent = false;
		if (is_wanted(apply, i))
			apply->work[i].not_sent = edata->message;
	}
}
