/*-------------------------------------------------------------------------
 *
 * adopt_outbox.c
 *	  djkafka_adopt(): the outboxes that came with a copy.
 *
 * What the original had not sent is the original's to send, and is thrown away
 * unless keep_outbox.  The rest, and what was produced here meanwhile, is
 * produced again: checked as djkafka_produce does, by whoever calls, in the old
 * order.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/adopt_outbox.h"

#include "base/topic.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "state/connection.h"
#include "state/outbox.h"
#include "state/produce.h"
#include "utils/memutils.h"

/* Messages in memory at once; the largest have some megabytes. */
#define FETCH_MESSAGES	100

/* What is not there cannot be used; nor does anybody produce for it. */
static bool
is_there(const char *server)
{
	return server == NULL || GetForeignServerByName(server, true) != NULL;
}

static void
require_usage(const DjkOutboxForeign *foreign, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (is_there(foreign[i].server))
			djk_connection_require_kept(foreign[i].server, GetUserId());
	}
}

static void
produce_again(DjkOutboxMessage *message)
{
	/* Nobody has checked what a dump brings. */
	djk_topic_name_require(message->topic, "Delete the message from the outbox's tables, or adopt without keep_outbox.");
	(void) djk_produce_write(djk_produce_server(message->server, GetUserId()), message, 0);
}

static int64
produce_all_again(Portal portal)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka adopted messages",
												  ALLOCSET_DEFAULT_SIZES);
	DjkOutboxMessage messages[FETCH_MESSAGES];
	int64		produced = 0;
	int			n;

	do
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		n = djk_outbox_fetch_foreign(portal, messages, FETCH_MESSAGES);
		for (int i = 0; i < n; i++)
			produce_again(&messages[i]);
		produced += n;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	} while (n > 0);
	MemoryContextDelete(context);
	return produced;
}

void
djk_adopt_outboxes(DjkAdoption *adoption)
{
	int			count;
	DjkOutboxForeign *foreign = djk_outbox_list_foreign(&count);
	Portal		portal;
	int64		waiting;

	if (count == 0)
		return;
	require_usage(foreign, count);
	djk_outbox_lock_messages();
	waiting = djk_outbox_count_foreign();
	portal = djk_outbox_open_foreign(adoption->keep_outbox);
	for (int i = 0; i < count; i++)
	{
		adoption->dead_deleted += djk_outbox_clear(foreign[i].server, !adoption->keep_outbox);
		if (!is_there(foreign[i].server))
			continue;
		(void) djk_outbox_require_server(foreign[i].server, NULL);
		djk_outbox_enable(foreign[i].server, foreign[i].enabled);
	}
	adoption->messages_kept = produce_all_again(portal);
	adoption->messages_deleted = waiting - adoption->messages_kept;
	adoption->outboxes = count;
}
