/*-------------------------------------------------------------------------
 *
 * handle.h
 *	  An instance of librdkafka, owned by a memory context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_HANDLE_H
#define DJK_KAFKA_HANDLE_H

#include <librdkafka/rdkafka.h>

#include "base/call.h"
#include "base/djk.h"

/* How long a memory context that is reset waits for the library to end. */
#define DJK_HANDLE_RESET_MS		3000

/* The same for an instance that is known to be stuck. */
#define DJK_HANDLE_STUCK_MS		500

typedef struct DjkHandle
{
	rd_kafka_t *rk;				/* NULL once destroyed or left behind */
	rd_kafka_queue_t *queue;	/* everything that is to be polled comes here */
	rd_kafka_type_t type;
	int			fds[2];			/* the wake pipe */
	bool		leave_group;	/* say goodbye to the group before the end */
	bool		stuck;			/* will not end in time: do not wait long */
	DjkCalls   *calls;			/* in other threads */
	MemoryContextCallback callback;

	/* Called first when the handle goes away: give back what the library lent. */
	void		(*release) (void *arg);
	void	   *release_arg;
} DjkHandle;

/*
 * Makes an instance of 'conf' in 'context', which then owns it; 'conf' is used
 * up even if this fails.  ERROR DJK_ERRCODE_PROPERTY or DJK_ERRCODE_KAFKA.
 * Log lines come as events of the queue.
 */
extern DjkHandle *djk_handle_create(MemoryContext context, rd_kafka_type_t type, rd_kafka_conf_t *conf);

/*
 * Closes and destroys; never throws, answers no interrupts.  False if the
 * library did not end within 'timeout_ms': a thread goes on with it then, and
 * the process leaves by _exit() once the server's own cleanup is done.
 */
extern bool djk_handle_destroy(DjkHandle *handle, int timeout_ms);

/* Reads the wake pipe empty. */
extern void djk_handle_drain_fd(DjkHandle *handle);

/*
 * A call of the library that may block, made in a thread of its own so that
 * interrupts are answered meanwhile.  'run' must not touch PostgreSQL; 'arg'
 * is malloc'd and belongs to the caller if true is returned, else 'discard' is
 * called for it once 'run' has ended.  May throw (interrupts).
 */
extern bool djk_handle_call(DjkHandle *handle, void (*run) (void *arg),
							void (*discard) (void *arg), void *arg, int timeout_ms);

/*
 * The same without waiting: NULL if there is no memory or no thread ('arg' is
 * discarded then).  The wake pipe is written to when the call has ended; asking
 * whether it has then frees it, and 'arg' is the caller's again.
 */
extern DjkCall *djk_handle_start(DjkHandle *handle, void (*run) (void *arg),
								 void (*discard) (void *arg), void *arg);
extern bool djk_call_ended(DjkCall *call);

#endif							/* DJK_KAFKA_HANDLE_H */
