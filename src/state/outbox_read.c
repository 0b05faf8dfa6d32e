/*-------------------------------------------------------------------------
 *
 * outbox_read.c
 *	  From rows of the outbox to messages.
 *
 * The messages of a difference are read by the indexes of the three tables,
 * merged, without the executor: the worker does that for every message, and
 * reading is most of what a message costs in the server.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define FETCH_ROWS		500		/* of a cursor at once */
#define FIRST_MESSAGES	64

/* ---------- a row to a message, in the batch's memory ---------- */

static const char *
copy_bytes(Datum value, bool isnull, int *len)
{
	struct varlena *bytes;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = PG_DETOAST_DATUM_PACKED(value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	/* What was toasted is a copy already. */
	if (bytes != (struct varlena *) DatumGetPointer(value))
		return VARDATA_ANY(bytes);
	return memcpy(palloc(*len), VARDATA_ANY(bytes), *len);
}

/* djkafka_produce has seen that it can be converted. */
static const char *
utf8_from_text(Datum value)
{
	char	   *string = TextDatumGetCString(value);

	return pg_server_to_any(string, strlen(string), PG_UTF8);
}

/* Returns what they take of a batch's memory. */
static Size
copy_headers(Datum value, DjkOutgoing *message)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *elements;
	bool	   *nulls;
	Size		total = 0;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false,
					  TYPALIGN_DOUBLE, &elements, &nulls, &message->nheaders);
	message->headers = palloc0(Max(message->nheaders, 1) * sizeof(DjkHeader));
	for (int i = 0; i < message->nheaders; i++)
	{
		HeapTupleHeader header = nulls[i] ? NULL : DatumGetHeapTupleHeader(elements[i]);
		DjkHeader  *copy = &message->headers[i];
		bool		isnull = true;
		Datum		name = header ? GetAttributeByNum(header, 1, &isnull) : (Datum) 0;
		Datum		bytes;

		copy->name = !isnull ? utf8_from_text(name) : "";
		copy->name_len = strlen(copy->name);
		isnull = true;
		bytes = header ? GetAttributeByNum(header, 2, &isnull) : (Datum) 0;
		copy->value = copy_bytes(bytes, isnull, &copy->value_len);
		total += sizeof(DjkHeader) + copy->name_len + copy->value_len;
	}
	return total;
}

/* Messages of one topic come together more often than not. */
static const char *
copy_topic(const DjkOutboxBatch *batch, Datum value)
{
	text	   *topic = DatumGetTextPP(value);
	Size		len = VARSIZE_ANY_EXHDR(topic);

	if (batch->nmessages > 0)
	{
		const char *last = batch->messages[batch->nmessages - 1].topic;

		if (strlen(last) == len && memcmp(last, VARDATA_ANY(topic), len) == 0)
			return last;
	}
	return pnstrdup(VARDATA_ANY(topic), len);
}

static void
add_message(DjkOutboxBatch *batch, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	DjkOutgoing message = {0};

	message.id = DatumGetInt64(values[COLUMN_ID]);
	message.topic = copy_topic(batch, values[COLUMN_TOPIC]);
	message.partition = nulls[COLUMN_PARTITION] ? -1 : DatumGetInt32(values[COLUMN_PARTITION]);
	message.key = copy_bytes(values[COLUMN_KEY], nulls[COLUMN_KEY], &message.key_len);
	message.value = copy_bytes(values[COLUMN_VALUE], nulls[COLUMN_VALUE], &message.value_len);
	message.timestamp_ms = djk_timestamp_to_kafka(DatumGetTimestampTz(values[COLUMN_MESSAGE_TIME]));
	batch->bytes += message.key_len + message.value_len;
	if (!nulls[COLUMN_HEADERS])
		batch->bytes += copy_headers(values[COLUMN_HEADERS], &message);

	if (batch->nmessages == batch->allocated)
	{
		batch->allocated = Max(2 * batch->allocated, FIRST_MESSAGES);
		batch->messages = batch->nmessages == 0 ? palloc(batch->allocated * sizeof(DjkOutgoing)) :
			repalloc_huge(batch->messages, (Size) batch->allocated * sizeof(DjkOutgoing));
	}
	batch->messages[batch->nmessages++] = message;
	MemoryContextSwitchTo(old);
}

/* ---------- rows of a query ---------- */

static bool
is_full(const DjkOutboxBatch *batch, int read, const DjkOutboxLimits *limits)
{
	return limits != NULL && (read >= limits->messages || batch->bytes >= limits->bytes);
}

int64
djk_outbox_read_rows(Portal portal, const DjkOutboxLimits *limits, DjkOutboxBatch *batch)
{
	int64		last_id = 0;

	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			return last_id;
		for (int row = 0; row < (int) SPI_processed; row++)
		{
			Datum		values[NCOLUMNS];
			bool		nulls[NCOLUMNS];

			if (is_full(batch, batch->nmessages, limits))
				return last_id;
			heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
			last_id = DatumGetInt64(values[COLUMN_ID]);
			add_message(batch, values, nulls);
		}
		SPI_freetuptable(SPI_tuptable);
	}
}

