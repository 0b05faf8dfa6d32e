/*-------------------------------------------------------------------------
 *
 * waiters.c
 *	  Sessions that wait for a partition's position: djkafka_wait.
 *
 * Whoever writes a row of djkafka_offset notes it, and wakes those who wait for
 * it when the transaction has committed; what it costs where nobody waits is the
 * look at one counter.  A session counts itself before it looks at the row, and
 * a writer looks at the counter when others see its commit: so either it finds
 * the session, or the session what it has committed.
 *
 * Rows share a few condition variables, so a session may be woken for another
 * row.  It looks at its own, and sleeps again.
 *
 *-------------------------------------------------------------------------
 */
#include "state/waiters.h"

#include "access/xact.h"
#include "base/compat.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "state/shmem.h"
#include "storage/condition_variable.h"
#include "storage/shmem.h"

#define PLACES		64			/* bits of 'noted' */

typedef struct Place
{
	pg_atomic_uint32 waiting;
	ConditionVariable changed;
} Place;

typedef struct SharedWaiters
{
	pg_atomic_uint32 waiting;	/* in all places */
	Place		places[PLACES];
} SharedWaiters;

static SharedWaiters *shared = NULL;

static uint64 noted = 0;		/* places whose rows this transaction has written */
static int	joined = -1;		/* where this session waits */

/* ---------- setting up ---------- */

void
djk_waiters_request(void)
{
	RequestAddinShmemSpace(sizeof(SharedWaiters));
}

void
djk_waiters_start(void)
{
	bool		found;

	shared = ShmemInitStruct("djkafka waiters", sizeof(SharedWaiters), &found);
	if (found)
		return;
	pg_atomic_init_u32(&shared->waiting, 0);
	for (int i = 0; i < PLACES; i++)
	{
		pg_atomic_init_u32(&shared->places[i].waiting, 0);
		ConditionVariableInit(&shared->places[i].changed);
	}
}

/* Rows of a consumer mostly follow each other, and so have places of their own. */
static int
place_of(int64 offset_id)
{
	return (int) (((uint64) offset_id + MyDatabaseId) % PLACES);
}

/* ---------- waking ---------- */

static void
wake(uint64 places)
{
	if (shared == NULL)
		return;
	/* What was committed is seen by whoever counts itself after this. */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->waiting) == 0)
		return;
	for (int i = 0; i < PLACES; i++)
	{
		if ((places & (UINT64CONST(1) << i)) != 0 && pg_atomic_read_u32(&shared->places[i].waiting) > 0)
			ConditionVariableBroadcast(&shared->places[i].changed);
	}
}

void
djk_waiters_wake_all(void)
{
	wake(PG_UINT64_MAX);
}

void
djk_waiters_note(int64 offset_id)
{
	noted |= UINT64CONST(1) << place_of(offset_id);
}

/* A prepared transaction has forgotten what it noted: its end wakes all (state/wake.c). */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && noted != 0)
		wake(noted);
	noted = 0;
}

void
djk_waiters_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
}

/* ---------- waiting ---------- */

void
djk_waiters_join(int64 offset_id)
{
	int			place = place_of(offset_id);

	if (joined == place)
		return;
	djk_waiters_leave();
	pg_atomic_fetch_add_u32(&shared->waiting, 1);
	pg_atomic_fetch_add_u32(&shared->places[place].waiting, 1);
	joined = place;
	ConditionVariablePrepareToSleep(&shared->places[place].changed);
}

void
djk_waiters_leave(void)
{
	if (joined < 0)
		return;
	ConditionVariableCancelSleep();
	pg_atomic_fetch_sub_u32(&shared->places[joined].waiting, 1);
	pg_atomic_fetch_sub_u32(&shared->waiting, 1);
	joined = -1;
}

void
djk_waiters_sleep(long timeout_ms)
{
	static uint32 event = 0;

	Assert(joined >= 0);
	if (event == 0)
		event = djk_wait_event_new("DjkafkaWait");
	(void) ConditionVariableTimedSleep(&shared->places[joined].changed, timeout_ms, event);
}
