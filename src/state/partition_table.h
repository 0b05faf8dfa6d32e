/*-------------------------------------------------------------------------
 *
 * partition_table.h
 *	  Which worker reads which partition, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PARTITION_TABLE_H
#define DJK_PARTITION_TABLE_H

#include "base/djk.h"

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

typedef struct DjkPartitionStatus
{
	int64		offset_id;
	int			pid;
	int			worker;
	int64		position;
	int64		high_watermark;
	TimestampTz seen_at;
} DjkPartitionStatus;

/* From the hooks of segments.c. */
extern void djk_partition_request(void);
extern void djk_partition_start(LWLock *lock);

/* Shows, or no longer shows, a partition as this process's. */
extern void djk_partition_publish(Oid database, const DjkPartitionStatus *status);
extern void djk_partition_withdraw(Oid database, int64 offset_id);
extern void djk_partition_withdraw_all(void);

/* The partitions in hand in a database; palloc'd. */
extern DjkPartitionStatus *djk_partition_list(Oid database, int *count);

#endif							/* DJK_PARTITION_TABLE_H */
