/*-------------------------------------------------------------------------
 *
 * again.c
 *	  A batch of messages that waited: for a row they refer to, or for another try.
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
#include "utils/timestamp.h"

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

static void
begin_partitions(DjkBatchPartition *partitions, int npartitions, const TimestampTz *next_due)
{
	for (int p = 0; p < npartitions; p++)
	{
		partitions[p].again_from = partitions[p].again_to = 0;
		partitions[p].next_due = next_due[p];
		partitions[p].again_omits = next_due[p] != 0;
		partitions[p].lacking = partitions[p].unwatched = false;
		partitions[p].deadline = 0;
	}
}

static int64 *
offset_ids(const DjkBatchPartition *partitions, int npartitions)
{
	int64	   *ids = palloc(Max(npartitions, 1) * sizeof(int64));

	for (int p = 0; p < npartitions; p++)
		ids[p] = partitions[p].offset_id;
	return ids;
}

/* NULL if there is nothing in it. */
static DjkBatch *
make_batch(DjkBatchPartition *partitions, int npartitions, const List *list)
{
	DjkBatch   *batch;
	ListCell   *lc;

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
		batch->bytes += parked->bytes;
	}
	return batch;
}

DjkBatch *
djk_again_load(DjkBatchPartition *partitions, int npartitions, DjkAgainCursor *cursor,
			   int max_messages, Size max_bytes)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *ids = offset_ids(partitions, npartitions);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz *next_due = palloc(Max(npartitions, 1) * sizeof(TimestampTz));
	DjkIdentity identity;
	List	   *list;

	djk_catalog_enter(&identity);
	djk_parked_next_due(ids, npartitions, now, next_due);
	list = djk_parked_load(ids, npartitions, cursor->offset_id, cursor->offset, now, max_messages, max_bytes, context);
	djk_catalog_leave(&identity);
	begin_partitions(partitions, npartitions, next_due);
	for (int p = 0; p < npartitions; p++)
	{
		if (ids[p] == cursor->offset_id)
			partitions[p].again_from = cursor->offset + 1;
	}
	if (list != NIL)
	{
		const DjkParked *last = llast(list);

		cursor->offset_id = last->key.offset_id;
		cursor->offset = last->message.offset;
	}
	return make_batch(partitions, npartitions, list);
}

/* Whether all that waited behind what is due by its key is there too. */
static bool
is_complete(const List *list, int max_messages, Size max_bytes)
{
	int			behind = 0;
	Size		bytes = 0;
	ListCell   *lc;

	foreach(lc, list)
	{
		const DjkParked *parked = lfirst(lc);

		behind += parked->due_at == 0;
		bytes += parked->bytes;
		/* It has held up others than those of its hash. */
		if (parked->has_key && parked->key.hash == DJK_PARKED_ANY_KEY)
			return false;
	}
	return behind < max_messages / 2 && bytes < max_bytes;
}

DjkBatch *
djk_again_load_due(DjkBatchPartition *partitions, int npartitions, int max_messages, Size max_bytes, bool *complete)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *ids = offset_ids(partitions, npartitions);
	TimestampTz *next_due = palloc(Max(npartitions, 1) * sizeof(TimestampTz));
	DjkIdentity identity;
	List	   *list;

	djk_catalog_enter(&identity);
	djk_parked_next_due(ids, npartitions, DT_NOBEGIN, next_due);
	list = djk_parked_load_due(ids, npartitions, GetCurrentTimestamp(), max_messages, max_bytes, context);
	djk_catalog_leave(&identity);
	/* Whatever else waits is left out. */
	begin_partitions(partitions, npartitions, next_due);
	for (int p = 0; p < npartitions; p++)
		partitions[p].again_omits = true;
	*complete = is_complete(list, max_messages, max_bytes);
	return make_batch(partitions, npartitions, list);
}
