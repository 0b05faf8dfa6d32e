/*-------------------------------------------------------------------------
 *
 * outbox_confirm.c
 *	  What becomes of a batch's messages, and of the position with it.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "base/compat.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* ---------- the position ---------- */

void
djk_outbox_set_difference(const DjkOutbox *outbox, int64 up_to, Datum *values, char *nulls)
{
	memset(nulls, ' ', 5);
	values[0] = Int64GetDatum(outbox->cursor_id);
	values[1] = Int64GetDatum(up_to);
	values[2] = djk_text_datum(outbox->server, &nulls[2]);
	values[3] = PointerGetDatum(outbox->done->snapshot);
	values[4] = PointerGetDatum(outbox->target->snapshot);
}

/* All of the target has been taken care of. */
void
djk_outbox_reach_target(DjkOutbox *outbox)
{
	djk_outbox_mark_succeed(outbox->target, outbox->done);
	djk_outbox_mark_destroy(outbox->done);
	outbox->done = outbox->target;
	outbox->target = NULL;
	outbox->target_read = false;
}

void
djk_outbox_move_cursor(DjkOutbox *outbox, int64 last_id)
{
	outbox->cursor_id = last_id;
	if (outbox->target_read)
		djk_outbox_reach_target(outbox);
}

void
djk_outbox_hold(const DjkOutbox *outbox, int64 up_to, Datum ids)
{
	static DjkStatement insert_held = {
		.sql = "INSERT INTO @.djkafka_outbox_held (" TABLE_COLUMNS ")"
		" SELECT " TABLE_COLUMNS " FROM @.djkafka_outbox_message m WHERE " DIFFERENCE " AND m.id = ANY ($6)",
		.nargs = 6,
		.argtypes = {DIFFERENCE_TYPES, INT8ARRAYOID}
	};
	Datum		values[6];
	char		nulls[7] = "      ";

	djk_outbox_set_difference(outbox, up_to, values, nulls);
	values[5] = ids;
	(void) djk_catalog_execute(&insert_held, values, nulls);
}

/* ---------- messages ---------- */

