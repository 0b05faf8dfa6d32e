/*-------------------------------------------------------------------------
 *
 * park.c
 *	  Messages that wait for a row they refer to, or for another try, and those behind them.
 *
 * Between topics there is no order, so a child may be read before its parent,
 * by another worker too.  A message that fails for want of a parent alone is
 * kept in djkafka_parked, in the transaction that moves its offset, and tried
 * again (consumer/waiting.c).  It has its route's parent_timeout for that, then it
 * becomes what on_error says.  What else has failed waits until it is due, if its
 * route has a retry policy that says so (postpone.c); so does what has waited for
 * its parent in vain.
 *
 * The order of a key is kept: what comes behind one that waits, by the route's
 * key in the same partition, waits behind it.  Where a route has no key columns
 * it is the message's key that counts; without either there is no order to keep.
 * Where a key cannot be hashed, or a deletion may name a part of it, or it is
 * not known because it is looked up itself, it may be any.  With ordering none
 * no message of the route has one, and none waits behind it.
 *
 * Routes that write one table, or call one handler, and tell its rows apart in
 * the same way, are one lane: a key is one in all of it.  Where the definition,
 * or the key's type, has changed since a message was tried, its key may be any
 * in all lanes, until it is tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/park.h"

#include "apply/key_table.h"
#include "apply/lack.h"
#include "apply/lane.h"
#include "apply/park_key.h"
#include "apply/postpone.h"
#include "apply/writer.h"
#include "base/settings.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/parked.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ---------- keys ---------- */

static int64
lane_of(const DjkRouteState *state)
{
	return state->has_parts ? state->lane_of_parts : state->lane;
}

/* Of a route that keeps no order: where it keeps one later, what has waited here is in none that is known. */
static int64
lane_without_keys(const DjkRouteState *state)
{
	return ~lane_of(state);
}

/* Where it matters, for it is kept with the message. */
static void
note_row_key(DjkApply *apply, DjkWork *work, const DjkRouteState *state, const bytea *known)
{
	bytea	   *key = state->supersedes ? djk_key_image(state, &work->row) : NULL;

	if (key == NULL)
		return;
	work->row_key = known;
	if (!djk_key_image_equal(key, known))
	{
		bytea	   *copy = MemoryContextAlloc(apply->batch_context, VARSIZE(key));

		memcpy(copy, key, VARSIZE(key));
		work->row_key = copy;
	}
	pfree(key);
}

static void
note_key(DjkApply *apply, int message, bool is_prepared)
{
	DjkWork    *work = &apply->work[message];
	const DjkMessage *m = &apply->batch->messages[message];
	const DjkRouteState *state = work->route >= 0 ? apply->states[work->route] : NULL;
	const bytea *known = work->row_key;

	work->has_key = false;
	work->row_key = NULL;
	work->lane = work->key_hash = 0;
	if (state == NULL)
		return;
	work->lane = state->route->unordered ? lane_without_keys(state) : lane_of(state);
	if (state->route->unordered)
		return;
	if (state->nkeys == 0)
	{
		work->has_key = djk_message_has_key(state, m);
		if (work->has_key)
			work->key_hash = hash_bytes((const unsigned char *) m->key, m->key_len);
		return;
	}
	work->has_key = true;
	if (is_prepared && work->row.present != NULL && djk_key_table_serves(state) && !state->has_parts)
	{
		work->key_hash = djk_key_hash(state, &work->row);
		note_row_key(apply, work, state, known);
	}
	else
		work->key_hash = DJK_PARKED_ANY_KEY;
}

void
djk_park_note_key(DjkApply *apply, int message)
{
	note_key(apply, message, true);
}

static void
park(DjkApply *apply, int message, int attempt, TimestampTz due_at)
{
	DjkWork    *work = &apply->work[message];
	DjkParkKey *entry;

	work->fate = DJK_FATE_PARKED;
	work->was_unprepared = false;
	work->attempt = attempt;
	work->due_at = due_at;
	if (!work->has_key)
		return;
	entry = djk_park_key_enter(apply, apply->batch->messages[message].partition, work->lane, work->key_hash);
	entry->first = Min(entry->first, message);
}

/* ---------- whether it may wait ---------- */

/*
 * Whether one more message of the consumer may be kept, after those before it.
 * Between transactions, where one has failed as a whole, nobody can be asked.
 */
