/*-------------------------------------------------------------------------
 *
 * again.c
 *	  A batch of messages that waited for a row they refer to.
 *
 * It is applied as any other.  What it is made of is read without a lock, so
 * somebody else may have applied some of it by then: its fence does not tell,
 * but the rows are deleted with what becomes of their messages, and all of them
 * must still be there (state/parked.c).
 *
 *-------------------------------------------------------------------------
 */
#include "apply/again.h"

#include "state/catalog.h"
#include "state/parked.h"

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	const DjkParked *parked = message->source;

	*headers = parked->headers;
	return parked->nheaders;
}

static int
partition_of(const DjkBatchPartition *partitions, int npartitions, int64 offset_id)
{
	for (int p = 0; p < npartitions; p++)
	{
		if (partitions[p].offset_id == offset_id)
			return p;
	}
	elog(ERROR, "a message waits of a partition that was not asked for");
}

DjkBatch *
djk_again_load(DjkBatchPartition *partitions, int npartitions, DjkAgainCursor *cursor,
			   int max_messages, Size max_bytes)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *ids = palloc(Max(npartitions, 1) * sizeof(int64));
	DjkBatch   *batch;
	DjkIdentity identity;
	List	   *list;
	ListCell   *lc;

	for (int p = 0; p < npartitions; p++)
	{
		ids[p] = partitions[p].offset_id;
		partitions[p].again_from = ids[p] == cursor->offset_id ? cursor->offset + 1 : 0;
		partitions[p].again_to = 0;
	}
	djk_catalog_enter(&identity);
	list = djk_parked_load(ids, npartitions, cursor->offset_id, cursor->offset, max_messages, max_bytes, context);
	djk_catalog_leave(&identity);
	if (list == NIL)
		return NULL;
	batch = palloc0(sizeof(DjkBatch));
	batch->partitions = partitions;
	batch->npartitions = npartitions;
	batch->messages = palloc(list_length(list) * sizeof(DjkMessage));
	batch->load_headers = load_headers;
	batch->again = true;
	foreach(lc, list)
	{
		DjkParked  *parked = lfirst(lc);
		DjkMessage *message = &batch->messages[batch->nmessages++];

		*message = parked->message;
		message->partition = partition_of(partitions, npartitions, parked->key.offset_id);
		batch->bytes += message->key_len + message->value_len;
		cursor->offset_id = parked->key.offset_id;
		cursor->offset = message->offset;
	}
	return batch;
}
