/*-------------------------------------------------------------------------
 *
 * offset.c
 *	  SQL on djkafka_offset.
 *
 * The fence is what makes a batch ours: rows are locked in one order
 * (consumer, topic, partition) by everybody, and a row whose next_offset or
 * generation is not what the worker loaded means that somebody else moved it.
 * The advance at the end of the same transaction asks for the same again, for
 * the owner's code, which runs in between, may have sought or dropped its own
 * consumer: nobody else could.
 *
 *-------------------------------------------------------------------------
 */
#include "state/offset.h"

#include "access/xact.h"
#include "base/clock.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/dead_letter.h"
#include "state/parked.h"
#include "state/shmem.h"
#include "state/waiters.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static Datum
int4_array(const int *values, int n)
{
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = Int32GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, INT4OID, 4, true, TYPALIGN_INT));
}

/* ---------- loading ---------- */

#define SELECT_OFFSETS \
	"SELECT id, topic, partition, generation, next_offset, start_at," \
	" state = 'needs_decision', incarnation, cluster_id, anchor_offset, anchor_hash, parked, topic_uuid," \
	" retry_offset, retry_attempt, retry_due_at, state = 'storm'" \
	" FROM @.djkafka_offset WHERE consumer_id = $1 AND topic = $2 AND partition = ANY ($3)" \
	" ORDER BY consumer_id, topic, partition FOR NO KEY UPDATE"

/* Of a row that begins elsewhere: nothing is counted, and neither a message nor the end is known of its topic. */
#define COUNT_ANEW \
	" applied = 0, superseded = 0, key_only = 0, cascaded = 0, filtered = 0, duplicates = 0, stale = 0, dead = 0, dead_sent = 0, retried = 0, retries = 0, parked = 0, gaps = 0, skipped = 0," \
	" anchor_offset = NULL, anchor_hash = NULL, topic_uuid = NULL, high_watermark = NULL," \
	" retry_offset = NULL, retry_attempt = NULL, retry_due_at = NULL, retry_sqlstate = NULL, retry_message = NULL," \
	" counted_since = clock_timestamp(), skip_offset = NULL, recent = 0, recent_failed = 0,"

static void
fill_offset(DjkOffsetRow *row, int i, MemoryContext context)
{
	bool		isnull;
	Datum		incarnation;

	row->id = djk_row_int64(i, 1, 0);
	row->topic = djk_row_text(i, 2, context);
	row->partition = (int) djk_row_int64(i, 3, 0);
	row->generation = djk_row_int64(i, 4, 0);
	row->next_offset = djk_row_int64(i, 5, DJK_OFFSET_UNRESOLVED);
	row->start_at = djk_row_text(i, 6, context);
	row->needs_decision = djk_row_bool(i, 7);
	incarnation = djk_row_datum(i, 8, &isnull);
	row->has_incarnation = !isnull;
	if (!isnull)
		row->incarnation = *DatumGetUUIDP(incarnation);
	row->cluster_id = djk_row_text(i, 9, context);
	row->anchor.offset = djk_row_int64(i, 10, -1);
	row->anchor.crc = (uint32) djk_row_int64(i, 11, 0);
	row->parked = djk_row_int64(i, 12, 0);
	row->topic_id = djk_row_text(i, 13, context);
	row->held_offset = djk_row_int64(i, 14, -1);
	row->held_attempt = (int) djk_row_int64(i, 15, 0);
	row->held_until = DatumGetTimestampTz(djk_row_datum(i, 16, &isnull));
	row->storms = djk_row_bool(i, 17);
}

DjkOffsetRow *
djk_offset_load(int64 consumer_id, const char *topic, const int *partitions, int npartitions,
				bool nowait, MemoryContext context, int *count)
{
	static DjkStatement select_wait = {
		.sql = SELECT_OFFSETS,
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, INT4ARRAYOID}
	};
	static DjkStatement select_nowait = {
		.sql = SELECT_OFFSETS " NOWAIT",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, INT4ARRAYOID}
	};
	Datum		values[3] = {
		Int64GetDatum(consumer_id), CStringGetTextDatum(topic), int4_array(partitions, npartitions)
	};
	int			n = (int) djk_catalog_execute(nowait ? &select_nowait : &select_wait, values, NULL);
	DjkOffsetRow *rows = MemoryContextAllocZero(context, (n + 1) * sizeof(DjkOffsetRow));

	for (int i = 0; i < n; i++)
		fill_offset(&rows[i], i, context);
	*count = n;
	return rows;
}

