/*-------------------------------------------------------------------------
 *
 * producer_call.c
 *	  What a producer waits for: whether a topic is there, transactions.
 *
 * Each call is made in a thread of its own (djk_handle_call), in slices: the
 * library takes up a call of a transaction where it left it when the same one
 * comes again, so a backend that is told to go away never leaves a long call
 * behind.  Between two slices delivery reports are taken, for the library ends
 * no transaction while one of them lies in the queue.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer.h"

#include "base/clock.h"
#include "kafka/consumer.h"
#include "kafka/error.h"
#include "kafka/producer_int.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Longest single call of the library. */
#define SLICE_MS			DJK_KAFKA_SLICE_MS

/* The same while messages are in flight: their reports must be taken. */
#define SHORT_SLICE_MS		20

/* The library should have given up by itself when this much more has passed. */
#define GRACE_MS			2000

/* Pause between two tries. */
#define RETRY_MS			50

/* How long a topic that the broker may be making is waited for. */
#define MAKING_MS			700

typedef struct Question Question;

/* malloc'd: the thread may outlive whoever asked. */
struct Question
{
	rd_kafka_t *rk;
	int			timeout_ms;

	/* transactions */
	rd_kafka_error_t *(*ask) (Question *question);
	rd_kafka_error_t *error;
	rd_kafka_topic_partition_list_t *offsets;
	rd_kafka_consumer_group_metadata_t *group;

	/* topics */
	rd_kafka_topic_t *topic;
	rd_kafka_resp_err_t code;
	int			npartitions;
	bool		leaderless;
};

static Question *
create_question(DjkProducer *producer)
{
	Question   *question = calloc(1, sizeof(Question));

	if (question == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	question->rk = producer->handle->rk;
	return question;
}

static void
discard_question(void *arg)
{
	Question   *question = arg;

	if (question->error != NULL)
		rd_kafka_error_destroy(question->error);
	if (question->offsets != NULL)
		rd_kafka_topic_partition_list_destroy(question->offsets);
	if (question->group != NULL)
		rd_kafka_consumer_group_metadata_destroy(question->group);
	if (question->topic != NULL)
		rd_kafka_topic_destroy(question->topic);
	free(question);
}

/* Waits a little between two tries of what failed at once. */
static void
pause_before_retry(double slice_start)
{
	double		spent = djk_clock_ms() - slice_start;

	if (spent < RETRY_MS)
		pg_usleep((long) ((RETRY_MS - spent) * 1000));
	CHECK_FOR_INTERRUPTS();
}

/* --- topics --- */

static bool
is_leaderless(const rd_kafka_metadata_topic_t *topic)
{
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		if (topic->partitions[i].leader < 0)
			return true;
	}
	return topic->partition_cnt == 0;
}

