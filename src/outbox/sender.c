/*-------------------------------------------------------------------------
 *
 * sender.c
 *	  What all steps of the outbox worker need: its state, its producer, patience.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/sender.h"

#include "apply/retry.h"
#include "base/clock.h"
#include "base/settings.h"
#include "base/text.h"
#include "common/pg_prng.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "outbox/leave.h"

#define RETRY_BASE_MS		100
#define DESTROY_MS			1000
#define CLOSE_MS			300 /* what takes longer ends with the process */
#define DENIAL_MS			60000	/* the library repeats itself twice as often */
#define ASK_EVERY_MS		10000
#define ASK_MS				1000

/* ---------- states ---------- */

#ifdef USE_ASSERT_CHECKING
static bool
may_follow(DjkBatchState from, DjkBatchState to)
{
	switch (to)
	{
		case DJK_BATCH_NONE:
			return from == DJK_BATCH_NONE || from == DJK_BATCH_DELIVERED;
		case DJK_BATCH_CLAIMED: /* one turn confirms a batch and claims the next */
			return from == DJK_BATCH_NONE || from == DJK_BATCH_DELIVERED;
		case DJK_BATCH_IN_FLIGHT:
			return from == DJK_BATCH_CLAIMED;
		case DJK_BATCH_DELIVERED:
			return from == DJK_BATCH_IN_FLIGHT;
	}
	return false;
}
#endif

void
djk_sender_move_batch(DjkSender *sender, DjkBatchState to)
{
	Assert(may_follow(sender->work.state, to));
	sender->work.state = to;
}

void
djk_sender_set_state(DjkSender *sender, DjkState state, const char *reason, const char *hint)
{
	sender->state = state;
	if (djk_slot_set_state(djk_slot_mine(), state, reason, hint) == DJK_CHANGE_STATE)
		djk_worker_tell_state("outbox", state, reason, 0, NULL);
}

/* Whether the credentials were refused lately. */
bool
djk_sender_is_refused(const DjkSender *sender)
{
	return sender->link.denied_at != 0 &&
		!TimestampDifferenceExceeds(sender->link.denied_at, djk_clock_now(), DENIAL_MS);
}

void
djk_sender_set_unreachable(DjkSender *sender, const char *reason, const char *hint)
{
	DjkState	state = DJK_STATE_UNREACHABLE;

	if (djk_sender_is_refused(sender))
	{
		state = DJK_STATE_BROKEN;
		reason = sender->link.denial;
		hint = sender->outbox->server == NULL
			? "Check djkafka.security_protocol, djkafka.sasl_mechanism and the credentials in the settings."
			: "Check the options of the server, and the user mapping of the server's owner.";
	}
	else if (sender->link.cause[0] != '\0' && strstr(reason, sender->link.cause) == NULL)
		reason = psprintf("%s: %s", reason, sender->link.cause);
	djk_sender_set_state(sender, state, reason, hint);
}

/* ---------- what the library has to say ---------- */

static void
tell_error(DjkSender *sender, const char *message)
{
	djk_slot_set_error(djk_slot_mine(), message);
	djk_sender_set_unreachable(sender, message, DJK_UNREACHABLE_HINT " Sending goes on by itself.");
}

/* With nothing on its way it may be that a broker has closed what was idle: wait_idle() finds out. */
static void
take_error(DjkSender *sender, const DjkProducerEvent *event)
{
	DjkSenderLink *link = &sender->link;

	if (event->denied)
	{
		djk_text_copy(link->denial, event->error.message, sizeof(link->denial));
		link->denied_at = djk_clock_now();
	}
	if (event->unreachable)
	{
		djk_text_copy(link->loss, event->error.message, sizeof(link->loss));
		link->lost = true;
	}
	if (event->is_cause)
		djk_text_copy(link->cause, event->error.message, sizeof(link->cause));
	if (event->denied || (event->unreachable && sender->work.state >= DJK_BATCH_IN_FLIGHT))
		tell_error(sender, event->error.message);
	/* Why topics are held says more than that one of several brokers is down, again and again. */
	else if (!event->unreachable && sender->topics.nheld == 0)
		djk_slot_set_error(djk_slot_mine(), event->error.message);
}

