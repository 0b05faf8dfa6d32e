/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Where a consumer worker stands in each partition it has been given.
 *
 * position_load.c finds out where a partition begins.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/position.h"

#include "base/clock.h"
#include "miscadmin.h"
#include "state/event.h"
#include "state/offset.h"
#include "state/partition_table.h"
#include "state/shmem.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

/* A partition that has just got another leader may seem to end too early. */
#define SHORT_MS		10000

/* ---------- the table ---------- */

DjkPositions *
djk_positions_create(const DjkConsumerRow *consumer, DjkConsumer *kafka, bool embedded, MemoryContext context)
{
	DjkPositions *positions = MemoryContextAllocZero(context, sizeof(DjkPositions));
	HASHCTL		ctl = {0};

	positions->consumer = consumer;
	positions->kafka = kafka;
	positions->embedded = embedded;
	positions->context = context;
	ctl.keysize = sizeof(DjkPositionKey);
	ctl.entrysize = sizeof(DjkPosition);
	ctl.hcxt = context;
	positions->table = hash_create("djkafka positions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return positions;
}

DjkPosition *
djk_positions_find(DjkPositions *positions, const char *topic, int partition)
{
	DjkPosition *last = positions->last;
	DjkPositionKey key;

	if (last != NULL && last->key.partition == partition && strcmp(last->key.topic, topic) == 0)
		return last;
	djk_position_make_key(&key, topic, partition);
	positions->last = hash_search(positions->table, &key, HASH_FIND, NULL);
	return positions->last;
}

static DjkTopicPartition
place_of(const DjkPosition *position)
{
	DjkTopicPartition place = {0};

	place.topic = (char *) position->key.topic;
	place.partition = position->key.partition;
	place.offset = djk_position_start(position);
	return place;
}

/* The others of the worker do not notice. */
static void
pause_fetching(DjkPositions *positions, DjkPosition *position)
{
	DjkTopicPartition place = place_of(position);

	if (!position->assigned)
		return;
	djk_consumer_pause(positions->kafka, &place, 1);
	position->paused = true;
}

/* The library forgets of nothing that it was paused. */
static void
resume(DjkPositions *positions, DjkPosition *position)
{
	DjkTopicPartition place = place_of(position);

	if (position->paused)
		djk_consumer_resume(positions->kafka, &place, 1);
	position->paused = false;
}

void
djk_positions_add(DjkPositions *positions, const DjkTopicPartition *partitions, int n)
{
	positions->unanswered = true;
	for (int i = 0; i < n; i++)
	{
		DjkPositionKey key;
		DjkPosition *position;
		bool		found;

		djk_position_make_key(&key, partitions[i].topic, partitions[i].partition);
		position = hash_search(positions->table, &key, HASH_ENTER, &found);
		if (found)
			continue;
		djk_position_clear(position);
		positions->unresolved = true;
	}
}

void
djk_positions_remove(DjkPositions *positions, const DjkTopicPartition *partitions, int n)
{
	positions->last = NULL;
	for (int i = 0; i < n; i++)
	{
		DjkPosition *position = djk_positions_find(positions, partitions[i].topic, partitions[i].partition);

		positions->last = NULL;
		if (position == NULL)
			continue;
		resume(positions, position);
		if (position->offset_id != 0)
			djk_partition_withdraw(MyDatabaseId, position->offset_id);
		(void) hash_search(positions->table, &position->key, HASH_REMOVE, NULL);
	}
}

int
djk_positions_count(const DjkPositions *positions)
{
	return (int) hash_get_num_entries(positions->table);
}

void
djk_positions_publish(DjkPositions *positions, int worker)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	DjkPartitionStatus status = {0};

	status.pid = MyProcPid;
	status.worker = worker;
	status.seen_at = GetCurrentTimestamp();
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->offset_id == 0)
			continue;
		status.offset_id = position->offset_id;
		status.position = position->expected;
		status.high_watermark = position->high_watermark;
		djk_partition_publish(MyDatabaseId, &status);
	}
}

void
djk_positions_tell(DjkPositions *positions, const DjkPosition *position, const char *kind, const char *state,
				   const char *reason)
{
	DjkEvent	event = {0};

	event.kind = kind;
	event.consumer_id = positions->consumer->id;
	event.consumer = positions->consumer->name;
	event.topic = position->key.topic;
	event.partition = position->key.partition;
	event.state = state;
	event.reason = reason;
	djk_event_write(&event);
}

/* ---------- fetching ---------- */

