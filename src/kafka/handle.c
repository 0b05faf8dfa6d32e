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
#include <unistd.h>

#include "base/clock.h"
#include "kafka/conf.h"
#include "kafka/error.h"
#include "miscadmin.h"
#include "utils/memutils.h"

bool
djk_handle_call(DjkHandle *handle, void (*run) (void *arg),
				void (*discard) (void *arg), void *arg, int timeout_ms)
{
	DjkCall    *call = djk_call_start(handle->calls, run, discard, arg, -1);
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
		while (!(done = djk_call_wait(call, until)) && djk_clock_ms() < until)
			CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		if (djk_call_abandon(call))
			discard(arg);
		PG_RE_THROW();
	}
	PG_END_TRY();

	return done || djk_call_abandon(call);
}

DjkCall *
djk_handle_start(DjkHandle *handle, void (*run) (void *arg), void (*discard) (void *arg), void *arg)
{
	DjkCall    *call = djk_call_start(handle->calls, run, discard, arg, handle->fds[1]);

	if (call == NULL)
		discard(arg);
	return call;
}

bool
djk_call_ended(DjkCall *call)
{
	return djk_call_wait(call, 0);
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
		handle->calls = djk_calls_create();
	}
	if (handle == NULL || handle->calls == NULL)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	if (!open_pipe(handle->fds))
	{
		rd_kafka_conf_destroy(conf);
		djk_calls_destroy(handle->calls);
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
	DjkCalls   *calls;
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
		rd_kafka_event_t *event = rd_kafka_queue_poll(burial->queue, DJK_CALL_SLICE_MS);

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

	/* Other calls still use the instance. */
	djk_calls_wait_for_others(burial->calls);

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
	burial->calls = handle->calls;
	burial->close_ms = timeout_ms * 2 / 3;

	call = djk_call_start(handle->calls, run_burial, free, burial, -1);
	if (call == NULL)
	{
		free(burial);
		return false;
	}
	while (!djk_call_wait(call, until))
		if (djk_clock_ms() >= until)
		{
			if (!djk_call_abandon(call))
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

	if (handle->calls == NULL)
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
		djk_calls_destroy(handle->calls);
	else
		djk_calls_expect_strays();
	handle->rk = NULL;
	handle->queue = NULL;
	handle->calls = NULL;
	return ended;
}
