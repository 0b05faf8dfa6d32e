/*-------------------------------------------------------------------------
 *
 * handle.c
 *	  An instance of librdkafka, owned by a memory context.
 *
 * The library runs threads of its own.  Three rules keep them away from the
 * server: they are made with all signals blocked, so that none of them runs a
 * handler of the server; nothing of the server is ever called from them, for
 * there is no callback, only events; and what may block is called in a thread
 * of ours, so that the backend answers interrupts and barriers meanwhile.
 *
 * An instance is ended in such a thread too.  One that does not end in time (it
 * may wait for a name server, or for a bug of the library) is left to it.  Its
 * threads go on, and since exit() runs destructors under their feet, the process
 * then leaves by _exit() from an on_proc_exit callback, when shared memory has
 * been cleaned up and the exit code is known.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/handle.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "kafka/conf.h"
#include "kafka/error.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

/* What threads of ours and the handle share; malloc'd, for threads may outlive the context. */
struct DjkHandleShared
{
	pthread_mutex_t lock;
	pthread_cond_t ended;		/* some call ended */
	int			running;		/* calls in flight */
};

struct DjkCall
{
	DjkHandleShared *shared;
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

/* Threads of the library will still run when this process exits. */
static void
expect_stray_threads(void)
{
	if (leaves_hard)
		return;
	on_proc_exit(leave_hard, (Datum) 0);
	leaves_hard = true;
}

static DjkHandleShared *
create_shared(void)
{
	DjkHandleShared *shared = calloc(1, sizeof(DjkHandleShared));
	pthread_condattr_t attr;

	if (shared == NULL)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&shared->lock, NULL);
	pthread_cond_init(&shared->ended, &attr);
	pthread_condattr_destroy(&attr);
	return shared;
}

static void
destroy_shared(DjkHandleShared *shared)
{
	pthread_cond_destroy(&shared->ended);
	pthread_mutex_destroy(&shared->lock);
	free(shared);
}

static void *
call_main(void *opaque)
{
	DjkCall    *call = opaque;
	DjkHandleShared *shared = call->shared;
	bool		abandoned;

	call->run(call->arg);

	pthread_mutex_lock(&shared->lock);
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
	shared->running--;
	pthread_cond_broadcast(&shared->ended);
	pthread_mutex_unlock(&shared->lock);
	return NULL;
}

static void
count_running(DjkHandleShared *shared, int delta)
{
	pthread_mutex_lock(&shared->lock);
	shared->running += delta;
	pthread_mutex_unlock(&shared->lock);
}

/* Starts 'run(arg)' in a thread; NULL if there is no memory or no thread. */
static DjkCall *
start_call(DjkHandleShared *shared, void (*run) (void *), void (*discard) (void *), void *arg, int wake_fd)
{
	DjkCall    *call = calloc(1, sizeof(DjkCall));
	pthread_attr_t attr;
	pthread_t	thread;
	sigset_t	saved;
	int			rc;

	if (call == NULL)
		return NULL;
	call->shared = shared;
	call->run = run;
	call->discard = discard;
	call->arg = arg;
	call->wake_fd = wake_fd;
	count_running(shared, 1);

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	djk_signals_block(&saved);
	rc = pthread_create(&thread, &attr, call_main, call);
	djk_signals_restore(&saved);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return call;
	count_running(shared, -1);
	free(call);
	return NULL;
}

/* Waits up to one slice; true if the call is done, which frees it. */
static bool
wait_call(DjkCall *call, double until_ms)
{
	DjkHandleShared *shared = call->shared;
	struct timespec slice = djk_clock_ms_to_timespec(Min(until_ms, djk_clock_ms() + DJK_HANDLE_SLICE_MS));
	bool		done;

	pthread_mutex_lock(&shared->lock);
	/* Not on ETIMEDOUT alone: whatever goes wrong, the caller looks at its interrupts. */
	while (!call->done)
		if (pthread_cond_timedwait(&shared->ended, &shared->lock, &slice) != 0)
			break;
	done = call->done;
	pthread_mutex_unlock(&shared->lock);
	if (done)
		free(call);
	return done;
}

