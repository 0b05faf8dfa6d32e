/*-------------------------------------------------------------------------
 *
 * dead_letter.c
 *	  SQL on djkafka_dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#include "state/dead_letter.h"

#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Rows of letters may be large: no more of them than these are in memory twice. */
#define FETCH_ROWS		16

/* ---------- writing ---------- */

void
djk_dead_letter_write(int64 consumer_id, const char *consumer, int64 route_id,
					  const DjkBatchPartition *partition, const DjkMessage *message,
					  Datum headers, const DjkError *error, const char *context,
					  const char *not_sent, int attempts, TimestampTz first_failed_at)
{
	static DjkStatement insert_letter = {
		.sql = "INSERT INTO @.djkafka_dead_letter (consumer_id, consumer, route_id, topic, partition,"
		" \"offset\", message_time, key, value, headers, sqlstate, message, detail, hint, context, first_failed_at,"
		" attempts, not_sent)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, coalesce($16, now()), $17, $18)",
		.nargs = 18,
		.argtypes = {INT8OID, TEXTOID, INT8OID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID,
			InvalidOid, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID}
	};
	Datum		values[18];
	char		nulls[19];

	insert_letter.argtypes[9] = get_array_type(djk_catalog_type("djkafka_header"));

	memset(nulls, ' ', sizeof(nulls));
	nulls[18] = '\0';
	values[0] = Int64GetDatum(consumer_id);
	values[1] = CStringGetTextDatum(consumer);
	values[2] = Int64GetDatum(route_id);
	nulls[2] = route_id != 0 ? ' ' : 'n';
	values[3] = CStringGetTextDatum(partition->topic);
	values[4] = Int32GetDatum(partition->partition);
	values[5] = Int64GetDatum(message->offset);
	nulls[6] = message->timestamp_ms >= 0 ? ' ' : 'n';
	values[6] = TimestampTzGetDatum(djk_timestamp_from_kafka(Max(message->timestamp_ms, 0)));
	values[7] = djk_bytes_datum(message->key, message->key_len, &nulls[7]);
	values[8] = djk_bytes_datum(message->value, message->value_len, &nulls[8]);
	nulls[9] = headers != (Datum) 0 ? ' ' : 'n';
	values[9] = headers;
	values[10] = CStringGetTextDatum(unpack_sql_state(error->sqlstate));
	values[11] = CStringGetTextDatum(error->message ? error->message : "unknown error");
	values[12] = djk_text_datum(error->detail, &nulls[12]);
	values[13] = djk_text_datum(error->hint, &nulls[13]);
	values[14] = djk_text_datum(context, &nulls[14]);
	nulls[15] = first_failed_at != 0 ? ' ' : 'n';
	values[15] = TimestampTzGetDatum(first_failed_at);
	values[16] = Int32GetDatum(attempts);
	values[17] = djk_text_datum(not_sent, &nulls[17]);

	(void) djk_catalog_execute(&insert_letter, values, nulls);
}

/* ---------- finding ---------- */

static char
null_unless(bool given)
{
	return given ? ' ' : 'n';
}

