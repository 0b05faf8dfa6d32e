/*-------------------------------------------------------------------------
 *
 * bar.c
 *	  Databases that djkafka's processes keep out of.
 *
 * A few places in shared memory, each taken by the process that wants a
 * database to be empty.
 *
 *-------------------------------------------------------------------------
 */
#include "state/bar.h"

#include "miscadmin.h"
#include "storage/shmem.h"

/* So many databases may be dropped, renamed, moved or cloned at once. */
#define MAX_BARS	32

typedef struct Bar
{
	Oid			database;
	int			pid;			/* whose bar it is; 0: the place is free */
} Bar;

static Bar *bars = NULL;
static LWLock *bar_lock = NULL;

void
djk_bar_request(void)
{
	RequestAddinShmemSpace(MAX_BARS * sizeof(Bar));
}

void
djk_bar_start(LWLock *lock)
{
	bool		found;

	bar_lock = lock;
	bars = ShmemInitStruct("djkafka bars", MAX_BARS * sizeof(Bar), &found);
	if (!found)
		memset(bars, 0, MAX_BARS * sizeof(Bar));
}

bool
djk_bar_lift(Oid database)
{
	bool		found = false;

	LWLockAcquire(bar_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_BARS; i++)
	{
		Bar		   *bar = &bars[i];

		if (bar->pid != MyProcPid || (OidIsValid(database) && bar->database != database))
			continue;
		bar->pid = 0;
		found = true;
	}
	LWLockRelease(bar_lock);
	return found;
}

bool
djk_bar_place(Oid database)
{
	bool		placed = false;

	LWLockAcquire(bar_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_BARS && !placed; i++)
	{
		if (bars[i].pid != 0 && !(bars[i].pid == MyProcPid && bars[i].database == database))
			continue;
		bars[i] = (Bar) {database, MyProcPid};
		placed = true;
	}
	LWLockRelease(bar_lock);
	return placed;
}

bool
djk_bar_is_placed(Oid database)
{
	bool		barred = false;

	LWLockAcquire(bar_lock, LW_SHARED);
	for (int i = 0; i < MAX_BARS && !barred; i++)
		barred = bars[i].pid != 0 && bars[i].database == database;
	LWLockRelease(bar_lock);
	return barred;
}
