/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Where a consumer worker stands in each partition it has been given.
 *
 * Kafka is asked with no transaction open; each answer is stored in a short
 * one.  Between the two anything may have happened, so what is stored is
 * guarded by the row's generation.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/position.h"

#include "access/xact.h"
#include "base/start.h"
#include "base/transaction.h"
#include "miscadmin.h"
#include "state/event.h"
#include "state/offset.h"
#include "state/partition_table.h"
#include "state/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define LOOKUP_TIMEOUT_MS	5000

/* An earlier owner commits within this time, or the worker tells what it waits for. */
#define LOCK_TIMEOUT		"10s"

/* ---------- the table ---------- */

DjkPositions *
djk_positions_create(const DjkConsumerRow *consumer, DjkConsumer *kafka, bool embedded, MemoryContext context)
{
	DjkPositions *positions = MemoryContextAllocZero(context, sizeof(DjkPositions));
	HASHCTL		ctl = {0};

	positions->consumer = consumer;
	positions->kafka = kafka;
	positions->embedded = embedded;
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

/* ---------- loading ---------- */

static void
write_event(DjkPositions *positions, const DjkPosition *position, const char *kind, const char *state,
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

/* A row into its position; between enter and leave. */
static void
take_row(DjkPositions *positions, DjkPosition *position, const DjkOffsetRow *row)
{
	pg_uuid_t	incarnation;
	const char *reason = djk_offset_mismatch(row, positions->embedded, positions->cluster_id);

	position->offset_id = row->id;
	position->generation = row->generation;
	position->next_offset = position->expected = row->next_offset;
	position->stopped = row->needs_decision;
	position->verified = false;
	position->jump_to = -1;

	if (positions->embedded && row->has_incarnation && djk_embedded_incarnation(&incarnation) &&
		memcmp(&incarnation, &row->incarnation, sizeof(incarnation)) != 0)
	{
		djk_offset_reincarnate(row->id, &incarnation);
		write_event(positions, position, "reincarnation", "running",
					"the embedded broker is a new one: its partition is read from the beginning");
		position->generation++;
		position->next_offset = position->expected = 0;
		position->stopped = false;
	}
	else if (reason != NULL && !position->stopped)
	{
		djk_offset_stop(row->id, row->generation, reason);
		write_event(positions, position, "decision", "needs_decision", reason);
		position->stopped = true;
	}
}

/* Somebody may hold a row for longer than the worker may go without polling. */
static void
begin_with_lock_timeout(DjkIdentity *identity)
{
	djk_worker_begin(identity);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* All positions of a topic that have no row yet; their number is returned. */
static int
find_unloaded(DjkPositions *positions, const char *topic, int **partitions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	int			n = 0;

	*partitions = palloc(djk_positions_count(positions) * sizeof(int));
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->offset_id == 0 && strcmp(position->key.topic, topic) == 0)
			(*partitions)[n++] = position->key.partition;
	}
	return n;
}

static void
load_topic(DjkPositions *positions, const char *topic)
{
	DjkTopicInfo *info;
	int			ninfo;
	DjkError	error = {0};
	DjkIdentity identity;
	DjkOffsetRow *rows;
	int			nrows;
	int		   *partitions;
	int			npartitions = find_unloaded(positions, topic, &partitions);
	int			in_kafka;

	if (!djk_consumer_topics(positions->kafka, topic, &info, &ninfo, LOOKUP_TIMEOUT_MS, &error) ||
		ninfo == 0 || info[0].error.sqlstate != 0)
	{
		positions->trouble = psprintf("could not look up topic \"%s\"", topic);
		return;
	}
	in_kafka = info[0].npartitions;
	for (int i = 0; i < npartitions; i++)
		in_kafka = Max(in_kafka, partitions[i] + 1);

	begin_with_lock_timeout(&identity);
	djk_offset_create(positions->consumer->id, topic, in_kafka, positions->consumer->start_from);
	rows = djk_offset_load(positions->consumer->id, topic, partitions, npartitions, false,
						   CurrentMemoryContext, &nrows);
	for (int i = 0; i < nrows; i++)
	{
		/* Whether the offsets are those of this cluster cannot be told yet. */
		if (rows[i].cluster_id != NULL && positions->cluster_id == NULL && !positions->embedded)
		{
			positions->trouble = "could not look up the id of the Kafka cluster";
			continue;
		}
		take_row(positions, djk_positions_find(positions, topic, rows[i].partition), &rows[i]);
	}
	djk_worker_commit(&identity);
}

/* ---------- resolving ---------- */

/* The wish of a row as it stands now; NULL if it has none. */
static char *
load_wish(DjkPositions *positions, DjkPosition *position)
{
	DjkIdentity identity;
	MemoryContext context = CurrentMemoryContext;
	DjkOffsetRow *rows;
	int			nrows;
	char	   *wish = NULL;

	begin_with_lock_timeout(&identity);
	rows = djk_offset_load(positions->consumer->id, position->key.topic, &position->key.partition, 1,
						   false, context, &nrows);
	if (nrows == 1)
	{
		position->generation = rows[0].generation;
		wish = rows[0].start_at;
	}
	djk_worker_commit(&identity);
	return wish;
}

static DjkStart
parse_wish(const char *wish)
{
	MemoryContext context = CurrentMemoryContext;
	DjkStart	start;

	/* Reading a time may look into the catalogs, and "today" at the clock. */
	djk_transaction_start();
	start = djk_start_parse(wish);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return start;
}

/*
 * Asks Kafka what a wish means for one partition; false if it did not answer.
 * A time after the last message is the end, and a group that has committed
 * nothing starts at the beginning.
 */
static bool
ask_kafka(DjkPositions *positions, const DjkPosition *position, const char *wish, int64 *offset, DjkError *error)
{
	DjkTopicPartition asked = {0};
	DjkStart	start = parse_wish(wish);

	*offset = DJK_OFFSET_UNKNOWN;
	asked.topic = pstrdup(position->key.topic);
	asked.partition = position->key.partition;
	if (!djk_consumer_resolve_start(positions->kafka, &asked, 1, &start, LOOKUP_TIMEOUT_MS, error))
		return false;
	*error = asked.error;
	*offset = asked.offset;
	return error->sqlstate == 0;
}

static void
resolve(DjkPositions *positions, DjkPosition *position)
{
	char	   *wish = load_wish(positions, position);
	DjkError	error = {0};
	DjkIdentity identity;
	pg_uuid_t	incarnation;
	int64		offset;
	bool		stored;

	if (wish == NULL)
	{
		djk_positions_reload(positions, position);
		return;
	}
	if (!ask_kafka(positions, position, wish, &offset, &error))
	{
		positions->trouble = psprintf("could not look up \"%s\" of topic \"%s\", partition %d: %s", wish,
									  position->key.topic, position->key.partition,
									  error.message ? error.message : "no answer");
		return;
	}

	djk_worker_begin(&identity);
	stored = djk_offset_resolve(position->offset_id, position->generation, offset, positions->cluster_id,
								positions->embedded && djk_embedded_incarnation(&incarnation) ? &incarnation : NULL);
	if (stored)
		write_event(positions, position, "start", "running",
					psprintf("starts at offset " INT64_FORMAT " (%s)", offset, wish));
	djk_worker_commit(&identity);
	if (stored)
		position->next_offset = position->expected = offset;
	else
		djk_positions_reload(positions, position);
}

void
djk_positions_load(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	List	   *all = NIL;
	ListCell   *lc;

	positions->trouble = NULL;
	if (positions->cluster_id == NULL && !positions->embedded)
	{
		char	   *id = djk_consumer_cluster_id(positions->kafka, LOOKUP_TIMEOUT_MS);

		if (id != NULL)
			positions->cluster_id = MemoryContextStrdup(GetMemoryChunkContext(positions), id);
	}

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
		all = lappend(all, position);
	foreach(lc, all)
	{
		position = lfirst(lc);
		if (position->offset_id == 0)
			load_topic(positions, position->key.topic);
	}
	foreach(lc, all)
	{
		position = lfirst(lc);
		CHECK_FOR_INTERRUPTS();
		if (position->offset_id != 0 && position->next_offset == DJK_OFFSET_UNRESOLVED && !position->stopped)
			resolve(positions, position);
	}

	positions->unresolved = false;
	foreach(lc, all)
	{
		position = lfirst(lc);
		if (position->offset_id == 0 || (position->next_offset == DJK_OFFSET_UNRESOLVED && !position->stopped))
			positions->unresolved = true;
	}
}

/* ---------- fetching ---------- */

static bool
may_fetch(const DjkPosition *position)
{
	return position->offset_id != 0 && !position->stopped && position->expected != DJK_OFFSET_UNRESOLVED;
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
		if (!wanted(position))
			continue;
		list[*n].topic = position->key.topic;
		list[*n].partition = position->key.partition;
		list[*n].offset = position->expected;
		(*n)++;
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
	return may_fetch(position) && !position->fetching;
}

/* What begins to be fetched has not been verified yet. */
static void
mark(DjkPositions *positions, bool fetching, bool all)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		bool		now = fetching && may_fetch(position);

		if (now && (all || !position->fetching))
		{
			position->verified = false;
			position->jump_to = -1;
		}
		position->fetching = position->assigned = now;
	}
}

