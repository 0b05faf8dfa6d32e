/*-------------------------------------------------------------------------
 *
 * record.c
 *	  What a batch did, written in its own transaction.
 *
 * Every message from a partition's next_offset up to the new one is counted
 * exactly once: by its fate, or as a gap if Kafka holds no message there.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/record.h"

#include "apply/failed_topic.h"
#include "apply/lane.h"
#include "apply/message_row.h"
#include "apply/overtaken.h"
#include "apply/park.h"
#include "apply/park_record.h"
#include "apply/postpone.h"
#include "apply/retry_topic.h"
#include "apply/skipped.h"
#include "apply/storm.h"
#include "apply/writer.h"
#include "catalog/pg_type.h"
#include "codec/codec.h"
#include "mb/pg_wchar.h"
#include "state/catalog.h"
#include "state/dead_letter.h"
#include "state/event.h"
#include "state/parked.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Keys in one notification at most; they must fit 8,000 bytes anyway. */
#define NOTIFY_KEYS_MAX		1000

bool
djk_record_fence(DjkApply *apply, int from, int to)
{
	DjkBatch   *batch = apply->batch;
	DjkIdentity identity;
	int			ours;

	djk_overtaken_begin(apply);
	djk_park_begin(apply, from);
	if (batch->detached)
	{
		djk_writers_mark(apply, from, to);
		return true;
	}
	djk_catalog_enter(&identity);
	ours = djk_offset_fence(batch);
	djk_catalog_leave(&identity);

	for (int i = 0; i < batch->nmessages; i++)
	{
		if (batch->partitions[batch->messages[i].partition].lost)
			apply->work[i].fate = DJK_FATE_LOST;
	}
	djk_skipped_mark(apply, from, to);
	djk_retry_topic_mark(apply, from, to);
	djk_writers_mark(apply, from, to);
	return ours > 0;
}

/* ---------- the definition ---------- */

/*
 * What waited for a lock may have been overtaken by the commit of another
 * definition, perhaps of whoever held that lock: it is applied by the new one.
 * A change of our own, by a handler say, is for the next batch.
 */
static void
require_definition(const DjkConsumerRow *consumer)
{
	if (djk_consumer_row_is_changed(consumer))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("consumer \"%s\" was changed while messages were applied", consumer->name)));
}

/* ---------- dead letters ---------- */

/*
 * Given messages lock no offsets, which the consumer could not be dropped without:
 * another one that is made of its id meanwhile is not to find letters of this one.
 */
static void
hold_id(const DjkApply *apply)
{
	if (!apply->batch->detached)
		return;
	djk_dead_letter_lock_id(apply->consumer->id, ShareLock);
	require_definition(apply->consumer);
}

static void
write_dead_letters(DjkApply *apply, int from, int to)
{
	Oid			header_type = InvalidOid;

	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		const DjkMessage *message = &apply->batch->messages[i];
		DjkHeader  *headers = NULL;
		int			nheaders = 0;

		if (work->fate != DJK_FATE_DEAD || !djk_failed_is_kept(apply, i))
			continue;
		apply->batch->partitions[message->partition].has_letters = true;
		if (!OidIsValid(header_type))
		{
			header_type = djk_catalog_type("djkafka_header");
			hold_id(apply);
			djk_overtaken_written(apply);
		}
		if (apply->batch->load_headers != NULL)
			nheaders = apply->batch->load_headers(apply->batch, message, &headers);
		djk_dead_letter_write(apply->consumer->id, apply->consumer->name,
							  work->route >= 0 ? apply->consumer->routes[work->route].id : 0,
							  &apply->batch->partitions[message->partition], message,
							  djk_headers_datum(header_type, headers, nheaders),
							  &work->error, work->context, work->not_sent, djk_postpone_attempt(apply, i) + 1,
							  apply->batch->again ? ((const DjkParked *) message->source)->parked_at : 0);
	}
}

/* An event for each message that is passed by because it took the server down. */
static void
tell_condemned(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		const DjkMessage *message = &apply->batch->messages[i];
		DjkEvent	event = {0};

		if (work->error.sqlstate != DJK_ERRCODE_CRASHED ||
			(work->fate != DJK_FATE_DEAD && work->fate != DJK_FATE_SKIPPED))
			continue;
		event.kind = "crash";
		event.consumer_id = apply->consumer->id;
		event.consumer = apply->consumer->name;
		event.topic = apply->batch->partitions[message->partition].topic;
		event.partition = apply->batch->partitions[message->partition].partition;
		event.reason = psprintf("offset " INT64_FORMAT " was passed by: %s", message->offset, work->error.message);
		djk_event_write(&event);
	}
}

