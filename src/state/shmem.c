/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Slots of djkafka's processes, and wake-ups.
 *
 * Everything sits in one fixed struct, sized by djkafka.max_workers, under one
 * LWLock; what else is shared has files of its own (segments.c).
 *
 * A process is woken through the latch of its PGPROC.  Setting the latch of a
 * process that has just gone wakes at worst a stranger, who looks and sleeps
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "state/shmem.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/text.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "state/partition_table.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* Which follows which: move_slot(), and drawn in design.md. */
typedef enum SlotLife
{
	SLOT_FREE,
	SLOT_RESERVED,				/* for a process that is to come, or that comes again */
	SLOT_ATTACHED				/* by a process */
} SlotLife;

typedef struct Slot
{
	SlotLife	life;
	bool		leave_asked;
	bool		wake;
	DjkLeaving	leaving;
	DjkSlotShare share;			/* for a worker's successors */
	Latch	   *latch;			/* of the process; NULL: none */

	/* as in the status, without the lock */
	pg_atomic_uint64 seen_at;
	pg_atomic_uint64 due_at;
	pg_atomic_uint64 woken_at;
	pg_atomic_uint32 resting;
	DjkSlotStatus status;
} Slot;

/* Messages of a database that were silenced. */
typedef struct Suppressed
{
	Oid			database;		/* invalid: free */
	int64		messages;
} Suppressed;

/* Databases beyond these are not counted. */
#define SUPPRESSED_MAX	64

typedef struct SharedState
{
	LWLock	   *lock;
	uint32		next_generation;
	char		embedded_bootstrap[64];
	pg_uuid_t	embedded_incarnation;
	Suppressed	suppressed[SUPPRESSED_MAX];
	int			nslots;
	Slot		slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

static SharedState *shared = NULL;

static int	my_slot = -1;
static uint32 my_generation = 0;

/* ---------- setting up ---------- */

static Size
shared_size(void)
{
	return offsetof(SharedState, slots) + djk_max_workers * sizeof(Slot);
}

void
djk_shmem_request(void)
{
	RequestAddinShmemSpace(shared_size());
}

void
djk_shmem_start(LWLock *lock)
{
	bool		found;

	shared = ShmemInitStruct("djkafka state", shared_size(), &found);
	if (found)
		return;
	memset(shared, 0, shared_size());
	shared->lock = lock;
	shared->nslots = djk_max_workers;
	shared->next_generation = 1;
}

bool
djk_shmem_available(void)
{
	return shared != NULL;
}

/* ---------- slots ---------- */

/* Processes whose slots belong to a supervisor. */
static bool
is_supervised(DjkWorkerKind kind)
{
	return kind == DJK_KIND_CONSUMER || kind == DJK_KIND_OUTBOX;
}

/* The only place where a slot's life goes on; lock held. */
static void
move_slot(Slot *s, SlotLife to)
{
	switch (to)
	{
		case SLOT_FREE:
			Assert(s->life != SLOT_FREE);
			break;
		case SLOT_RESERVED:
			Assert(s->life != SLOT_RESERVED);
			break;
		case SLOT_ATTACHED:
			Assert(s->life == SLOT_RESERVED);
			break;
	}
	s->life = to;
	s->status.pid = to == SLOT_ATTACHED ? MyProcPid : 0;
	s->latch = to == SLOT_ATTACHED ? MyLatch : NULL;
}

static bool
same_key(const DjkSlotKey *a, const DjkSlotKey *b)
{
	return a->kind == b->kind && a->database == b->database &&
		a->object_id == b->object_id && a->worker == b->worker;
}

/* The slot if it is still of this generation, else NULL; lock held. */
static Slot *
slot_of(int slot, uint32 generation)
{
	Slot	   *s;

	if (slot < 0 || slot >= shared->nslots)
		return NULL;
	s = &shared->slots[slot];
	return s->life != SLOT_FREE && s->status.generation == generation ? s : NULL;
}

static void
init_slot(Slot *s, const DjkSlotKey *key)
{
	memset(s, 0, sizeof(*s));
	pg_atomic_init_u64(&s->seen_at, 0);
	pg_atomic_init_u64(&s->due_at, 0);
	pg_atomic_init_u64(&s->woken_at, 0);
	pg_atomic_init_u32(&s->resting, 0);
	move_slot(s, SLOT_RESERVED);
	s->status.key = *key;
	s->status.generation = shared->next_generation++;
	s->status.state = DJK_STATE_STARTING;
	s->status.since = GetCurrentTimestamp();
}

int
djk_slot_reserve(const DjkSlotKey *key, uint32 *generation)
{
	int			free_slot = -1;

	*generation = 0;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *s = &shared->slots[i];

		if (s->life == SLOT_FREE)
		{
			if (free_slot < 0)
				free_slot = i;
		}
		else if (same_key(&s->status.key, key))
		{
			free_slot = i;
			break;
		}
	}
	if (free_slot >= 0)
	{
		if (shared->slots[free_slot].life == SLOT_FREE)
			init_slot(&shared->slots[free_slot], key);
		*generation = shared->slots[free_slot].status.generation;
	}
	LWLockRelease(shared->lock);
	return free_slot;
}

