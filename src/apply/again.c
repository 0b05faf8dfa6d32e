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

#include "apply/lacking.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/parked.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What is looked at together, and by one call at most: to look is cheap, but others wait for their turn. */
#define LOOK_MESSAGES		1000
#define LOOK_MESSAGES_MAX	10000

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

/* ---------- a round ---------- */

/* What is to be tried next. */
typedef struct Choice
{
	DjkApply   *apply;
	TimestampTz now;
	DjkAgainCursor at;			/* behind what was looked at */
	int64	   *ids;
	int64	   *offsets;
	int			n;
	int			max;
	int			first;			/* of the partition at hand */
	int			looked;			/* at so many; */
	int			size;			/* … and next at so many together */
	MemoryContext context;		/* of what is looked at together */
} Choice;

/* Whether one of the partition at hand has been chosen. */
static bool
is_chosen(const Choice *choice, int64 offset)
{
	int			low = choice->first;
	int			high = choice->n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (choice->offsets[middle] == offset)
			return true;
		if (choice->offsets[middle] < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* What goes on waiting: the partition has told of it when it failed, and does again. */
static void
leave_out(DjkBatchPartition *partition)
{
	partition->lacking = true;
	partition->again_omits = true;
}

static void
note_deadline(DjkBatchPartition *partition, TimestampTz deadline)
{
	if (deadline != 0 && (partition->deadline == 0 || partition->deadline > deadline))
		partition->deadline = deadline;
}

/* Returns false when there is no room for one more. */
static bool
choose(Choice *choice, DjkBatchPartition *partition, const DjkParkedPlace *places, int n, const bool *lacking)
{
	for (int i = 0; i < n; i++)
	{
		const DjkParkedPlace *place = &places[i];

		/* Behind one that is not tried, or was in vain, it would wait again. */
		if (lacking[i] || (!partition->again_all && place->behind >= 0 && !is_chosen(choice, place->behind)))
			leave_out(partition);
		else if (choice->n == choice->max)
			return false;
		else
		{
			choice->ids[choice->n] = place->id;
			choice->offsets[choice->n++] = place->offset;
		}
		choice->at.offset = place->offset;
	}
	return true;
}

/* Looks at the next of a partition; *end: there was nothing more.  Returns false when there is no room. */
static bool
look(Choice *choice, DjkBatchPartition *partition, bool omits, bool *end)
{
	MemoryContext old = MemoryContextSwitchTo(choice->context);
	DjkIdentity identity;
	DjkParkedPlace *places;
	TimestampTz deadline = 0;
	bool	   *lacking = palloc0(choice->size * sizeof(bool));
	bool		room;
	int			n;

	djk_catalog_enter(&identity);
	places = djk_parked_look(partition->offset_id, choice->at.offset, partition->again_end, choice->now, omits,
							 choice->size, choice->context, &n);
	djk_catalog_leave(&identity);
	if (!partition->again_all && n > 0)
		djk_lacking_find(choice->apply, partition->topic, places, n, lacking, &deadline);
	note_deadline(partition, deadline);
	choice->looked += n;
	*end = n < choice->size;
	choice->size = Min(choice->size * 2, LOOK_MESSAGES);
	room = choose(choice, partition, places, n, lacking);
	MemoryContextSwitchTo(old);
	MemoryContextReset(choice->context);
	return room;
}

/* Returns false when somebody has to come back for what is left of it. */
static bool
choose_of(Choice *choice, DjkBatchPartition *partition)
{
	/* What is not due, as was found before it was known what lacks its parent. */
	bool		omits = partition->again_omits;
	bool		end = false;

	if (choice->at.offset_id != partition->offset_id)
		choice->at = (DjkAgainCursor) {partition->offset_id, -1};
	choice->first = choice->n;
	while (!end)
	{
		CHECK_FOR_INTERRUPTS();
		if (choice->n == choice->max || choice->looked >= LOOK_MESSAGES_MAX || !look(choice, partition, omits, &end))
			return false;
	}
	return true;
}

/* Sets *more if not all was looked at. */
static void
choose_of_all(Choice *choice, DjkBatchPartition *partitions, int npartitions, bool *more)
{
	*more = false;
	for (int p = 0; p < npartitions && !*more; p++)
	{
		if (partitions[p].offset_id >= choice->at.offset_id)
			*more = !choose_of(choice, &partitions[p]);
	}
}

DjkBatch *
djk_again_load(DjkApply *apply, DjkBatchPartition *partitions, int npartitions, DjkAgainCursor *cursor,
			   int max_messages, Size max_bytes, bool *more)
{
	MemoryContext context = CurrentMemoryContext;
	Choice		choice = {.apply = apply, .now = GetCurrentTimestamp(), .at = *cursor, .max = max_messages,
	.size = Min(max_messages, LOOK_MESSAGES)};
	int64	   *ids = offset_ids(partitions, npartitions);
	TimestampTz *next_due = palloc(Max(npartitions, 1) * sizeof(TimestampTz));
	DjkIdentity identity;
	List	   *list;

	choice.ids = palloc(max_messages * sizeof(int64));
	choice.offsets = palloc(max_messages * sizeof(int64));
	choice.context = AllocSetContextCreate(context, "djkafka what waits", ALLOCSET_DEFAULT_SIZES);
	djk_catalog_enter(&identity);
	djk_parked_next_due(ids, npartitions, choice.now, next_due);
	djk_catalog_leave(&identity);
	begin_partitions(partitions, npartitions, next_due);
	for (int p = 0; p < npartitions; p++)
	{
		if (ids[p] == cursor->offset_id)
			partitions[p].again_from = cursor->offset + 1;
	}
	choose_of_all(&choice, partitions, npartitions, more);
	MemoryContextDelete(choice.context);
	*cursor = choice.at;
	if (choice.n == 0)
		return NULL;

	djk_catalog_enter(&identity);
	list = djk_parked_load(choice.ids, choice.n, max_bytes, context);
	djk_catalog_leave(&identity);
	if (list != NIL && list_length(list) < choice.n)
	{
		const DjkParked *last = llast(list);

		*cursor = (DjkAgainCursor) {last->key.offset_id, last->message.offset};
		*more = true;
	}
	return make_batch(partitions, npartitions, list);
}

/* ---------- what is due ---------- */

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
