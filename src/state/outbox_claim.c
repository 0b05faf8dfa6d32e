/*-------------------------------------------------------------------------
 *
 * outbox_claim.c
 *	  Batches of the outbox: finding, setting aside, confirming.
 *
 * A batch is described by where it ends and not by a list: the messages of the
 * difference between 'done' and 'target' with ids above the cursor, up to
 * claimed_id.  All of them are committed and none can join, so the same
 * description gives the same messages after a crash, less what has been set
 * aside since.  A batch of held messages is described by its topic and its
 * last id in the same way, because only the worker adds to what is held, and
 * not while it has a batch.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FETCH_ROWS		500		/* of a cursor at once */
#define FIRST_MESSAGES	64

/* ---------- rows to messages ---------- */

static const char *
row_bytes(int row, int column, int *len)
{
	bool		isnull;
	Datum		value = djk_row_datum(row, column, &isnull);
	bytea	   *bytes;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPCopy(value);
	*len = VARSIZE(bytes) - VARHDRSZ;
	return VARDATA(bytes);
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
row_headers(int row, int column, DjkOutgoing *message)
{
	bool		isnull;
	Datum		array = djk_row_datum(row, column, &isnull);
	Datum	   *elements;
	bool	   *nulls;
	Size		total = 0;

	if (isnull)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(array), ARR_ELEMTYPE(DatumGetArrayTypeP(array)), -1, false,
					  TYPALIGN_DOUBLE, &elements, &nulls, &message->nheaders);
	message->headers = palloc0(Max(message->nheaders, 1) * sizeof(DjkHeader));
	for (int i = 0; i < message->nheaders; i++)
	{
		HeapTupleHeader header = nulls[i] ? NULL : DatumGetHeapTupleHeader(elements[i]);
		DjkHeader  *copy = &message->headers[i];
		Datum		name = header ? GetAttributeByNum(header, 1, &isnull) : (Datum) 0;
		Datum		value;

		copy->name = header && !isnull ? utf8_from_text(name) : "";
		copy->name_len = strlen(copy->name);
		isnull = true;
		value = header ? GetAttributeByNum(header, 2, &isnull) : (Datum) 0;
		if (!isnull)
		{
			bytea	   *bytes = DatumGetByteaPCopy(value);

			copy->value = VARDATA(bytes);
			copy->value_len = VARSIZE(bytes) - VARHDRSZ;
		}
		total += sizeof(DjkHeader) + copy->name_len + Max(copy->value_len, 0);
	}
	return total;
}

static void
add_message(DjkOutboxBatch *batch, int row)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	DjkOutgoing *message;
	bool		isnull;

	if (batch->nmessages == batch->allocated)
	{
		batch->allocated = Max(2 * batch->allocated, FIRST_MESSAGES);
		batch->messages = batch->nmessages == 0 ? palloc(batch->allocated * sizeof(DjkOutgoing)) :
			repalloc_huge(batch->messages, (Size) batch->allocated * sizeof(DjkOutgoing));
	}
	message = &batch->messages[batch->nmessages++];
	memset(message, 0, sizeof(*message));
	message->id = djk_row_int64(row, 1, 0);
	message->topic = djk_row_text(row, 2, batch->context);
	message->partition = (int) djk_row_int64(row, 3, -1);
	message->key = row_bytes(row, 4, &message->key_len);
	message->value = row_bytes(row, 5, &message->value_len);
	batch->bytes += row_headers(row, 6, message);
	message->timestamp_ms = djk_timestamp_to_kafka(DatumGetTimestampTz(djk_row_datum(row, 7, &isnull)));
	batch->bytes += message->key_len + message->value_len;
	MemoryContextSwitchTo(old);
}

/*
 * Reads a cursor up to the limits; ids of held topics go to 'held'.  Returns
 * the last id that was read, 0 if there was none, and whether that was all.
 */