void
djk_slot_release(int slot, uint32 generation)
{
	Slot	   *s;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	s = slot_of(slot, generation);
	if (s != NULL && s->life == SLOT_RESERVED)
		move_slot(s, SLOT_FREE);
	LWLockRelease(shared->lock);
}

static void
note_activity(Slot *s, bool rests, long timeout_ms)
{
	TimestampTz now = djk_clock_now();

	pg_atomic_write_u64(&s->seen_at, now);
	pg_atomic_write_u64(&s->due_at, timeout_ms < 0 ? 0 : now + timeout_ms * INT64CONST(1000));
	pg_atomic_write_u32(&s->resting, rests);
}

static void
wake_slot(Slot *s)
{
	if (!s->wake)
		pg_atomic_write_u64(&s->woken_at, djk_clock_now());
	s->wake = true;
	SetLatch(s->latch);
}

static void
copy_status(DjkSlotStatus *status, Slot *s)
{
	*status = s->status;
	status->seen_at = pg_atomic_read_u64(&s->seen_at);
	status->due_at = pg_atomic_read_u64(&s->due_at);
	status->woken_at = s->wake ? pg_atomic_read_u64(&s->woken_at) : 0;
	status->resting = pg_atomic_read_u32(&s->resting) != 0;
}

/* False if there is none.  Lock held. */
static bool
wake_supervisor(Oid database)
{
	bool		found = false;

	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *s = &shared->slots[i];

		if (s->life == SLOT_ATTACHED && s->status.key.kind == DJK_KIND_SUPERVISOR &&
			s->status.key.database == database)
		{
			wake_slot(s);
			found = true;
		}
	}
	return found;
}

/* Lock held. */
static void
wake_launcher(void)
{
	for (Slot *s = shared->slots; s < shared->slots + shared->nslots; s++)
	{
		if (s->life == SLOT_ATTACHED && s->status.key.kind == DJK_KIND_LAUNCHER)
			wake_slot(s);
	}
}

/* A database's slots that no process has: what follows a supervisor makes its own.  Lock held. */
static void
forget_workers(Oid database)
{
	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *s = &shared->slots[i];

		if (s->life == SLOT_RESERVED && is_supervised(s->status.key.kind) &&
			s->status.key.database == database)
			move_slot(s, SLOT_FREE);
	}
}

