/*-------------------------------------------------------------------------
 *
 * work.c
 *	  What the steps of applying share: routes of topics, their states, fates.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/work.h"

#include "apply/apply.h"
#include "apply/route_target.h"
#include "base/topic.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

/* ---------- topics ---------- */

typedef struct TopicEntry
{
	char		topic[DJK_TOPIC_MAX + 1];	/* hash key */
	Bitmapset  *routes;
} TopicEntry;

Bitmapset *
djk_work_routes(DjkApply *apply, const char *topic)
{
	TopicEntry *entry;
	char		key[DJK_TOPIC_MAX + 1] = {0};
	bool		found;
	Bitmapset  *routes = NULL;
	MemoryContext old;

	if (apply->topics == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = DJK_TOPIC_MAX + 1;
		ctl.entrysize = sizeof(TopicEntry);
		ctl.hcxt = apply->context;
		apply->topics = hash_create("djkafka topics", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	strlcpy(key, topic, sizeof(key));
	entry = hash_search(apply->topics, key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->routes;

	old = MemoryContextSwitchTo(apply->context);
	for (int r = 0; r < apply->consumer->nroutes; r++)
	{
		if (djk_topic_matches(apply->consumer->routes[r].topic, topic))
			routes = bms_add_member(routes, r);
	}
	MemoryContextSwitchTo(old);
	entry = hash_search(apply->topics, key, HASH_ENTER, &found);
	entry->routes = routes;
	return routes;
}

/* ---------- states of routes ---------- */

/*
 * Takes the lock that the statement will take anyway, before anything is
 * derived from the table: what was altered meanwhile is then known, and no
 * message is judged by what its column used to be.
 */
static void
lock_target(const DjkRouteRow *route)
{
	Oid			target = route->target;

	if (!OidIsValid(target))
		return;
	djk_route_target_require_rights(route);
	LockRelationOid(target, RowExclusiveLock);
}

/* A deletion by a part of a key deletes rows of all routes. */
static bool
has_parts(const DjkConsumerRow *consumer, int route)
{
	for (int r = 0; r < consumer->nroutes; r++)
	{
		if (consumer->routes[r].partial_deletes && consumer->routes[r].target == consumer->routes[route].target)
			return true;
	}
	return false;
}

static DjkRouteState *
create_state(DjkApply *apply, int route)
{
	DjkRouteState *state = djk_route_state_create(&apply->consumer->routes[route], apply->context);

	state->has_parts = has_parts(apply->consumer, route);
	apply->is_changed |= apply->forms[route] != state->form;
	apply->forms[route] = state->form;
	return state;
}

bool
djk_apply_is_changed(const DjkApply *apply)
{
	return apply->is_changed;
}

void
djk_apply_note_trying(DjkApply *apply)
{
	apply->is_changed = false;
}

DjkRouteState *
djk_work_state(DjkApply *apply, int route)
{
	DjkRouteState *state;

	lock_target(&apply->consumer->routes[route]);
	state = apply->states[route];
	if (state != NULL && !state->valid)
	{
		djk_route_state_destroy(state);
		state = apply->states[route] = NULL;
	}
	if (state == NULL)
		state = apply->states[route] = create_state(apply, route);
	return state;
}

/*
 * The state to write rows with that were prepared before.  Expressions and
 * triggers may have altered the target meanwhile: rows of another shape must
 * not reach it.
 */
DjkRouteState *
djk_work_state_prepared(DjkApply *apply, int route)
{
	DjkRouteState *prepared = apply->states[route];
	DjkRouteState *state;

	lock_target(&apply->consumer->routes[route]);
	if (prepared->valid)
		return prepared;
	state = create_state(apply, route);
	if (!djk_route_state_same_shape(prepared, state))
	{
		djk_route_state_destroy(state);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was altered while messages were applied to it",
						apply->consumer->routes[route].target_name),
				 errdetail("An expression, a handler or a trigger of the same transaction has done it.")));
	}
	state->shape = prepared->shape;
	djk_route_state_destroy(prepared);
	return apply->states[route] = state;
}

/* ---------- what a statement is at ---------- */

void
djk_work_at_hand(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	int			nrows = 0;

	state->at_hand.failed = -1;
	state->at_hand.rows = palloc(Max(n, 1) * sizeof(DjkRow *));
	for (int i = 0; i < n; i++)
	{
		if (apply->work[indexes[i]].fate == DJK_FATE_PENDING)
			state->at_hand.rows[nrows++] = &apply->work[indexes[i]].row;
	}
	state->at_hand.nrows = nrows;
}

int
djk_work_suspect(const DjkApply *apply)
{
	const DjkRouteState *state = apply->current_route >= 0 ? apply->states[apply->current_route] : NULL;
	const char *row;

	if (apply->current >= 0)
		return apply->current;
	if (state == NULL || state->at_hand.rows == NULL || state->at_hand.failed < 0)
		return -1;
	row = (const char *) state->at_hand.rows[state->at_hand.failed];
	return (int) ((row - (const char *) &apply->work[0].row) / (ptrdiff_t) sizeof(DjkWork));
}

/* ---------- failing ---------- */

static char *
copy_string(MemoryContext context, const char *s)
{
	return s ? MemoryContextStrdup(context, s) : NULL;
}

void
djk_work_fail(DjkApply *apply, int message, const DjkError *error, const char *context)
{
	static const DjkFate fates[] = {
		[DJK_ON_ERROR_DEAD_LETTER] = DJK_FATE_DEAD,
		[DJK_ON_ERROR_SKIP] = DJK_FATE_SKIPPED,
		[DJK_ON_ERROR_STOP] = DJK_FATE_STOP
	};
	DjkWork    *work = &apply->work[message];
	DjkOnError	policy = work->route >= 0 && !apply->batch->replayed ?
		apply->consumer->routes[work->route].on_error : DJK_ON_ERROR_DEAD_LETTER;

	work->fate = fates[policy];
	work->was_unprepared = false;
	work->error.sqlstate = error->sqlstate;
	work->error.message = copy_string(apply->batch_context, error->message);
	work->error.detail = copy_string(apply->batch_context, error->detail);
	work->error.hint = copy_string(apply->batch_context, error->hint);
	work->context = copy_string(apply->batch_context, context);
}

/* ---------- patience ---------- */

int
djk_work_vain(const DjkApply *apply, int from, int to)
{
	int			most = 0;

	for (int i = from; i < to; i++)
		most = Max(most, apply->batch->partitions[apply->batch->messages[i].partition].vain);
	return most;
}

bool
djk_work_is_impatient(const DjkApply *apply)
{
	return djk_work_vain(apply, 0, apply->batch->nmessages) >= DJK_TRIES_TRANSIENT;
}
