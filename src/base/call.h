/*-------------------------------------------------------------------------
 *
 * call.h
 *	  Calls of libraries that may block, made in threads of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CALL_H
#define DJK_CALL_H

#include "base/djk.h"

#include <pthread.h>
#include <signal.h>

/* Longest wait between two looks at interrupts. */
#define DJK_CALL_SLICE_MS		100

/* What calls and whoever makes them share; outlives a thread that does not end. */
typedef struct DjkCalls DjkCalls;

typedef struct DjkCall DjkCall;

/* NULL if there is no memory. */
extern DjkCalls *djk_calls_create(void);
extern void djk_calls_destroy(DjkCalls *calls);

/*
 * Starts 'run(arg)' in a thread; NULL if there is no memory or no thread.  'run'
 * must not touch PostgreSQL.  'arg' is malloc'd and belongs to the call until that
 * was waited for, or was abandoned: 'discard' is called for it then, once 'run' has
 * ended.  'wake_fd' is written to when it has; -1: none.
 */
extern DjkCall *djk_call_start(DjkCalls *calls, void (*run) (void *arg), void (*discard) (void *arg),
							   void *arg, int wake_fd);

/* Waits up to one slice; true if the call has ended, which frees it, and 'arg' is the caller's again. */
extern bool djk_call_wait(DjkCall *call, double until_ms);

/* Leaves the call to its thread.  True if it had ended after all, and 'arg' is the caller's again. */
extern bool djk_call_abandon(DjkCall *call);

/* In the thread of a call: waits until it is the only one. */
extern void djk_calls_wait_for_others(DjkCalls *calls);

/*
 * Threads will still run when this process exits, which it then does by _exit() once
 * the server's own cleanup is done.
 */
extern void djk_calls_expect_strays(void);

/* All signals off while a library makes threads, which inherit the mask. */
static inline void
djk_signals_block(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static inline void
djk_signals_restore(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

#endif							/* DJK_CALL_H */