/* Leaves the call to its thread.  True if it was done after all. */
static bool
abandon_call(DjkCall *call)
{
	DjkHandleShared *shared = call->shared;
	bool		done;

	pthread_mutex_lock(&shared->lock);
	done = call->done;
	call->abandoned = true;
	pthread_mutex_unlock(&shared->lock);
	if (done)
		free(call);
	return done;
}

bool
djk_handle_call(DjkHandle *handle, void (*run) (void *arg),
				void (*discard) (void *arg), void *arg, int timeout_ms)
{
	DjkCall    *call = start_call(handle->shared, run, discard, arg, -1);
	double		until = djk_clock_ms() + timeout_ms;
	bool		done = false;

	if (call == NULL)
	{
		discard(arg);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a thread to ask Kafka")));
	}

	PG_TRY();
	{
		while (!(done = wait_call(call, until)) && djk_clock_ms() < until)
			CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		if (abandon_call(call))
			discard(arg);
		PG_RE_THROW();
	}
	PG_END_TRY();

	return done || abandon_call(call);
}

DjkCall *
djk_handle_start(DjkHandle *handle, void (*run) (void *arg), void (*discard) (void *arg), void *arg)
{
	DjkCall    *call = start_call(handle->shared, run, discard, arg, handle->fds[1]);

	if (call == NULL)
		discard(arg);
	return call;
}

bool
djk_call_ended(DjkCall *call)
{
	return wait_call(call, 0);
}

static void
reset_callback(void *arg)
{
	djk_handle_destroy(arg, DJK_HANDLE_RESET_MS);
}

/* A pipe that neither blocks nor survives exec. */
static bool
open_pipe(int fds[2])
{
	if (pipe(fds) != 0)
		return false;
	for (int i = 0; i < 2; i++)
	{
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
	}
	return true;
}

static void
open_queue(DjkHandle *handle)
{
	handle->queue = handle->type == RD_KAFKA_CONSUMER
		? rd_kafka_queue_get_consumer(handle->rk)
		: rd_kafka_queue_get_main(handle->rk);
	if (handle->type == RD_KAFKA_CONSUMER)
		rd_kafka_poll_set_consumer(handle->rk);
	rd_kafka_set_log_queue(handle->rk, handle->queue);
	rd_kafka_queue_io_event_enable(handle->queue, handle->fds[1], "1", 1);
}

static rd_kafka_t *
new_instance(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		reason[512] = "";
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_t *rk;
	sigset_t	saved;

	djk_signals_block(&saved);
	rk = rd_kafka_new(type, conf, reason, sizeof(reason));
	if (rk == NULL)
		code = rd_kafka_last_error();
	djk_signals_restore(&saved);
	if (rk != NULL)
		return rk;

	/* The configuration is ours again, as it failed. */
	if (djk_conf_tells_secret(conf, reason))
		strlcpy(reason, "what it says is not shown, for it holds part of a secret", sizeof(reason));
	rd_kafka_conf_destroy(conf);
	if (code == RD_KAFKA_RESP_ERR__INVALID_ARG)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_PROPERTY),
				 errmsg("librdkafka refuses the connection's properties: %s", djk_kafka_text(reason)),
				 errhint("Change what it names in the settings of djkafka, in the options of the server or the user mapping, or in those of the consumer.")));
	djk_kafka_error_throw(code, reason, "start librdkafka");
}

DjkHandle *
djk_handle_create(MemoryContext context, rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	DjkHandle  *handle = MemoryContextAllocExtended(context, sizeof(DjkHandle),
													MCXT_ALLOC_ZERO | MCXT_ALLOC_NO_OOM);

	if (handle != NULL)
	{
		handle->type = type;
		handle->shared = create_shared();
	}
	if (handle == NULL || handle->shared == NULL)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	if (!open_pipe(handle->fds))
	{
		rd_kafka_conf_destroy(conf);
		destroy_shared(handle->shared);
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create a pipe: %m")));
	}
	handle->callback.func = reset_callback;
	handle->callback.arg = handle;
	MemoryContextRegisterResetCallback(context, &handle->callback);

	/* From here on the context cleans up. */
	handle->rk = new_instance(type, conf);
	open_queue(handle);
	return handle;
}