void
djk_positions_leave(DjkPosition *position)
{
	if (position->state == DJK_POSITION_FETCHING)
		djk_position_move(position, DJK_POSITION_RESOLVED);
}

/* The positions that are wanted, as the library takes them. */
static DjkTopicPartition *
collect(DjkPositions *positions, bool (*wanted) (const DjkPosition *), int *n)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	DjkTopicPartition *list = palloc0((djk_positions_count(positions) + 1) * sizeof(DjkTopicPartition));

	*n = 0;
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (wanted(position))
			list[(*n)++] = place_of(position);
	}
	return list;
}

static bool
is_assigned(const DjkPosition *position)
{
	return position->assigned;
}

static bool
is_new(const DjkPosition *position)
{
	return position->state == DJK_POSITION_RESOLVED;
}

/* What begins to be fetched has not been verified yet. */
static void
begin(DjkPositions *positions, DjkPosition *position)
{
	djk_position_move(position, DJK_POSITION_FETCHING);
	djk_position_begin(position);
	positions->anchoring |= position->anchoring;
	resume(positions, position);
}

/* The library has been told of all that is ready; of what it fetched already only if 'all'. */
static void
note_fetching(DjkPositions *positions, bool all)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		/* One that is held is left where it is, unless all are told again. */
		if (all || position->state != DJK_POSITION_HELD)
			position->assigned = djk_position_is_ready(position);
		if (is_new(position) || (all && position->assigned))
			begin(positions, position);
	}
}

/* It has been told of nothing. */
static void
note_suspended(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		position->assigned = false;
		djk_positions_leave(position);
	}
}

static bool
is_unwanted(const DjkPosition *position)
{
	return position->assigned && position->state != DJK_POSITION_FETCHING && position->state != DJK_POSITION_HELD;
}

/*
 * Of a cooperative assignment the part that goes on is left alone.  A rebalance that gives nothing new wants an
 * answer as well: until then the library keeps all that it has paused, and joins no other one.
 */
static void
fetch_more(DjkPositions *positions, bool answers)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	DjkTopicPartition *list;
	int			n;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (is_unwanted(position))
		{
			DjkTopicPartition one = place_of(position);

			djk_consumer_assign_less(positions->kafka, &one, 1);
			position->assigned = false;
		}
	}
	list = collect(positions, is_new, &n);
	if (n > 0 || answers)
		djk_consumer_assign_more(positions->kafka, list, n);
	pfree(list);
	note_fetching(positions, false);
}

static bool
is_out_of_step(const DjkPosition *position)
{
	return is_new(position) || is_unwanted(position);
}

void
djk_positions_fetch(DjkPositions *positions)
{
	int			n;
	DjkTopicPartition *list = collect(positions, is_out_of_step, &n);
	bool		answers = positions->unanswered;

	pfree(list);
	if (n == 0 && !answers)
		return;
	positions->unanswered = false;

	if (djk_consumer_is_cooperative(positions->kafka))
	{
		fetch_more(positions, answers);
		return;
	}
	list = collect(positions, djk_position_is_ready, &n);
	djk_consumer_assign(positions->kafka, list, n);
	pfree(list);
	note_fetching(positions, true);
}

void
djk_positions_settle(DjkPositions *positions)
{
	if (!positions->unanswered)
		return;
	positions->unanswered = false;
	if (djk_consumer_is_cooperative(positions->kafka))
		djk_consumer_assign_more(positions->kafka, NULL, 0);
	else
		djk_consumer_assign(positions->kafka, NULL, 0);
}

void
djk_positions_suspend(DjkPositions *positions)
{
	int			n;
	DjkTopicPartition *list = collect(positions, is_assigned, &n);

	if (!djk_consumer_is_cooperative(positions->kafka))
		djk_consumer_assign(positions->kafka, NULL, 0);
	/* The group waits for our answer even where nothing is assigned. */
	else if (n > 0 || djk_consumer_is_revoking(positions->kafka))
		djk_consumer_assign_less(positions->kafka, list, n);
	pfree(list);
	note_suspended(positions);
}

void
djk_positions_rewind(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
		position->expected = position->next_offset;
}

static void
note_held(DjkPositions *positions, const DjkPosition *position)
{
	if (positions->held_until == 0 || positions->held_until > position->held_until)
		positions->held_until = position->held_until;
}

