/*-------------------------------------------------------------------------
 *
 * poll.c
 *	  Reading a consumer's queue: the library's events become ours.
 *
 * Everything comes through one queue: messages, rebalances, errors, log lines.
 * A message is handed out as it lies in the library's buffer; the event that
 * owns it is kept in a slot until the caller releases it.  Slots come from
 * chunks that the consumer knows, so a consumer that is destroyed can give all
 * back first: the library does not end while one of its messages is held.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer.h"

#include "kafka/conf.h"
#include "kafka/consumer_int.h"
#include "kafka/error.h"
#include "utils/memutils.h"

#define SLOTS_PER_CHUNK		1024

/* What the library needs for a header, besides its name and value. */
#define HEADER_BYTES		64

static void
add_chunk(DjkConsumer *consumer)
{
	HeldChunk  *chunk = MemoryContextAlloc(consumer->context,
										   offsetof(HeldChunk, slots) +
										   SLOTS_PER_CHUNK * sizeof(Held));

	chunk->next = consumer->chunks;
	consumer->chunks = chunk;
	for (int i = SLOTS_PER_CHUNK - 1; i >= 0; i--)
	{
		chunk->slots[i].event = NULL;
		chunk->slots[i].consumer = consumer;
		chunk->slots[i].next_free = consumer->free_slots;
		consumer->free_slots = &chunk->slots[i];
	}
}

void
djk_consumer_release(void *source)
{
	Held	   *held = source;
	DjkConsumer *consumer = held->consumer;

	if (held->event == NULL)
		return;					/* the consumer went away before */
	rd_kafka_event_destroy(held->event);
	held->event = NULL;
	held->next_free = consumer->free_slots;
	consumer->free_slots = held;
}

static void
forget_event(DjkConsumer *consumer)
{
	if (consumer->event != NULL)
	{
		rd_kafka_event_destroy(consumer->event);
		consumer->event = NULL;
	}
	if (consumer->event_context_used)
	{
		MemoryContextReset(consumer->event_context);
		consumer->event_context_used = false;
	}
}

/* Also while the context goes away: children of it may be gone, so nothing is reset. */
void
djk_consumer_release_all(void *arg)
{
	DjkConsumer *consumer = arg;

	if (consumer->event != NULL)
	{
		rd_kafka_event_destroy(consumer->event);
		consumer->event = NULL;
	}
	for (HeldChunk *chunk = consumer->chunks; chunk != NULL; chunk = chunk->next)
		for (int i = 0; i < SLOTS_PER_CHUNK; i++)
			if (chunk->slots[i].event != NULL)
				djk_consumer_release(&chunk->slots[i]);
}

/*
 * Before 2.2.0 a broker's thread that found the queue full sleeps for up to a
 * second, however fast the queue is emptied meanwhile.  Any request to the
 * broker wakes it, and it looks at the queue again: so one that costs nearly
 * nothing is sent to each broker that delivers, and its answer not waited for.
 */
static void
wake_fetchers(DjkConsumer *consumer)
{
	Kick	   *kick = &consumer->kick;
	rd_kafka_topic_partition_list_t *list;

	kick->taken = 0;
	kick->taken_bytes = 0;
	if (kick->nbrokers == 0)
		return;
	list = rd_kafka_topic_partition_list_new(kick->nbrokers);
	for (int i = 0; i < kick->nbrokers; i++)
		rd_kafka_topic_partition_list_add(list, kick->brokers[i].topic,
										  kick->brokers[i].partition)->offset = RD_KAFKA_OFFSET_END;
	rd_kafka_offsets_for_times(consumer->handle->rk, list, 0);
	rd_kafka_topic_partition_list_destroy(list);
}

/* Notes which broker a partition comes from, when the partition changes. */
static void
note_broker(Kick *kick, const rd_kafka_message_t *message)
{
	int32_t		broker = rd_kafka_message_broker_id(message);
	int			i;

	kick->last_topic = message->rkt;
	kick->last_partition = message->partition;
	for (i = 0; i < kick->nbrokers; i++)
		if (kick->brokers[i].broker == broker)
			break;
	if (i == DJK_KICK_BROKERS)
		return;
	kick->brokers[i].broker = broker;
	kick->brokers[i].partition = message->partition;
	strlcpy(kick->brokers[i].topic, rd_kafka_topic_name(message->rkt),
			sizeof(kick->brokers[i].topic));
	if (i == kick->nbrokers)
		kick->nbrokers++;
}

static inline void
count_taken(DjkConsumer *consumer, const rd_kafka_message_t *message)
{
	Kick	   *kick = &consumer->kick;

	if (!kick->wanted)
		return;
	if (message->rkt != kick->last_topic || message->partition != kick->last_partition)
		note_broker(kick, message);
	kick->taken_bytes += message->len;
	if (++kick->taken >= kick->every || kick->taken_bytes >= kick->every_bytes)
		wake_fetchers(consumer);
}

