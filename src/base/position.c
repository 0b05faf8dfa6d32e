/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Where somebody stands in a partition that is read.
 *
 *-------------------------------------------------------------------------
 */
#include "base/position.h"

void
djk_position_make_key(DjkPositionKey *key, const char *topic, int partition)
{
	memset(key, 0, sizeof(*key));
	strlcpy(key->topic, topic, sizeof(key->topic));
	key->partition = partition;
}

void
djk_position_clear(DjkPosition *position)
{
	DjkPositionKey key = position->key;

	memset(position, 0, sizeof(*position));
	position->key = key;
	position->next_offset = position->expected = DJK_OFFSET_UNRESOLVED;
	position->high_watermark = -1;
	position->jump_to = -1;
	position->anchor.offset = -1;
	position->batch_index = -1;
	position->leader = -1;
	position->held_offset = -1;
}

/* ---------- its state ---------- */

#ifdef USE_ASSERT_CHECKING
static bool
may_follow(DjkPositionState from, DjkPositionState to)
{
	switch (to)
	{
		case DJK_POSITION_GIVEN:	/* somebody else has moved the row */
			return true;
		case DJK_POSITION_LOADED:	/* from RESOLVED: the topic is found to be another one */
			return from == DJK_POSITION_GIVEN || from == DJK_POSITION_RESOLVED;
		case DJK_POSITION_HELD:
			return from == DJK_POSITION_RESOLVED || from == DJK_POSITION_FETCHING;
		case DJK_POSITION_RESOLVED: /* from FETCHING: a failure, a rebalance, it begins elsewhere */
			return from != DJK_POSITION_STOPPED;
		case DJK_POSITION_FETCHING: /* once more: an eager assignment is given as a whole */
			return from == DJK_POSITION_RESOLVED || from == DJK_POSITION_FETCHING;
		case DJK_POSITION_STOPPED:
			return from != DJK_POSITION_STOPPED;
	}
	return false;
}

/* Whether what else is known of a position is what its state says. */
static bool
fits(const DjkPosition *position)
{
	switch (position->state)
	{
		case DJK_POSITION_GIVEN:
			return position->offset_id == 0 && position->expected == DJK_OFFSET_UNRESOLVED;
		case DJK_POSITION_LOADED:
			return position->offset_id != 0 && position->expected == DJK_OFFSET_UNRESOLVED;
		case DJK_POSITION_RESOLVED:
		case DJK_POSITION_FETCHING:
		case DJK_POSITION_HELD:
			return position->offset_id != 0 && position->expected != DJK_OFFSET_UNRESOLVED;
		case DJK_POSITION_STOPPED:
			return position->offset_id != 0;
	}
	return false;
}
#endif

void
djk_position_move(DjkPosition *position, DjkPositionState to)
{
	Assert(may_follow(position->state, to));
	position->state = to;
	Assert(fits(position));
}

void
djk_position_forget(DjkPosition *position)
{
	position->offset_id = 0;
	position->question = 0;
	position->vain = position->waiting_vain = 0;
	position->parked = position->waiting_end = 0;
	position->waiting_known = false;
	position->anchor.offset = position->held_offset = -1;
	position->anchoring = position->reborn = position->denied = position->lacks_schema = false;
	position->high_watermark = -1;	/* the end of another topic, perhaps */
	position->next_offset = position->expected = DJK_OFFSET_UNRESOLVED;
	djk_position_move(position, DJK_POSITION_GIVEN);
}

bool
djk_position_is_resolved(const DjkPosition *position)
{
	return djk_position_is_ready(position) || position->state == DJK_POSITION_HELD;
}

bool
djk_position_is_ready(const DjkPosition *position)
{
	return position->state == DJK_POSITION_RESOLVED || position->state == DJK_POSITION_FETCHING;
}

/* ---------- reading ---------- */

int64
djk_position_start(const DjkPosition *position)
{
	bool		anchored = position->anchor.offset >= 0 && position->anchor.offset < position->expected;

	return anchored ? position->anchor.offset : position->expected;
}

void
djk_position_begin(DjkPosition *position)
{
	position->verified = position->reborn = false;
	position->jump_to = -1;
	position->short_since = 0;
	position->anchoring = djk_position_start(position) < position->expected;
}

void
djk_position_describe(const DjkPosition *position, DjkBatchPartition *partition)
{
	memset(partition, 0, sizeof(*partition));
	partition->topic = position->key.topic;
	partition->partition = position->key.partition;
	partition->offset_id = position->offset_id;
	partition->load = position->load;
	partition->generation = position->generation;
	partition->next_offset = position->next_offset;
	partition->high_watermark = -1;
	partition->vain = position->vain;
	partition->parked = position->parked;
	partition->skip_offset = -1;
	partition->anchor = position->anchor;
	partition->held_offset = position->held_offset;
	partition->held_attempt = position->held_attempt;
}

void
djk_position_settle(DjkPosition *position, const DjkBatchPartition *partition)
{
	position->next_offset = partition->next_offset;
	position->vain = partition->vain;
	position->anchor = partition->anchor;
	position->parked = partition->parked;
}

bool
djk_position_precedes(const DjkPosition *a, const DjkPosition *b)
{
	int			order = strcmp(a->key.topic, b->key.topic);

	return order < 0 || (order == 0 && a->key.partition < b->key.partition);
}
