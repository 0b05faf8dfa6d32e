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
 *-------------------------------------------------------------------------
 */
#include "apply/lacking.h"

#include "access/table.h"
#include "access/xact.h"
#include "apply/reference.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
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
	Datum	   *keys;			/* … and what each lacks, text */
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

/* Whether the table's own constraints, all of them in force, are all that an INSERT or UPDATE meets. */
static bool
is_bare(Oid table)
{
	Relation	rel = table_open(table, NoLock);
	bool		bare = rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rules == NULL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		bare &= trigger->tgisinternal && trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN;
	}
	table_close(rel, NoLock);
	return bare && SessionReplicationRole == SESSION_REPLICATION_ROLE_ORIGIN;
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
	found = ((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_FOREIGN &&
		djk_reference_read(state, tuple, reference) && reference->parent == place->parent;
	ReleaseSysCache(tuple);
	return found;
}

/* ---------- asking ---------- */

/* What a message lacks, as text; NULL: it is not known. */
static text *
key_of(const DjkParkedPlace *place, const char *column)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(place->missing_key) ||
		getKeyJsonValueFromContainer(&unconstify(Jsonb *, place->missing_key)->root, column, strlen(column), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return cstring_to_text_with_len(value.val.string.val, value.val.string.len);
}

static void
collect_keys(FailedGroup *group, const DjkReference *reference, const DjkParkedPlace *places)
{
	const char *column = get_attname(reference->parent, reference->parent_column, false);
	int			n = 0;

	group->keys = palloc(group->n * sizeof(Datum));
	for (int i = 0; i < group->n; i++)
	{
		text	   *key = key_of(&places[group->members[i]], column);

		if (key == NULL)
			continue;
		group->members[n] = group->members[i];
		group->keys[n++] = PointerGetDatum(key);
	}
	group->n = n;
}

/* Between, the lock of the target keeps it as it was found. */
static void
ask_for(DjkApply *apply, FailedGroup *group, const DjkRouteState *state, const DjkParkedPlace *places, bool *lacking)
{
	DjkReference reference;
	DjkQuestion question = {.reference = &reference, .in_text = true, .lock_ms = LOCK_MS};
	ErrorData  *failure;

	/* What inserts nothing where a row is there needs no parent then. */
	if (!is_as_tried(apply, state) || state->route->operation == DJK_OPERATION_INSERT_NEW ||
		!djk_reference_is_plain(state) || !is_bare(state->route->target) ||
		!find_reference(state, group->first, &reference))
		return;
	collect_keys(group, &reference, places);
	question.nkeys = group->n;
	question.keys = PointerGetDatum(construct_array(group->keys, group->n, TEXTOID, -1, false, TYPALIGN_INT));
	question.lacking = palloc(Max(group->n, 1) * sizeof(int));
	failure = djk_reference_ask(&question, CurrentMemoryContext);
	/* What cannot be asked is tried; but whoever has canceled this has not meant it alone. */
	if (failure != NULL && failure->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(failure);
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
			now >= TimestampTzPlusMilliseconds(place->parked_at, djk_route_row_wait_ms(row)))
			continue;
		group = group_of(&groups, place, route, n - i);
		group->members[group->n++] = i;
	}
	foreach(lc, groups)
		ask(apply, lfirst(lc), places, lacking);
	for (int i = 0; i < n; i++)
	{
		TimestampTz at = TimestampTzPlusMilliseconds(places[i].parked_at, djk_route_row_wait_ms(row));

		if (lacking[i] && (*deadline == 0 || *deadline > at))
			*deadline = at;
	}
}