void
djk_sender_take_events(DjkSender *sender)
{
	DjkProducerEvent event;

	djk_producer_drain_fd(sender->link.producer);
	while (djk_producer_poll(sender->link.producer, &event))
	{
		if (event.kind == DJK_PRODUCER_LOG)
			ereport(event.log_level <= 4 ? LOG : DEBUG1, (errmsg("librdkafka: %s", event.log_text)));
		else if (event.kind == DJK_PRODUCER_ERROR)
			take_error(sender, &event);
		else if (event.kind == DJK_PRODUCER_DELIVERED)
		{
			sender->link.denied_at = 0;
			sender->link.lost = false;
			sender->link.cause[0] = '\0';
			djk_sender_set_state(sender, DJK_STATE_RUNNING, NULL, NULL);
		}
	}
}

/* The library tells when the last broker is gone, but not when one is back. */
bool
djk_sender_has_broker(DjkSender *sender, long *wait_ms)
{
	DjkSenderLink *link = &sender->link;
	TimestampTz now = djk_clock_now();

	if (!link->lost)
		return true;
	if (TimestampDifferenceExceeds(link->asked_at, now, ASK_EVERY_MS))
	{
		link->asked_at = now;
		link->lost = !djk_producer_finds_broker(link->producer, ASK_MS);
		if (link->lost)
			tell_error(sender, link->loss);
	}
	*wait_ms = Min(*wait_ms, ASK_EVERY_MS - (now - link->asked_at) / 1000 + 1);
	return !link->lost;
}

/* ---------- patience ---------- */

void
djk_sender_back_off(DjkSender *sender, DjkState state, const DjkError *error)
{
	int64		delay = djk_retry_delay_ms(++sender->link.attempt, RETRY_BASE_MS,
										   (int64) djk_max_retry_interval_s * 1000,
										   pg_prng_double(&pg_global_prng_state));
	TimestampTz until = djk_clock_now() + delay * 1000;

	if (state == DJK_STATE_UNREACHABLE)
	{
		/* The library may have said why. */
		djk_sender_take_events(sender);
		djk_sender_set_unreachable(sender, error->message, error->hint);
		djk_slot_set_error(djk_slot_mine(), sender->state == DJK_STATE_BROKEN ? sender->link.denial : error->message);
	}
	else
	{
		djk_sender_set_state(sender, state, error->message, error->hint);
		djk_slot_set_error(djk_slot_mine(), error->message);
	}
	djk_slot_set_retry(djk_slot_mine(), sender->link.attempt, djk_clock_to_timestamp(until));
	djk_worker_report_idle("waiting before a retry");
	for (;;)
	{
		TimestampTz now = djk_clock_now();

		if (now >= until)
			break;
		djk_worker_wait(-1, (until - now) / 1000 + 1, "DjkafkaRetry");
		djk_sender_housekeep(sender);
	}
	djk_slot_set_retry(djk_slot_mine(), sender->link.attempt, 0);
}

/* ---------- the producer ---------- */

char *
djk_sender_transactional_id(DjkSender *sender)
{
	return psprintf(DJK_OUTBOX_GROUP "%s-" INT64_FORMAT,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&sender->home.id))),
					sender->outbox->id);
}

void
djk_sender_require_producer(DjkSender *sender)
{
	DjkProducerConfig config = {0};
	MemoryContext old;

	if (sender->link.producer != NULL)
		return;
	sender->link.context = AllocSetContextCreate(sender->life, "djkafka producer", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(sender->link.context);
	config.properties = sender->connection.properties;
	config.nproperties = sender->connection.nproperties;
	config.client_id = "djkafka-outbox";
	config.transactional_id = sender->connection.exactly_once ? djk_sender_transactional_id(sender) : NULL;
	config.queue_kbytes = DJK_OUTBOX_QUEUE_KBYTES;
	config.embedded = sender->connection.embedded;
	sender->link.producer = djk_producer_create(sender->link.context, &config);
	sender->exact.ready = false;
	MemoryContextSwitchTo(old);
}

void
djk_sender_drop_producer(DjkSender *sender)
{
	DjkProducer *producer = sender->link.producer;

	if (producer == NULL)
		return;
	sender->link.producer = NULL;
	sender->link.denied_at = 0;
	sender->link.lost = false;
	djk_producer_destroy(producer, DESTROY_MS);
	MemoryContextDelete(sender->link.context);
	sender->link.context = NULL;
}

static void
close_producer(int code, Datum arg)
{
	DjkSender  *sender = (DjkSender *) DatumGetPointer(arg);
	DjkProducer *producer = sender->link.producer;

	sender->link.producer = NULL;
	if (producer != NULL)
		djk_producer_destroy(producer, CLOSE_MS);
}

void
djk_sender_close_at_exit(DjkSender *sender)
{
	before_shmem_exit(close_producer, PointerGetDatum(sender));
}
