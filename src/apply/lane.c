/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  What waits of one key: how much of it may, and what makes an end of it.
 *
 * A deletion of the whole row supersedes what waits of its key before it: nothing
 * of it would be left.  So it is tried when it comes, and if it is applied the
 * others are counted with it.  That is done only where nothing but the row could
 * tell: in a mirror, of a table whose rows no trigger sees, without versions, by which
 * a deletion may be the older one, and where the whole lane is of its row, and has its
 * key in Kafka too, byte for byte: lanes are told apart by a hash, which other rows may
 * share, so the key itself is compared.  If it fails it waits behind the others.
 *
 * A route may bound what waits of a key, by count, bytes and age.  A message that finds
 * no room there stops its partition until there is, or all that waits of the key is
 * given up, and it is tried itself.
 *
 * Both are the same for later messages: a message that ends the lane, which only
 * counts from there on (park_key.c).  What has come to an end is written with what
 * the transaction does otherwise, and so undone with it.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/lane.h"

#include "apply/key_table.h"
#include "apply/overtaken.h"
#include "apply/park_key.h"
#include "state/catalog.h"
#include "state/parked.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How soon a partition that stops for want of room is tried again. */
#define ROOM_WAIT_MS	2000

/* ---------- what waits ---------- */

static const DjkRouteRow *
route_of(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;

	return route >= 0 ? &apply->consumer->routes[route] : NULL;
}

/* As far as the message itself and its route tell. */
static bool
is_superseder(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];

	return work->row.is_delete && work->row.unprepared == NULL && !work->cannot_supersede &&
		work->row_key != NULL && apply->batch->messages[message].key != NULL;
}

/* Whether it counts what waits of a message's key. */
static bool
is_asked(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];

	return work->fate == DJK_FATE_PENDING && work->has_key && work->route >= 0 &&
		work->key_hash != DJK_PARKED_ANY_KEY && !apply->batch->again &&
		(djk_route_row_bounds_lanes(route_of(apply, message)) || is_superseder(apply, message));
}

static DjkParkedEnd
end_at(const DjkApply *apply, int message)
{
	const DjkMessage *m = &apply->batch->messages[message];
	const DjkWork *work = &apply->work[message];
	DjkParkedEnd end = {
		.key = {apply->batch->partitions[m->partition].offset_id, work->lane, work->key_hash, m->offset},
		.message_key = m->key,
		.message_key_len = m->key_len,
		.row_key = work->row_key
	};

	return end;
}

/* Whether two messages of a lane are of one row for sure, and have one key in Kafka. */
static bool
is_same_row(const DjkParkedEnd *a, const DjkParkedEnd *b)
{
	return a->row_key != NULL && djk_key_image_equal(a->row_key, b->row_key) &&
		a->message_key != NULL && b->message_key != NULL && a->message_key_len == b->message_key_len &&
		memcmp(a->message_key, b->message_key, a->message_key_len) == 0;
}

void
djk_lane_count(DjkApply *apply, int from, int to)
{
	DjkParkKey **entries = palloc((Max(to - from, 0) + 1) * sizeof(DjkParkKey *));
	DjkParkedEnd *ends = palloc((Max(to - from, 0) + 1) * sizeof(DjkParkedEnd));
	DjkParkedLane *lanes;
	int			n = 0;
	MemoryContext context = apply->batch_context;
	DjkIdentity identity;

	for (int i = from; i < to; i++)
	{
		DjkParkKey *entry = is_asked(apply, i) ? djk_park_key_of(apply, i) : NULL;

		if (entry == NULL || entry->is_counted || entry->stored == PG_INT64_MAX)
			continue;
		entry->is_counted = true;
		ends[n] = entry->counted_for = end_at(apply, i);
		entries[n++] = entry;
	}
	if (n > 0)
	{
		djk_catalog_enter(&identity);
		lanes = djk_parked_count_lanes(ends, n, context);
		djk_catalog_leave(&identity);
		for (int k = 0; k < n; k++)
			entries[k]->counted = lanes[k];
	}
	pfree(ends);
	pfree(entries);
}

/* What waits of an entry's key in djkafka_parked. */
static DjkParkedLane
counted(const DjkParkKey *entry, const DjkParkedEnd *end)
{
	DjkParkedLane lane = {.alike = entry->stored == PG_INT64_MAX};

	if (!entry->is_counted || entry->stored == PG_INT64_MAX)
		return lane;
	lane = entry->counted;
	lane.alike &= lane.messages == 0 || is_same_row(&entry->counted_for, end);
	return lane;
}

/*
 * What waits before a message of its key, behind the last that has made an end of it.
 * What has been written already is counted there, unless the end is of this transaction:
 * an earlier one has removed what was before its own.  The rest is of this transaction.
 */
