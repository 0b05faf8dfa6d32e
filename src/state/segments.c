/*-------------------------------------------------------------------------
 *
 * segments.c
 *	  All that djkafka has in shared memory, asked for and made in one place.
 *
 * Each part is its own file's, which says how large it is and fills it when the
 * server starts, and after a crash again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "miscadmin.h"
#include "state/awaited.h"
#include "state/bar.h"
#include "state/partition_table.h"
#include "state/segments.h"
#include "state/shmem.h"
#include "state/waiters.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

enum
{
	LOCK_SLOTS,
	LOCK_PARTITIONS,
	LOCK_BARS,
	LOCKS
};

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestNamedLWLockTranche(DJK_EXTENSION_NAME, LOCKS);
	djk_shmem_request();
	djk_partition_request();
	djk_bar_request();
	djk_waiters_request();
	djk_awaited_request();
}

static void
start(void)
{
	LWLockPadded *locks;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche(DJK_EXTENSION_NAME);
	djk_shmem_start(&locks[LOCK_SLOTS].lock);
	djk_partition_start(&locks[LOCK_PARTITIONS].lock);
	djk_bar_start(&locks[LOCK_BARS].lock);
	djk_waiters_start();
	djk_awaited_start();
	LWLockRelease(AddinShmemInitLock);
}

void
djk_segments_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start;
}