/* ---------- counters ---------- */

static void
count_fate(DjkOffsetAdvance *advance, const DjkWork *work)
{
	switch (work->fate)
	{
		case DJK_FATE_APPLIED:
			advance->applied++;
			advance->key_only += work->key_only;
			advance->cascaded += work->row.cascaded;
			break;
		case DJK_FATE_SUPERSEDED:
			advance->applied++;
			advance->superseded++;
			break;
		case DJK_FATE_FILTERED:
			advance->filtered++;
			break;
		case DJK_FATE_DUPLICATE:
			advance->duplicates++;
			break;
		case DJK_FATE_STALE:
			advance->stale++;
			break;
		case DJK_FATE_DEAD:
			advance->dead++;
			advance->dead_sent += work->is_sent;
			break;
		case DJK_FATE_SKIPPED:
			advance->skipped++;
			break;
		case DJK_FATE_PARKED:
			advance->parked++;
			break;
		case DJK_FATE_RETRIED:
			advance->retried++;
			break;
		case DJK_FATE_PENDING:
		case DJK_FATE_STOP:
		case DJK_FATE_LOST:
			elog(ERROR, "a message without a fate reached its offset");
	}
}

/*
 * Whether a retry policy has tried a message again, in vain or not.  What is behind
 * another one, or is passed by unseen, has not been tried.
 */
static bool
is_retry(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];

	if (work->is_skipped)
		return false;
	if (apply->batch->again)
		return ((const DjkParked *) apply->batch->messages[message].source)->due_at != 0 &&
			(work->fate != DJK_FATE_PARKED || work->error.sqlstate != 0);
	return djk_postpone_attempt(apply, message) > 0;
}

/* The last message of each partition in the batch; -1 if it has none. */
static int *
last_messages(const DjkBatch *batch)
{
	int		   *last = palloc(Max(batch->npartitions, 1) * sizeof(int));

	for (int p = 0; p < batch->npartitions; p++)
		last[p] = -1;
	for (int i = 0; i < batch->nmessages; i++)
		last[batch->messages[i].partition] = i;
	return last;
}

static DjkOffsetAdvance *
make_advances(DjkApply *apply, int from, int to, int *nadvances)
{
	DjkBatch   *batch = apply->batch;
	int		   *last = last_messages(batch);
	DjkOffsetAdvance *all = MemoryContextAllocZero(apply->batch_context,
												   Max(batch->npartitions, 1) * sizeof(DjkOffsetAdvance));
	int64	   *counted = palloc0(Max(batch->npartitions, 1) * sizeof(int64));
	int		   *last_counted = palloc(Max(batch->npartitions, 1) * sizeof(int));
	int			n = 0;

	for (int p = 0; p < batch->npartitions; p++)
	{
		last_counted[p] = -1;
		all[p].id = batch->partitions[p].offset_id;
		all[p].partition = p;
		all[p].from_offset = batch->partitions[p].next_offset;
		all[p].generation = batch->partitions[p].generation;
		all[p].next_offset = batch->partitions[p].next_offset;
		all[p].high_watermark = batch->partitions[p].high_watermark;
		all[p].last_timestamp_ms = DJK_TIMESTAMP_NONE;
		all[p].skip_offset = batch->partitions[p].skip_offset;
		all[p].recent = apply->recent[p];
		all[p].anchor.offset = -1;
		if (last[p] < to && !batch->partitions[p].lost)
			all[p].next_offset = Max(all[p].next_offset, batch->partitions[p].end_offset);
	}
	for (int i = from; i < to; i++)
	{
		const DjkMessage *message = &batch->messages[i];
		DjkOffsetAdvance *advance = &all[message->partition];

		if (apply->work[i].fate == DJK_FATE_LOST)
			continue;
		count_fate(advance, &apply->work[i]);
		advance->retries += is_retry(apply, i);
		counted[message->partition]++;
		last_counted[message->partition] = i;
		advance->next_offset = Max(advance->next_offset, message->offset + 1);
		if (message->timestamp_ms >= 0)
			advance->last_timestamp_ms = message->timestamp_ms;
	}
	for (int p = 0; p < batch->npartitions; p++)
	{
		int64		moved = all[p].next_offset - batch->partitions[p].next_offset;

		if (moved <= 0)
			continue;
		all[p].gaps = moved - counted[p];
		if (last_counted[p] >= 0)
		{
			all[p].anchor.offset = batch->messages[last_counted[p]].offset;
			all[p].anchor.crc = djk_message_crc(&batch->messages[last_counted[p]]);
		}
		all[n++] = all[p];
	}
	*nadvances = n;
	return all;
}