static void
detach_slot(int code, Datum arg)
{
	Slot	   *s;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	s = slot_of(my_slot, my_generation);
	if (s != NULL && s->status.pid == MyProcPid)
	{
		DjkWorkerKind kind = s->status.key.kind;

		move_slot(s, SLOT_RESERVED);
		s->leave_asked = false;
		if (kind == DJK_KIND_EMBEDDED_BROKER)
			shared->embedded_bootstrap[0] = '\0';
		if (kind == DJK_KIND_SUPERVISOR)
		{
			forget_workers(s->status.key.database);
			/* One that failed, or was ended, is missed at once. */
			if (s->leaving != DJK_LEFT_WANTED)
				wake_launcher();
		}
		/* A supervised worker's slot belongs to somebody else, who wants to know. */
		if (!is_supervised(kind) || !wake_supervisor(s->status.key.database))
			move_slot(s, SLOT_FREE);
	}
	LWLockRelease(shared->lock);
	djk_partition_withdraw_all();
	my_slot = -1;
}

void
djk_slot_attach(int slot, uint32 generation)
{
	Slot	   *s;
	bool		taken = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	s = slot_of(slot, generation);
	if (s == NULL || s->life != SLOT_RESERVED)
		taken = true;
	else
	{
		move_slot(s, SLOT_ATTACHED);
		s->leaving = DJK_LEFT_UNKNOWN;
		s->wake = true;
		note_activity(s, false, 0);
		s->status.next_retry = 0;
		my_slot = slot;
		my_generation = generation;
	}
	LWLockRelease(shared->lock);

	if (taken)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("slot %d of djkafka is not free", slot)));
	before_shmem_exit(detach_slot, (Datum) 0);
}

int
djk_slot_mine(void)
{
	return my_slot;
}

bool
djk_slot_get(int slot, uint32 generation, DjkSlotStatus *status, DjkLeaving *leaving)
{
	Slot	   *s;

	memset(status, 0, sizeof(*status));
	*leaving = DJK_LEFT_UNKNOWN;
	LWLockAcquire(shared->lock, LW_SHARED);
	s = slot_of(slot, generation);
	if (s != NULL)
	{
		copy_status(status, s);
		*leaving = s->leaving;
	}
	LWLockRelease(shared->lock);
	return s != NULL;
}

DjkSlotStatus *
djk_slot_list(Oid database, int *count)
{
	DjkSlotStatus *list = palloc(shared->nslots * sizeof(DjkSlotStatus));
	int			n = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *s = &shared->slots[i];

		if (s->life != SLOT_FREE && (!OidIsValid(database) || s->status.key.database == database))
			copy_status(&list[n++], s);
	}
	LWLockRelease(shared->lock);
	*count = n;
	return list;
}

/* ---------- what is shown of a process ---------- */

#ifdef USE_ASSERT_CHECKING
static bool
may_show(const DjkSlotStatus *status, DjkState state)
{
	DjkWorkerKind kind = status->key.kind;
	bool		runs = status->pid != 0;

	/* A batch that nobody can explain: the process does nothing more. */
	if (status->state == DJK_STATE_NEEDS_DECISION && runs)
		return state == DJK_STATE_NEEDS_DECISION || state == DJK_STATE_STARTING ||
			state == DJK_STATE_BACKOFF || state == DJK_STATE_BROKEN;
	switch (state)
	{
		case DJK_STATE_STARTING:
		case DJK_STATE_BACKOFF:
		case DJK_STATE_BROKEN:
			return true;
		case DJK_STATE_RUNNING:
			return runs;
		case DJK_STATE_UNREACHABLE:
			return runs && is_supervised(kind);
		case DJK_STATE_NEEDS_DECISION:
			return runs && kind == DJK_KIND_OUTBOX;
		case DJK_STATE_WAITING_FOR_TOPIC:
		case DJK_STATE_FOREIGN_MEMBER:
		case DJK_STATE_STOPPED:
		case DJK_STATE_UNASSIGNED:
		case DJK_STATE_REGISTRY_UNREACHABLE:
			return runs && kind == DJK_KIND_CONSUMER;
		case DJK_STATE_NO_WORKER_SLOT:
			return !runs || kind == DJK_KIND_SUPERVISOR;	/* which says it of its workers */
		case DJK_STATE_WAITING_FOR_LOCK:
		case DJK_STATE_UNSEEN:
			return false;
	}
	return false;
}
#endif

