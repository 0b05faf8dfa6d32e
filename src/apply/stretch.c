/*-------------------------------------------------------------------------
 *
 * stretch.c
 *	  Which messages can be evaluated before any of them is written.
 *
 * Expressions see what the messages before theirs have written.  Where they
 * read nothing that the batch may write, that is so however many are evaluated
 * together.  Else a stretch of the batch ends before a message whose
 * expressions may read what one of its own messages may write: a batch of
 * parents and then children is two stretches, one of versions that are compared
 * with the table's has one for each message.  So has one whose routes number
 * their messages, or tell the time, by the same: each route evaluates its own.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/stretch.h"

#include "apply/statement.h"

struct DjkStretches
{
	Bitmapset **waits_for;		/* by partition: the routes after which its messages are evaluated */
};

/*
 * Whether a route writes, or has written by others, one of the tables that a
 * reader reads.  The reader's own state may have been invalidated since; to ask
 * for it would build another, and take away 'reads'.
 */
static bool
may_write(DjkApply *apply, int route, int reader, const DjkReads *reads)
{
	const DjkRouteRow *row = &apply->consumer->routes[route];
	const DjkRouteState *state;

	if (row->handler != NULL || list_member_oid(reads->tables, row->target))
		return true;
	/* What is wrong with it is its own fault, not the reader's. */
	apply->current_route = route;
	state = route == reader ? apply->states[reader] : djk_work_state(apply, route);
	apply->current_route = reader;
	return state->ordered || state->cascades || state->is_view;
}

/* The routes, of those given, that may write what a route's expressions read. */
static Bitmapset *
find_writers(DjkApply *apply, int route, const Bitmapset *routes)
{
	const DjkReads *reads = djk_route_sql_reads(djk_work_state(apply, route));
	Bitmapset  *writers = NULL;
	int			writer = -1;

	if (reads->anything || apply->states[route]->values_read)
		return bms_copy(routes);
	while (reads->tables != NIL && (writer = bms_next_member(routes, writer)) >= 0)
	{
		if (may_write(apply, writer, route, reads))
			writers = bms_add_member(writers, writer);
	}
	return writers;
}

/* The routes that may take one of the messages. */
static Bitmapset *
routes_of_messages(DjkApply *apply, int from, int to)
{
	Bitmapset  *routes = NULL;
	int			last = -1;

	for (int i = from; i < to; i++)
	{
		int			partition = apply->batch->messages[i].partition;

		if (apply->work[i].fate != DJK_FATE_PENDING || partition == last)
			continue;
		routes = bms_add_members(routes, djk_work_routes(apply, apply->batch->partitions[partition].topic));
		last = partition;
	}
	return routes;
}

/* Whether an expression of a route counts by what another route's expressions, defaults or triggers may count by. */
static bool
counts_with(DjkApply *apply, int route, int other)
{
	const DjkCounters *counters = &djk_route_sql_reads(apply->states[route])->counters;
	DjkRouteState *state;

	apply->current_route = other;
	state = apply->states[other] != NULL ? apply->states[other] : djk_work_state(apply, other);
	apply->current_route = -1;
	return djk_counters_meet(counters, &state->counters) ||
		djk_counters_meet(counters, &djk_route_sql_reads(state)->counters);
}

/* Whether expressions of a route take numbers from a sequence that defaults or triggers of its table may take them from. */
static bool
counts_with_itself(const DjkRouteState *state)
{
	DjkCounters expressions = state->reads.counters;

	/* A clock tells the time of each, which has no turns. */
	expressions.clock = false;
	return djk_counters_meet(&expressions, &state->counters);
}

/* Whether messages of a topic must be evaluated in turns: 'counting' are the routes whose expressions count. */
static bool
count_in_turns(DjkApply *apply, const Bitmapset *counting, const Bitmapset *routes)
{
	int			route = -1;
	int			other;

	while ((route = bms_next_member(routes, route)) >= 0)
	{
		if (!bms_is_member(route, counting))
			continue;
		if (counts_with_itself(apply->states[route]))
			return true;
		other = -1;
		while ((other = bms_next_member(routes, other)) >= 0)
		{
			if (other != route && counts_with(apply, route, other))
				return true;
		}
	}
	return false;
}

DjkStretches *
djk_stretches_find(DjkApply *apply, int from, int to)
{
	const DjkBatch *batch = apply->batch;
	DjkStretches *stretches = palloc(sizeof(DjkStretches));
	Bitmapset  *routes = routes_of_messages(apply, from, to);
	Bitmapset  *counting = NULL;
	int			route = -1;

	stretches->waits_for = palloc0(Max(batch->npartitions, 1) * sizeof(Bitmapset *));
	while ((route = bms_next_member(routes, route)) >= 0)
	{
		const DjkRouteRow *row = &apply->consumer->routes[route];
		Bitmapset  *writers;

		apply->current_route = route;
		if (row->filter == NULL && row->deleted_when == NULL && row->ncolumns == 0 &&
			!djk_work_state(apply, route)->values_read)
		{
			apply->current_route = -1;
			continue;
		}
		writers = find_writers(apply, route, routes);
		apply->current_route = -1;
		if (djk_counters_any(&apply->states[route]->reads.counters))
			counting = bms_add_member(counting, route);
		for (int p = 0; writers != NULL && p < batch->npartitions; p++)
		{
			if (bms_is_member(route, djk_work_routes(apply, batch->partitions[p].topic)))
				stretches->waits_for[p] = bms_add_members(stretches->waits_for[p], writers);
		}
	}
	for (int p = 0; counting != NULL && p < batch->npartitions; p++)
	{
		const Bitmapset *of_topic = djk_work_routes(apply, batch->partitions[p].topic);

		if (count_in_turns(apply, counting, of_topic))
			stretches->waits_for[p] = bms_add_members(stretches->waits_for[p], of_topic);
	}
	return stretches;
}

int
djk_stretch_end(DjkApply *apply, const DjkStretches *stretches, int from, int to)
{
	Bitmapset  *writing = NULL;
	int			last = -1;
	int			i;

	for (i = from; i < to; i++)
	{
		int			partition = apply->batch->messages[i].partition;

		if (apply->work[i].fate != DJK_FATE_PENDING)
			continue;
		if (bms_overlap(stretches->waits_for[partition], writing))
			break;
		if (partition != last)
			writing = bms_add_members(writing, djk_work_routes(apply, apply->batch->partitions[partition].topic));
		last = partition;
	}
	bms_free(writing);
	return i;
}