/* As many as are asked for are read of an index and no more, with their copies counted on the way. */
static Portal
open_letters(const DjkLetterFilter *filter)
{
	static DjkStatement select_letters = {
		.sql = "SELECT id, consumer_id, row_number() OVER (PARTITION BY consumer_id, topic, partition, \"offset\" ORDER BY id)"
		" FROM @.djkafka_dead_letter WHERE ($1 IS NULL OR id = ANY ($1))"
		" AND ($2 IS NULL OR consumer_id = $2) AND ($3 IS NULL OR consumer = $3) AND ($4 IS NULL OR topic = $4)"
		" AND ($5 IS NULL OR starts_with(sqlstate, $5))"
		" AND ($6 IS NULL OR created_at >= $6) AND ($7 IS NULL OR created_at < $7)"
		" ORDER BY consumer_id, topic, partition, \"offset\", id LIMIT $8",
		.nargs = 8,
		.argtypes = {INT8ARRAYOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[8];
	char		nulls[9] = {0};

	values[0] = filter->ids;
	nulls[0] = null_unless(filter->ids != (Datum) 0);
	values[1] = Int64GetDatum(filter->consumer_id);
	nulls[1] = null_unless(filter->consumer_id != 0);
	values[2] = djk_text_datum(filter->consumer, &nulls[2]);
	values[3] = djk_text_datum(filter->topic, &nulls[3]);
	values[4] = djk_text_datum(filter->sqlstate, &nulls[4]);
	values[5] = TimestampTzGetDatum(filter->since);
	nulls[5] = null_unless(filter->since != 0);
	values[6] = TimestampTzGetDatum(filter->until);
	nulls[6] = null_unless(filter->until != 0);
	values[7] = Int64GetDatum(filter->max_letters);
	nulls[7] = null_unless(filter->max_letters != 0);
	return djk_catalog_open(&select_letters, values, nulls);
}

static void
make_room(DjkLetterList *list, int *size, int more)
{
	if (list->n + more <= *size)
		return;
	*size = Max(*size * 2, 1024);
	list->ids = repalloc(list->ids, *size * sizeof(int64));
	list->consumer_ids = repalloc(list->consumer_ids, *size * sizeof(int64));
	list->copies = repalloc(list->copies, *size * sizeof(int64));
}

typedef struct FoundLetter
{
	int64		consumer_id;
	int64		copy;
	int64		id;
	int			place;			/* in the order in which they were found */
} FoundLetter;

static int
compare_found(const void *a, const void *b)
{
	const FoundLetter *x = a;
	const FoundLetter *y = b;

	if (x->consumer_id != y->consumer_id)
		return x->consumer_id < y->consumer_id ? -1 : 1;
	if (x->copy != y->copy)
		return x->copy < y->copy ? -1 : 1;
	return x->place - y->place;
}

/* Of each consumer's. */
static void
put_copies_last(DjkLetterList *list)
{
	FoundLetter *found = palloc_extended(Max(list->n, 1) * sizeof(FoundLetter), MCXT_ALLOC_HUGE);

	for (int i = 0; i < list->n; i++)
		found[i] = (FoundLetter) {list->consumer_ids[i], list->copies[i], list->ids[i], i};
	qsort(found, list->n, sizeof(FoundLetter), compare_found);
	for (int i = 0; i < list->n; i++)
	{
		list->consumer_ids[i] = found[i].consumer_id;
		list->copies[i] = found[i].copy;
		list->ids[i] = found[i].id;
	}
	pfree(found);
}

void
djk_dead_letter_find(const DjkLetterFilter *filter, DjkLetterList *list, MemoryContext context)
{
	Portal		portal = open_letters(filter);
	int			size = 0;
	bool		copied = false;
	uint64		fetched;

	list->n = 0;
	list->ids = MemoryContextAlloc(context, 1);
	list->consumer_ids = MemoryContextAlloc(context, 1);
	list->copies = MemoryContextAlloc(context, 1);
	do
	{
		SPI_cursor_fetch(portal, true, 1000);
		fetched = SPI_processed;
		make_room(list, &size, (int) fetched);
		for (int i = 0; i < fetched; i++)
		{
			list->ids[list->n] = djk_row_int64(i, 1, 0);
			list->consumer_ids[list->n] = djk_row_int64(i, 2, 0);
			list->copies[list->n++] = djk_row_int64(i, 3, 0);
			copied |= list->copies[list->n - 1] > 1;
		}
		SPI_freetuptable(SPI_tuptable);
	} while (fetched > 0);
	SPI_cursor_close(portal);
	if (copied)
		put_copies_last(list);
}

void
djk_dead_letter_lock_offsets(const int64 *ids, int n)
{
	static DjkStatement lock_offsets = {
		.sql = "SELECT FROM @.djkafka_offset o WHERE (o.consumer_id, o.topic, o.partition) IN"
		" (SELECT d.consumer_id, d.topic, d.partition FROM @.djkafka_dead_letter d WHERE d.id = ANY ($1))"
		" ORDER BY o.consumer_id, o.topic, o.partition FOR NO KEY UPDATE OF o",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		values[1] = {djk_int8_array_datum(ids, n)};

	(void) djk_catalog_execute(&lock_offsets, values, NULL);
}

/* ---------- loading ---------- */

/* A column of a row that was read, copied; 0 if it is null. */
static Datum
copy_column(int row, int column, Size *bytes, MemoryContext context)
{
	bool		isnull;
	Datum		datum = djk_row_datum(row, column, &isnull);
	MemoryContext old;

	if (isnull)
		return (Datum) 0;
	old = MemoryContextSwitchTo(context);
	datum = PointerGetDatum(PG_DETOAST_DATUM_COPY(datum));
	MemoryContextSwitchTo(old);
	*bytes += VARSIZE_ANY_EXHDR(DatumGetPointer(datum));
	return datum;
}

static DjkDeadLetter *
read_letter(int row, Size *bytes, MemoryContext context)
{
	DjkDeadLetter *letter = MemoryContextAllocZero(context, sizeof(DjkDeadLetter));
	Datum		time;
	bool		isnull;

	letter->id = djk_row_int64(row, 1, 0);
	letter->consumer_id = djk_row_int64(row, 2, 0);
	letter->consumer = djk_row_text(row, 3, context);
	letter->topic = djk_row_text(row, 4, context);
	letter->partition = (int) djk_row_int64(row, 5, 0);
	letter->offset = djk_row_int64(row, 6, 0);
	time = djk_row_datum(row, 7, &isnull);
	letter->timestamp_ms = isnull ? DJK_TIMESTAMP_NONE : djk_timestamp_to_kafka(DatumGetTimestampTz(time));
	letter->key = copy_column(row, 8, bytes, context);
	letter->value = copy_column(row, 9, bytes, context);
	letter->headers = copy_column(row, 10, bytes, context);
	(void) djk_row_datum(row, 11, &isnull);
	letter->is_overtaken = !isnull;
	letter->newer_offset = djk_row_int64(row, 11, DJK_NEWER_UNKNOWN);
	return letter;
}

#define SELECT_LETTERS \
	"SELECT id, consumer_id, consumer, topic, partition, \"offset\", message_time, key, value, headers, newer_offset" \
	" FROM @.djkafka_dead_letter WHERE id = ANY ($1) ORDER BY consumer_id, topic, partition, \"offset\", id"

List *
djk_dead_letter_load(const int64 *ids, int n, Size max_bytes, bool lock, MemoryContext context, int *nread)
{
	static DjkStatement select_letters = {
		.sql = SELECT_LETTERS,
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	static DjkStatement lock_letters = {
		.sql = SELECT_LETTERS " FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	List	   *letters = NIL;
	Size		bytes = 0;

	*nread = 0;
	while (*nread < n && bytes < max_bytes)
	{
		int			count = Min(FETCH_ROWS, n - *nread);
		Datum		values[1] = {djk_int8_array_datum(ids + *nread, count)};
		int			found = (int) (lock ? djk_catalog_execute(&lock_letters, values, NULL) :
								   djk_catalog_query_latest(&select_letters, values, NULL));
		MemoryContext old = MemoryContextSwitchTo(context);

		for (int i = 0; i < found; i++)
			letters = lappend(letters, read_letter(i, &bytes, context));
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
		*nread += count;
	}
	return letters;
}

bool
djk_dead_letter_is_left(int64 consumer_id)
{
	static DjkStatement select_any = {
		.sql = "SELECT FROM @.djkafka_dead_letter WHERE consumer_id = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	return djk_catalog_query_latest(&select_any, values, NULL) > 0;
}

void
djk_dead_letter_lock_id(int64 consumer_id, LOCKMODE mode)
{
	LockDatabaseObject(djk_catalog_table("djkafka_dead_letter"), (Oid) consumer_id, 0, mode);
}