/* In the thread: one look. */
static void
run_topic(void *arg)
{
	Question   *question = arg;
	const struct rd_kafka_metadata *metadata;

	question->code = rd_kafka_metadata(question->rk, 0, question->topic, &metadata, question->timeout_ms);
	if (question->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	if (metadata->topic_cnt == 0)
		question->code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	else
	{
		const rd_kafka_metadata_topic_t *topic = &metadata->topics[0];

		question->code = topic->err;
		question->npartitions = topic->partition_cnt;
		question->leaderless = topic->err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
			(topic->err == RD_KAFKA_RESP_ERR_NO_ERROR && is_leaderless(topic));
		if (question->leaderless)
			question->code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	}
	rd_kafka_metadata_destroy(metadata);
}

static rd_kafka_resp_err_t
look_once(DjkProducer *producer, const char *topic, int timeout_ms, DjkTopicLook *look)
{
	Question   *question = create_question(producer);
	rd_kafka_resp_err_t code;

	look->npartitions = 0;
	look->leaderless = false;
	question->timeout_ms = timeout_ms;
	question->topic = rd_kafka_topic_new(producer->handle->rk, topic, NULL);
	if (question->topic == NULL)
	{
		discard_question(question);
		return RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
	}
	if (!djk_handle_call(producer->handle, run_topic, discard_question, question,
						 timeout_ms + GRACE_MS))
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	code = question->code;
	look->npartitions = question->npartitions;
	look->leaderless = question->leaderless;
	discard_question(question);
	return code;
}

/* Looks until there is an answer or no time. */
static rd_kafka_resp_err_t
wait_for_topic(DjkProducer *producer, const char *topic, int timeout_ms, DjkTopicLook *look)
{
	double		first = djk_clock_ms();
	double		until = first + timeout_ms;

	for (;;)
	{
		double		start = djk_clock_ms();
		rd_kafka_resp_err_t code = look_once(producer, topic, (int) Min(Max(until - start, 1), SLICE_MS), look);

		/* A broker that makes topics may say so first. */
		if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
			until = Min(until, first + MAKING_MS);
		else if (djk_kafka_error_classify(code) != DJK_KAFKA_RETRIABLE)
			return code;
		if (until - djk_clock_ms() <= RETRY_MS)
			return code;
		pause_before_retry(start);
	}
}

static DjkDelivery
judge_topic(rd_kafka_resp_err_t code, DjkTopicLook *look)
{
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return DJK_DELIVERY_DONE;
	djk_kafka_error_fill(&look->error, code, NULL);
	/* Without a leader it is the topic that cannot be written to, not Kafka. */
	return look->leaderless ? DJK_DELIVERY_BLOCKED : djk_producer_classify(code, -1);
}

DjkDelivery
djk_producer_check_topic(DjkProducer *producer, const char *topic, int timeout_ms, DjkTopicLook *look)
{
	DjkDelivery answer;
	DjkProducerTopic *known;

	memset(look, 0, sizeof(DjkTopicLook));
	answer = judge_topic(wait_for_topic(producer, topic, timeout_ms, look), look);
	if (answer == DJK_DELIVERY_DONE)
	{
		/* What failed of it must have been seen, or later messages would overtake it. */
		djk_producer_take_reports(producer);
		known = djk_producer_find_topic(producer, topic);
		if (known != NULL)
			known->blocked = RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	return answer;
}

DjkDelivery
djk_producer_look_at_topic(DjkProducer *producer, const char *topic, int timeout_ms, DjkTopicLook *look)
{
	memset(look, 0, sizeof(DjkTopicLook));
	return judge_topic(look_once(producer, topic, Min(timeout_ms, SLICE_MS), look), look);
}

/* In the thread: what is known already is asked for again. */
static void
run_any(void *arg)
{
	Question   *question = arg;
	const struct rd_kafka_metadata *metadata;

	question->code = rd_kafka_metadata(question->rk, 0, NULL, &metadata, question->timeout_ms);
	if (question->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(metadata);
}

bool
djk_producer_finds_broker(DjkProducer *producer, int timeout_ms)
{
	Question   *question = create_question(producer);
	bool		found;

	question->timeout_ms = timeout_ms;
	if (!djk_handle_call(producer->handle, run_any, discard_question, question, timeout_ms + GRACE_MS))
		return false;
	found = question->code == RD_KAFKA_RESP_ERR_NO_ERROR;
	discard_question(question);
	return found;
}

/* --- transactions --- */

static void
run_transaction(void *arg)
{
	Question   *question = arg;

	question->error = question->ask(question);
}

static rd_kafka_error_t *
ask_init(Question *question)
{
	return rd_kafka_init_transactions(question->rk, question->timeout_ms);
}

static rd_kafka_error_t *
ask_begin(Question *question)
{
	return rd_kafka_begin_transaction(question->rk);
}

static rd_kafka_error_t *
ask_carry(Question *question)
{
	return rd_kafka_send_offsets_to_transaction(question->rk, question->offsets,
												question->group, question->timeout_ms);
}

static rd_kafka_error_t *
ask_commit(Question *question)
{
	return rd_kafka_commit_transaction(question->rk, question->timeout_ms);
}

static rd_kafka_error_t *
ask_abort(Question *question)
{
	return rd_kafka_abort_transaction(question->rk, question->timeout_ms);
}

static DjkTransactionResult
judge(const rd_kafka_error_t *error)
{
	rd_kafka_resp_err_t code = rd_kafka_error_code(error);

	if (error == NULL)
		return DJK_TRANSACTION_OK;
	if (rd_kafka_error_is_fatal(error))
		return DJK_TRANSACTION_SPENT;
	if (rd_kafka_error_txn_requires_abort(error))
		return DJK_TRANSACTION_ABORT;
	/* Another call is not over, and only it may end what it began. */
	if (code == RD_KAFKA_RESP_ERR__CONFLICT)
		return DJK_TRANSACTION_SPENT;
	if (rd_kafka_error_is_retriable(error) || code == RD_KAFKA_RESP_ERR__TIMED_OUT)
		return DJK_TRANSACTION_RETRY;
	return DJK_TRANSACTION_SPENT;
}

/* Asks in slices until there is an answer or no time; 'question' is used up. */
static DjkTransactionResult
ask_in_slices(DjkProducer *producer, Question *question, int timeout_ms, DjkError *error)
{
	double		until = djk_clock_ms() + timeout_ms;

	for (;;)
	{
		double		start = djk_clock_ms();
		DjkTransactionResult result;
		int			slice = djk_producer_in_flight(producer) > 0 ? SHORT_SLICE_MS : SLICE_MS;

		question->timeout_ms = (int) Min(Max(until - start, 1), slice);
		if (!djk_handle_call(producer->handle, run_transaction, discard_question, question,
							 question->timeout_ms + GRACE_MS))
		{
			djk_kafka_error_fill(error, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
			return DJK_TRANSACTION_RETRY;
		}
		djk_producer_take_reports(producer);
		result = judge(question->error);
		if (result != DJK_TRANSACTION_RETRY || djk_clock_ms() >= until)
		{
			if (result != DJK_TRANSACTION_OK)
				djk_kafka_error_fill(error, rd_kafka_error_code(question->error),
									 rd_kafka_error_string(question->error));
			discard_question(question);
			return result;
		}
		rd_kafka_error_destroy(question->error);
		question->error = NULL;
		if (slice == SLICE_MS)
			pause_before_retry(start);
	}
}

static DjkTransactionResult
ask_simply(DjkProducer *producer, rd_kafka_error_t *(*ask) (Question *), int timeout_ms, DjkError *error)
{
	Question   *question;

	if (djk_producer_spent(producer, error))
		return DJK_TRANSACTION_SPENT;
	question = create_question(producer);
	question->ask = ask;
	return ask_in_slices(producer, question, timeout_ms, error);
}

DjkTransactionResult
djk_producer_init_transactions(DjkProducer *producer, int timeout_ms, DjkError *error)
{
	return ask_simply(producer, ask_init, timeout_ms, error);
}

DjkTransactionResult
djk_producer_begin(DjkProducer *producer, DjkError *error)
{
	DjkTransactionResult result = ask_simply(producer, ask_begin, GRACE_MS, error);

	if (result == DJK_TRANSACTION_OK)
		producer->purged = false;
	return result;
}

DjkTransactionResult
djk_producer_commit(DjkProducer *producer, int timeout_ms, DjkError *error)
{
	return ask_simply(producer, ask_commit, timeout_ms, error);
}

DjkTransactionResult
djk_producer_abort(DjkProducer *producer, int timeout_ms, DjkError *error)
{
	return ask_simply(producer, ask_abort, timeout_ms, error);
}

/*
 * What the library takes out of its queue gives its sequence numbers to what
 * comes next.  It may have been sent before: a connection was lost before the
 * answer, or its leader was none any more when it answered.  A broker that has it
 * takes the next messages of these numbers for the same ones and acknowledges
 * them, though they are in the transaction that was given up alone.  Another
 * producer has another epoch, and its numbers begin again.
 */
bool
djk_producer_has_purged(const DjkProducer *producer)
{
	return producer->purged;
}

DjkTransactionResult
djk_producer_carry(DjkProducer *producer, const char *group, const char *topic,
				   int partition, int64 number, const char *note, int timeout_ms, DjkError *error)
{
	rd_kafka_topic_partition_t *carrier;
	Question   *question;

	if (djk_producer_spent(producer, error))
		return DJK_TRANSACTION_SPENT;
	question = create_question(producer);
	question->ask = ask_carry;
	question->group = rd_kafka_consumer_group_metadata_new(group);
	question->offsets = rd_kafka_topic_partition_list_new(1);
	carrier = rd_kafka_topic_partition_list_add(question->offsets, topic, partition);
	carrier->offset = number;
	carrier->metadata = strdup(note);	/* the list frees it */
	carrier->metadata_size = carrier->metadata != NULL ? strlen(note) : 0;
	return ask_in_slices(producer, question, timeout_ms, error);
}

/* --- what was carried --- */

/*
 * The library has an admin request for this (ListConsumerGroupOffsets), which
 * aborts the whole process in every version so far if the connection to the
 * group's coordinator is lost while it runs (librdkafka's issues 3663, 4605).
 * So a consumer asks, which names the group and never joins it; one that reads
 * what is committed gets no answer while a transaction is undecided.
 */
bool
djk_producer_carried(DjkProducer *producer, const char *group, const char *topic, int partition,
					 int64 *number, char **note, int timeout_ms, DjkError *error)
{
	double		until = djk_clock_ms() + timeout_ms;
	MemoryContext context = AllocSetContextCreate(producer->context, "djkafka carried number",
												  ALLOCSET_SMALL_SIZES);
	DjkConsumerConfig config = {0};
	DjkTopicPartition carrier = {0};
	DjkConsumer *consumer;
	bool		answered;

	*number = -1;
	*note = NULL;
	config.properties = producer->config.properties;
	config.nproperties = producer->config.nproperties;
	config.client_id = producer->config.client_id;
	config.embedded = producer->config.embedded;
	config.queue_kbytes = producer->config.queue_kbytes;
	config.group_id = group;
	carrier.topic = pstrdup(topic);
	carrier.partition = partition;

	PG_TRY();
	{
		consumer = djk_consumer_create(context, &config);
		answered = djk_consumer_committed(consumer, &carrier, 1, (int) Max(until - djk_clock_ms(), 1), error);
		djk_consumer_destroy(consumer, GRACE_MS);
	}
	PG_FINALLY();
	{
		MemoryContextDelete(context);
	}
	PG_END_TRY();
	if (answered && carrier.error.sqlstate != 0)
	{
		*error = carrier.error;
		answered = false;
	}
	*number = answered && carrier.offset >= 0 ? carrier.offset : -1;
	*note = carrier.metadata;
	return answered;
}
