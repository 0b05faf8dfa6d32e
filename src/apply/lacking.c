/*-------------------------------------------------------------------------
 *
 * lacking.c
 *	  What waits for a parent that is certainly not there yet.
 *
 * To try a message again costs a row, a subtransaction perhaps, and is in vain while
 * its parent is missing.  Where many wait and few parents come, the parent is asked
 * first (reference.c), for the key that djkafka_parked says.
 *
 * A message is left out only where it is certain that it would fail again: its route is
 * the only one of its topic, and makes of a message always the same row; nothing but
 * constraints has a say in what becomes of that, and the foreign key that it failed by is
 * still one of them.  All of that is as it was when the message was tried, by routes as
 * they are (DjkApply.is_changed).  What else the row would do if it were tried, such as to
 * violate another constraint by now, it does when its parent is there, or when it has
 * waited for too long.
 *
 * Where the foreign key is deferred a message passes with its parent's, which may be in
 * the same batch.  That one passes without it, and then it is tried; but where both need
 * each other neither would, so all is tried whose parents may refer to it in turn.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/lacking.h"

#include "access/xact.h"
#include "apply/lack.h"
#include "apply/parents.h"
#include "apply/reference.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* The transaction that looks has no limit, and what it must wait for is waited for by a try, which has. */
#define LOCK_MS		100

/* Those of one route that have failed by one foreign key. */
typedef struct FailedGroup
{
	int			route;			/* index */
	const DjkParkedPlace *first;
	int		   *members;		/* numbers of places, */
	int			n;
} FailedGroup;

/* ---------- whether it is certain ---------- */

/*
 * Whether the route is what it was when the messages were tried.  No state is made again
 * here: it would be with whosever rights and limits the look is made (djk_apply_renew_routes).
 */
static bool
is_as_tried(const DjkApply *apply, const DjkRouteState *state)
{
	return state->valid && !apply->is_changed;
}

/* The foreign key of the route's target that the messages have failed by. */
static bool
find_reference(const DjkRouteState *state, const DjkParkedPlace *place, DjkReference *reference)
{
	Oid			constraint = get_relation_constraint_oid(state->route->target, place->constraint, true);
	HeapTuple	tuple = OidIsValid(constraint) ? SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint)) : NULL;
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return false;
	found = djk_reference_read(state, tuple, reference) && reference->parent == place->parent;
	ReleaseSysCache(tuple);
	return found && djk_reference_is_lasting(state, reference) &&
		!(reference->deferred && djk_parents_refer_to(place->parent, state->route->target));
}

/* ---------- asking ---------- */

/* What a message lacks, as text; NULL: it is not known, or not all of it. */
static text *
key_of(const DjkParkedPlace *place, const char *column)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(place->missing_key) ||
		getKeyJsonValueFromContainer(&unconstify(Jsonb *, place->missing_key)->root, column, strlen(column), &value) == NULL ||
		value.type != jbvString || value.val.string.len > DJK_LACK_SHOWN_BYTES - MAX_MULTIBYTE_CHAR_LEN)
		return NULL;
	return cstring_to_text_with_len(value.val.string.val, value.val.string.len);
}

/* The same of all columns that it refers to. */
static bool
keys_of(const DjkParkedPlace *place, const DjkReference *reference, char *const *names, Datum *keys)
{
	for (int c = 0; c < reference->ncolumns; c++)
	{
		text	   *key = key_of(place, names[c]);

		if (key == NULL)
			return false;
		keys[c] = PointerGetDatum(key);
	}
	return true;
}