/* The same of messages that waited: they leave one counter for another, and no offset moves. */
static DjkOffsetAdvance *
make_returns(DjkApply *apply, int from, int to, int *nadvances)
{
	DjkBatch   *batch = apply->batch;
	DjkOffsetAdvance *all = MemoryContextAllocZero(apply->batch_context,
												   Max(batch->npartitions, 1) * sizeof(DjkOffsetAdvance));
	int			n = 0;

	for (int i = from; i < to; i++)
	{
		DjkOffsetAdvance *advance = &all[batch->messages[i].partition];

		if (apply->work[i].fate == DJK_FATE_LOST)
			continue;
		advance->retries += is_retry(apply, i);
		if (apply->work[i].fate == DJK_FATE_PARKED)
			continue;
		count_fate(advance, &apply->work[i]);
		advance->parked--;
	}
	for (int p = 0; p < batch->npartitions; p++)
	{
		if (all[p].parked == 0 && all[p].retries == 0)
			continue;
		all[p].id = batch->partitions[p].offset_id;
		all[p].partition = p;
		all[p].from_offset = all[p].next_offset = batch->partitions[p].next_offset;
		all[p].generation = batch->partitions[p].generation;
		all[p].skip_offset = batch->partitions[p].skip_offset;
		all[p].recent = apply->recent[p];
		all[p].high_watermark = -1;
		all[p].last_timestamp_ms = DJK_TIMESTAMP_NONE;
		all[p].anchor.offset = -1;
		all[n++] = all[p];
	}
	*nadvances = n;
	return all;
}

/* ---------- notifications ---------- */

/* What must be taken off a key before it is what it looks like. */
static const char *
format_of_key(const DjkRouteRow *route)
{
	const DjkCodec *codec = djk_codec_find(route->key_format);

	return codec != NULL && (codec->framed || codec->registered) ? route->key_format : "auto";
}

/* Whether a key of no bytes is none. */
static bool
is_no_key(const DjkRouteRow *route)
{
	const DjkCodec *codec = djk_codec_find(route->format);

	return codec != NULL && codec->empty_is_no_key;
}

/* A message's key as a JSON value; NULL if it is not text. */
static char *
key_json(const DjkRouteRow *route, const DjkMessage *message, DjkDecoded *decoded)
{
	DjkError	error = {0};
	StringInfoData buf;

	if (message->key == NULL || (message->key_len == 0 && is_no_key(route)))
		return pstrdup("null");
	decoded->writer = message->key_writer;
	if (!djk_codec_decode_key(format_of_key(route), message->key, message->key_len, decoded, &error))
		return NULL;
	if (decoded->is_object)
		return djk_codec_text(decoded, &error) ? pnstrdup(decoded->text, decoded->text_len) : NULL;
	if (decoded->bare.kind == DJK_FIELD_BYTES || (decoded->bare.kind == DJK_FIELD_STRING && decoded->bare.text == NULL))
		return NULL;
	initStringInfo(&buf);
	djk_codec_append_json(&decoded->bare, &buf);
	return buf.data;
}

static void
notify_topic(DjkApply *apply, const char *topic, int from, int to)
{
	char	  **keys = palloc(NOTIFY_KEYS_MAX * sizeof(char *));
	int			nkeys = 0;
	bool		with_keys = false;
	int64		rows = 0;
	DjkDecoded	decoded;

	djk_decoded_init(&decoded, CurrentMemoryContext, CurrentMemoryContext);
	for (int i = from; i < to; i++)
	{
		const DjkMessage *message = &apply->batch->messages[i];
		const DjkWork *work = &apply->work[i];
		DjkNotify	notify;

		if ((work->fate != DJK_FATE_APPLIED && work->fate != DJK_FATE_SUPERSEDED) ||
			strcmp(apply->batch->partitions[message->partition].topic, topic) != 0)
			continue;
		notify = apply->consumer->routes[work->route].notify;
		if (notify == DJK_NOTIFY_OFF)
			continue;
		rows++;
		if (notify == DJK_NOTIFY_KEYS)
		{
			with_keys = true;
			if (nkeys >= 0 && nkeys < NOTIFY_KEYS_MAX && (keys[nkeys] = key_json(&apply->consumer->routes[work->route], message, &decoded)) != NULL)
				nkeys++;
			else
				nkeys = -1;
		}
	}
	if (rows > 0)
		djk_event_notify_rows(apply->consumer->name, topic, rows,
							  with_keys && nkeys >= 0 ? keys : NULL, nkeys);
}