static DjkParkedLane
count_before(const DjkApply *apply, const DjkParkKey *entry, int message)
{
	int			last = djk_park_key_end(apply, entry, message);
	DjkParkedEnd end = end_at(apply, message);
	DjkParkedLane lane = {.alike = true};

	if (last < apply->fence_from)
		lane = counted(entry, &end);
	for (int i = Max(Max(last, entry->first), apply->fence_from); i < message; i++)
	{
		const DjkMessage *m = &apply->batch->messages[i];
		DjkParkedEnd before = end_at(apply, i);

		if (!djk_park_key_waits_with(apply, entry, i))
			continue;
		lane.alike &= is_same_row(&before, &end);
		lane.messages++;
		lane.bytes += m->key_len + m->value_len;
	}
	return lane;
}

/* ---------- a deletion ---------- */

bool
djk_lane_gives_way(DjkApply *apply, int message)
{
	DjkWork    *work = &apply->work[message];

	if (work->lane_end != DJK_LANE_SUPERSEDED)
		return false;
	work->lane_end = DJK_LANE_GOES_ON;
	work->cannot_supersede = true;
	if (work->fate == DJK_FATE_APPLIED)
		work->fate = DJK_FATE_PENDING;
	return true;
}

/* ---------- bounds ---------- */

static bool
is_full(const DjkApply *apply, int message, const DjkParkedLane *lane)
{
	const DjkRouteRow *route = route_of(apply, message);
	const DjkMessage *m = &apply->batch->messages[message];

	if (route->max_lane_messages > 0 && lane->messages >= route->max_lane_messages)
		return true;
	if (route->max_lane_bytes > 0 && lane->bytes + m->key_len + m->value_len > route->max_lane_bytes)
		return true;
	return route->max_lane_age_ms > 0 && lane->oldest != 0 &&
		GetCurrentTimestamp() >= TimestampTzPlusMilliseconds(lane->oldest, route->max_lane_age_ms);
}

/* Its partition waits for it, as for a retry that is blocking. */
static void
stop(DjkApply *apply, int message, const DjkParkedLane *lane)
{
	DjkWork    *work = &apply->work[message];
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);

	memset(&work->error, 0, sizeof(work->error));
	work->error.sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
	work->error.message = pstrdup("as much waits of the message's key as its route allows");
	work->error.detail = psprintf("Messages of its key that wait: " INT64_FORMAT ", their bytes: " INT64_FORMAT ".",
								  lane->messages, lane->bytes);
	work->error.hint = pstrdup("The partition goes on when the first of them has passed or failed: see djkafka_parked. With on_full_lane \"dead_letter\" they become dead letters.");
	work->fate = DJK_FATE_STOP;
	work->attempt = 0;
	work->due_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROOM_WAIT_MS);
	MemoryContextSwitchTo(old);
}

static void
end_lane(DjkApply *apply, DjkParkKey *entry, int message, DjkLaneEnd how)
{
	apply->work[message].lane_end = how;
	entry->last_end = Max(entry->last_end, message);
}

bool
djk_lane_passes(DjkApply *apply, int message)
{
	DjkParkKey *entry = is_asked(apply, message) ? djk_park_key_of(apply, message) : NULL;
	DjkParkedLane lane;

	if (entry == NULL || !djk_park_key_is_sure(apply, message))
		return false;
	lane = count_before(apply, entry, message);
	if (lane.alike && is_superseder(apply, message))
	{
		end_lane(apply, entry, message, DJK_LANE_SUPERSEDED);
		return true;
	}
	if (!is_full(apply, message, &lane))
		return false;
	if (route_of(apply, message)->full_lane_stops)
		stop(apply, message, &lane);
	else
		end_lane(apply, entry, message, DJK_LANE_GIVEN_UP);
	return true;
}

bool
djk_lane_is_too_old(const DjkApply *apply, int message)
{
	const DjkRouteRow *route = route_of(apply, message);
	const DjkParked *parked = apply->batch->messages[message].source;

	return apply->batch->again && route != NULL && route->max_lane_age_ms > 0 && !route->full_lane_stops &&
		GetCurrentTimestamp() >= TimestampTzPlusMilliseconds(parked->parked_at, route->max_lane_age_ms);
}

/* ---------- what has come to an end ---------- */

#define GIVEN_UP_DETAIL		"As much waited of its key as its route allows: all of it was given up."
#define GIVEN_UP_HINT		"Once what held up the first of them is fixed, djkafka_replay applies them in their order, as far as nothing newer of their key has been applied."