void
djk_offset_create(int64 consumer_id, const char *topic, int npartitions, const char *start_from)
{
	/*
	 * Rows that are there are left out first: ON CONFLICT would wait for
	 * whoever is changing one, and djkafka_run waits for nobody.
	 */
	static DjkStatement insert_offsets = {
		.sql = "INSERT INTO @.djkafka_offset (consumer_id, topic, partition, start_at)"
		" SELECT $1, $2, p, CASE WHEN EXISTS (SELECT FROM @.djkafka_offset o"
		"   WHERE o.consumer_id = $1 AND o.topic = $2) THEN 'earliest' ELSE $4 END"
		" FROM generate_series(0, $3 - 1) p"
		" WHERE NOT EXISTS (SELECT FROM @.djkafka_offset e"
		"   WHERE e.consumer_id = $1 AND e.topic = $2 AND e.partition = p) ORDER BY p"
		" ON CONFLICT (consumer_id, topic, partition) DO NOTHING",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, INT4OID, TEXTOID}
	};
	Datum		values[4] = {
		Int64GetDatum(consumer_id), CStringGetTextDatum(topic),
		Int32GetDatum(npartitions), CStringGetTextDatum(start_from)
	};

	/*
	 * By these rows the next worker knows a message that takes the server down
	 * (crash_mark.c).  Rows that the crash takes back have other ids when they are
	 * made again, and the deaths would be counted from one, for ever.
	 */
	if (djk_catalog_execute(&insert_offsets, values, NULL) > 0)
	{
		ForceSyncCommit();
		djk_waiters_note(DJK_WAITERS_NEW);
	}
}

