/*-------------------------------------------------------------------------
 *
 * call.c
 *	  Calls of libraries that may block, made in threads of their own.
 *
 * So the process answers interrupts and barriers meanwhile.  Threads are made with
 * all signals blocked, so that none of them runs a handler of the server, and
 * nothing of the server is ever called from them.  One that does not end in time
 * (it may wait for a name server, or for a bug of a library) is left to itself, and
 * since exit() runs destructors under its feet, the process then leaves by _exit()
 * from an on_proc_exit callback, when shared memory has been cleaned up and the exit
 * code is known.
 *
 *-------------------------------------------------------------------------
 */
#include "base/call.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/ipc.h"

/* malloc'd, for threads may outlive all contexts. */
struct DjkCalls
{
	pthread_mutex_t lock;
	pthread_cond_t ended;		/* some call ended */
	int			running;		/* calls in flight */
};

struct DjkCall
{
	DjkCalls   *calls;
	void		(*run) (void *arg);
	void		(*discard) (void *arg);
	void	   *arg;
	int			wake_fd;		/* written to when it is done; -1: none */
	bool		done;
	bool		abandoned;
};

static bool leaves_hard = false;

static void
leave_hard(int code, Datum arg)
{
	_exit(code);
}

void
djk_calls_expect_strays(void)
{
	if (leaves_hard)
		return;
	on_proc_exit(leave_hard, (Datum) 0);
	leaves_hard = true;
}

DjkCalls *
djk_calls_create(void)
{
	DjkCalls   *calls = calloc(1, sizeof(DjkCalls));
	pthread_condattr_t attr;

	if (calls == NULL)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&calls->lock, NULL);
	pthread_cond_init(&calls->ended, &attr);
	pthread_condattr_destroy(&attr);
	return calls;
}

void
djk_calls_destroy(DjkCalls *calls)
{
	pthread_cond_destroy(&calls->ended);
	pthread_mutex_destroy(&calls->lock);
	free(calls);
}

static void *
call_main(void *opaque)
{
	DjkCall    *call = opaque;
	DjkCalls   *calls = call->calls;
	bool		abandoned;

	call->run(call->arg);

	pthread_mutex_lock(&calls->lock);
	abandoned = call->abandoned;
	call->done = true;
	/* A pipe that is full wakes anyway. */
	if (!abandoned && call->wake_fd >= 0 && write(call->wake_fd, "1", 1) < 0)
		call->wake_fd = -1;
	if (abandoned)
	{
		if (call->discard != NULL)
			call->discard(call->arg);
		free(call);
	}
	calls->running--;
	pthread_cond_broadcast(&calls->ended);
	pthread_mutex_unlock(&calls->lock);
	return NULL;
}

static void
count_running(DjkCalls *calls, int delta)
{
	pthread_mutex_lock(&calls->lock);
	calls->running += delta;
	pthread_mutex_unlock(&calls->lock);
}

DjkCall *
djk_call_start(DjkCalls *calls, void (*run) (void *), void (*discard) (void *), void *arg, int wake_fd)
{
	DjkCall    *call = calloc(1, sizeof(DjkCall));
	pthread_attr_t attr;
	pthread_t	thread;
	sigset_t	saved;
	int			rc;

	if (call == NULL)
		return NULL;
	call->calls = calls;
	call->run = run;
	call->discard = discard;
	call->arg = arg;
	call->wake_fd = wake_fd;
	count_running(calls, 1);

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	djk_signals_block(&saved);
	rc = pthread_create(&thread, &attr, call_main, call);
	djk_signals_restore(&saved);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return call;
	count_running(calls, -1);
	free(call);
	return NULL;
}

bool
djk_call_wait(DjkCall *call, double until_ms)
{
	DjkCalls   *calls = call->calls;
	struct timespec slice = djk_clock_ms_to_timespec(Min(until_ms, djk_clock_ms() + DJK_CALL_SLICE_MS));
	bool		done;

	pthread_mutex_lock(&calls->lock);
	/* Not on ETIMEDOUT alone: whatever goes wrong, the caller looks at its interrupts. */
	while (!call->done)
		if (pthread_cond_timedwait(&calls->ended, &calls->lock, &slice) != 0)
			break;
	done = call->done;
	pthread_mutex_unlock(&calls->lock);
	if (done)
		free(call);
	return done;
}

bool
djk_call_abandon(DjkCall *call)
{
	DjkCalls   *calls = call->calls;
	bool		done;

	pthread_mutex_lock(&calls->lock);
	done = call->done;
	call->abandoned = true;
	pthread_mutex_unlock(&calls->lock);
	if (done)
		free(call);
	return done;
}

void
djk_calls_wait_for_others(DjkCalls *calls)
{
	pthread_mutex_lock(&calls->lock);
	while (calls->running > 1)
		pthread_cond_wait(&calls->ended, &calls->lock);
	pthread_mutex_unlock(&calls->lock);
}