void
djk_positions_hold(DjkPositions *positions, DjkPosition *position)
{
	if (!djk_position_is_ready(position) || position->held_offset < position->next_offset)
		return;
	position->expected = position->next_offset;
	djk_position_move(position, DJK_POSITION_HELD);
	note_held(positions, position);
	pause_fetching(positions, position);
}

/* The others of the worker do not notice, if the library has it still. */
static void
release(DjkPositions *positions, DjkPosition *position)
{
	djk_position_move(position, DJK_POSITION_RESOLVED);
	if (position->assigned)
	{
		DjkTopicPartition place = place_of(position);

		begin(positions, position);
		djk_consumer_seek(positions->kafka, &place, 1);
	}
}

void
djk_positions_release(DjkPositions *positions, TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	positions->held_until = 0;
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->state != DJK_POSITION_HELD)
			continue;
		if (position->held_until <= now)
			release(positions, position);
		else
			note_held(positions, position);
	}
}

bool
djk_positions_in_vain(const DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	bool		found = false;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
		found = found || (position->vain + position->waiting_vain > 0 && position->state != DJK_POSITION_STOPPED);
	return found;
}

void
djk_positions_stop(DjkPositions *positions, DjkPosition *position, const char *reason)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_offset_stop(position->offset_id, position->generation, reason);
	djk_positions_tell(positions, position, "decision", "needs_decision", reason);
	djk_worker_commit(&identity);
	djk_position_move(position, DJK_POSITION_STOPPED);
	ereport(WARNING,
			(errcode(DJK_ERRCODE_NEEDS_DECISION),
			 errmsg("partition %d of topic \"%s\" needs a decision: %s", position->key.partition,
					position->key.topic, reason),
			 errhint("Decide with djkafka_seek(consumer, topic, start_at, partition).")));
}

void
djk_positions_note_storm(DjkPositions *positions, DjkPosition *position)
{
	position->expected = position->next_offset;
	djk_position_move(position, DJK_POSITION_STOPPED);
	pause_fetching(positions, position);
	ereport(WARNING,
			(errcode(DJK_ERRCODE_NEEDS_DECISION),
			 errmsg("partition %d of topic \"%s\" has stopped: too many of its messages fail",
					position->key.partition, position->key.topic),
			 errhint("Fix the cause, then SELECT djkafka_resume(%s).", quote_literal_cstr(positions->consumer->name))));
}

void
djk_positions_restart(DjkPositions *positions, DjkPosition *position, const char *reason)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	if (djk_offset_restart(position->offset_id, position->generation))
		djk_positions_tell(positions, position, "new_topic", "running", reason);
	djk_worker_commit(&identity);
	ereport(LOG,
			(errmsg("partition %d of topic \"%s\" is read from its beginning: %s", position->key.partition,
					position->key.topic, reason)));
	djk_positions_reload(positions, position);
}

bool
djk_positions_trust(const DjkPositions *positions, const char *topic)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	bool		found = false;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
		found = found || (strcmp(position->key.topic, topic) == 0 && position->state == DJK_POSITION_FETCHING &&
						  !position->anchoring && position->anchor.offset >= 0);
	return found;
}

DjkPosition *
djk_positions_find_short(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	DjkPosition *found = NULL;
	TimestampTz now = djk_clock_now();
	bool		anchoring = false;

	if (!positions->anchoring)
		return NULL;
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->state != DJK_POSITION_FETCHING || !position->anchoring)
			continue;
		anchoring = true;
		if (position->short_since != 0 && TimestampDifferenceExceeds(position->short_since, now, SHORT_MS))
			found = position;
	}
	positions->anchoring = anchoring;
	return found;
}

DjkPosition *
djk_positions_first(const DjkPositions *positions, bool (*is_so) (DjkPosition *position, void *arg), void *arg)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	DjkPosition *first = NULL;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (is_so(position, arg) && (first == NULL || djk_position_precedes(position, first)))
			first = position;
	}
	return first;
}

static bool
is_denied(const DjkPosition *position)
{
	return position->state == DJK_POSITION_FETCHING && position->denied;
}

void
djk_positions_try_denied(DjkPositions *positions)
{
	int			n;
	DjkTopicPartition *list = collect(positions, is_denied, &n);

	if (n > 0)
		djk_consumer_seek(positions->kafka, list, n);
	pfree(list);
}

void
djk_positions_reload(DjkPositions *positions, DjkPosition *position)
{
	if (position->offset_id != 0)
		djk_partition_withdraw(MyDatabaseId, position->offset_id);
	djk_position_forget(position);
	positions->unresolved = true;
}