int
djk_offset_count(int64 consumer_id)
{
	static DjkStatement count_offsets = {
		.sql = "SELECT count(*) FROM @.djkafka_offset WHERE consumer_id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	(void) djk_catalog_execute(&count_offsets, values, NULL);
	return (int) djk_row_int64(0, 1, 0);
}

char *
djk_offset_mismatch(const DjkOffsetRow *row, bool embedded, const char *cluster_id)
{
	if (row->next_offset == DJK_OFFSET_UNRESOLVED)
		return NULL;
	if (embedded)
		return row->cluster_id == NULL ? NULL :
			psprintf("the offsets belong to Kafka cluster %s, not to the embedded broker", row->cluster_id);
	if (row->has_incarnation)
		return pstrdup("the offsets belong to the embedded broker, not to a Kafka cluster");
	if (row->cluster_id == NULL || cluster_id == NULL || strcmp(row->cluster_id, cluster_id) == 0)
		return NULL;
	return psprintf("the offsets belong to Kafka cluster %s, but the brokers are of cluster %s",
					row->cluster_id, cluster_id);
}

char *
djk_offset_new_topic(const char *what)
{
	return psprintf("the topic was deleted and made again, or has lost messages: %s", what);
}

bool
djk_offset_resolve(int64 id, int64 generation, int64 offset, const char *cluster_id,
				   const pg_uuid_t *incarnation)
{
	static DjkStatement update_resolve = {
		.sql = "UPDATE @.djkafka_offset SET first_offset = $3, next_offset = $3, start_at = NULL,"
		" state = 'ok', reason = NULL, incarnation = $5,"
		" cluster_id = CASE WHEN $5 IS NULL THEN coalesce($4, cluster_id) END,"
		" updated_at = clock_timestamp()"
		" WHERE id = $1 AND generation = $2 AND next_offset IS NULL",
		.nargs = 5,
		.argtypes = {INT8OID, INT8OID, INT8OID, TEXTOID, UUIDOID}
	};
	Datum		values[5] = {
		Int64GetDatum(id), Int64GetDatum(generation), Int64GetDatum(offset),
		cluster_id ? CStringGetTextDatum(cluster_id) : (Datum) 0,
		incarnation ? UUIDPGetDatum(incarnation) : (Datum) 0
	};
	char		nulls[] = {' ', ' ', ' ', cluster_id ? ' ' : 'n', incarnation ? ' ' : 'n', '\0'};

	djk_waiters_note(id);
	return djk_catalog_execute(&update_resolve, values, nulls) == 1;
}

/* Begins again on another incarnation of the embedded broker. */
static void
reincarnate(int64 id, const pg_uuid_t *incarnation)
{
	static DjkStatement update_reincarnate = {
		.sql = "UPDATE @.djkafka_offset SET first_offset = 0, next_offset = 0, start_at = NULL,"
		" generation = generation + 1, state = 'ok', reason = NULL, incarnation = $2,"
		COUNT_ANEW " updated_at = clock_timestamp() WHERE id = $1",
		.nargs = 2,
		.argtypes = {INT8OID, UUIDOID}
	};
	Datum		values[2] = {Int64GetDatum(id), UUIDPGetDatum(incarnation)};

	(void) djk_catalog_execute(&update_reincarnate, values, NULL);
	djk_parked_give_up(id);
	djk_dead_letter_begin_again(id);
}

bool
djk_offset_begin_life(DjkOffsetRow *row, bool embedded)
{
	pg_uuid_t	incarnation;

	if (!embedded || !row->has_incarnation || !djk_embedded_incarnation(&incarnation) ||
		memcmp(&incarnation, &row->incarnation, sizeof(incarnation)) == 0)
		return false;
	reincarnate(row->id, &incarnation);
	row->generation++;
	row->next_offset = 0;
	row->start_at = NULL;
	row->needs_decision = row->storms = false;
	row->incarnation = incarnation;
	row->anchor.offset = -1;
	row->parked = 0;
	row->held_offset = -1;
	row->topic_id = NULL;
	return true;
}

void
djk_offset_take(const DjkOffsetRow *row, DjkPosition *position)
{
	static int64 loads = 0;

	position->load = ++loads;
	position->offset_id = row->id;
	position->generation = row->generation;
	position->next_offset = position->expected = row->next_offset;
	position->anchor = row->anchor;
	position->parked = row->parked;
	position->held_offset = row->held_offset;
	position->held_attempt = row->held_attempt;
	position->held_until = row->held_until;
	djk_position_move(position, row->needs_decision || row->storms ? DJK_POSITION_STOPPED :
					  row->next_offset == DJK_OFFSET_UNRESOLVED ? DJK_POSITION_LOADED : DJK_POSITION_RESOLVED);
}

/* ---------- a batch ---------- */

/*
 * Which partitions have letters that a newer message may overtake.  By a statement of its
 * own: that of the fence, which may have waited for a lock, sees nothing that whoever held
 * that has committed but the row.
 */
static void
find_letters(DjkBatch *batch)
{
	static DjkStatement select_letters = {
		.sql = "SELECT (SELECT 1 FROM @.djkafka_dead_letter d WHERE d.watched = w.hash LIMIT 1) IS NOT NULL"
		" FROM unnest($1) WITH ORDINALITY w(hash, n) ORDER BY w.n",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID},
		.generic = true
	};
	int64	   *watched = palloc(batch->npartitions * sizeof(int64));
	Datum		values[1];

	for (int i = 0; i < batch->npartitions; i++)
		watched[i] = batch->partitions[i].watched;
	values[0] = djk_int8_array_datum(watched, batch->npartitions);
	(void) djk_catalog_execute_by_index(&select_letters, values, NULL);
	for (int i = 0; i < batch->npartitions; i++)
		batch->partitions[i].has_letters = djk_row_bool(i, 1);
}