static void
notify_rows(DjkApply *apply, int from, int to)
{
	bool		wanted = false;

	for (int r = 0; r < apply->consumer->nroutes; r++)
		wanted |= apply->consumer->routes[r].notify != DJK_NOTIFY_OFF;
	if (!wanted)
		return;

	for (int p = 0; p < apply->batch->npartitions; p++)
	{
		const char *topic = apply->batch->partitions[p].topic;
		bool		seen = false;

		for (int q = 0; q < p && !seen; q++)
			seen = strcmp(apply->batch->partitions[q].topic, topic) == 0;
		if (!seen)
			notify_topic(apply, topic, from, to);
	}
}

/* ---------- the whole ---------- */

DjkOffsetAdvance *
djk_record_write(DjkApply *apply, int from, int to, int *nadvances)
{
	DjkOffsetAdvance *advances;
	DjkIdentity identity;

	djk_lane_settle(apply, from, to);
	advances = apply->batch->again ? make_returns(apply, from, to, nadvances) : make_advances(apply, from, to, nadvances);
	djk_catalog_enter(&identity);
	require_definition(apply->consumer);
	djk_lane_write(apply, from, to, advances, *nadvances);
	if (!apply->batch->replayed)
	{
		write_dead_letters(apply, from, to);
		djk_overtaken_note(apply, from, to);
	}
	tell_condemned(apply, from, to);
	djk_skipped_tell(apply, from, to, advances, *nadvances);
	djk_park_record(apply, from, to);
	if (*nadvances > 0 && !apply->batch->detached)
		djk_offset_advance(advances, *nadvances);
	if (apply->storm_end > 0)
		djk_storm_write(apply, to);
	djk_catalog_leave(&identity);
	notify_rows(apply, from, to);
	return advances;
}

static void
note_lack(const DjkApply *apply, int message, DjkBatchPartition *partition)
{
	const DjkWork *work = &apply->work[message];
	const DjkParked *before = apply->batch->again ? apply->batch->messages[message].source : NULL;
	TimestampTz since = before ? before->parked_at : GetCurrentTimestamp();
	int64		timeout_ms = work->route >= 0 ? djk_route_row_wait_ms(&apply->consumer->routes[work->route]) : 0;
	TimestampTz deadline = TimestampTzPlusMilliseconds(since, timeout_ms);

	partition->lacking |= work->error.sqlstate != 0 || before != NULL;
	if (work->error.sqlstate == 0)
		return;
	partition->unwatched |= !work->lack.is_watched;
	if (timeout_ms > 0 && (partition->deadline == 0 || partition->deadline > deadline))
		partition->deadline = deadline;
}

/*
 * What waits now, and when it comes up again.  What is behind another one comes up
 * with that; but of what was to be tried nobody knows what has held it up, and what
 * was behind one by a key that is not its own any more comes up with none.
 */
static void
note_due(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		DjkBatchPartition *partition = &apply->batch->partitions[apply->batch->messages[i].partition];

		if (work->fate != DJK_FATE_PARKED)
			continue;
		partition->lacking |= apply->batch->again && djk_park_has_another_key(work, apply->batch->messages[i].source);
		if (work->due_at == 0)
			note_lack(apply, i, partition);
		else if (partition->next_due == 0 || partition->next_due > work->due_at)
			partition->next_due = work->due_at;
	}
}

void
djk_record_committed(DjkApply *apply, int from, int to, const DjkOffsetAdvance *advances, int n)
{
	djk_postpone_log(apply, from, to);
	note_due(apply, from, to);
	for (int i = from; apply->batch->again && i < to; i++)
	{
		const DjkMessage *message = &apply->batch->messages[i];
		DjkBatchPartition *partition = &apply->batch->partitions[message->partition];

		partition->again_to = message->offset + 1;
		if (partition->again_to >= partition->vain_to)
			partition->vain = 0;
		/* What goes on waiting has not shown yet what it does when its parent is there. */
		if (apply->work[i].fate == DJK_FATE_PARKED || apply->work[i].fate == DJK_FATE_LOST)
			partition->again_from = message->offset + 1;
	}
	for (int i = 0; i < n; i++)
	{
		DjkBatchPartition *partition = &apply->batch->partitions[advances[i].partition];

		partition->next_offset = advances[i].next_offset;
		if (advances[i].anchor.offset >= 0)
			partition->anchor = advances[i].anchor;
		partition->parked += advances[i].parked;
		/* Of what waits others may pass: it is nothing to the one that has failed. */
		if (!apply->batch->again)
			partition->vain = 0;
	}
}
