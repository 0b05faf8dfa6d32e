/*-------------------------------------------------------------------------
 *
 * park_key.c
 *	  Keys of which messages wait, in a batch and before it.
 *
 * A message may end what waits of its key before it (lane.c): what comes later is
 * behind nothing but what has begun to wait since.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/park_key.h"

#include "utils/memutils.h"

static void
make_key(DjkParkKey *entry, int partition, int64 lane, int64 hash)
{
	memset(entry, 0, sizeof(*entry));
	entry->key.partition = partition;
	entry->key.lane = lane;
	entry->key.hash = hash;
}

void
djk_park_key_begin(DjkApply *apply)
{
	HASH_SEQ_STATUS scan;
	DjkParkKey *entry;

	if (apply->parked_keys == NULL)
		return;
	hash_seq_init(&scan, apply->parked_keys);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->is_counted = false;
}

DjkParkKey *
djk_park_key_enter(DjkApply *apply, int partition, int64 lane, int64 hash)
{
	DjkParkKey	wanted;
	DjkParkKey *entry;
	bool		found;

	if (apply->parked_keys == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(wanted.key);
		ctl.entrysize = sizeof(DjkParkKey);
		ctl.hcxt = apply->batch_context;
		apply->parked_keys = hash_create("djkafka parked keys", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	make_key(&wanted, partition, lane, hash);
	entry = hash_search(apply->parked_keys, &wanted.key, HASH_ENTER, &found);
	if (!found)
	{
		entry->stored = PG_INT64_MAX;
		entry->first = PG_INT32_MAX;
		entry->last_end = -1;
		entry->is_counted = false;
	}
	return entry;
}

static DjkParkKey *
find(const DjkApply *apply, int partition, int64 lane, int64 hash)
{
	DjkParkKey	wanted;

	if (apply->parked_keys == NULL)
		return NULL;
	make_key(&wanted, partition, lane, hash);
	return hash_search(apply->parked_keys, &wanted.key, HASH_FIND, NULL);
}

DjkParkKey *
djk_park_key_of(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];

	return work->has_key ? find(apply, apply->batch->messages[message].partition, work->lane, work->key_hash) : NULL;
}

static bool
is_of(const DjkApply *apply, const DjkParkKey *entry, int message)
{
	const DjkWork *work = &apply->work[message];

	return work->has_key && work->lane == entry->key.lane && work->key_hash == entry->key.hash &&
		apply->batch->messages[message].partition == entry->key.partition;
}

bool
djk_park_key_waits_with(const DjkApply *apply, const DjkParkKey *entry, int message)
{
	return apply->work[message].fate == DJK_FATE_PARKED && is_of(apply, entry, message);
}

/* What supersedes others does so only if it is applied itself; a lane that was full is given up whatever fills it. */
static bool
ends(const DjkApply *apply, int end, int message)
{
	const DjkWork *work = &apply->work[end];

	switch (work->lane_end)
	{
		case DJK_LANE_SUPERSEDED:
			return end < message && (work->fate == DJK_FATE_PENDING || work->fate == DJK_FATE_APPLIED);
		case DJK_LANE_GIVEN_UP:
			return work->fate != DJK_FATE_LOST && work->fate != DJK_FATE_STOP;
		case DJK_LANE_GOES_ON:
			break;
	}
	return false;
}

int
djk_park_key_end(const DjkApply *apply, const DjkParkKey *entry, int message)
{
	for (int i = Min(entry->last_end, message); i >= 0; i--)
	{
		if (apply->work[i].lane_end != DJK_LANE_GOES_ON && is_of(apply, entry, i) && ends(apply, i, message))
			return i;
	}
	return -1;
}

/*
 * Whether a message before 'message' waits with the key.  Of what an attempt that
 * was undone has left, each message is passed once.
 */
static bool
is_waiting(const DjkApply *apply, DjkParkKey *entry, int message)
{
	int			end = entry->last_end < 0 ? -1 : djk_park_key_end(apply, entry, message);

	if (end < 0 && entry->stored < apply->batch->messages[message].offset)
		return true;
	while (entry->first < message && !djk_park_key_waits_with(apply, entry, entry->first))
		entry->first++;
	if (end <= entry->first)
		return entry->first < message;
	for (int i = end; i < message; i++)
	{
		if (djk_park_key_waits_with(apply, entry, i))
			return true;
	}
	return false;
}

static bool
waits_for(DjkApply *apply, int message, int64 lane, int64 hash)
{
	DjkParkKey *entry = find(apply, apply->batch->messages[message].partition, lane, hash);

	return entry != NULL && is_waiting(apply, entry, message);
}

bool
djk_park_key_is_sure(DjkApply *apply, int message)
{
	return !waits_for(apply, message, apply->work[message].lane, DJK_PARKED_ANY_KEY) && !waits_for(apply, message, 0, 0);
}

bool
djk_park_key_is_behind(DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];

	return apply->parked_keys != NULL && work->has_key &&
		(waits_for(apply, message, work->lane, work->key_hash) || !djk_park_key_is_sure(apply, message));
}

bool
djk_park_key_would_hold(const DjkApply *apply, int earlier, int message)
{
	const DjkWork *a = &apply->work[earlier];
	const DjkWork *b = &apply->work[message];

	return apply->batch->messages[earlier].partition == apply->batch->messages[message].partition &&
		a->has_key && b->has_key && a->lane == b->lane &&
		(a->key_hash == b->key_hash || a->key_hash == DJK_PARKED_ANY_KEY);
}