static bool
is_room(DjkApply *apply, int message)
{
	int64		parked = 0;

	if (apply->batch->again || (apply->park_room < 0 && !IsTransactionState()))
		return true;
	if (apply->park_room < 0)
	{
		DjkIdentity identity;

		djk_catalog_enter(&identity);
		apply->park_room = Max(djk_max_parked - djk_parked_count(apply->consumer->id), 0);
		djk_catalog_leave(&identity);
	}
	/* Though all before it wait. */
	if (message < apply->park_room)
		return true;
	for (int i = 0; i < message; i++)
		parked += apply->work[i].fate == DJK_FATE_PARKED;
	return parked < apply->park_room;
}

bool
djk_park_may_wait(DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];
	int64		timeout_ms = work->route >= 0 ? djk_route_row_wait_ms(&apply->consumer->routes[work->route]) : 0;

	if (apply->batch->detached || timeout_ms <= 0)
		return false;
	if (apply->batch->again)
	{
		const DjkParked *parked = apply->batch->messages[message].source;

		return GetCurrentTimestamp() < TimestampTzPlusMilliseconds(parked->parked_at, timeout_ms);
	}
	return is_room(apply, message);
}

static void
copy_error(DjkError *copy, const DjkError *error, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	memset(copy, 0, sizeof(*copy));
	copy->sqlstate = error->sqlstate;
	copy->message = error->message ? pstrdup(error->message) : NULL;
	copy->detail = error->detail ? pstrdup(error->detail) : NULL;
	copy->hint = error->hint ? pstrdup(error->hint) : NULL;
	MemoryContextSwitchTo(old);
}

static void
keep_error(DjkApply *apply, int message, const DjkError *error)
{
	copy_error(&apply->work[message].error, error, apply->batch_context);
}

/* Why it waits no longer, or not at all, where the error has no hint of its own. */
static const char *
hint_of(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;

	if (apply->batch->detached || route < 0 || apply->consumer->routes[route].parent_timeout_ms <= 0)
		return NULL;
	return apply->batch->again ?
		"The row did not come within the route's parent_timeout, or max_lane_age. Once it is there, djkafka_replay(ARRAY[id]) applies the message." :
		"The message could not wait for the row: as many as djkafka.max_parked allows wait already.";
}

/* What a message that is given up is told to have failed with. */
static DjkError
describe(const DjkApply *apply, int message, const DjkError *error, bool for_parent)
{
	DjkError	told = *error;
	char	   *tries = djk_postpone_detail(apply, message, error->sqlstate);

	if (told.hint == NULL && for_parent)
		told.hint = unconstify(char *, hint_of(apply, message));
	if (tries != NULL)
		told.detail = told.detail ? psprintf("%s %s", told.detail, tries) : tries;
	return told;
}

/*
 * Its partition waits for it: here it stops as under on_error = stop.  The caller
 * of djkafka_run() does not wait, and is told.
 */
static void
hold(DjkApply *apply, int message, const DjkError *error, int attempt, TimestampTz due_at)
{
	DjkWork    *work = &apply->work[message];

	keep_error(apply, message, error);
	if (apply->inside && error->hint == NULL)
		work->error.hint = MemoryContextStrdup(apply->batch_context, "The message is tried again later, and its partition waits for it: a worker does that, djkafka_run does not.");
	work->fate = DJK_FATE_STOP;
	work->attempt = attempt;
	work->due_at = due_at;
}

void
djk_park_or_fail(DjkApply *apply, int message, const DjkError *error, bool for_parent, const char *context)
{
	DjkError	told;
	bool		wanted;
	int			attempt;
	TimestampTz due_at;

	if (for_parent && djk_park_may_wait(apply, message))
	{
		keep_error(apply, message, error);
		park(apply, message, djk_postpone_attempt(apply, message), 0);
		return;
	}
	djk_lack_forget(apply, message);
	wanted = djk_postpone(apply, message, error->sqlstate, &attempt, &due_at) && !djk_lane_is_too_old(apply, message);
	apply->work[message].due_at = 0;
	if (wanted && djk_postpone_is_blocking(apply, message))
	{
		hold(apply, message, error, attempt, due_at);
		return;
	}
	if (wanted && djk_postpone_is_sent(apply, message))
	{
		keep_error(apply, message, error);
		apply->work[message].fate = DJK_FATE_RETRIED;
		apply->work[message].attempt = attempt;
		apply->work[message].due_at = due_at;
		return;
	}
	if (wanted && is_room(apply, message))
	{
		keep_error(apply, message, error);
		park(apply, message, attempt, due_at);
		return;
	}
	told = describe(apply, message, error, for_parent);
	if (wanted && told.hint == NULL)
		told.hint = pstrdup("The message could not wait to be tried again: as many as djkafka.max_parked allows wait already.");
	djk_work_fail(apply, message, &told, context);
}