int
djk_offset_fence(DjkBatch *batch)
{
	static DjkStatement select_fence = {
		.sql = "SELECT id, next_offset, generation, parked, skip_offset, recent, recent_failed"
		" FROM @.djkafka_offset o WHERE id = ANY ($1)"
		" ORDER BY consumer_id, topic, partition FOR NO KEY UPDATE OF o",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	int64	   *ids = palloc(batch->npartitions * sizeof(int64));
	Datum		values[1];
	int			found;
	int			ours = 0;

	for (int i = 0; i < batch->npartitions; i++)
	{
		ids[i] = batch->partitions[i].offset_id;
		batch->partitions[i].lost = true;
	}
	values[0] = djk_int8_array_datum(ids, batch->npartitions);
	found = (int) djk_catalog_execute_by_index(&select_fence, values, NULL);

	for (int row = 0; row < found; row++)
	{
		int64		id = djk_row_int64(row, 1, 0);

		for (int i = 0; i < batch->npartitions; i++)
		{
			DjkBatchPartition *p = &batch->partitions[i];

			if (p->offset_id == id &&
				p->next_offset == djk_row_int64(row, 2, DJK_OFFSET_UNRESOLVED) &&
				p->generation == djk_row_int64(row, 3, -1))
			{
				p->lost = false;
				p->parked = djk_row_int64(row, 4, 0);
				p->skip_offset = djk_row_int64(row, 5, -1);
				p->recent.messages = djk_row_int64(row, 6, 0);
				p->recent.failed = djk_row_int64(row, 7, 0);
				ours++;
			}
		}
	}
	if (ours > 0)
		find_letters(batch);
	return ours;
}

/* A column of what batches did; 'nulls' NULL: none of them is null. */
static Datum
advance_column(const Datum *elements, bool *nulls, int n, Oid type)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};

	return PointerGetDatum(construct_md_array((Datum *) elements, nulls, 1, dims, lbs, type, 8,
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The columns of what batches did. */
enum
{
	ID, NEXT, APPLIED, KEY_ONLY, FILTERED, DUPLICATES, STALE, DEAD, GAPS, SKIPPED, FROM, GENERATION,
	HIGH, LAST_AT, ANCHOR, ANCHOR_HASH, PARKED, SKIP, DEAD_SENT, RECENT, RECENT_FAILED, RETRIED, CASCADED,
	RETRIES, SUPERSEDED, COLUMNS
};

static void
fill_advance(const DjkOffsetAdvance *a, Datum **columns, bool **nulls, int i)
{
	columns[ID][i] = Int64GetDatum(a->id);
	columns[NEXT][i] = Int64GetDatum(a->next_offset);
	columns[APPLIED][i] = Int64GetDatum(a->applied);
	columns[KEY_ONLY][i] = Int64GetDatum(a->key_only);
	columns[FILTERED][i] = Int64GetDatum(a->filtered);
	columns[DUPLICATES][i] = Int64GetDatum(a->duplicates);
	columns[STALE][i] = Int64GetDatum(a->stale);
	columns[DEAD][i] = Int64GetDatum(a->dead);
	columns[DEAD_SENT][i] = Int64GetDatum(a->dead_sent);
	columns[SUPERSEDED][i] = Int64GetDatum(a->superseded);
	columns[RETRIES][i] = Int64GetDatum(a->retries);
	columns[CASCADED][i] = Int64GetDatum(a->cascaded);
	columns[RETRIED][i] = Int64GetDatum(a->retried);
	columns[GAPS][i] = Int64GetDatum(a->gaps);
	columns[SKIPPED][i] = Int64GetDatum(a->skipped);
	columns[PARKED][i] = Int64GetDatum(a->parked);
	columns[SKIP][i] = Int64GetDatum(a->skip_offset);
	nulls[SKIP][i] = a->skip_offset < 0;
	columns[RECENT][i] = Int64GetDatum(a->recent.messages);
	columns[RECENT_FAILED][i] = Int64GetDatum(a->recent.failed);
	columns[FROM][i] = Int64GetDatum(a->from_offset);
	columns[GENERATION][i] = Int64GetDatum(a->generation);
	columns[HIGH][i] = Int64GetDatum(a->high_watermark);
	nulls[HIGH][i] = a->high_watermark < 0;
	nulls[LAST_AT][i] = a->last_timestamp_ms < 0;
	if (!nulls[LAST_AT][i])
		columns[LAST_AT][i] = TimestampTzGetDatum(djk_timestamp_from_kafka(a->last_timestamp_ms));
	columns[ANCHOR][i] = Int64GetDatum(a->anchor.offset);
	columns[ANCHOR_HASH][i] = Int64GetDatum((int64) a->anchor.crc);
	nulls[ANCHOR][i] = nulls[ANCHOR_HASH][i] = a->anchor.offset < 0;
}

void
djk_offset_advance(const DjkOffsetAdvance *advances, int n)
{
	static DjkStatement update_advance = {
		.sql = "UPDATE @.djkafka_offset o SET next_offset = b.next_offset,"
		" applied = o.applied + b.applied, superseded = o.superseded + b.superseded, key_only = o.key_only + b.key_only, cascaded = o.cascaded + b.cascaded, filtered = o.filtered + b.filtered,"
		" duplicates = o.duplicates + b.duplicates, stale = o.stale + b.stale, dead = o.dead + b.dead,"
		" dead_sent = o.dead_sent + b.dead_sent, retried = o.retried + b.retried, retries = o.retries + b.retries,"
		" gaps = o.gaps + b.gaps, skipped = o.skipped + b.skipped, parked = o.parked + b.parked,"
		" high_watermark = coalesce(b.high_watermark, o.high_watermark),"
		" last_message_at = coalesce(b.last_message_at, o.last_message_at),"
		" anchor_offset = coalesce(b.anchor_offset, o.anchor_offset),"
		" anchor_hash = coalesce(b.anchor_hash, o.anchor_hash),"
		" skip_offset = CASE WHEN o.skip_offset >= b.next_offset THEN o.skip_offset END,"
		" recent = b.recent, recent_failed = b.recent_failed,"
		" updated_at = clock_timestamp()"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)"
		" AS b(id, next_offset, applied, key_only, filtered, duplicates, stale, dead, gaps, skipped, from_offset, generation,"
		" high_watermark, last_message_at, anchor_offset, anchor_hash, parked, skip_offset, dead_sent, recent, recent_failed, retried, cascaded, retries, superseded)"
		" WHERE o.id = b.id AND o.next_offset = b.from_offset AND o.generation = b.generation"
		" AND o.skip_offset IS NOT DISTINCT FROM b.skip_offset",
		.nargs = COLUMNS,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
			INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID,
			INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
			INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[COLUMNS];
	Datum	   *columns[COLUMNS];
	bool	   *nulls[COLUMNS];

	for (int c = 0; c < COLUMNS; c++)
	{
		columns[c] = palloc0(n * sizeof(Datum));
		nulls[c] = palloc0(n * sizeof(bool));
	}
	for (int i = 0; i < n; i++)
	{
		const DjkOffsetAdvance *a = &advances[i];

		fill_advance(a, columns, nulls, i);
		djk_waiters_note(a->id);
	}
	for (int c = 0; c < COLUMNS; c++)
		values[c] = advance_column(columns[c], nulls[c], n, c == LAST_AT ? TIMESTAMPTZOID : INT8OID);

	if (djk_catalog_execute(&update_advance, values, NULL) != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("what was applied has moved or deleted the offsets of its own consumer"),
				 errhint("Seek, skip and drop in a session, and not in the consumer's own handlers, triggers or expressions.")));
}

/* ---------- stopping and seeking ---------- */

void
djk_offset_stop(int64 id, int64 generation, const char *reason)
{
	static DjkStatement update_stop = {
		.sql = "UPDATE @.djkafka_offset SET state = 'needs_decision', reason = $3,"
		" updated_at = clock_timestamp() WHERE id = $1 AND generation = $2",
		.nargs = 3,
		.argtypes = {INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[3] = {
		Int64GetDatum(id), Int64GetDatum(generation), CStringGetTextDatum(reason)
	};

	(void) djk_catalog_execute(&update_stop, values, NULL);
}

void
djk_offset_storm(int64 id, const char *reason)
{
	static DjkStatement update_storm = {
		.sql = "UPDATE @.djkafka_offset SET state = 'storm', reason = $2 WHERE id = $1",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(id), CStringGetTextDatum(reason)};

	(void) djk_catalog_execute(&update_storm, values, NULL);
}

int
djk_offset_calm(int64 consumer_id)
{
	/* Locked in the order of the fence. */
	static DjkStatement update_calm = {
		.sql = "WITH locked AS (SELECT id FROM @.djkafka_offset WHERE consumer_id = $1 AND state = 'storm'"
		"  ORDER BY consumer_id, topic, partition FOR NO KEY UPDATE)"
		" UPDATE @.djkafka_offset o SET state = 'ok', reason = NULL, recent = 0, recent_failed = 0,"
		" updated_at = clock_timestamp() FROM locked WHERE o.id = locked.id",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	return (int) djk_catalog_execute(&update_calm, values, NULL);
}

bool
djk_offset_hold(int64 id, int64 generation, int64 next_offset, int64 held_offset, int attempt, TimestampTz due_at,
				const DjkError *error)
{
	/* Somebody may have asked to skip the message while it was tried. */
	static DjkStatement update_hold = {
		.sql = "UPDATE @.djkafka_offset SET retry_offset = $4, retry_attempt = $5,"
		/* The retry before this one was in vain; that of a schema, before the first, is none. */
		" retries = retries + CASE WHEN retry_offset = $4 AND retry_attempt < $5 AND $5 > 1 THEN 1 ELSE 0 END,"
		" retry_due_at = CASE WHEN skip_offset = $4 THEN clock_timestamp() ELSE $6 END,"
		" retry_sqlstate = $7, retry_message = $8, updated_at = clock_timestamp()"
		" WHERE id = $1 AND generation = $2 AND next_offset = $3",
		.nargs = 8,
		.argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	char		nulls[9] = "        ";
	Datum		values[8] = {
		Int64GetDatum(id), Int64GetDatum(generation), Int64GetDatum(next_offset), Int64GetDatum(held_offset),
		Int32GetDatum(attempt), TimestampTzGetDatum(due_at), CStringGetTextDatum(unpack_sql_state(error->sqlstate)),
		djk_text_datum(error->message, &nulls[7])
	};

	return djk_catalog_execute(&update_hold, values, nulls) == 1;
}

void
djk_offset_note_topic(const DjkOffsetRow *rows, int n, const char *topic_id)
{
	static DjkStatement update_topic = {
		.sql = "UPDATE @.djkafka_offset SET topic_uuid = $2 WHERE id = ANY ($1)",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TEXTOID}
	};
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	Datum		values[2];
	int			nids = 0;

	for (int i = 0; i < n; i++)
	{
		if (rows[i].topic_id == NULL)
			ids[nids++] = rows[i].id;
	}
	if (nids == 0)
		return;
	values[0] = djk_int8_array_datum(ids, nids);
	values[1] = CStringGetTextDatum(topic_id);
	(void) djk_catalog_execute(&update_topic, values, NULL);
}

bool
djk_offset_restart(int64 id, int64 generation)
{
	static DjkStatement update_restart = {
		.sql = "UPDATE @.djkafka_offset SET start_at = 'earliest', first_offset = NULL, next_offset = NULL,"
		" generation = generation + 1, state = 'ok', reason = NULL,"
		COUNT_ANEW " updated_at = clock_timestamp()"
		" WHERE id = $1 AND generation = $2",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(id), Int64GetDatum(generation)};

	if (djk_catalog_execute(&update_restart, values, NULL) != 1)
		return false;
	djk_parked_give_up(id);
	djk_dead_letter_begin_again(id);
	return true;
}

int
djk_offset_seek(int64 consumer_id, const char *topic, int partition, const char *start_at)
{
	/* Locked in the order of the fence, or a batch under way and this would wait for each other. */
	static DjkStatement update_seek = {
		.sql = "WITH locked AS (SELECT id FROM @.djkafka_offset"
		"  WHERE consumer_id = $1 AND topic = $2 AND ($3 < 0 OR partition = $3)"
		"  ORDER BY consumer_id, topic, partition FOR NO KEY UPDATE)"
		" UPDATE @.djkafka_offset o SET start_at = $4, first_offset = NULL, next_offset = NULL,"
		" generation = o.generation + 1, state = 'ok', reason = NULL,"
		COUNT_ANEW " updated_at = clock_timestamp()"
		" FROM locked WHERE o.id = locked.id",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, INT4OID, TEXTOID}
	};
	Datum		values[4] = {
		Int64GetDatum(consumer_id), CStringGetTextDatum(topic),
		Int32GetDatum(partition), CStringGetTextDatum(start_at)
	};

	int			sought = (int) djk_catalog_execute(&update_seek, values, NULL);

	djk_parked_give_up_topic(consumer_id, topic, partition);
	return sought;
}