static int64
read_messages(Portal portal, const DjkOutboxLimits *limits,
			  bool (*is_held) (const char *topic, void *arg), void *arg,
			  DjkOutboxBatch *batch, ArrayBuildState **held, bool *all)
{
	int64		last_id = 0;
	int			read = 0;

	*all = false;
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
		{
			*all = true;
			break;
		}
		for (int row = 0; row < (int) SPI_processed; row++)
		{
			if (limits != NULL && (read >= limits->messages || batch->bytes >= limits->bytes))
				return last_id;
			last_id = djk_row_int64(row, 1, 0);
			read++;
			if (is_held != NULL && is_held(djk_row_text(row, 2, CurrentMemoryContext), arg))
				*held = accumArrayResult(*held, Int64GetDatum(last_id), false, INT8OID, CurrentMemoryContext);
			else
				add_message(batch, row);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	return last_id;
}

/* ---------- new messages ---------- */

/* The next snapshot to reach; false if it would hold nothing new. */
static bool
take_target(DjkOutbox *outbox)
{
	static DjkStatement select_id = {
		.sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM @.djkafka_outbox_id_seq"
	};
	static DjkStatement select_snapshot = {
		.sql = "SELECT pg_catalog.pg_current_snapshot()"
	};
	int64		last_id;
	uint64		next;
	bool		isnull;

	/* In this order: outbox_mark.c says why. */
	(void) djk_catalog_execute(&select_id, NULL, NULL);
	last_id = djk_row_int64(0, 1, 0);
	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	(void) djk_catalog_execute(&select_snapshot, NULL, NULL);
	outbox->target = djk_outbox_mark_create(outbox->context, djk_row_datum(0, 1, &isnull), next, last_id);
	if (djk_outbox_mark_same(outbox->done, outbox->target))
	{
		djk_outbox_mark_destroy(outbox->target);
		outbox->target = NULL;
		return false;
	}
	outbox->cursor_id = djk_outbox_mark_first(outbox->done, outbox->target);
	return true;
}

static void
note_claim(DjkOutbox *outbox, const char *topic, int64 last_id)
{
	outbox->batch++;
	outbox->claimed_at = GetCurrentTimestamp();
	outbox->timeline = (int) GetWALInsertionTimeLine();
	outbox->claimed_topic = topic ? MemoryContextStrdup(outbox->context, topic) : NULL;
	outbox->claimed_id = last_id;
}

bool
djk_outbox_claim(DjkOutbox *outbox, const DjkOutboxLimits *limits,
				 bool (*is_held) (const char *topic, void *arg), void *arg,
				 DjkOutboxBatch *batch)
{
	static DjkStatement select_messages = {
		.sql = "SELECT " MESSAGE_COLUMNS " FROM " ALL_TABLES " WHERE " DIFFERENCE " ORDER BY id",
		.nargs = 5,
		.argtypes = {DIFFERENCE_TYPES}
	};

	bool		fresh = false;

	for (;;)
	{
		ArrayBuildState *held = NULL;
		Datum		values[5];
		char		nulls[6] = "     ";
		int64		last_id;
		Portal		portal;

		/* A target that was begun earlier may be at its end, and a new one worth a look. */
		if (outbox->target == NULL)
		{
			if (fresh || !take_target(outbox))
				return false;
			fresh = true;
		}
		djk_outbox_set_difference(outbox, PG_INT64_MAX, values, nulls);
		portal = djk_catalog_open(&select_messages, values, nulls);
		last_id = read_messages(portal, limits, is_held, arg, batch, &held, &outbox->target_read);
		SPI_cursor_close(portal);
		if (last_id == 0)
		{
			djk_outbox_reach_target(outbox);
			continue;
		}
		if (held != NULL)
			djk_outbox_hold(outbox, last_id, makeArrayResult(held, CurrentMemoryContext));
		if (batch->nmessages > 0)
			note_claim(outbox, NULL, last_id);
		else
			djk_outbox_move_cursor(outbox, last_id);
		return true;
	}
}

/* ---------- held messages ---------- */

char **
djk_outbox_held_topics(const DjkOutbox *outbox, int *count)
{
	static DjkStatement select_topics = {
		.sql = "SELECT DISTINCT topic FROM @.djkafka_outbox_held WHERE server IS NOT DISTINCT FROM $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value;
	char		null[2] = " ";
	char	  **topics;

	value = djk_text_datum(outbox->server, &null[0]);
	*count = (int) djk_catalog_execute(&select_topics, &value, null);
	topics = palloc(Max(*count, 1) * sizeof(char *));
	for (int i = 0; i < *count; i++)
		topics[i] = djk_row_text(i, 1, context);
	return topics;
}

/* What is held of a topic, in order; $3 bounds the ids. */
static Portal
open_held(const DjkOutbox *outbox, const char *topic, int64 up_to)
{
	static DjkStatement select_held = {
		.sql = "SELECT " MESSAGE_COLUMNS " FROM @.djkafka_outbox_held"
		" WHERE topic = $1 AND server IS NOT DISTINCT FROM $2 AND id <= $3 ORDER BY id",
		.nargs = 3,
		.argtypes = {TEXTOID, TEXTOID, INT8OID}
	};
	Datum		values[3];
	char		nulls[4] = "   ";

	values[0] = CStringGetTextDatum(topic);
	values[1] = djk_text_datum(outbox->server, &nulls[1]);
	values[2] = Int64GetDatum(up_to);
	return djk_catalog_open(&select_held, values, nulls);
}

bool
djk_outbox_claim_held(DjkOutbox *outbox, const char *topic, const DjkOutboxLimits *limits,
					  DjkOutboxBatch *batch)
{
	Portal		portal = open_held(outbox, topic, PG_INT64_MAX);
	bool		all;
	int64		last_id = read_messages(portal, limits, NULL, NULL, batch, NULL, &all);

	SPI_cursor_close(portal);
	if (last_id == 0)
		return false;
	note_claim(outbox, topic, last_id);
	return true;
}

/* ---------- a claimed batch ---------- */

void
djk_outbox_read_claimed(DjkOutbox *outbox, DjkOutboxBatch *batch)
{
	static DjkStatement select_claimed = {
		.sql = "SELECT " MESSAGE_COLUMNS " FROM " ALL_TABLES " WHERE " DIFFERENCE
		" AND NOT EXISTS (SELECT FROM @.djkafka_outbox_held h WHERE h.id = m.id)"
		" AND NOT EXISTS (SELECT FROM @.djkafka_outbox_dead d WHERE d.id = m.id) ORDER BY id",
		.nargs = 5,
		.argtypes = {DIFFERENCE_TYPES}
	};
	Datum		values[5];
	char		nulls[6] = "     ";
	Portal		portal;
	bool		all;

	if (outbox->claimed_topic != NULL)
		portal = open_held(outbox, outbox->claimed_topic, outbox->claimed_id);
	else
	{
		djk_outbox_set_difference(outbox, outbox->claimed_id, values, nulls);
		portal = djk_catalog_open(&select_claimed, values, nulls);
	}
	(void) read_messages(portal, NULL, NULL, NULL, batch, NULL, &all);
	SPI_cursor_close(portal);
	outbox->target_read = false;
}