void
djk_park_unsent(DjkApply *apply, int message)
{
	DjkWork    *work = &apply->work[message];
	DjkError	told = work->error;

	/* The record has begun: it is too late to stop before it. */
	work->fate = DJK_FATE_PARKED;
	if (is_room(apply, message) || apply->consumer->routes[work->route].on_error == DJK_ON_ERROR_STOP)
		return;
	if (told.hint == NULL)
		told.hint = psprintf("The message was to be tried again from a topic, but %s; and as many as djkafka.max_parked allows wait already.", work->not_sent);
	work->due_at = 0;
	djk_work_fail(apply, message, &told, NULL);
}

void
djk_park_note_unprepared(DjkApply *apply, int message, const DjkError *error)
{
	DjkError   *noted = MemoryContextAlloc(apply->attempt_context, sizeof(DjkError));

	copy_error(noted, error, apply->attempt_context);
	apply->work[message].row.unprepared = noted;
}

void
djk_park_unprepared(DjkApply *apply, int message, const DjkError *error)
{
	bool		for_parent = djk_lack_may_end(error->sqlstate);

	djk_park_note_key(apply, message);
	djk_lack_note_lookup(apply, message);
	djk_park_or_fail(apply, message, error, for_parent, NULL);
	apply->work[message].was_unprepared = true;
}

void
djk_park_whole(DjkApply *apply, int message, const DjkError *error)
{
	note_key(apply, message, false);
	djk_park_or_fail(apply, message, error, false, NULL);
}

/* ---------- what is behind ---------- */

static void
park_behind(DjkApply *apply, int message)
{
	DjkError	error = {0};

	if (is_room(apply, message))
	{
		memset(&apply->work[message].error, 0, sizeof(DjkError));
		djk_lack_forget(apply, message);
		park(apply, message, djk_postpone_attempt(apply, message), 0);
		return;
	}
	error.sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
	error.message = pstrdup("an earlier message of the same key waits, and this one cannot wait behind it");
	error.detail = psprintf("As many messages of the consumer wait as djkafka.max_parked allows: %d.", djk_max_parked);
	error.hint = pstrdup("Raise djkafka.max_parked, and give the message again.");
	djk_work_fail(apply, message, &error, NULL);
}

/* Whether messages of a partition that is ours may wait in djkafka_parked. */
static bool
any_stored(const DjkBatch *batch)
{
	for (int p = 0; p < batch->npartitions; p++)
	{
		if (batch->partitions[p].parked > 0)
			return true;
	}
	return false;
}

static void
enter_stored(DjkApply *apply, const DjkParkedKey *stored)
{
	for (int p = 0; p < apply->batch->npartitions; p++)
	{
		DjkParkKey *entry;

		if (apply->batch->partitions[p].offset_id != stored->offset_id)
			continue;
		entry = djk_park_key_enter(apply, p, stored->lane, stored->hash);
		entry->stored = Min(entry->stored, stored->offset);
	}
}

/*
 * The rows of what is in this batch, as far as others lie between them: what waited
 * is read in order, and but for what it leaves out a batch begins behind the others.
 */
static int64 *
own_rows(const DjkApply *apply, int *n)
{
	const DjkBatch *batch = apply->batch;
	int64	   *ids = palloc(Max(batch->nmessages, 1) * sizeof(int64));

	*n = 0;
	for (int i = 0; batch->again && i < batch->nmessages; i++)
	{
		if (batch->partitions[batch->messages[i].partition].again_omits && apply->work[i].fate != DJK_FATE_LOST)
			ids[(*n)++] = ((const DjkParked *) batch->messages[i].source)->id;
	}
	return ids;
}

/* Below which offset what waits of each partition, and is not of this batch, may be before a message of it. */
static int64 *
find_limits(const DjkBatch *batch)
{
	int64	   *below = palloc(batch->npartitions * sizeof(int64));

	for (int p = 0; p < batch->npartitions; p++)
		below[p] = -1;
	for (int i = 0; i < batch->nmessages; i++)
	{
		const DjkMessage *message = &batch->messages[i];
		const DjkBatchPartition *partition = &batch->partitions[message->partition];
		bool		first = batch->again && !partition->again_omits;
		int64	   *limit = &below[message->partition];

		if (*limit < 0 || (first ? *limit > message->offset : *limit < message->offset))
			*limit = message->offset;
	}
	return below;
}

/* By partition, whether messages of it are pending in the piece at hand. */
static bool *
find_partitions(const DjkApply *apply)
{
	bool	   *any = palloc0(Max(apply->batch->npartitions, 1) * sizeof(bool));

	for (int i = apply->piece_from; i < apply->piece_to; i++)
		any[apply->batch->messages[i].partition] |= apply->work[i].fate == DJK_FATE_PENDING;
	return any;
}

