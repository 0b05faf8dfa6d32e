/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  What all of djkafka's background processes do alike.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_WORKER_H
#define DJK_WORKER_H

#include "base/djk.h"

#include "postmaster/bgworker.h"
#include "state/catalog.h"
#include "state/shmem.h"

/* What helps when no broker answers. */
#define DJK_UNREACHABLE_HINT	"Check bootstrap_servers, the network and the brokers."

/* The same where others answer. */
#define DJK_BROKERS_HINT	"Check the brokers; the worker goes on by itself."

/* What helps a consumer that Kafka refuses. */
#define DJK_DENIED_HINT		"Check the user mapping of the server, and the ACLs of the topic and the group."

/* Carried in bgw_extra to a dynamic worker. */
typedef struct DjkWorkerArgs
{
	int			slot;
	uint32		generation;
	Oid			database;
	Oid			owner;			/* InvalidOid: the bootstrap superuser */
	int64		object_id;		/* djkafka_consumer.id, or djkafka_outbox_server.id */
	int			worker;
} DjkWorkerArgs;

/* First thing in every worker's main: how to leave, signals. */
extern void djk_worker_init(void);

/* The arguments of a dynamic worker. */
extern DjkWorkerArgs djk_worker_args(void);

/*
 * Registers a dynamic worker of ours; its start and end wake this process.
 * NULL if max_worker_processes is used up.  The handle is palloc'd.
 */
extern BackgroundWorkerHandle *djk_worker_register(const char *main_function, const char *name,
												   const char *type, const DjkWorkerArgs *args);

/*
 * Runs 'body' and, if it throws, records the reason in this process's slot and
 * ends the process with exit code 1 after reporting the error.
 */
extern void djk_worker_run(void (*body) (void *arg), void *arg);

/* Interrupts and SIGHUP, between transactions; true if settings were read again. */
extern bool djk_worker_housekeep(void);

/* Makes the slot this process's, as djk_slot_attach(); ends the process if its database is barred. */
extern void djk_worker_attach(const DjkWorkerArgs *args);

/* Whether the database is in djkafka.databases now; needs a transaction. */
extern bool djk_worker_is_listed(void);


/*
 * Waits on the latch, an optional file descriptor and a deadline; handles
 * interrupts.  timeout_ms < 0: no deadline.
 */
extern void djk_worker_wait(int fd, long timeout_ms, const char *event);

/*
 * The same at the end of a turn that has begun with djk_wake_taken() and
 * djk_worker_housekeep(): not at all if another wake-up or SIGHUP has come since.
 * The latch does not tell, for whatever else waits in between, such as for a
 * lock, resets it.
 */
extern void djk_worker_rest(int fd, long timeout_ms, const char *event);

/*
 * Notices from here on that a server (NULL: none, the settings) or the mapping
 * of a role for it is changed or dropped; to be called once, in a transaction,
 * before the connection is read.  Changes of other servers do not count.
 */
extern void djk_worker_watch_connection(const char *server, Oid role);
extern bool djk_worker_connection_changed(void);

/*
 * A short transaction on the catalog; the caller's memory context is current
 * again after it.
 */
extern void djk_worker_begin(DjkIdentity *identity);
extern void djk_worker_commit(const DjkIdentity *identity);

/* The same under another synchronous_commit. */
extern void djk_worker_commit_as(const DjkIdentity *identity, const char *synchronous);

/* A state that is only told in other words is an event no more often than that. */
#define DJK_REASON_EVENT_MS		60000

/* Sets the slot's state; if it changed, writes an event in a transaction of its own. */
extern void djk_worker_set_state(DjkState state, const char *reason, const char *hint,
								 int64 consumer_id, const char *consumer);

/* Writes the event of a state, in a transaction of its own; consumer_id 0: of no consumer. */
extern void djk_worker_tell_state(const char *kind, DjkState state, const char *reason,
								  int64 consumer_id, const char *consumer);

/* Statistics and activity as a backend's command loop would report them. */
extern void djk_worker_report_idle(const char *activity);
extern void djk_worker_report_busy(const char *activity);

#endif							/* DJK_WORKER_H */
