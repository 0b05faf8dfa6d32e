/*-------------------------------------------------------------------------
 *
 * failed_topic.c
 *	  What failed goes to a topic, as django-kafka sends it, and more: dead letters,
 *	  and what is tried again from there (retry_topic.c).
 *
 * Through the outbox, in the transaction that moves the offset, so it is in Kafka
 * once.  Key, value and headers are the message's, byte for byte, and so is its
 * time; django-kafka's headers follow, then some of our own.  What the message has
 * brought of these names is left out: django-kafka reads the first.
 *
 * Nothing is lost for want of a topic: a letter that cannot be sent is a row of
 * djkafka_dead_letter, which says why, and what was to be tried again waits in
 * djkafka_parked.  So all of it is one subtransaction; what fails in it by nobody's
 * fault fails the batch, which is tried again.
 *
 * No letter goes to a topic that the consumer itself reads, or its retries: it would
 * fail there too, and make another letter.  What is tried again goes where its
 * retries are read and the consumer itself does not.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/failed_topic.h"

#include "apply/message_row.h"
#include "apply/park.h"
#include "apply/postpone.h"
#include "apply/retry.h"
#include "apply/retry_topic.h"
#include "base/clock.h"
#include "base/settings.h"
#include "base/subtransaction.h"
#include "base/topic.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
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
is_retried(const DjkApply *apply, int message)
{
	return apply->work[message].fate == DJK_FATE_RETRIED;
}

static bool
is_wanted(const DjkApply *apply, int message)
{
	return is_retried(apply, message) ||
		(apply->work[message].fate == DJK_FATE_DEAD && letters_of(apply, message) != DJK_LETTERS_TABLE);
}

bool
djk_failed_is_kept(const DjkApply *apply, int message)
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
	const DjkConsumerRow *consumer = apply->consumer;
	int			route = apply->work[message].route;

	if (is_retried(apply, message))
		return djk_retry_topic_next(apply, message);
	return djk_topic_expand(route >= 0 ? consumer->routes[route].letter_topic : consumer->letter_topic,
							consumer->main_group, djk_retry_topic_origin(apply, message));
}

/* Whether a route takes messages of a topic, or its retries are read there. */
static bool
is_read(const DjkConsumerRow *consumer, const char *topic, bool *by_retries)
{
	bool		by_route = false;

	*by_retries = false;
	for (int r = 0; r < consumer->nroutes; r++)
	{
		const DjkRouteRow *route = &consumer->routes[r];

		by_route |= djk_topic_matches(route->main_topic, topic);
		*by_retries |= route->retry_topic != NULL && djk_topic_matches(route->retry_topic, topic);
	}
	return by_route;
}

/* Why nothing is sent to a topic; NULL if it can be. */
static const char *
refusal_of(const DjkApply *apply, int message, const char *topic)
{
	bool		by_retries;

	if (!djk_topic_is_writable(topic))
		return psprintf("\"%s\" is not the name of a topic that can be written to", topic);
	if (is_read(apply->consumer, topic, &by_retries) || (by_retries && !is_retried(apply, message)))
		return psprintf("the consumer reads topic \"%s\" itself, by a route that matches it", topic);
	if (is_retried(apply, message) && !by_retries)
		return psprintf("nobody reads topic \"%s\": what is read of topics of retries does not match it", topic);
	if (djk_suppressed(topic) != NULL)
		return psprintf("djkafka.suppress silences topic \"%s\"", topic);
	return NULL;
}

/* ---------- headers ---------- */

static const char *const letter_names[] = {
	"DEAD_LETTER_MESSAGE_TOPIC", "DEAD_LETTER_MESSAGE_PARTITION", "DEAD_LETTER_MESSAGE_OFFSET",
	"DEAD_LETTER_SUMMARY", "DEAD_LETTER_DETAIL"
};
static const char *const retry_names[] = {DJK_RETRY_MESSAGE, DJK_RETRY_TIMESTAMP};

/* Where the message was at first. */
static const char *const place_names[] = {"DJKAFKA_TOPIC", "DJKAFKA_PARTITION", "DJKAFKA_OFFSET", "DJKAFKA_TIMESTAMP"};
static const char *const error_names[] = {"DJKAFKA_CONSUMER", "DJKAFKA_SQLSTATE", "DJKAFKA_ATTEMPTS"};

#define NAMES_MAX	(lengthof(letter_names) + lengthof(place_names) + lengthof(error_names))

typedef struct Headers
{
	DjkHeader  *list;
	int			n;
} Headers;

static bool
is_one_of(const DjkHeader *header, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (djk_header_is(header, names[i]))
			return true;
	}
	return false;
}

/* Whether a message's own header makes room for one of ours, or was one of ours. */
static bool
is_replaced(const DjkApply *apply, int message, const DjkHeader *header)
{
	bool		retried = is_retried(apply, message);

	return is_one_of(header, place_names, lengthof(place_names)) ||
		is_one_of(header, error_names, lengthof(error_names)) ||
		(!retried && is_one_of(header, letter_names, lengthof(letter_names))) ||
		((retried || apply->consumer->retries_of != 0) && is_one_of(header, retry_names, lengthof(retry_names)));
}

