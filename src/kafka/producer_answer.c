/*-------------------------------------------------------------------------
 *
 * producer_answer.c
 *	  What an error of the library means for a message, and for its producer.
 *
 * Errors of messages come by the thousand and are few: their texts are made once
 * per code and kept for good.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer.h"

#include "base/text.h"
#include "kafka/error.h"
#include "kafka/producer_int.h"
#include "utils/memutils.h"

/* Newer than the oldest library that we build with. */
#define ERR_UNKNOWN_TOPIC_ID	100

typedef struct KnownError
{
	struct KnownError *next;
	rd_kafka_resp_err_t code;
	DjkError	error;
} KnownError;

static KnownError *known_errors = NULL;

DjkDelivery
djk_producer_classify(rd_kafka_resp_err_t code, int partition)
{
	switch ((int) code)
	{
		case RD_KAFKA_RESP_ERR_NO_ERROR:
			return DJK_DELIVERY_DONE;

		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
		case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		case RD_KAFKA_RESP_ERR__INVALID_ARG:
			return DJK_DELIVERY_REFUSED;

		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
			return partition >= 0 ? DJK_DELIVERY_REFUSED : DJK_DELIVERY_BLOCKED;

		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case ERR_UNKNOWN_TOPIC_ID:
			return DJK_DELIVERY_BLOCKED;

		default:
			return DJK_DELIVERY_FAILED;
	}
}

static void
fill_known(KnownError *known)
{
	DjkError   *error = &known->error;

	djk_kafka_error_fill(error, known->code, NULL);
	switch (djk_producer_classify(known->code, 0))
	{
		case DJK_DELIVERY_FAILED:
			error->message = psprintf("message was not sent: %s", rd_kafka_err2str(known->code));
			break;
		case DJK_DELIVERY_REFUSED:
			error->message = psprintf("Kafka refuses the message: %s", rd_kafka_err2str(known->code));
			break;
		default:
			break;
	}
	if (known->code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		error->hint = "The property message.max.bytes limits the size of a message, and so does the topic's max.message.bytes.";
	else if (known->code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
		error->hint = "Name a partition that the topic has, or none.";
}

static const KnownError *
find_known(rd_kafka_resp_err_t code)
{
	KnownError *known;
	MemoryContext saved;

	for (known = known_errors; known != NULL; known = known->next)
		if (known->code == code)
			return known;

	saved = MemoryContextSwitchTo(TopMemoryContext);
	known = palloc0(sizeof(KnownError));
	known->code = code;
	fill_known(known);
	known->next = known_errors;
	known_errors = known;
	MemoryContextSwitchTo(saved);
	return known;
}

void
djk_producer_answer(DjkOutgoing *message, rd_kafka_resp_err_t code)
{
	const KnownError *known;

	message->sent_partition = -1;
	message->sent_offset = -1;
	message->delivery = djk_producer_classify(code, message->partition);
	if (message->delivery == DJK_DELIVERY_DONE)
	{
		memset(&message->error, 0, sizeof(DjkError));
		return;
	}
	known = find_known(code);
	message->error = known->error;
	if (code == RD_KAFKA_RESP_ERR_INVALID_RECORD && message->key == NULL)
		message->error.message = "Kafka refuses the message: it is not valid, probably because it has no key and its topic is compacted";
}

/* Its text is in fatal_text. */
static void
spend(DjkProducer *producer, rd_kafka_resp_err_t code)
{
	producer->fatal = code;
	snprintf(producer->fatal_detail, sizeof(producer->fatal_detail),
			 "librdkafka's error is %s.", rd_kafka_err2name(code));
	/* What waits in the queue is never sent: let it be answered. */
	rd_kafka_purge(producer->handle->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Notes whether the library has given up; true if so. */
static bool
note_fatal(DjkProducer *producer)
{
	rd_kafka_t *rk = producer->handle->rk;
	rd_kafka_resp_err_t code;

	if (producer->fatal != RD_KAFKA_RESP_ERR_NO_ERROR || rk == NULL)
		return producer->fatal != RD_KAFKA_RESP_ERR_NO_ERROR;
	code = rd_kafka_fatal_error(rk, producer->fatal_text, sizeof(producer->fatal_text));
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	djk_text_copy(producer->fatal_text, djk_kafka_text(producer->fatal_text), sizeof(producer->fatal_text));
	spend(producer, code);
	return true;
}

/*
 * A broker has acknowledged what came after a message that it had refused, and
 * the library concludes that it has that as well.
 */
void
djk_producer_doubt(DjkProducer *producer, const rd_kafka_message_t *report)
{
	if (note_fatal(producer))
		return;
	snprintf(producer->fatal_text, sizeof(producer->fatal_text),
			 "Kafka may have taken a later message of topic \"%s\", partition %d, for an earlier one",
			 djk_kafka_text(rd_kafka_topic_name(report->rkt)), (int) report->partition);
	spend(producer, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
}

bool
djk_producer_spent(DjkProducer *producer, DjkError *error)
{
	if (!note_fatal(producer))
		return false;
	if (error != NULL)
	{
		memset(error, 0, sizeof(DjkError));
		error->sqlstate = djk_kafka_error_sqlstate(djk_kafka_error_classify(producer->fatal));
		error->message = producer->fatal_text;
		error->detail = producer->fatal_detail;
		error->name = rd_kafka_err2name(producer->fatal);
	}
	return true;
}