/* As djk_parked_give_up_lanes() says it of what was written before. */
static void
give_up(DjkApply *apply, int message)
{
	DjkWork    *work = &apply->work[message];

	if (work->error.sqlstate == 0)
	{
		work->error.sqlstate = ERRCODE_FOREIGN_KEY_VIOLATION;
		work->error.message = pstrdup(DJK_PARKED_BEHIND);
	}
	work->error.detail = pstrdup(GIVEN_UP_DETAIL);
	work->error.hint = pstrdup(GIVEN_UP_HINT);
	work->context = NULL;
	work->fate = DJK_FATE_DEAD;
	work->due_at = 0;
}

/* Whether a message has ended a lane now that all fates are known. */
static bool
has_ended(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];

	if (work->lane_end == DJK_LANE_SUPERSEDED)
		return work->fate == DJK_FATE_APPLIED;
	return work->lane_end == DJK_LANE_GIVEN_UP && work->fate != DJK_FATE_LOST;
}

void
djk_lane_settle(DjkApply *apply, int from, int to)
{
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);

	for (int i = from; i < to; i++)
	{
		const DjkParkKey *entry = has_ended(apply, i) ? djk_park_key_of(apply, i) : NULL;

		for (int j = entry != NULL ? Max(from, entry->first) : i; j < i; j++)
		{
			DjkParkedEnd end = end_at(apply, i);
			DjkParkedEnd before = end_at(apply, j);

			if (!djk_park_key_waits_with(apply, entry, j))
				continue;
			if (apply->work[i].lane_end == DJK_LANE_GIVEN_UP)
				give_up(apply, j);
			else if (is_same_row(&before, &end))
				apply->work[j].fate = DJK_FATE_SUPERSEDED;
		}
	}
	MemoryContextSwitchTo(old);
}

static DjkOffsetAdvance *
advance_of(DjkOffsetAdvance *advances, int nadvances, int64 offset_id)
{
	for (int i = 0; i < nadvances; i++)
	{
		if (advances[i].id == offset_id)
			return &advances[i];
	}
	elog(ERROR, "messages of another partition have come to an end");
}

static void
count_ended(DjkOffsetAdvance *advance, int64 n, DjkLaneEnd how)
{
	advance->parked -= n;
	if (how == DJK_LANE_SUPERSEDED)
	{
		advance->applied += n;
		advance->superseded += n;
	}
	else
		advance->dead += n;
}

/* The keys that messages of [from, to) have made an end of in this way, as far as something of their partition waits. */
static DjkParkedEnd *
find_ends(const DjkApply *apply, int from, int to, DjkLaneEnd how, int *n)
{
	DjkParkedEnd *ends = palloc0((Max(to - from, 0) + 1) * sizeof(DjkParkedEnd));

	*n = 0;
	for (int i = from; i < to; i++)
	{
		const DjkBatchPartition *partition = &apply->batch->partitions[apply->batch->messages[i].partition];

		if (apply->work[i].lane_end == how && has_ended(apply, i) && partition->parked > 0)
			ends[(*n)++] = end_at(apply, i);
	}
	return ends;
}

static void
write_ends(DjkApply *apply, int from, int to, DjkLaneEnd how, DjkOffsetAdvance *advances, int nadvances)
{
	int			n;
	DjkParkedEnd *ends = find_ends(apply, from, to, how, &n);
	DjkParkedEnded *ended;
	int			nended;

	if (n == 0)
		return;
	if (how == DJK_LANE_SUPERSEDED)
		ended = djk_parked_supersede(ends, n, CurrentMemoryContext, &nended);
	else
		ended = djk_parked_give_up_lanes(ends, n, GIVEN_UP_DETAIL, GIVEN_UP_HINT, CurrentMemoryContext, &nended);
	for (int i = 0; i < nended; i++)
		count_ended(advance_of(advances, nadvances, ended[i].offset_id), ended[i].messages, how);
	if (nended == 0 || how == DJK_LANE_SUPERSEDED)
		return;
	/* There are letters now that were no messages of this batch. */
	djk_overtaken_written(apply);
	for (int p = 0; p < apply->batch->npartitions; p++)
	{
		for (int i = 0; i < nended; i++)
		{
			if (apply->batch->partitions[p].offset_id == ended[i].offset_id)
				djk_overtaken_read_again(apply, p);
		}
	}
}

void
djk_lane_write(DjkApply *apply, int from, int to, DjkOffsetAdvance *advances, int nadvances)
{
	if (apply->batch->again || apply->batch->detached || apply->parked_keys == NULL)
		return;
	write_ends(apply, from, to, DJK_LANE_SUPERSEDED, advances, nadvances);
	write_ends(apply, from, to, DJK_LANE_GIVEN_UP, advances, nadvances);
}
