/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  What djkafka's processes know of each other: shared memory.
 *
 * Every process has a slot.  Launcher, supervisors and the embedded broker
 * take theirs when they start; a consumer or outbox worker's slot is made by
 * its supervisor and outlives the process, because a worker that waits for its
 * next start has a state too.  A slot's generation tells its present user from
 * an earlier one.
 *
 * One lock guards it all: it is taken a few times per batch and once per status
 * query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SHMEM_H
#define DJK_SHMEM_H

#include "base/djk.h"

#include "datatype/timestamp.h"
#include "storage/lwlock.h"
#include "utils/uuid.h"

typedef enum DjkWorkerKind
{
	DJK_KIND_LAUNCHER,
	DJK_KIND_SUPERVISOR,
	DJK_KIND_CONSUMER,
	DJK_KIND_EMBEDDED_BROKER,
	DJK_KIND_OUTBOX
} DjkWorkerKind;

/* In the order of djk_state_name()'s table. */
typedef enum DjkState
{
	DJK_STATE_STARTING,
	DJK_STATE_RUNNING,
	DJK_STATE_WAITING_FOR_TOPIC,
	DJK_STATE_BACKOFF,			/* a transient error: the batch or the worker waits */
	DJK_STATE_UNREACHABLE,		/* no broker answers */
	DJK_STATE_BROKEN,			/* the definition does not fit the database */
	DJK_STATE_FOREIGN_MEMBER,	/* somebody else is in the group */
	DJK_STATE_NO_WORKER_SLOT,	/* max_worker_processes or djkafka.max_workers is used up */
	DJK_STATE_STOPPED,
	DJK_STATE_NEEDS_DECISION,	/* an outbox worker found what it cannot explain */
	DJK_STATE_WAITING_FOR_LOCK, /* told of it by whoever asks, never set by itself */
	DJK_STATE_UNASSIGNED,		/* a partition is given to no worker of the consumer */
	DJK_STATE_UNSEEN,			/* a process does not go on; told by whoever asks */
	DJK_STATE_REGISTRY_UNREACHABLE	/* a partition waits for a schema, and no registry answers */
} DjkState;

#define DJK_REASON_SIZE		512
#define DJK_HINT_SIZE		1024

/* Who a slot is for. */
typedef struct DjkSlotKey
{
	DjkWorkerKind kind;
	Oid			database;		/* InvalidOid: the launcher, the broker */
	int64		object_id;		/* djkafka_consumer.id, or djkafka_outbox_server.id; 0: neither */
	int			worker;			/* number within the consumer, from 1 */
} DjkSlotKey;

typedef struct DjkSlotStatus
{
	DjkSlotKey	key;
	uint32		generation;
	int			pid;			/* 0: no process */
	DjkState	state;
	char		reason[DJK_REASON_SIZE];
	char		hint[DJK_HINT_SIZE];
	TimestampTz since;
	int			attempt;
	TimestampTz next_retry;		/* 0: none */
	int64		revision;		/* of the consumer the process runs */
	int64		batches;
	int64		messages;
	double		rows_per_second;
	TimestampTz last_batch_at;
	char		last_error[DJK_REASON_SIZE];
	TimestampTz last_error_at;

	/* by djk_clock_now() */
	TimestampTz seen_at;		/* the process began to rest, or to do what it does now */
	TimestampTz due_at;			/* the end of that; 0: it rests until it is woken */
	TimestampTz woken_at;		/* that it has not noticed yet; 0: nobody wakes it */
	bool		resting;
} DjkSlotStatus;

/* How a worker ended, for its supervisor; and a supervisor, for the launcher. */
typedef enum DjkLeaving
{
	DJK_LEFT_UNKNOWN,			/* terminated or crashed: nothing was recorded */
	DJK_LEFT_WANTED,			/* asked to, not wanted, or its definition changed */
	DJK_LEFT_FAILED				/* an error: state and reason tell */
} DjkLeaving;

extern const char *djk_state_name(DjkState state);
extern const char *djk_kind_name(DjkWorkerKind kind);