/* False if the event held nothing. */
static bool
take_message(DjkConsumer *consumer, rd_kafka_event_t *rkev, DjkConsumerEvent *event)
{
	const rd_kafka_message_t *message = rd_kafka_event_message_next(rkev);
	rd_kafka_timestamp_type_t type;
	Held	   *held;

	if (message == NULL || message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		rd_kafka_event_destroy(rkev);
		return false;
	}
	held = consumer->free_slots;
	consumer->free_slots = held->next_free;
	held->event = rkev;
	held->message = message;

	event->kind = DJK_CONSUMER_MESSAGE;
	event->topic = rd_kafka_topic_name(message->rkt);
	event->partition = message->partition;
	event->offset = message->offset;
	event->message.partition = -1;
	event->message.offset = message->offset;
	event->message.timestamp_ms = rd_kafka_message_timestamp(message, &type);
	event->message.key = message->key;
	event->message.key_len = (int) message->key_len;
	event->message.value = message->payload;
	event->message.value_len = (int) message->len;
	event->message.source = held;
	count_taken(consumer, message);
	return true;
}

static void
take_rebalance(DjkConsumer *consumer, rd_kafka_event_t *rkev, DjkConsumerEvent *event)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(rkev);
	int			n = list ? list->cnt : 0;

	if (rd_kafka_event_error(rkev) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
	{
		event->kind = DJK_CONSUMER_ASSIGN;
		consumer->nowned = consumer->cooperative ? consumer->nowned + n : n;
		consumer->revoking = false;
	}
	else
	{
		/* Partitions that were lost come this way too: the fence decides, not we. */
		event->kind = DJK_CONSUMER_REVOKE;
		consumer->nowned = consumer->cooperative ? Max(consumer->nowned - n, 0) : 0;
		consumer->revoking = true;
	}

	event->npartitions = n;
	event->partitions = palloc0(Max(n, 1) * sizeof(DjkTopicPartition));
	for (int i = 0; i < n; i++)
	{
		event->partitions[i].topic = list->elems[i].topic;
		event->partitions[i].partition = list->elems[i].partition;
		event->partitions[i].offset = DJK_OFFSET_UNKNOWN;
	}
}

/*
 * An unknown topic of a subscription is named in the text alone: "Subscribed
 * topic not available: NAME: …".  A name holds no colon.
 */
static const char *
topic_in_text(const char *text)
{
	const char *start = text ? strstr(text, "topic not available: ") : NULL;

	if (start == NULL)
		return NULL;
	start += strlen("topic not available: ");
	return pnstrdup(start, strcspn(start, ":"));
}

/* False if there is nothing to tell. */
static bool
take_error(DjkConsumer *consumer, rd_kafka_event_t *rkev, DjkConsumerEvent *event)
{
	rd_kafka_resp_err_t code = djk_kafka_error_code(rkev);
	const char *text = rd_kafka_event_error_string(rkev);
	rd_kafka_topic_partition_t *where = rd_kafka_event_topic_partition(rkev);
	char		reason[512] = "";

	event->kind = DJK_CONSUMER_ERROR;
	event->topic = NULL;
	event->partition = -1;
	event->offset = DJK_OFFSET_UNKNOWN;
	if (where != NULL)
	{
		event->kind = DJK_CONSUMER_PARTITION_ERROR;
		event->topic = pstrdup(where->topic);
		event->partition = where->partition;
		event->offset = where->offset;
		rd_kafka_topic_partition_destroy(where);
	}
	if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF && event->topic != NULL)
	{
		event->kind = DJK_CONSUMER_EOF;
		return true;
	}

	event->error_class = event->topic == NULL ? djk_kafka_error_classify_client(code) : djk_kafka_error_classify(code);
	event->unreachable = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
	if (rd_kafka_event_error_is_fatal(rkev) || event->error_class == DJK_KAFKA_FATAL)
	{
		rd_kafka_resp_err_t cause = rd_kafka_fatal_error(consumer->handle->rk, reason, sizeof(reason));

		event->kind = DJK_CONSUMER_ERROR;
		event->error_class = DJK_KAFKA_FATAL;
		djk_kafka_error_fill(&event->error, cause ? cause : code, reason[0] ? reason : text);
		return true;
	}
	if (djk_kafka_is_hangup(code, text))
		return false;
	/* Without a group nobody needs to be its coordinator. */
	if (!consumer->in_group && code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
		return false;
	if (event->error_class == DJK_KAFKA_UNKNOWN_TOPIC && event->topic != NULL &&
		djk_kafka_library_version() < DJK_KAFKA_VERSION_ENDS)
		consumer->handle->stuck = true;
	djk_kafka_error_fill(&event->error, code, text);
	if (event->topic == NULL && (event->topic = topic_in_text(text)) != NULL)
		event->kind = DJK_CONSUMER_PARTITION_ERROR;
	return true;
}

/* A commit is advice: only its failure is told. */
static bool
take_commit(rd_kafka_event_t *rkev, DjkConsumerEvent *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(rkev);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__NO_OFFSET)
		return false;
	event->kind = DJK_CONSUMER_ERROR;
	event->topic = NULL;
	event->partition = -1;
	event->offset = DJK_OFFSET_UNKNOWN;
	event->unreachable = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
	event->error_class = djk_kafka_error_classify(code);
	if (event->error_class == DJK_KAFKA_FATAL)
		event->error_class = DJK_KAFKA_OTHER;	/* what is fatal comes as an error of its own */
	djk_kafka_error_fill(&event->error, code, NULL);
	return true;
}

