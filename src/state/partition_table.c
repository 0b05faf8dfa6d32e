/*-------------------------------------------------------------------------
 *
 * partition_table.c
 *	  Which worker reads which partition, in shared memory.
 *
 * A hash table, sized by djkafka.max_partitions.  A partition that finds it
 * full is not shown; nothing else depends on it.
 *
 *-------------------------------------------------------------------------
 */
#include "state/partition_table.h"

#include "base/settings.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

typedef struct PartitionKey
{
	Oid			database;
	int64		offset_id;
} PartitionKey;

typedef struct PartitionEntry
{
	PartitionKey key;
	DjkPartitionStatus status;
} PartitionEntry;

static HTAB *partitions = NULL;
static LWLock *partition_lock = NULL;

void
djk_partition_request(void)
{
	RequestAddinShmemSpace(hash_estimate_size(djk_max_partitions, sizeof(PartitionEntry)));
}

void
djk_partition_start(LWLock *lock)
{
	HASHCTL		ctl = {0};

	partition_lock = lock;
	ctl.keysize = sizeof(PartitionKey);
	ctl.entrysize = sizeof(PartitionEntry);
	partitions = ShmemInitHash("djkafka partitions", djk_max_partitions, djk_max_partitions,
							   &ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

void
djk_partition_withdraw_all(void)
{
	HASH_SEQ_STATUS scan;
	PartitionEntry *entry;

	LWLockAcquire(partition_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, partitions);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->status.pid == MyProcPid)
			hash_search(partitions, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(partition_lock);
}

void
djk_partition_publish(Oid database, const DjkPartitionStatus *status)
{
	PartitionKey key;
	PartitionEntry *entry;

	memset(&key, 0, sizeof(key));
	key.database = database;
	key.offset_id = status->offset_id;

	LWLockAcquire(partition_lock, LW_EXCLUSIVE);
	entry = hash_search(partitions, &key, HASH_ENTER_NULL, NULL);
	if (entry != NULL)
		entry->status = *status;
	LWLockRelease(partition_lock);
}

void
djk_partition_withdraw(Oid database, int64 offset_id)
{
	PartitionKey key;
	PartitionEntry *entry;

	memset(&key, 0, sizeof(key));
	key.database = database;
	key.offset_id = offset_id;

	LWLockAcquire(partition_lock, LW_EXCLUSIVE);
	entry = hash_search(partitions, &key, HASH_FIND, NULL);
	if (entry != NULL && entry->status.pid == MyProcPid)
		hash_search(partitions, &key, HASH_REMOVE, NULL);
	LWLockRelease(partition_lock);
}

DjkPartitionStatus *
djk_partition_list(Oid database, int *count)
{
	DjkPartitionStatus *list;
	HASH_SEQ_STATUS scan;
	PartitionEntry *entry;
	int			n = 0;

	LWLockAcquire(partition_lock, LW_SHARED);
	list = palloc((hash_get_num_entries(partitions) + 1) * sizeof(DjkPartitionStatus));
	hash_seq_init(&scan, partitions);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->key.database == database)
			list[n++] = entry->status;
	}
	LWLockRelease(partition_lock);
	*count = n;
	return list;
}
