/*-------------------------------------------------------------------------
 *
 * producer.c
 *	  A producer of librdkafka: its configuration, and handing messages over.
 *
 * The library is told never to give up on a message by itself: it tries for
 * ever (message.timeout.ms=0) and it is idempotent, so a broker that is away
 * for a day costs nothing but time.  What a broker refuses for good would leave
 * a gap that later messages of the partition overtake: the library is gapless,
 * it raises a fatal error then, and the producer is spent.  A transactional one
 * asks for an abort instead.
 *
 * A message whose topic does not exist fails alone, and nothing would keep a
 * later one from being sent if the topic is created in between.  So a topic is
 * blocked from the first such answer on, until djk_producer_check_topic() finds
 * it; djk_producer_send() takes the reports that are waiting before it sends.
 *
 * Partitions are chosen by the library's own default, consistent_random: CRC32
 * of the key, as all clients made on librdkafka do (Python's, Go's, .NET's), so
 * that a Django application that moves from one of them to djkafka keeps its
 * keys' partitions.  Messages without a key are spread.  So would be those with
 * an empty one, but that is a key as any other, and its messages have an order:
 * they go where its CRC32 says, to partition 0.
 * Who shares topics with Java's clients sets partitioner=murmur2_random.
 *
 * producer_poll.c reads the queue, producer_call.c waits for answers,
 * producer_answer.c says what they mean.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer.h"

#include "kafka/conf.h"
#include "kafka/error.h"
#include "kafka/producer_int.h"
#include "utils/memutils.h"

#define FIRST_SLOTS			1024
#define DEFAULT_PARTITIONER	"consistent_random"

/* What an administrator may override. */
static void
set_defaults(rd_kafka_conf_t *conf)
{
	djk_conf_set_defaults(conf);
	djk_conf_set(conf, "socket.nagle.disable", "true");
	/* Messages come in batches that lie ready: waiting for more only costs time. */
	djk_conf_set(conf, "linger.ms", "0");
	/* Those without a key go to one partition for a while, or each would be sent alone. */
	djk_conf_set(conf, "sticky.partitioning.linger.ms", "10");
}

static void
set_enforced(rd_kafka_conf_t *conf)
{
	djk_conf_set_enforced(conf);
	djk_conf_set(conf, "enable.idempotence", "true");
	djk_conf_set(conf, "enable.gapless.guarantee", "true");
	djk_conf_set(conf, "acks", "all");
	djk_conf_set(conf, "message.timeout.ms", "0");
	/* Whether topics appear by themselves is the broker's to say. */
	djk_conf_set(conf, "allow.auto.create.topics", "true");
}

/* Lowers a number to 'limit' unless somebody has set a lower one. */
static void
limit_int(rd_kafka_conf_t *conf, const char *name, int64 limit)
{
	char		text[64];
	size_t		size = sizeof(text);

	if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK ||
		strtoll(text, NULL, 10) > limit)
		djk_conf_set_int(conf, name, limit);
}

static rd_kafka_conf_t *
create_conf(const DjkProducerConfig *config)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	/* What is set later wins. */
	set_defaults(conf);
	djk_conf_apply(conf, config->properties, config->nproperties, DJK_SCOPE_PRODUCER);
	limit_int(conf, "queue.buffering.max.kbytes", config->queue_kbytes);
	/* What could never enter the queue is refused and not tried for ever. */
	limit_int(conf, "message.max.bytes", (int64) config->queue_kbytes * 1024);
	set_enforced(conf);
	if (config->transactional_id != NULL)
		djk_conf_set(conf, "transactional.id", config->transactional_id);
	if (config->client_id != NULL)
		djk_conf_set(conf, "client.id", config->client_id);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	return conf;
}

/* The library does not end while an event or a topic of its own is held. */
static void
release_all(void *arg)
{
	DjkProducer *producer = arg;

	/* What waits in its queue must not be sent any more: a call may delay the end, and another may send it. */
	if (producer->handle->rk != NULL)
		rd_kafka_purge(producer->handle->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
					   RD_KAFKA_PURGE_F_NON_BLOCKING);
	djk_producer_release_events(producer);
	djk_producer_release_topics(producer);
	producer->nfree = producer->nslots;
}

static const char *
copy_text(MemoryContext context, const char *text)
{
	return text != NULL ? MemoryContextStrdup(context, text) : NULL;
}

static void
copy_config(MemoryContext context, DjkProducerConfig *copy, const DjkProducerConfig *config)
{
	DjkProperty *properties = MemoryContextAlloc(context, Max(config->nproperties, 1) * sizeof(DjkProperty));

	*copy = *config;
	copy->client_id = copy_text(context, config->client_id);
	copy->transactional_id = copy_text(context, config->transactional_id);
	copy->properties = properties;
	for (int i = 0; i < config->nproperties; i++)
	{
		properties[i].name = copy_text(context, config->properties[i].name);
		properties[i].value = copy_text(context, config->properties[i].value);
	}
}

static bool
spreads_empty_keys(const DjkProducerConfig *config)
{
	const char *partitioner = DEFAULT_PARTITIONER;

	for (int i = 0; i < config->nproperties; i++)
	{
		if (strcmp(config->properties[i].name, "partitioner") == 0)
			partitioner = config->properties[i].value;
	}
	return strcmp(partitioner, DEFAULT_PARTITIONER) == 0;
}