/* Ids, and in the same order errors, of the messages of one answer. */
static int
collect(const DjkOutboxBatch *batch, DjkDelivery delivery, Datum *ids, Datum *names, Datum *texts)
{
	Datum	   *id = palloc(Max(batch->nmessages, 1) * sizeof(Datum));
	char	  **name = palloc(Max(batch->nmessages, 1) * sizeof(char *));
	char	  **text = palloc(Max(batch->nmessages, 1) * sizeof(char *));
	int			n = 0;

	for (int i = 0; i < batch->nmessages; i++)
	{
		const DjkOutgoing *message = &batch->messages[i];

		if (message->delivery != delivery)
			continue;
		id[n] = Int64GetDatum(message->id);
		name[n] = unconstify(char *, message->error.name ? message->error.name : "");
		text[n++] = message->error.message ? message->error.message : pstrdup("");
	}
	*ids = PointerGetDatum(construct_array(id, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	*names = djk_text_array_datum(name, n);
	*texts = djk_text_array_datum(text, n);
	return n;
}

static void
bury(DjkOutbox *outbox, const DjkOutboxBatch *batch)
{
	static DjkStatement insert_dead = {
		.sql = "INSERT INTO @.djkafka_outbox_dead (" TABLE_COLUMNS ", error, message)"
		" SELECT " TABLE_COLUMNS ", e.error, e.message"
		" FROM ROWS FROM (pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS e (dead_id, error, message) JOIN @.djkafka_outbox_message m"
		" ON m.id = e.dead_id WHERE " DIFFERENCE,
		.nargs = 8,
		.argtypes = {DIFFERENCE_TYPES, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	static DjkStatement move_held = {
		.sql = "WITH m AS (DELETE FROM @.djkafka_outbox_held WHERE id = ANY ($1) RETURNING " TABLE_COLUMNS ")"
		" INSERT INTO @.djkafka_outbox_dead (" TABLE_COLUMNS ", error, message)"
		" SELECT " TABLE_COLUMNS ", e.error, e.message"
		" FROM m JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS e (dead_id, error, message) ON m.id = e.dead_id",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	Datum		values[8];
	char		nulls[9] = "        ";
	int			n = collect(batch, DJK_DELIVERY_REFUSED, &values[5], &values[6], &values[7]);

	if (n == 0)
		return;
	outbox->dead += n;
	if (outbox->claimed_topic != NULL)
		(void) djk_catalog_execute(&move_held, values + 5, NULL);
	else
	{
		djk_outbox_set_difference(outbox, outbox->claimed_id, values, nulls);
		(void) djk_catalog_execute(&insert_dead, values, nulls);
	}
}

void
djk_outbox_set_aside(DjkOutbox *outbox, const DjkOutboxBatch *batch)
{
	Datum		ids;
	Datum		names;
	Datum		texts;

	bury(outbox, batch);
	if (outbox->claimed_topic == NULL &&
		collect(batch, DJK_DELIVERY_BLOCKED, &ids, &names, &texts) > 0)
		djk_outbox_hold(outbox, outbox->claimed_id, ids);
}

static void
remove_held(const DjkOutboxBatch *batch)
{
	static DjkStatement delete_held = {
		.sql = "DELETE FROM @.djkafka_outbox_held WHERE id = ANY ($1)",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		ids;
	Datum		names;
	Datum		texts;

	if (collect(batch, DJK_DELIVERY_DONE, &ids, &names, &texts) > 0)
		(void) djk_catalog_execute(&delete_held, &ids, NULL);
}

static void
keep_delivered(const DjkOutboxBatch *batch)
{
	static DjkStatement insert_delivery = {
		.sql = "INSERT INTO @.djkafka_outbox_delivery (first_id, last_id, ids, partitions, offsets)"
		" VALUES ($1, $2, $3, $4, $5)",
		.nargs = 5,
		.argtypes = {INT8OID, INT8OID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID}
	};
	Datum	   *ids = palloc(batch->nmessages * sizeof(Datum));
	Datum	   *partitions = palloc(batch->nmessages * sizeof(Datum));
	Datum	   *offsets = palloc(batch->nmessages * sizeof(Datum));
	Datum		values[5];
	int			n = 0;

	for (int i = 0; i < batch->nmessages; i++)
	{
		const DjkOutgoing *message = &batch->messages[i];

		if (message->delivery != DJK_DELIVERY_DONE)
			continue;
		ids[n] = Int64GetDatum(message->id);
		partitions[n] = Int32GetDatum(message->sent_partition);
		offsets[n++] = Int64GetDatum(message->sent_offset);
	}
	values[0] = ids[0];
	values[1] = ids[n - 1];
	values[2] = PointerGetDatum(construct_array(ids, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[3] = PointerGetDatum(construct_array(partitions, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[4] = PointerGetDatum(construct_array(offsets, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) djk_catalog_execute(&insert_delivery, values, NULL);
}

void
djk_outbox_confirm(DjkOutbox *outbox, const DjkOutboxBatch *batch, bool keep_delivery)
{
	int			done = 0;

	for (int i = 0; i < batch->nmessages; i++)
		done += batch->messages[i].delivery == DJK_DELIVERY_DONE;
	if (outbox->claimed_topic != NULL)
	{
		remove_held(batch);
		pfree(outbox->claimed_topic);
		outbox->claimed_topic = NULL;
	}
	else
		djk_outbox_move_cursor(outbox, outbox->claimed_id);
	if (done == 0)
	{
		/* Nothing went out under this number, so the next batch may have it. */
		outbox->batch = outbox->confirmed;
		return;
	}
	outbox->confirmed = outbox->batch;
	outbox->sent += done;
	if (keep_delivery)
		keep_delivered(batch);
}

void
djk_outbox_trim_delivery(int retention_s)
{
	static DjkStatement delete_delivery = {
		.sql = "DELETE FROM @.djkafka_outbox_delivery"
		" WHERE delivered_at < pg_catalog.now() - pg_catalog.make_interval(secs => $1)",
		.nargs = 1,
		.argtypes = {FLOAT8OID}
	};
	Datum		value = Float8GetDatum((double) retention_s);

	(void) djk_catalog_execute(&delete_delivery, &value, NULL);
}