static void
add(Headers *headers, const char *name, const char *value, int value_len)
{
	if (value != NULL)
		headers->list[headers->n++] = (DjkHeader) {name, strlen(name), value, value_len};
}

static void
add_text(Headers *headers, const char *name, const char *value)
{
	add(headers, name, value, value != NULL ? strlen(value) : 0);
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

static const char *
summary(const DjkWork *work)
{
	return clipped(work->error.message ? work->error.message : "unknown error", SUMMARY_MAX);
}

/* The place where it was read last. */
static void
add_letter(const DjkApply *apply, int message, Headers *headers)
{
	const DjkBatchPartition *partition = partition_of(apply, message);

	add_text(headers, letter_names[0], djk_connection_text(partition->topic));
	add_text(headers, letter_names[1], psprintf("%d", partition->partition));
	add_text(headers, letter_names[2], psprintf(INT64_FORMAT, apply->batch->messages[message].offset));
	add_text(headers, letter_names[3], summary(&apply->work[message]));
	add_text(headers, letter_names[4], error_detail(&apply->work[message]));
}

static void
add_retry(const DjkApply *apply, int message, Headers *headers)
{
	add_text(headers, retry_names[0], summary(&apply->work[message]));
	add_text(headers, retry_names[1], djk_retry_topic_format(apply->work[message].due_at));
}

/* Of a retry that a message has had, the place is what its headers say; who has sent it may not have said. */
static void
add_given_place(const DjkApply *apply, int message, const DjkHeader *own, int nown, Headers *headers)
{
	for (int name = 0; name < lengthof(place_names); name++)
	{
		int			i = 0;

		while (i < nown && !djk_header_is(&own[i], place_names[name]))
			i++;
		if (i < nown)
			add(headers, place_names[name], own[i].value, own[i].value_len);
		else if (name == 0)
			add_text(headers, place_names[name], djk_connection_text(djk_retry_topic_origin(apply, message)));
	}
}

static void
add_place(const DjkApply *apply, int message, Headers *headers)
{
	const DjkMessage *m = &apply->batch->messages[message];
	const DjkBatchPartition *partition = partition_of(apply, message);

	add_text(headers, place_names[0], djk_connection_text(partition->topic));
	add_text(headers, place_names[1], psprintf("%d", partition->partition));
	add_text(headers, place_names[2], psprintf(INT64_FORMAT, m->offset));
	add_text(headers, place_names[3], m->timestamp_ms >= 0 ? psprintf(INT64_FORMAT, m->timestamp_ms) : NULL);
}

static void
add_error(const DjkApply *apply, int message, Headers *headers)
{
	add_text(headers, error_names[0], djk_connection_text(apply->consumer->name));
	add_text(headers, error_names[1], pstrdup(unpack_sql_state(apply->work[message].error.sqlstate)));
	add_text(headers, error_names[2], psprintf("%d", djk_postpone_attempt(apply, message) + 1));
}

static Datum
headers_of(const DjkApply *apply, int message, Oid type)
{
	DjkHeader  *own = NULL;
	int			nown = 0;
	Headers		headers = {0};

	if (apply->batch->load_headers != NULL)
		nown = apply->batch->load_headers(apply->batch, &apply->batch->messages[message], &own);
	headers.list = palloc((nown + NAMES_MAX) * sizeof(DjkHeader));
	for (int i = 0; i < nown; i++)
	{
		if (!is_replaced(apply, message, &own[i]))
			headers.list[headers.n++] = own[i];
	}
	if (is_retried(apply, message))
		add_retry(apply, message, &headers);
	else
		add_letter(apply, message, &headers);
	if (apply->consumer->retries_of != 0)
		add_given_place(apply, message, own, nown, &headers);
	else
		add_place(apply, message, &headers);
	add_error(apply, message, &headers);
	return djk_headers_datum(type, headers.list, headers.n);
}

/* ---------- sending ---------- */

static struct varlena *
bytes_of(const char *bytes, int len)
{
	return bytes == NULL ? NULL : (struct varlena *) DatumGetPointer(djk_bytea_datum(bytes, len));
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
	letter.message_time = djk_timestamp_to_send(m->timestamp_ms);
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
		refusal = refusal_of(apply, i, topic);
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

/* What was to be tried again from a topic is tried again here, if there is room. */
static void
park_unsent(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		if (is_retried(apply, i) && !apply->work[i].is_sent)
			djk_park_unsent(apply, i);
	}
}

void
djk_failed_send(DjkApply *apply, int from, int to)
{
	Sending		sending = {apply, from, to};
	ErrorData  *edata;
	bool		any = false;

	/* What is dead already stays what it is. */
	if (apply->batch->replayed)
		return;
	for (int i = from; i < to; i++)
	{
		apply->work[i].is_sent = false;
		apply->work[i].not_sent = NULL;
		any |= is_wanted(apply, i);
	}
	if (!any)
		return;
	edata = djk_subtransaction_try(send_all, &sending, apply->batch_context);
	if (edata != NULL && djk_retry_verdict(edata->sqlerrcode) == DJK_VERDICT_TRANSIENT)
		ReThrowError(edata);
	for (int i = from; edata != NULL && i < to; i++)
	{
		apply->work[i].is_sent = false;
		if (is_wanted(apply, i))
			apply->work[i].not_sent = edata->message;
	}
	park_unsent(apply, from, to);
}