/* ---------- rows of one table ---------- */

static bool
is_usable(Relation index)
{
	Form_pg_index form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID && form->indisvalid && form->indnkeyatts == 1 &&
		form->indkey.values[0] == COLUMN_ID + 1 && index->rd_indoption[0] == 0 &&
		RelationGetIndexPredicate(index) == NIL;
}

/* There may be another one while REINDEX CONCURRENTLY makes it. */
static Relation
open_index(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (is_usable(index) && RelationGetNumberOfAttributes(rel) == NCOLUMNS)
		{
			list_free(indexes);
			return index;
		}
		index_close(index, AccessShareLock);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not as djkafka made it", RelationGetRelationName(rel)),
			 errhint("Create its index on (id) again; with a column that was added, drop and create the extension.")));
}

void
djk_outbox_scan_begin(DjkOutboxScan *scan, int number, int64 after_id, int64 up_to, ScanDirection direction)
{
	ScanKeyData keys[2];

	scan->direction = direction;
	scan->rel = table_open(djk_outbox_table(number), AccessShareLock);
	scan->index = open_index(scan->rel);
	/* The transaction's own may be older than what has been learned since, and than its locks. */
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&keys[0], COLUMN_ID + 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after_id));
	ScanKeyInit(&keys[1], COLUMN_ID + 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(up_to));
	scan->rows = systable_beginscan_ordered(scan->rel, scan->index, scan->snapshot, lengthof(keys), keys);
	djk_outbox_scan_next(scan);
}

void
djk_outbox_scan_next(DjkOutboxScan *scan)
{
	HeapTuple	tuple = systable_getnext_ordered(scan->rows, scan->direction);

	CHECK_FOR_INTERRUPTS();
	scan->at_end = !HeapTupleIsValid(tuple);
	if (!scan->at_end)
		heap_deform_tuple(tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
}

void
djk_outbox_scan_end(DjkOutboxScan *scan)
{
	systable_endscan_ordered(scan->rows);
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
	UnregisterSnapshot(scan->snapshot);
}

bool
djk_outbox_scan_is_of(const DjkOutboxScan *scan, const char *server)
{
	text	   *name;

	if (server == NULL || scan->nulls[COLUMN_SERVER])
		return server == NULL && scan->nulls[COLUMN_SERVER];
	name = DatumGetTextPP(scan->values[COLUMN_SERVER]);
	return VARSIZE_ANY_EXHDR(name) == strlen(server) && memcmp(VARDATA_ANY(name), server, strlen(server)) == 0;
}

/* ---------- a difference ---------- */

/* NULL: all tables are at their end. */
static DjkOutboxScan *
find_next(DjkOutboxScan *scans)
{
	DjkOutboxScan *next = NULL;

	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
	{
		if (!scans[i].at_end &&
			(next == NULL || DatumGetInt64(scans[i].values[COLUMN_ID]) < DatumGetInt64(next->values[COLUMN_ID])))
			next = &scans[i];
	}
	return next;
}

static bool
is_in_difference(const DjkOutboxScan *scan, const DjkOutbox *outbox)
{
	uint64		txid = DatumGetUInt64(scan->values[COLUMN_TXID]);

	return djk_outbox_mark_sees(outbox->target, txid) && !djk_outbox_mark_sees(outbox->done, txid) &&
		djk_outbox_scan_is_of(scan, outbox->server);
}

int64
djk_outbox_read_difference(const DjkOutbox *outbox, int64 after_id, const DjkOutboxLimits *limits,
						   bool (*is_held) (const char *topic, void *arg), void *arg,
						   DjkOutboxBatch *batch, ArrayBuildState **held, bool *all)
{
	DjkOutboxScan scans[DJK_OUTBOX_TABLES];
	DjkOutboxScan *next = NULL;
	int64		last_id = 0;
	int64		looked = 0;
	int			read = 0;

	*all = false;
	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
		djk_outbox_scan_begin(&scans[i], i, after_id, PG_INT64_MAX, ForwardScanDirection);
	while (!is_full(batch, read, limits) && (limits->rows == 0 || looked++ < limits->rows) &&
		   (next = find_next(scans)) != NULL)
	{
		if (is_in_difference(next, outbox))
		{
			read++;
			last_id = DatumGetInt64(next->values[COLUMN_ID]);
			if (is_held != NULL && is_held(TextDatumGetCString(next->values[COLUMN_TOPIC]), arg))
				*held = accumArrayResult(*held, Int64GetDatum(last_id), false, INT8OID, CurrentMemoryContext);
			else
				add_message(batch, next->values, next->nulls);
		}
		djk_outbox_scan_next(next);
	}
	*all = find_next(scans) == NULL;
	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
		djk_outbox_scan_end(&scans[i]);
	return last_id;
}
