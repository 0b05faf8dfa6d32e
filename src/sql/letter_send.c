/*-------------------------------------------------------------------------
 *
 * letter_send.c
 *	  Dead letters go to a topic, through the outbox and in the caller's transaction.
 *
 * Key, value, headers and time are what they were: headers in their order, those of
 * one name and those without a value too.  The partition is chosen by the key.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/letter_send.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/message.h"
#include "base/topic.h"
#include "miscadmin.h"
#include "sql/suppress.h"
#include "state/catalog.h"
#include "state/header.h"
#include "state/produce.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

struct DjkLetterSender
{
	DjkProduceServer *server;
	const char *topic;
};

void
djk_letter_require_topic(const char *topic)
{
	djk_topic_require_writable(topic);
	if (djk_silenced(topic, GetUserId(), false, "messages of a function that runs with other rights",
					 "Let the function call djkafka_suppress() itself."))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("messages for topic \"%s\" are suppressed in this transaction", topic),
				 errdetail("A dead letter that is sent goes away, and so must not be dropped on its way."),
				 errhint("Call djkafka_replay where neither djkafka_suppress() nor djkafka.suppress is in force.")));
}

DjkLetterSender *
djk_letter_sender(const DjkConsumerRow *consumer, const char *topic)
{
	DjkLetterSender *sender = palloc(sizeof(DjkLetterSender));

	sender->server = djk_produce_server(consumer->server, GetUserId());
	sender->topic = topic;
	return sender;
}

static void
refuse(const DjkLetterSender *sender, DjkLetterOutcome *outcome)
{
	outcome->result = "refused";
	outcome->error.sqlstate = DJK_ERRCODE_TOO_LARGE;
	outcome->error.message = psprintf("the message is too large for topic \"%s\"", sender->topic);
	outcome->error.hint = "Raise message.max.bytes where the outbox's connection is defined, and max.message.bytes of the topic in Kafka.";
}

static void
send_letter(const DjkLetterSender *sender, const DjkDeadLetter *letter, DjkLetterOutcome *outcome)
{
	DjkOutboxMessage message = {0};
	Size		bytes = djk_headers_bytes(letter->headers);

	message.topic = sender->topic;
	message.partition = -1;
	message.message_time = djk_timestamp_to_send(letter->timestamp_ms);
	message.key = (struct varlena *) DatumGetPointer(letter->key);
	message.value = (struct varlena *) DatumGetPointer(letter->value);
	message.headers = letter->headers;
	message.has_headers = letter->headers != (Datum) 0;
	outcome->id = letter->id;
	if (!djk_produce_fits(sender->server, &message, bytes))
	{
		refuse(sender, outcome);
		return;
	}
	(void) djk_produce_write(sender->server, &message, bytes);
	outcome->result = "sent";
	outcome->gone = true;
}

void
djk_letter_send(DjkLetterSender *sender, List *letters,
				void (*put) (const void *arg, const DjkLetterOutcome *outcome), const void *arg)
{
	DjkLetterOutcome *outcomes = palloc0(Max(list_length(letters), 1) * sizeof(DjkLetterOutcome));
	DjkIdentity identity;
	ListCell   *lc;
	int			n = 0;

	foreach(lc, letters)
	{
		CHECK_FOR_INTERRUPTS();
		send_letter(sender, lfirst(lc), &outcomes[n]);
		put(arg, &outcomes[n++]);
	}
	djk_catalog_enter(&identity);
	djk_dead_letter_settle("send", sender->topic, outcomes, n);
	djk_catalog_leave(&identity);
}