/*
 * The lanes of all routes of the partitions' topics, whose states were made for the
 * piece.  Other routes have nothing that waits there, and their states may tell of what
 * a table was before it was altered.
 */
static int64 *
known_lanes(DjkApply *apply, const bool *partitions, int *nlanes)
{
	int64	   *lanes = palloc(2 * Max(apply->consumer->nroutes, 1) * sizeof(int64));
	Bitmapset  *routes = NULL;
	int			route = -1;

	for (int p = 0; p < apply->batch->npartitions; p++)
	{
		if (partitions[p])
			routes = bms_add_members(routes, djk_work_routes(apply, apply->batch->partitions[p].topic));
	}
	*nlanes = 0;
	while ((route = bms_next_member(routes, route)) >= 0)
	{
		const DjkRouteState *state = apply->states[route];

		if (state == NULL)
			continue;
		lanes[(*nlanes)++] = lane_of(state);
		if (state->route->unordered)
			lanes[(*nlanes)++] = lane_without_keys(state);
	}
	bms_free(routes);
	return lanes;
}

/* What has been asked of djkafka_parked in the transaction at hand, whose fence keeps everybody else from changing it. */
typedef struct AskedKey
{
	int			partition;
	int64		lane;
	int64		hash;
} AskedKey;

static void
forget_asked(DjkApply *apply)
{
	if (apply->parked_asked != NULL)
		hash_destroy(apply->parked_asked);
	apply->parked_asked = NULL;
	apply->parked_lanes = NULL;
	apply->nparked_lanes = 0;
}

void
djk_park_begin(DjkApply *apply, int from)
{
	forget_asked(apply);
	djk_park_key_begin(apply);
	apply->fence_from = from;
}

/* What was asked counts for the lanes that are known. */
static void
begin_asking(DjkApply *apply, const bool *partitions)
{
	HASHCTL		ctl = {0};
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);
	int			nlanes;
	int64	   *lanes = known_lanes(apply, partitions, &nlanes);
	bool		same = apply->parked_asked != NULL && nlanes == apply->nparked_lanes &&
		memcmp(lanes, apply->parked_lanes, nlanes * sizeof(int64)) == 0;

	if (same)
		pfree(lanes);
	else
	{
		forget_asked(apply);
		ctl.keysize = ctl.entrysize = sizeof(AskedKey);
		ctl.hcxt = apply->batch_context;
		apply->parked_asked = hash_create("djkafka asked keys", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		apply->parked_lanes = lanes;
		apply->nparked_lanes = nlanes;
	}
	MemoryContextSwitchTo(old);
}

static AskedKey
asked_key(const DjkApply *apply, int message, int64 hash)
{
	AskedKey	key;

	memset(&key, 0, sizeof(key));
	key.partition = apply->batch->messages[message].partition;
	key.lane = apply->work[message].lane;
	key.hash = hash;
	return key;
}

/* Adds the key of a message, and any of its lane, unless they have been asked for. */
static void
want(const DjkApply *apply, int message, DjkParkedKey *wanted, int *nwanted)
{
	int64		hashes[] = {apply->work[message].key_hash, DJK_PARKED_ANY_KEY};

	for (int i = 0; i < lengthof(hashes); i++)
	{
		AskedKey	key = asked_key(apply, message, hashes[i]);
		DjkParkedKey *next = &wanted[*nwanted];

		if (hash_search(apply->parked_asked, &key, HASH_FIND, NULL) != NULL)
			continue;
		memset(next, 0, sizeof(*next));
		next->offset_id = apply->batch->partitions[key.partition].offset_id;
		next->lane = key.lane;
		next->hash = key.hash;
		(*nwanted)++;
	}
}

static int
compare_keys(const void *a, const void *b)
{
	const DjkParkedKey *x = a;
	const DjkParkedKey *y = b;

	if (x->offset_id != y->offset_id)
		return x->offset_id < y->offset_id ? -1 : 1;
	if (x->lane != y->lane)
		return x->lane < y->lane ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Each once.  Returns how many there are. */
static int
sort_keys(DjkParkedKey *keys, int n)
{
	int			kept = 0;

	qsort(keys, n, sizeof(DjkParkedKey), compare_keys);
	for (int i = 0; i < n; i++)
	{
		if (kept == 0 || compare_keys(&keys[kept - 1], &keys[i]) != 0)
			keys[kept++] = keys[i];
	}
	return kept;
}

/* All keys of messages have been asked for. */
static void
note_asked(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		AskedKey	keys[] = {asked_key(apply, i, apply->work[i].key_hash), asked_key(apply, i, DJK_PARKED_ANY_KEY)};

		if (apply->work[i].fate != DJK_FATE_PENDING || !apply->work[i].has_key)
			continue;
		for (int k = 0; k < lengthof(keys); k++)
			(void) hash_search(apply->parked_asked, &keys[k], HASH_ENTER, NULL);
	}
}