/* What those of the group lack of which it is known; the others are none of it any more. */
static void
collect_keys(FailedGroup *group, const DjkParkedPlace *places, DjkQuestion *question)
{
	const DjkReference *reference = question->reference;
	char	   *names[INDEX_MAX_KEYS];
	Datum	   *keys[INDEX_MAX_KEYS];
	int			n = 0;

	for (int c = 0; c < reference->ncolumns; c++)
	{
		names[c] = get_attname(reference->parent, reference->columns[c].parent_column, false);
		keys[c] = palloc(group->n * sizeof(Datum));
	}
	for (int i = 0; i < group->n; i++)
	{
		Datum		of_one[INDEX_MAX_KEYS];

		if (!keys_of(&places[group->members[i]], reference, names, of_one))
			continue;
		for (int c = 0; c < reference->ncolumns; c++)
			keys[c][n] = of_one[c];
		group->members[n++] = group->members[i];
	}
	group->n = question->nkeys = n;
	for (int c = 0; c < reference->ncolumns; c++)
		question->keys[c] = PointerGetDatum(construct_array(keys[c], n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* What cannot be asked is tried; but whoever has canceled this has not meant it alone. */
static void
rethrow_cancel(ErrorData *failure)
{
	if (failure != NULL && failure->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(failure);
}

/* Between, the lock of the target keeps it as it was found. */
static void
ask_for(DjkApply *apply, FailedGroup *group, const DjkRouteState *state, const DjkParkedPlace *places, bool *lacking)
{
	DjkReference reference;
	DjkQuestion question = {.reference = &reference, .in_text = true, .lock_ms = LOCK_MS};

	/* What inserts nothing where a row is there needs no parent then. */
	if (!is_as_tried(apply, state) || state->route->operation == DJK_OPERATION_INSERT_NEW ||
		!djk_reference_is_plain(state) || !djk_parents_are_bare(state->route->target) ||
		!find_reference(state, group->first, &reference))
		return;
	collect_keys(group, places, &question);
	question.lacking = palloc(Max(group->n, 1) * sizeof(int));
	rethrow_cancel(djk_reference_ask(&question, CurrentMemoryContext));
	for (int i = 0; i < question.nlacking; i++)
		lacking[group->members[question.lacking[i]]] = true;
}

static void
ask(DjkApply *apply, FailedGroup *group, const DjkParkedPlace *places, bool *lacking)
{
	const DjkRouteState *state = apply->states[group->route];

	if (state == NULL || state->target_sql == NULL || !ConditionalLockRelationOid(state->route->target, RowExclusiveLock))
		return;
	ask_for(apply, group, state, places, lacking);
	UnlockRelationOid(state->route->target, RowExclusiveLock);
}

/* ---------- groups ---------- */

static FailedGroup *
group_of(List **groups, const DjkParkedPlace *place, int route, int max)
{
	ListCell   *lc;
	FailedGroup *group;

	foreach(lc, *groups)
	{
		group = lfirst(lc);
		if (group->first->parent == place->parent && strcmp(group->first->constraint, place->constraint) == 0)
			return group;
	}
	group = palloc0(sizeof(FailedGroup));
	group->route = route;
	group->first = place;
	group->members = palloc(max * sizeof(int));
	*groups = lappend(*groups, group);
	return group;
}

/* Of the only route of the topic; -1: there are several, or none. */
static int
only_route(DjkApply *apply, const char *topic)
{
	int			route;

	return bms_get_singleton_member(djk_work_routes(apply, topic), &route) ? route : -1;
}

void
djk_lacking_find(DjkApply *apply, const char *topic, const DjkParkedPlace *places, int n, bool *lacking, TimestampTz *deadline)
{
	int			route = only_route(apply, topic);
	const DjkRouteRow *row = route >= 0 ? &apply->consumer->routes[route] : NULL;
	TimestampTz now = GetCurrentTimestamp();
	List	   *groups = NIL;
	ListCell   *lc;

	*deadline = 0;
	memset(lacking, false, n * sizeof(bool));
	if (route < 0 || IsolationUsesXactSnapshot())
		return;
	for (int i = 0; i < n; i++)
	{
		const DjkParkedPlace *place = &places[i];
		FailedGroup *group;

		if (!place->has_error || place->is_due || place->route_id != row->id || !OidIsValid(place->parent) ||
			place->constraint == NULL || place->missing_key == NULL ||
			now >= TimestampTzPlusMilliseconds(place->parked_at, row->parent_timeout_ms))
			continue;
		group = group_of(&groups, place, route, n - i);
		group->members[group->n++] = i;
	}
	foreach(lc, groups)
		ask(apply, lfirst(lc), places, lacking);
	for (int i = 0; i < n; i++)
	{
		TimestampTz at = TimestampTzPlusMilliseconds(places[i].parked_at, row->parent_timeout_ms);

		if (lacking[i] && (*deadline == 0 || *deadline > at))
			*deadline = at;
	}
}