/* Whether the state is for this process to tell: of one that runs nobody else does.  Lock held. */
static bool
is_mine_to_tell(const DjkSlotStatus *status)
{
	return status->pid == 0 || status->pid == MyProcPid;
}

DjkStateChange
djk_slot_set_state(int slot, DjkState state, const char *reason, const char *hint)
{
	DjkSlotStatus *status = &shared->slots[slot].status;
	char		new_reason[DJK_REASON_SIZE];
	DjkStateChange change = DJK_CHANGE_NONE;

	djk_text_copy(new_reason, reason, DJK_REASON_SIZE);

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (!is_mine_to_tell(status))
	{
		LWLockRelease(shared->lock);
		return DJK_CHANGE_NONE;
	}
	Assert(may_show(status, state));
	if (status->state != state)
	{
		change = DJK_CHANGE_STATE;
		status->since = GetCurrentTimestamp();
	}
	else if (strcmp(status->reason, new_reason) != 0)
		change = DJK_CHANGE_REASON;
	status->state = state;
	if (state == DJK_STATE_RUNNING)
	{
		status->attempt = 0;
		status->next_retry = 0;
	}
	strcpy(status->reason, new_reason);
	djk_text_copy(status->hint, hint, DJK_HINT_SIZE);
	LWLockRelease(shared->lock);
	return change;
}

void
djk_slot_set_retry(int slot, int attempt, TimestampTz next_retry)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[slot].status.attempt = attempt;
	shared->slots[slot].status.next_retry = next_retry;
	LWLockRelease(shared->lock);
}

void
djk_slot_set_revision(int slot, int64 revision)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[slot].status.revision = revision;
	LWLockRelease(shared->lock);
}

void
djk_slot_set_error(int slot, const char *message)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	djk_text_copy(shared->slots[slot].status.last_error, message, DJK_REASON_SIZE);
	shared->slots[slot].status.last_error_at = GetCurrentTimestamp();
	LWLockRelease(shared->lock);
}

void
djk_slot_set_leaving(int slot, DjkLeaving leaving)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[slot].leaving = leaving;
	LWLockRelease(shared->lock);
}

/*
 * Counts a batch.  The rate is an exponential average over about five seconds,
 * fed by the time since the last batch.
 */
void
djk_slot_add_batch(int slot, int64 messages)
{
	DjkSlotStatus *status = &shared->slots[slot].status;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (status->last_batch_at != 0)
	{
		double		elapsed = Max(now - status->last_batch_at, 1) / 1000000.0;
		double		weight = Min(elapsed / 5.0, 1.0);

		status->rows_per_second += weight * (messages / elapsed - status->rows_per_second);
	}
	status->last_batch_at = now;
	status->batches++;
	status->messages += messages;
	LWLockRelease(shared->lock);
}

void
djk_slot_note_rest(long timeout_ms)
{
	if (my_slot >= 0)
		note_activity(&shared->slots[my_slot], true, timeout_ms);
}

void
djk_slot_note_work(long timeout_ms)
{
	if (my_slot >= 0)
		note_activity(&shared->slots[my_slot], false, timeout_ms);
}

void
djk_slot_ask_leave(int slot, uint32 generation)
{
	Slot	   *s;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	s = slot_of(slot, generation);
	if (s != NULL && s->life == SLOT_ATTACHED)
	{
		s->leave_asked = true;
		wake_slot(s);
	}
	LWLockRelease(shared->lock);
}

void
djk_slot_set_share(int slot, DjkSlotShare share)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[slot].share = share;
	LWLockRelease(shared->lock);
}

DjkSlotShare
djk_slot_share(int slot)
{
	DjkSlotShare share;

	LWLockAcquire(shared->lock, LW_SHARED);
	share = shared->slots[slot].share;
	LWLockRelease(shared->lock);
	return share;
}