/* Of a cooperative assignment the part that goes on is left alone. */
static void
fetch_more(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	DjkTopicPartition *list;
	int			n;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->assigned && (!position->fetching || !may_fetch(position)))
		{
			DjkTopicPartition one = {0};

			one.topic = position->key.topic;
			one.partition = position->key.partition;
			djk_consumer_assign_less(positions->kafka, &one, 1);
			position->assigned = position->fetching = false;
		}
	}
	list = collect(positions, is_new, &n);
	if (n > 0)
		djk_consumer_assign_more(positions->kafka, list, n);
	pfree(list);
	mark(positions, true, false);
}

static bool
is_out_of_step(const DjkPosition *position)
{
	return is_new(position) || (position->assigned && (!position->fetching || !may_fetch(position)));
}

void
djk_positions_fetch(DjkPositions *positions)
{
	int			n;
	DjkTopicPartition *list = collect(positions, is_out_of_step, &n);

	pfree(list);
	if (n == 0 && !positions->unanswered)
		return;
	positions->unanswered = false;

	if (djk_consumer_is_cooperative(positions->kafka))
	{
		fetch_more(positions);
		return;
	}
	list = collect(positions, may_fetch, &n);
	djk_consumer_assign(positions->kafka, list, n);
	pfree(list);
	mark(positions, true, true);
}

