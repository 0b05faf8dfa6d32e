/*-------------------------------------------------------------------------
 *
 * tidy.c
 *	  The outbox's tables are kept small.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/tidy.h"

#include "base/clock.h"
#include "base/settings.h"
#include "utils/timestamp.h"
#include "outbox/topic.h"

#define ROTATE_EVERY_MS		1000	/* while there is work */
#define TIDY_SOON_MS		5000	/* after it, if they have grown */
#define TIDY_LATER_MS		60000	/* whatever their size */
#define TRIM_EVERY_MS		60000

/* How large the current table is when it is left: while there is work, soon after it. */
#define ROTATE_BUSY_KB		(32 * 1024)
#define ROTATE_SOON_KB		1024

static void
rotate(int at_least_kb)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_outbox_rotate(at_least_kb);
	djk_worker_commit_as(&identity, "off");
}

static void
trim_delivery(void)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_outbox_trim_delivery(djk_delivery_retention_s);
	djk_worker_commit_as(&identity, "off");
}

void
djk_sender_tidy(DjkSender *sender)
{
	TimestampTz now = djk_clock_now();

	djk_sender_limit_topics(sender);
	if (TimestampDifferenceExceeds(sender->tidy.rotated_at, now, ROTATE_EVERY_MS))
	{
		rotate(ROTATE_BUSY_KB);
		sender->tidy.rotated_at = now;
	}
	if (djk_delivery_retention_s > 0 && TimestampDifferenceExceeds(sender->tidy.trimmed_at, now, TRIM_EVERY_MS))
	{
		trim_delivery();
		sender->tidy.trimmed_at = now;
	}
}

bool
djk_sender_tidy_idle(DjkSender *sender, long *wait_ms)
{
	long		idle = (djk_clock_now() - sender->tidy.busy_at) / 1000;
	long		due = sender->tidy.rounds == 0 ? TIDY_SOON_MS : TIDY_LATER_MS;

	if (sender->tidy.rounds == 2)
		return false;
	if (idle < due)
	{
		*wait_ms = Min(*wait_ms, due - idle + 1);
		return false;
	}
	rotate(sender->tidy.rounds == 0 ? ROTATE_SOON_KB : 1);
	/* A table that is left then can go at once. */
	rotate(PG_INT32_MAX);
	if (djk_delivery_retention_s > 0)
		trim_delivery();
	sender->tidy.rounds++;
	return true;
}

void
djk_sender_tidy_later(DjkSender *sender)
{
	sender->tidy.busy_at = djk_clock_now();
	sender->tidy.rounds = 0;
}
