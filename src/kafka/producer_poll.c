/*-------------------------------------------------------------------------
 *
 * producer_poll.c
 *	  Reading a producer's queue: delivery reports, errors, log lines.
 *
 * A report knows its message by the number of a slot, never by its address:
 * the caller may have given the message up.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer.h"

#include <unistd.h>

#include "kafka/error.h"
#include "kafka/producer_int.h"
#include "utils/memutils.h"

/* Events kept aside; more than that are told to nobody. */
#define MAX_ASIDE			256

static void
block_topic(DjkProducer *producer, const rd_kafka_message_t *report)
{
	DjkProducerTopic *topic = djk_producer_find_topic(producer, rd_kafka_topic_name(report->rkt));

	if (topic != NULL)
		topic->blocked = report->err;
}

static uint64 *
failed_of(DjkProducerTopic *topic, int32 partition)
{
	return &topic->failed[(uint32) partition % DJK_FAILED_PARTITIONS];
}

/* What was sent to the partition after this message is to be sent after it again. */
static void
note_failure(DjkProducer *producer, const rd_kafka_message_t *report, uint64 ordinal)
{
	DjkProducerTopic *topic = djk_producer_find_topic(producer, rd_kafka_topic_name(report->rkt));
	uint64	   *failed;

	/* One that does not exist takes nothing. */
	if (topic == NULL || report->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
		return;
	failed = failed_of(topic, report->partition);
	*failed = Min(*failed, ordinal);
	producer->failed = true;
}

static bool
is_behind_failure(DjkProducer *producer, const rd_kafka_message_t *report, uint64 ordinal)
{
	DjkProducerTopic *topic;

	if (!producer->failed || producer->config.transactional_id != NULL)
		return false;			/* a transaction in which something failed is given up */
	topic = djk_producer_find_topic(producer, rd_kafka_topic_name(report->rkt));
	return topic != NULL && *failed_of(topic, report->partition) < ordinal;
}

/*
 * What a report says of its message.  A broker that has nothing of a producer
 * takes whatever number comes first: if it refuses a partition's first messages
 * and takes the next ones, which were on their way already, these have
 * overtaken the first.  Their reports come after those of the first, and are
 * not believed: all are sent again, in order.
 *
 * Where the refusal was for a while only (the broker does not know yet that it
 * leads the partition, as with a topic that was just made) the library believes
 * that the broker must have had the first as well, and calls them delivered.
 * It knows no offset of them then.
 */
static rd_kafka_resp_err_t
report_code(DjkProducer *producer, const rd_kafka_message_t *report, uint64 ordinal)
{
	bool		doubtful = report->err == RD_KAFKA_RESP_ERR_NO_ERROR && report->offset < 0;

	if (doubtful)
		djk_producer_doubt(producer, report);
	if (doubtful || report->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		note_failure(producer, report, ordinal);
	return doubtful || (report->err == RD_KAFKA_RESP_ERR_NO_ERROR && is_behind_failure(producer, report, ordinal))
		? RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER : report->err;
}

static void
take_report(DjkProducer *producer, const rd_kafka_message_t *report)
{
	int			slot = (int) (intptr_t) report->_private - 1;
	rd_kafka_resp_err_t code;
	DjkOutgoing *message;

	if (slot < 0 || slot >= producer->nslots)
		return;					/* never */
	code = report_code(producer, report, producer->ordinals[slot]);
	producer->purged |= report->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE;
	message = producer->slots[slot];
	producer->slots[slot] = NULL;
	producer->free_slots[producer->nfree++] = slot;
	if (message == NULL)
		return;
	djk_producer_answer(message, code);
	if (message->delivery == DJK_DELIVERY_DONE)
	{
		message->sent_partition = report->partition;
		message->sent_offset = report->offset;
	}
	else if (message->delivery == DJK_DELIVERY_BLOCKED)
		block_topic(producer, report);
}

/* Uses the event up. */
static void
take_delivery(DjkProducer *producer, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *report;

	while ((report = rd_kafka_event_message_next(event)) != NULL)
		take_report(producer, report);
	rd_kafka_event_destroy(event);
}

static void
lay_aside(DjkProducer *producer, rd_kafka_event_t *event)
{
	DjkLaidAside *aside = producer->naside < MAX_ASIDE
		? MemoryContextAllocExtended(producer->context, sizeof(DjkLaidAside), MCXT_ALLOC_NO_OOM)
		: NULL;

	if (aside == NULL)
	{
		rd_kafka_event_destroy(event);
		return;
	}
	aside->next = NULL;
	aside->event = event;
	if (producer->aside_last != NULL)
		producer->aside_last->next = aside;
	else
		producer->aside_first = aside;
	producer->aside_last = aside;
	producer->naside++;
}

static rd_kafka_event_t *
next_aside(DjkProducer *producer)
{
	DjkLaidAside *aside = producer->aside_first;
	rd_kafka_event_t *event;

	if (aside == NULL)
		return NULL;
	producer->aside_first = aside->next;
	if (producer->aside_first == NULL)
		producer->aside_last = NULL;
	producer->naside--;
	event = aside->event;
	pfree(aside);
	return event;
}

void
djk_producer_take_reports(DjkProducer *producer)
{
	rd_kafka_event_t *event;
	bool		taken = false;

	while ((event = rd_kafka_queue_poll(producer->handle->queue, 0)) != NULL)
	{
		taken = true;
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
		{
			take_delivery(producer, event);
			producer->reported = true;
		}
		else
			lay_aside(producer, event);
	}
	/* Who waits for the pipe must hear of what has left the queue. */
	if (taken && write(producer->handle->fds[1], "1", 1) < 0)
		return;					/* it is full: readable anyway */
}

/* False if there is nothing to tell. */
static bool
take_error(DjkProducer *producer, rd_kafka_event_t *rkev, DjkProducerEvent *event)
{
	rd_kafka_resp_err_t code = djk_kafka_error_code(rkev);
	MemoryContext saved;

	if (djk_kafka_is_hangup(code, rd_kafka_event_error_string(rkev)))
		return false;
	event->kind = DJK_PRODUCER_ERROR;
	event->unreachable = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
	event->denied = code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL ||
		code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED;
	event->is_cause = !event->unreachable && djk_kafka_error_classify_client(code) == DJK_KAFKA_RETRIABLE;
	if (rd_kafka_event_error_is_fatal(rkev) && djk_producer_spent(producer, &event->error))
		return true;
	saved = MemoryContextSwitchTo(producer->event_context);
	djk_kafka_error_fill(&event->error, code, rd_kafka_event_error_string(rkev));
	MemoryContextSwitchTo(saved);
	return true;
}

static void
take_closed_connection(DjkProducer *producer, const char *text, DjkProducerEvent *event)
{
	MemoryContext saved = MemoryContextSwitchTo(producer->event_context);

	event->kind = DJK_PRODUCER_ERROR;
	event->is_cause = true;
	djk_kafka_error_fill(&event->error, RD_KAFKA_RESP_ERR__TRANSPORT, text);
	MemoryContextSwitchTo(saved);
}

/* False if there is nothing to tell. */
static bool
take_log(DjkProducer *producer, rd_kafka_event_t *rkev, DjkProducerEvent *event)
{
	const char *facility;
	const char *text;
	const char *closed;
	int			level;

	if (rd_kafka_event_log(rkev, &facility, &text, &level) != 0)
		return false;
	/* The library calls the property experimental each time; it is ours. */
	if (strcmp(facility, "CONFWARN") == 0 && strstr(text, "enable.gapless.guarantee") != NULL)
		return false;
	closed = djk_kafka_closed_connection(facility, text);
	if (closed != NULL)
	{
		take_closed_connection(producer, closed, event);
		return true;
	}
	event->kind = DJK_PRODUCER_LOG;
	event->log_level = level;
	event->log_text = text;
	return true;
}

static void
forget_event(DjkProducer *producer)
{
	if (producer->event == NULL)
		return;
	rd_kafka_event_destroy(producer->event);
	producer->event = NULL;
	MemoryContextReset(producer->event_context);
}

/* Also while the context goes away: children of it may be gone, so nothing is reset. */
void
djk_producer_release_events(DjkProducer *producer)
{
	rd_kafka_event_t *event;

	while ((event = next_aside(producer)) != NULL)
		rd_kafka_event_destroy(event);
	if (producer->event != NULL)
		rd_kafka_event_destroy(producer->event);
	producer->event = NULL;
}

bool
djk_producer_poll(DjkProducer *producer, DjkProducerEvent *event)
{
	memset(event, 0, sizeof(DjkProducerEvent));
	forget_event(producer);
	if (producer->reported)
	{
		producer->reported = false;
		event->kind = DJK_PRODUCER_DELIVERED;
		return true;
	}
	for (;;)
	{
		rd_kafka_event_t *rkev = next_aside(producer);

		if (rkev == NULL)
			rkev = rd_kafka_queue_poll(producer->handle->queue, 0);
		if (rkev == NULL)
			return false;
		switch (rd_kafka_event_type(rkev))
		{
			case RD_KAFKA_EVENT_DR:
				take_delivery(producer, rkev);
				event->kind = DJK_PRODUCER_DELIVERED;
				return true;
			case RD_KAFKA_EVENT_ERROR:
				producer->event = rkev;
				if (take_error(producer, rkev, event))
					return true;
				forget_event(producer);
				break;
			case RD_KAFKA_EVENT_LOG:
				producer->event = rkev;
				if (take_log(producer, rkev, event))
					return true;
				forget_event(producer);
				break;
			default:
				rd_kafka_event_destroy(rkev);
				break;
		}
	}
}
