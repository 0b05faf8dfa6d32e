/*-------------------------------------------------------------------------
 *
 * leave.c
 *	  How the outbox worker ends: not in the middle of a batch, if it can.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox/leave.h"

#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/compat.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

#define LAST_BATCH_MS		10000
#define TERMINATION_SECONDS	4	/* below the 5 s that DROP DATABASE (FORCE) waits */

/* Busy: what is sent is not confirmed yet, or is about to be sent. */
static volatile sig_atomic_t is_busy = false;
static volatile sig_atomic_t is_terminated = false;
static timer_t last_call;
static bool has_last_call = false;

/*
 * pg_terminate_backend() and a shutdown: in mid-batch they are a wish to leave,
 * so that nothing is sent twice for them.  A second one is obeyed at once.  The
 * server signals once, and the worker may wait for something of the server's, a
 * lock or a standby, that knows of no wishes: so the second comes by itself.
 */
static void
handle_sigterm(SIGNAL_ARGS)
{
	static const struct itimerspec delay = {.it_value = {.tv_sec = TERMINATION_SECONDS}};
	int			saved_errno = errno;

	if (is_busy && !is_terminated && has_last_call && timer_settime(last_call, 0, &delay, NULL) == 0)
	{
		is_terminated = true;
		SetLatch(MyLatch);
	}
	else
		die(postgres_signal_arg);
	errno = saved_errno;
}

/*
 * The timer is only armed by the handler: a timeout of the server's cannot be,
 * and would wake an idle worker.  Without it no signal is put off.
 */
void
djk_sender_catch_sigterm(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};

	has_last_call = timer_create(CLOCK_MONOTONIC, &event, &last_call) == 0;
	pqsignal(SIGTERM, handle_sigterm);
}

void
djk_sender_set_busy(bool busy)
{
	is_busy = busy;
}

void
djk_sender_leave(DjkSender *sender, const char *reason)
{
	ereport(LOG, (errmsg("djkafka outbox worker leaves: %s", reason)));
	djk_slot_set_leaving(djk_slot_mine(), DJK_LEFT_WANTED);
	djk_slot_set_state(djk_slot_mine(), DJK_STATE_STARTING, reason, NULL);
	proc_exit(0);
}

/* NULL: none. */
static const char *
reason_to_leave(void)
{
	if (djk_worker_housekeep())
		return "the settings were reloaded";
	if (is_terminated)
		return "it was told to end";
	if (djk_slot_leave_asked(djk_slot_mine()))
		return "nothing is to be sent from here any more";
	return djk_worker_connection_changed() ? "the server or its user mapping has changed" : NULL;
}

/*
 * What Kafka has and we have not confirmed would be sent again, so a batch on
 * its way is waited for, if Kafka answers and it does not take long; one that
 * has all its answers is left to be confirmed.
 */
void
djk_sender_housekeep(DjkSender *sender)
{
	const char *reason = reason_to_leave();
	TimestampTz now = djk_clock_now();

	if (sender->leaving == NULL && reason != NULL)
	{
		sender->leaving = reason;
		sender->leaving_since = now;
	}
	if (sender->leaving == NULL || sender->work.state == DJK_BATCH_DELIVERED)
		return;
	if (sender->work.state != DJK_BATCH_IN_FLIGHT || (sender->state != DJK_STATE_RUNNING && sender->state != DJK_STATE_STARTING) ||
		TimestampDifferenceExceeds(sender->leaving_since, now, LAST_BATCH_MS))
		djk_sender_leave(sender, sender->leaving);
}