/* From the hooks of segments.c. */
extern void djk_shmem_request(void);
extern void djk_shmem_start(LWLock *lock);

/* False if djkafka is not in shared_preload_libraries: nothing below may be called then. */
extern bool djk_shmem_available(void);

/* --- slots: an index is valid as long as its generation --- */

/* Finds or makes the slot of a key; -1 if all are in use. */
extern int	djk_slot_reserve(const DjkSlotKey *key, uint32 *generation);

/* Gives a slot back that no process is attached to; quiet if it is not the same any more. */
extern void djk_slot_release(int slot, uint32 generation);

/* Makes this process the slot's; ERROR if it is taken.  Detaches by before_shmem_exit. */
extern void djk_slot_attach(int slot, uint32 generation);
extern int	djk_slot_mine(void);

/* Copies; false if the slot is not of this generation any more. */
extern bool djk_slot_get(int slot, uint32 generation, DjkSlotStatus *status, DjkLeaving *leaving);

/* All slots of a database, or of all if InvalidOid; palloc'd. */
extern DjkSlotStatus *djk_slot_list(Oid database, int *count);

typedef enum DjkStateChange
{
	DJK_CHANGE_NONE,
	DJK_CHANGE_REASON,			/* the same state, in other words */
	DJK_CHANGE_STATE
} DjkStateChange;

/*
 * Sets the state of a slot, and tells how it differs from before.  Of a process
 * that runs only itself can: from others it is not heard.
 */
extern DjkStateChange djk_slot_set_state(int slot, DjkState state, const char *reason, const char *hint);
extern void djk_slot_set_retry(int slot, int attempt, TimestampTz next_retry);
extern void djk_slot_set_revision(int slot, int64 revision);
extern void djk_slot_set_error(int slot, const char *message);
extern void djk_slot_set_leaving(int slot, DjkLeaving leaving);
extern void djk_slot_add_batch(int slot, int64 messages);

/*
 * This process is alive: it rests from now on, or works, for no longer than that
 * (< 0: until it is woken).  Costs nearly nothing; quiet without a slot.
 */
extern void djk_slot_note_rest(long timeout_ms);
extern void djk_slot_note_work(long timeout_ms);

/* Asks a slot's process to leave for good (unsubscribing); cleared by attach. */
extern void djk_slot_ask_leave(int slot, uint32 generation);
extern bool djk_slot_leave_asked(int slot);

/* What a worker lets the library fetch (see consumer/share.h); 0: none has chosen. */
typedef struct DjkSlotShare
{
	int			bytes;			/* of a partition at once */
	int			messages;		/* ahead, of all partitions */
} DjkSlotShare;

extern void djk_slot_set_share(int slot, DjkSlotShare share);
extern DjkSlotShare djk_slot_share(int slot);

/* Whether the slot's last process failed: its successor has yet to prove itself. */
extern bool djk_slot_failed_before(int slot);

/* --- waking --- */

/*
 * Set the latch of the launcher and of the database's processes, or of its
 * outbox workers alone.  Nothing happens if djkafka is not preloaded.
 */
extern void djk_wake_database(Oid database);
extern void djk_wake_outbox(Oid database);

/* Ends the rest of all consumer workers, of whatever database: they see for what. */
extern void djk_nudge_consumers(void);

/* True once for each wake since the last call, for the process's own slot. */
extern bool djk_wake_taken(void);

/* Whether there is one that was not taken yet. */
extern bool djk_wake_waits(void);

/* --- the embedded broker --- */

extern void djk_embedded_publish(const char *bootstrap, const pg_uuid_t *incarnation);

/* palloc'd "host:port", or NULL if it does not run. */
extern char *djk_embedded_bootstrap(void);
extern bool djk_embedded_incarnation(pg_uuid_t *incarnation);

/* Messages of a database that were silenced since the server started. */
extern void djk_suppressed_add(Oid database, int64 messages);
extern int64 djk_suppressed_get(Oid database);

#endif							/* DJK_SHMEM_H */