/*
 * That a topic is gone the library tells when it has looked up all topics again.
 * One that was made again by then is gone on with where the old one was, in
 * silence.  That the leader of a partition does not know its topic any more it
 * tells at once, but in its debugging log alone: that is what consumer.c has it
 * write, of topics only.
 */
static bool
take_log(rd_kafka_event_t *rkev, DjkConsumerEvent *event)
{
	const char *facility;
	const char *text;
	const char *closed;
	int			level;

	if (rd_kafka_event_log(rkev, &facility, &text, &level) != 0)
		return false;
	if (strcmp(facility, "BROKERUA") == 0 && strstr(text, "nknown topic") != NULL)
	{
		/* "[thrd:…]: topic [partition]: …" */
		const char *topic = strstr(text, "]: ");

		topic = topic ? topic + strlen("]: ") : text;
		event->kind = DJK_CONSUMER_DOUBT;
		event->topic = pnstrdup(topic, strcspn(topic, " "));
		return true;
	}
	closed = djk_kafka_closed_connection(facility, text);
	if (closed != NULL)
	{
		event->kind = DJK_CONSUMER_ERROR;
		event->partition = -1;
		event->offset = DJK_OFFSET_UNKNOWN;
		event->error_class = DJK_KAFKA_RETRIABLE;
		djk_kafka_error_fill(&event->error, RD_KAFKA_RESP_ERR__TRANSPORT, closed);
		return true;
	}
	event->kind = DJK_CONSUMER_LOG;
	event->log_level = level;
	event->log_text = text;
	return true;
}

/* All but messages; strings go to the event's context. */
static bool
take_other(DjkConsumer *consumer, rd_kafka_event_t *rkev, DjkConsumerEvent *event)
{
	MemoryContext saved = MemoryContextSwitchTo(consumer->event_context);
	bool		told = false;

	consumer->event = rkev;
	consumer->event_context_used = true;
	switch (rd_kafka_event_type(rkev))
	{
		case RD_KAFKA_EVENT_REBALANCE:
			take_rebalance(consumer, rkev, event);
			told = true;
			break;
		case RD_KAFKA_EVENT_ERROR:
			told = take_error(consumer, rkev, event);
			break;
		case RD_KAFKA_EVENT_OFFSET_COMMIT:
			told = take_commit(rkev, event);
			break;
		case RD_KAFKA_EVENT_LOG:
			told = take_log(rkev, event);
			break;
		default:
			break;
	}
	MemoryContextSwitchTo(saved);
	return told;
}

bool
djk_consumer_poll(DjkConsumer *consumer, DjkConsumerEvent *event)
{
	memset(event, 0, sizeof(*event));
	for (;;)
	{
		rd_kafka_event_t *rkev;

		if (consumer->event != NULL || consumer->event_context_used)
			forget_event(consumer);
		if (consumer->free_slots == NULL)
			add_chunk(consumer);	/* may throw, so before there is an event */
		rkev = rd_kafka_queue_poll(consumer->handle->queue, 0);
		if (rkev == NULL)
		{
			event->kind = DJK_CONSUMER_NONE;
			return false;
		}
		if (rd_kafka_event_type(rkev) == RD_KAFKA_EVENT_FETCH
			? take_message(consumer, rkev, event)
			: take_other(consumer, rkev, event))
			return true;
	}
}

int
djk_consumer_headers(const DjkMessage *message, MemoryContext context, DjkHeader **headers)
{
	const Held *held = message->source;
	rd_kafka_headers_t *list;
	size_t		n;

	*headers = NULL;
	if (rd_kafka_message_headers(held->message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	n = rd_kafka_header_cnt(list);
	if (n == 0)
		return 0;
	*headers = MemoryContextAllocHuge(context, n * sizeof(DjkHeader));
	for (size_t i = 0; i < n; i++)
	{
		const void *value;
		size_t		size;

		rd_kafka_header_get_all(list, i, &(*headers)[i].name, &value, &size);
		(*headers)[i].name_len = (int) strlen((*headers)[i].name);
		(*headers)[i].value = value;
		(*headers)[i].value_len = (int) size;
	}
	return (int) n;
}

/* The library parses them for it, and keeps what it has parsed with the message. */
Size
djk_consumer_headers_size(const DjkMessage *message)
{
	const Held *held = message->source;
	rd_kafka_headers_t *list;
	size_t		n;
	Size		all = 0;

	if (rd_kafka_message_headers(held->message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	n = rd_kafka_header_cnt(list);
	for (size_t i = 0; i < n; i++)
	{
		const char *name;
		const void *value;
		size_t		size;

		rd_kafka_header_get_all(list, i, &name, &value, &size);
		all += HEADER_BYTES + strlen(name) + size;
	}
	return all;
}