DjkProducer *
djk_producer_create(MemoryContext context, const DjkProducerConfig *config)
{
	DjkProducer *producer = MemoryContextAllocZero(context, sizeof(DjkProducer));

	producer->context = context;
	copy_config(context, &producer->config, config);
	producer->spreads_empty_keys = spreads_empty_keys(config);
	producer->event_context = AllocSetContextCreate(context, "djkafka producer event",
													ALLOCSET_SMALL_SIZES);
	producer->slots = MemoryContextAlloc(context, FIRST_SLOTS * sizeof(DjkOutgoing *));
	producer->ordinals = MemoryContextAlloc(context, FIRST_SLOTS * sizeof(uint64));
	producer->free_slots = MemoryContextAlloc(context, FIRST_SLOTS * sizeof(int));
	producer->nslots = producer->nfree = FIRST_SLOTS;
	for (int i = 0; i < FIRST_SLOTS; i++)
		producer->free_slots[i] = FIRST_SLOTS - 1 - i;

	producer->handle = djk_handle_create(context, RD_KAFKA_PRODUCER, create_conf(config));
	producer->handle->release = release_all;
	producer->handle->release_arg = producer;
	return producer;
}

void
djk_producer_destroy(DjkProducer *producer, int timeout_ms)
{
	djk_handle_destroy(producer->handle, timeout_ms);
}

int
djk_producer_fd(DjkProducer *producer)
{
	return producer->handle->fds[0];
}

void
djk_producer_drain_fd(DjkProducer *producer)
{
	djk_handle_drain_fd(producer->handle);
}

int
djk_producer_in_flight(const DjkProducer *producer)
{
	return producer->nslots - producer->nfree;
}

void
djk_producer_forget(DjkProducer *producer)
{
	memset(producer->slots, 0, producer->nslots * sizeof(DjkOutgoing *));
}

/* Makes sure that there is a free slot. */
static void
need_slot(DjkProducer *producer)
{
	int			n = producer->nslots;

	if (producer->nfree > 0)
		return;
	producer->slots = repalloc_huge(producer->slots, 2 * n * sizeof(DjkOutgoing *));
	producer->ordinals = repalloc_huge(producer->ordinals, 2 * n * sizeof(uint64));
	producer->free_slots = repalloc_huge(producer->free_slots, 2 * n * sizeof(int));
	producer->nslots = 2 * n;
	for (int i = 2 * n - 1; i >= n; i--)
		producer->free_slots[producer->nfree++] = i;
}

static rd_kafka_headers_t *
create_headers(const DjkOutgoing *message)
{
	rd_kafka_headers_t *headers;

	if (message->nheaders == 0)
		return NULL;
	headers = rd_kafka_headers_new(message->nheaders);
	for (int i = 0; i < message->nheaders; i++)
	{
		const DjkHeader *header = &message->headers[i];

		rd_kafka_header_add(headers, header->name, header->name_len,
							header->value, header->value_len);
	}
	return headers;
}

static int32_t
choose_partition(const DjkProducer *producer, const DjkOutgoing *message)
{
	if (message->partition >= 0)
		return message->partition;
	if (message->key != NULL && message->key_len == 0 && producer->spreads_empty_keys)
		return 0;
	return RD_KAFKA_PARTITION_UA;
}

/* Copies the message into the library's queue. */
static rd_kafka_resp_err_t
enqueue(DjkProducer *producer, const DjkProducerTopic *topic, const DjkOutgoing *message, int slot)
{
	rd_kafka_headers_t *headers = create_headers(message);
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_error_t *error;
	rd_kafka_vu_t parts[] = {
		{.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic->rkt},
		{.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = choose_partition(producer, message)},
		{.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
		/* A null pointer is null, any other with no bytes is empty. */
		{.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {unconstify(char *, message->key), message->key_len}},
		{.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {unconstify(char *, message->value), message->value_len}},
		{.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = message->timestamp_ms},
		{.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *) (intptr_t) (slot + 1)},
		{.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
	};

	error = rd_kafka_produceva(producer->handle->rk, parts,
							   headers ? lengthof(parts) : lengthof(parts) - 1);
	if (error == NULL)
		return code;
	code = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	if (headers != NULL)
		rd_kafka_headers_destroy(headers);	/* ours again, as it failed */
	return code;
}

/* False if the queue is full; else the message is on its way or answered. */
static bool
send_one(DjkProducer *producer, DjkOutgoing *message)
{
	DjkProducerTopic *topic = djk_producer_get_topic(producer, message->topic);
	rd_kafka_resp_err_t code;
	int			slot;

	message->delivery = DJK_DELIVERY_PENDING;
	if (topic == NULL)
		code = RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
	else if (topic->blocked != RD_KAFKA_RESP_ERR_NO_ERROR)
		code = topic->blocked;
	else
	{
		need_slot(producer);
		slot = producer->free_slots[producer->nfree - 1];
		code = enqueue(producer, topic, message, slot);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			producer->slots[slot] = message;
			producer->ordinals[slot] = ++producer->last_ordinal;
			producer->nfree--;
			return true;
		}
		if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		{
			if (djk_producer_in_flight(producer) > 0)
				return false;
			code = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;	/* it never fits */
		}
	}
	djk_producer_answer(message, code);
	if (topic != NULL && message->delivery == DJK_DELIVERY_BLOCKED)
		topic->blocked = code;
	return true;
}

int
djk_producer_send(DjkProducer *producer, DjkOutgoing *messages, int n)
{
	int			sent = 0;

	djk_producer_take_reports(producer);
	/* The library sends nothing more where it has given up itself, and goes on where it was us. */
	if (djk_producer_spent(producer, NULL))
	{
		for (; sent < n; sent++)
			djk_producer_answer(&messages[sent], RD_KAFKA_RESP_ERR__FATAL);
		return sent;
	}
	if (djk_producer_in_flight(producer) == 0)
		djk_producer_forget_failures(producer);
	while (sent < n && send_one(producer, &messages[sent]))
		sent++;
	return sent;
}