void
djk_positions_suspend(DjkPositions *positions)
{
	int			n;
	DjkTopicPartition *list = collect(positions, is_assigned, &n);

	if (!djk_consumer_is_cooperative(positions->kafka))
		djk_consumer_assign(positions->kafka, NULL, 0);
	else if (n > 0)
		djk_consumer_assign_less(positions->kafka, list, n);
	pfree(list);
	mark(positions, false, true);
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

void
djk_positions_stop(DjkPositions *positions, DjkPosition *position, const char *reason)
{
	DjkIdentity identity;

	djk_worker_begin(&identity);
	djk_offset_stop(position->offset_id, position->generation, reason);
	write_event(positions, position, "decision", "needs_decision", reason);
	djk_worker_commit(&identity);
	position->stopped = true;
	ereport(WARNING,
			(errcode(DJK_ERRCODE_NEEDS_DECISION),
			 errmsg("partition %d of topic \"%s\" needs a decision: %s", position->key.partition,
					position->key.topic, reason),
			 errhint("Decide with djkafka_seek(consumer, topic, start_at, partition).")));
}

void
djk_positions_reload(DjkPositions *positions, DjkPosition *position)
{
	if (position->offset_id != 0)
		djk_partition_withdraw(MyDatabaseId, position->offset_id);
	position->offset_id = 0;
	position->fetching = false;
	position->next_offset = position->expected = DJK_OFFSET_UNRESOLVED;
	positions->unresolved = true;
}