/*
 * Enters the keys wanted that are in djkafka_parked and not of this batch.  Of
 * what waits a batch has only what may be due.
 */
static void
find_stored(DjkApply *apply, const bool *partitions, DjkParkedKey *wanted, int nwanted)
{
	DjkBatch   *batch = apply->batch;
	int64	   *ids = palloc(batch->npartitions * sizeof(int64));
	int64	   *below = find_limits(batch);
	int			n = 0;
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	int			nown;
	int64	   *own = own_rows(apply, &nown);
	DjkParkedKey *keys;
	int			nkeys;

	for (int p = 0; p < batch->npartitions; p++)
	{
		if (!partitions[p])
			continue;
		ids[n] = batch->partitions[p].offset_id;
		below[n++] = below[p];
	}
	for (int w = 0, p = 0; w < nwanted; w++)
	{
		while (ids[p] != wanted[w].offset_id)
			p = (p + 1) % n;
		wanted[w].offset = below[p];
	}
	djk_catalog_enter(&identity);
	keys = djk_parked_keys(ids, below, n, apply->parked_lanes, apply->nparked_lanes,
						   wanted, nwanted, own, nown, context, &nkeys);
	djk_catalog_leave(&identity);
	for (int k = 0; k < nkeys; k++)
		enter_stored(apply, &keys[k]);
}

bool
djk_park_would_wait(DjkApply *apply, int message, int sqlstate)
{
	int			attempt;
	TimestampTz due_at;

	return (djk_lack_may_end(sqlstate) && djk_park_may_wait(apply, message)) ||
		djk_postpone(apply, message, sqlstate, &attempt, &due_at);
}

/* Notes the keys of pending messages, and asks which of them wait in djkafka_parked. */
static void
ask_stored(DjkApply *apply, int from, int to)
{
	DjkParkedKey *wanted = palloc(2 * (Max(to - from, 0) + 1) * sizeof(DjkParkedKey));
	int			nwanted = 0;
	bool	   *partitions = find_partitions(apply);

	begin_asking(apply, partitions);
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate != DJK_FATE_PENDING)
			continue;
		djk_park_note_key(apply, i);
		if (apply->work[i].has_key)
			want(apply, i, wanted, &nwanted);
	}
	if (nwanted > 0)
	{
		find_stored(apply, partitions, wanted, sort_keys(wanted, nwanted));
		note_asked(apply, from, to);
	}
	pfree(wanted);
	pfree(partitions);
}

void
djk_park_followers(DjkApply *apply, int from, int to)
{
	bool		stored = !apply->batch->detached && any_stored(apply->batch);

	if (stored)
		ask_stored(apply, from, to);
	if (stored && apply->parked_keys != NULL)
		djk_lane_count(apply, from, to);
	for (int i = from; i < to; i++)
	{
		DjkWork    *work = &apply->work[i];

		if (work->fate != DJK_FATE_PENDING)
			continue;
		work->lane_end = DJK_LANE_GOES_ON;
		/* One before it may have begun to wait here. */
		if (!stored && apply->parked_keys != NULL)
			djk_park_note_key(apply, i);
		if (djk_park_key_is_behind(apply, i) && !djk_lane_passes(apply, i))
			park_behind(apply, i);
		else if (work->fate == DJK_FATE_PENDING && work->row.unprepared != NULL)
			djk_park_unprepared(apply, i, work->row.unprepared);
	}
}

bool
djk_park_behind_known(DjkApply *apply, int message)
{
	(void) djk_lane_gives_way(apply, message);
	if (apply->work[message].fate != DJK_FATE_PENDING || !djk_park_key_is_behind(apply, message))
		return false;
	if (djk_lane_passes(apply, message))
		return apply->work[message].fate != DJK_FATE_PENDING;
	park_behind(apply, message);
	return true;
}

bool
djk_park_behind(DjkApply *apply, int message)
{
	(void) djk_lane_gives_way(apply, message);
	if (apply->work[message].fate == DJK_FATE_PENDING && !apply->batch->detached && any_stored(apply->batch))
	{
		ask_stored(apply, message, message + 1);
		if (apply->parked_keys != NULL)
			djk_lane_count(apply, message, message + 1);
	}
	return djk_park_behind_known(apply, message);
}