void
djk_handle_drain_fd(DjkHandle *handle)
{
	char		buffer[256];

	while (read(handle->fds[0], buffer, sizeof(buffer)) == sizeof(buffer))
		;
}

/* What the thread that ends an instance needs. */
typedef struct Burial
{
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	int			fds[2];
	DjkHandleShared *shared;
	bool		leave_group;
	int			close_ms;
} Burial;

/* Leaves the group, answering the last rebalance, as far as there is time. */
static void
close_consumer(Burial *burial)
{
	double		until = djk_clock_ms() + burial->close_ms;
	rd_kafka_error_t *error = rd_kafka_consumer_close_queue(burial->rk, burial->queue);

	if (error != NULL)
		rd_kafka_error_destroy(error);	/* closed already, or fatal: nothing to leave */
	while (!rd_kafka_consumer_closed(burial->rk) && djk_clock_ms() < until)
	{
		rd_kafka_event_t *event = rd_kafka_queue_poll(burial->queue, DJK_HANDLE_SLICE_MS);

		if (event == NULL)
			continue;
		/* A library that is closing takes this for whatever the protocol needs. */
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
			rd_kafka_assign(burial->rk, NULL);
		rd_kafka_event_destroy(event);
	}
}

/* In a thread of its own, which may take longer than anybody waits for it. */
static void
run_burial(void *arg)
{
	Burial	   *burial = arg;
	DjkHandleShared *shared = burial->shared;

	/* Other calls still use the instance. */
	pthread_mutex_lock(&shared->lock);
	while (shared->running > 1)
		pthread_cond_wait(&shared->ended, &shared->lock);
	pthread_mutex_unlock(&shared->lock);

	if (burial->leave_group)
		close_consumer(burial);

	/* Whatever comes now must not write into a descriptor that is another's. */
	rd_kafka_queue_io_event_enable(burial->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(burial->queue);
	rd_kafka_destroy_flags(burial->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	close(burial->fds[0]);
	close(burial->fds[1]);
}

/* True if all was over in time. */
static bool
bury(DjkHandle *handle, int timeout_ms)
{
	Burial	   *burial = calloc(1, sizeof(Burial));
	double		until = djk_clock_ms() + timeout_ms;
	DjkCall    *call;

	if (burial == NULL)
		return false;
	burial->rk = handle->rk;
	burial->queue = handle->queue;
	burial->leave_group = handle->leave_group;
	burial->fds[0] = handle->fds[0];
	burial->fds[1] = handle->fds[1];
	burial->shared = handle->shared;
	burial->close_ms = timeout_ms * 2 / 3;

	call = start_call(handle->shared, run_burial, free, burial, -1);
	if (call == NULL)
	{
		free(burial);
		return false;
	}
	while (!wait_call(call, until))
		if (djk_clock_ms() >= until)
		{
			if (!abandon_call(call))
				return false;
			break;
		}
	free(burial);
	return true;
}

bool
djk_handle_destroy(DjkHandle *handle, int timeout_ms)
{
	bool		ended = true;

	if (handle->shared == NULL)
		return true;			/* done before */
	if (handle->release != NULL)
		handle->release(handle->release_arg);
	if (handle->stuck)
		timeout_ms = Min(timeout_ms, DJK_HANDLE_STUCK_MS);
	if (handle->rk != NULL)
		ended = bury(handle, timeout_ms);
	else
	{
		close(handle->fds[0]);
		close(handle->fds[1]);
	}
	/* A thread that is not done keeps what it shares with us, some bytes, for ever. */
	if (ended)
		destroy_shared(handle->shared);
	else
		expect_stray_threads();
	handle->rk = NULL;
	handle->queue = NULL;
	handle->shared = NULL;
	return ended;
}
