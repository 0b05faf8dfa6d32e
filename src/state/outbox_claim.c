/*-------------------------------------------------------------------------
 *
 * outbox_claim.c
 *	  Batches of the outbox: finding them, also ahead, and again after a crash.
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

#include "access/table.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* ---------- new messages ---------- */

/*
 * Somebody has set the sequence back; a dump that is restored over a database in
 * use does.  What was produced since then may lie below all floors and would
 * never be found, so there are none, once, and ids go on where they were.  True
 * if that is to be stored.
 */
static bool
was_set_back(DjkOutbox *outbox)
{
	static DjkStatement set_forward = {
		.sql = "SELECT pg_catalog.setval($1, GREATEST($2, pg_catalog.pg_sequence_last_value($1)))",
		.nargs = 2,
		.argtypes = {REGCLASSOID, INT8OID}
	};
	int64		last_id = djk_outbox_last_id();
	Datum		values[2];

	if (last_id >= outbox->done->last_id)
		return false;
	ereport(WARNING,
			(errmsg("the sequence of djkafka's outbox was set back from " INT64_FORMAT " to " INT64_FORMAT,
					outbox->done->last_id, last_id),
			 errdetail("It goes on from where it was; a message that has been produced since may have the id of an earlier one.")));
	values[0] = ObjectIdGetDatum(djk_catalog_table("djkafka_outbox_id_seq"));
	values[1] = Int64GetDatum(outbox->done->last_id);
	(void) djk_catalog_execute(&set_forward, values, NULL);
	djk_outbox_mark_forget_ids(outbox->done);
	return true;
}

/* The next snapshot to reach; false if it would hold nothing new. */
static bool
take_target(DjkOutbox *outbox)
{
	static DjkStatement select_snapshot = {
		.sql = "SELECT pg_catalog.pg_current_snapshot()"
	};
	int64		last_id;
	uint64		next;
	bool		isnull;

	/* In this order: outbox_mark.c says why. */
	last_id = djk_outbox_last_id();
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
	bool		fresh = false;

	for (;;)
	{
		ArrayBuildState *held = NULL;
		int64		last_id;

		/* A target that was begun earlier may be at its end, and a new one worth a look. */
		if (outbox->target == NULL)
		{
			if (was_set_back(outbox))
				return true;
			if (fresh || !take_target(outbox))
				return false;
			fresh = true;
		}
		last_id = djk_outbox_read_difference(outbox, outbox->cursor_id, limits, is_held, arg,
											 batch, &held, &outbox->target_read);
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

/* ---------- reading ahead ---------- */

bool
djk_outbox_has_more(const DjkOutbox *outbox)
{
	return outbox->batch != outbox->confirmed && outbox->claimed_topic == NULL &&
		outbox->target != NULL && !outbox->target_read;
}

/*
 * A table, its indexes, of which REINDEX has the lock while it has hardly any of
 * the table, and what is toasted.
 */
static bool
lock_at_once(Oid table)
{
	bool		locked = true;
	Relation	rel;
	Oid			toast;
	List	   *indexes;
	ListCell   *lc;

	if (!ConditionalLockRelationOid(table, AccessShareLock))
		return false;
	rel = table_open(table, NoLock);
	toast = rel->rd_rel->reltoastrelid;
	indexes = RelationGetIndexList(rel);
	foreach(lc, indexes)
		locked = locked && ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock);
	list_free(indexes);
	table_close(rel, NoLock);
	return locked && (!OidIsValid(toast) || lock_at_once(toast));
}

void
djk_outbox_read_ahead(DjkOutbox *outbox, const DjkOutboxLimits *limits, DjkOutboxBatch *batch)
{
	Assert(djk_outbox_has_more(outbox));
	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
	{
		if (!lock_at_once(djk_outbox_table(i)))
			return;
	}
	batch->after_id = outbox->claimed_id;
	batch->last_id = djk_outbox_read_difference(outbox, batch->after_id, limits, NULL, NULL,
												batch, NULL, &batch->ends_target);
	if (batch->last_id == 0)
		outbox->target_read = batch->ends_target;
}

bool
djk_outbox_claim_ahead(DjkOutbox *outbox, const DjkOutboxBatch *batch)
{
	if (batch->nmessages == 0 || outbox->target == NULL || outbox->cursor_id != batch->after_id)
		return false;
	outbox->target_read = batch->ends_target;
	note_claim(outbox, NULL, batch->last_id);
	return true;
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
		.sql = "SELECT " TABLE_COLUMNS " FROM @.djkafka_outbox_held"
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
	int64		last_id = djk_outbox_read_rows(portal, limits, batch);

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
		.sql = "SELECT " TABLE_COLUMNS " FROM @.djkafka_outbox_message m WHERE " DIFFERENCE
		" AND NOT EXISTS (SELECT FROM @.djkafka_outbox_held h WHERE h.id = m.id)"
		" AND NOT EXISTS (SELECT FROM @.djkafka_outbox_dead d WHERE d.id = m.id) ORDER BY id",
		.nargs = 5,
		.argtypes = {DIFFERENCE_TYPES}
	};
	Datum		values[5];
	char		nulls[6] = "     ";
	Portal		portal;

	if (outbox->claimed_topic != NULL)
		portal = open_held(outbox, outbox->claimed_topic, outbox->claimed_id);
	else
	{
		djk_outbox_set_difference(outbox, outbox->claimed_id, values, nulls);
		portal = djk_catalog_open(&select_claimed, values, nulls);
	}
	(void) djk_outbox_read_rows(portal, NULL, batch);
	SPI_cursor_close(portal);
	outbox->target_read = false;
}