bool
djk_slot_failed_before(int slot)
{
	bool		failed;

	LWLockAcquire(shared->lock, LW_SHARED);
	failed = shared->slots[slot].status.attempt > 0 && shared->slots[slot].leaving == DJK_LEFT_FAILED;
	LWLockRelease(shared->lock);
	return failed;
}

/* Without the lock: whoever sets a flag sets the latch after it. */
bool
djk_slot_leave_asked(int slot)
{
	return *(volatile bool *) &shared->slots[slot].leave_asked;
}

/* ---------- waking ---------- */

void
djk_wake_database(Oid database)
{
	if (shared == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *s = &shared->slots[i];

		if (s->life == SLOT_ATTACHED &&
			(s->status.key.kind == DJK_KIND_LAUNCHER || (OidIsValid(database) && s->status.key.database == database)))
			wake_slot(s);
	}
	LWLockRelease(shared->lock);
}

/* What sessions do at a commit: the lock is shared.  Of no database: those of all, without a word. */
static void
wake_kind(DjkWorkerKind kind, Oid database)
{
	if (shared == NULL)
		return;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *s = &shared->slots[i];
		bool		is_meant = s->life == SLOT_ATTACHED && s->status.key.kind == kind;

		if (is_meant && !OidIsValid(database))
			SetLatch(s->latch);
		else if (is_meant && s->status.key.database == database)
			wake_slot(s);
	}
	LWLockRelease(shared->lock);
}

void
djk_wake_outbox(Oid database)
{
	wake_kind(DJK_KIND_OUTBOX, database);
}

void
djk_nudge_consumers(void)
{
	wake_kind(DJK_KIND_CONSUMER, InvalidOid);
}

bool
djk_wake_waits(void)
{
	return *(volatile bool *) &shared->slots[my_slot].wake;
}

bool
djk_wake_taken(void)
{
	bool		wake;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	wake = shared->slots[my_slot].wake;
	shared->slots[my_slot].wake = false;
	LWLockRelease(shared->lock);
	return wake;
}

/* ---------- the embedded broker ---------- */

void
djk_embedded_publish(const char *bootstrap, const pg_uuid_t *incarnation)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	strlcpy(shared->embedded_bootstrap, bootstrap, sizeof(shared->embedded_bootstrap));
	shared->embedded_incarnation = *incarnation;
	LWLockRelease(shared->lock);
}

char *
djk_embedded_bootstrap(void)
{
	char		copy[sizeof(shared->embedded_bootstrap)];

	/* A server's option may name the broker where nothing was preloaded. */
	if (shared == NULL)
		return NULL;
	LWLockAcquire(shared->lock, LW_SHARED);
	memcpy(copy, shared->embedded_bootstrap, sizeof(copy));
	LWLockRelease(shared->lock);
	return copy[0] != '\0' ? pstrdup(copy) : NULL;
}

bool
djk_embedded_incarnation(pg_uuid_t *incarnation)
{
	bool		runs;

	memset(incarnation, 0, sizeof(*incarnation));
	if (shared == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	runs = shared->embedded_bootstrap[0] != '\0';
	*incarnation = shared->embedded_incarnation;
	LWLockRelease(shared->lock);
	return runs;
}

/* ---------- silence ---------- */

/* NULL if there is none, and none is free.  Lock held. */
static Suppressed *
find_suppressed(Oid database)
{
	for (int i = 0; i < SUPPRESSED_MAX; i++)
	{
		Suppressed *s = &shared->suppressed[i];

		if (s->database == database || !OidIsValid(s->database))
			return s;
	}
	return NULL;
}

void
djk_suppressed_add(Oid database, int64 messages)
{
	Suppressed *s;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	s = find_suppressed(database);
	if (s != NULL)
	{
		s->database = database;
		s->messages += messages;
	}
	LWLockRelease(shared->lock);
}

int64
djk_suppressed_get(Oid database)
{
	Suppressed *s;
	int64		messages = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	s = find_suppressed(database);
	if (s != NULL && s->database == database)
		messages = s->messages;
	LWLockRelease(shared->lock);
	return messages;
}
