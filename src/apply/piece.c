/*-------------------------------------------------------------------------
 *
 * piece.c
 *	  Consecutive messages of a batch become rows, as they are.
 *
 * The ordinary way of every batch: prepare, then write by route.  It makes no
 * savepoint, and whatever goes wrong is thrown.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/piece.h"

#include "apply/function.h"
#include "apply/park.h"
#include "apply/prepare.h"
#include "apply/stretch.h"
#include "apply/table.h"
#include "base/compat.h"
#include "base/subtransaction.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Whether an attempt has found out the fate, and the next one does again. */
static bool
is_of_attempt(const DjkWork *work)
{
	switch (work->fate)
	{
		case DJK_FATE_APPLIED:
		case DJK_FATE_FILTERED:
		case DJK_FATE_DUPLICATE:
		case DJK_FATE_STALE:
			return true;
		case DJK_FATE_PARKED:
			return work->error.sqlstate == 0 || work->was_unprepared;
		case DJK_FATE_LOST:
			return false;
		default:
			return work->was_unprepared;
	}
}

bool
djk_piece_reset(DjkApply *apply, int from, int to)
{
	bool		pending = false;

	for (int i = from; i < to; i++)
	{
		DjkWork    *work = &apply->work[i];

		if (is_of_attempt(work))
			work->fate = DJK_FATE_PENDING;
		/* One that is not to be tried is as it was when it is. */
		if (work->fate != DJK_FATE_LOST)
			work->was_unprepared = false;
		pending |= work->fate == DJK_FATE_PENDING;
	}
	return pending;
}

static void
write_route(DjkApply *apply, int route, const int *indexes, int n)
{
	DjkRouteState *state;

	apply->current_route = route;
	state = djk_work_state_prepared(apply, route);
	if (state->target_sql != NULL)
		djk_table_write(apply, state, indexes, n);
	else
		djk_function_write(apply, state, indexes, n);
	apply->current_route = -1;
}

/*
 * Whether messages of one topic have taken several routes, of whose targets one
 * refers to others, or has triggers that may, or which count by the same.
 * Between topics there is no order.
 */
static bool
tables_meet(const DjkApply *apply, const Bitmapset *routes)
{
	int			ntables = 0;
	bool		meet = false;
	int			route = -1;
	int			other;

	while ((route = bms_next_member(routes, route)) >= 0)
	{
		/* One that has no state yet has no messages here. */
		if (apply->states[route] == NULL)
			continue;
		ntables++;
		meet |= apply->states[route]->meets || apply->states[route]->follows || apply->states[route]->referrers != NIL;
		other = -1;
		while (!meet && (other = bms_next_member(routes, other)) >= 0 && other < route)
			meet = apply->states[other] != NULL &&
				djk_counters_meet(&apply->states[route]->counters, &apply->states[other]->counters);
	}
	return ntables > 1 && meet;
}

/*
 * Whether routes may be written one after the other: not if two share a
 * target, or one is a handler, which may see what another has written.
 */
static bool
routes_are_independent(DjkApply *apply)
{
	const DjkConsumerRow *consumer = apply->consumer;
	const DjkBatch *batch = apply->batch;

	for (int a = 0; a < consumer->nroutes; a++)
	{
		if (consumer->routes[a].handler != NULL && consumer->nroutes > 1)
			return false;
		for (int b = 0; b < a; b++)
		{
			if (consumer->routes[a].target == consumer->routes[b].target)
				return false;
		}
	}
	for (int p = 0; p < batch->npartitions && consumer->nroutes > 1; p++)
	{
		if (tables_meet(apply, djk_work_routes(apply, batch->partitions[p].topic)))
			return false;
	}
	return true;
}

static void
write_by_route(DjkApply *apply, int from, int to, int *indexes)
{
	for (int route = 0; route < apply->consumer->nroutes; route++)
	{
		int			n = 0;

		for (int i = from; i < to; i++)
		{
			if (apply->work[i].fate == DJK_FATE_PENDING && apply->work[i].route == route)
				indexes[n++] = i;
		}
		if (n > 0)
			write_route(apply, route, indexes, n);
	}
}

/* Ends where a message stops, as the input of a handler's may only now. */
static void
write_in_order(DjkApply *apply, int from, int to, int *indexes)
{
	int			n = 0;
	int			route = -1;

	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate != DJK_FATE_PENDING)
			continue;
		if (n > 0 && apply->work[i].route != route)
		{
			write_route(apply, route, indexes, n);
			if (djk_piece_first_stop(apply, indexes[0], i) < i)
				return;
			n = 0;
		}
		route = apply->work[i].route;
		indexes[n++] = i;
	}
	if (n > 0)
		write_route(apply, route, indexes, n);
}

int
djk_piece_first_stop(const DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate == DJK_FATE_STOP)
			return i;
	}
	return to;
}

/* ---------- a piece ---------- */

static void
begin_piece(DjkApply *apply, int from, int to)
{
	MemoryContextReset(apply->attempt_context);
	/* An attempt that failed has left them where they were. */
	apply->current = apply->current_route = -1;
	apply->piece_from = from;
	apply->piece_to = to;
	for (int route = 0; route < apply->consumer->nroutes; route++)
	{
		if (apply->states[route] == NULL)
			continue;
		apply->states[route]->running.now = false;
		apply->states[route]->at_hand.rows = NULL;
	}
	(void) djk_piece_reset(apply, from, to);
	/* What was prepared is gone with its memory; nor has any route taken what is tried again. */
	for (int i = from; i < to; i++)
	{
		memset(&apply->work[i].row, 0, sizeof(DjkRow));
		if (apply->work[i].fate == DJK_FATE_PENDING)
			apply->work[i].route = -1;
	}
}

void
djk_piece_prepare(DjkApply *apply, int from, int to)
{
	MemoryContext old;

	begin_piece(apply, from, to);
	old = MemoryContextSwitchTo(apply->attempt_context);
	djk_prepare(apply, from, to);
	MemoryContextSwitchTo(old);
}

/* Returns the end of what was applied. */
static int
apply_stretch(DjkApply *apply, int from, int to, int *indexes)
{
	djk_prepare(apply, from, to);
	djk_park_followers(apply, from, to);
	to = djk_piece_first_stop(apply, from, to);
	if (routes_are_independent(apply))
		write_by_route(apply, from, to, indexes);
	else
		write_in_order(apply, from, to, indexes);
	return djk_piece_first_stop(apply, from, to);
}

int
djk_piece_apply(DjkApply *apply, int from, int to)
{
	MemoryContext old;
	DjkStretches *stretches;
	int		   *indexes;
	int			done = from;

	begin_piece(apply, from, to);
	old = MemoryContextSwitchTo(apply->attempt_context);
	stretches = djk_stretches_find(apply, from, to);
	indexes = palloc(Max(to - from, 1) * sizeof(int));
	while (done < to)
	{
		int			end = djk_stretch_end(apply, stretches, done, to);

		CHECK_FOR_INTERRUPTS();
		done = apply_stretch(apply, done, end, indexes);
		if (done < end)
			break;
	}
	MemoryContextSwitchTo(old);
	return done;
}

/* ---------- constraints ---------- */

void
djk_piece_set_constraints(bool deferred)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	stmt->constraints = NIL;
	stmt->deferred = deferred;
	AfterTriggerSetState(stmt);
}

/* A released SET CONSTRAINTS would stay in force. */
static bool
check_constraints(void *arg)
{
	djk_piece_set_constraints(false);
	return false;
}

ErrorData *
djk_piece_find_violation(MemoryContext error_context)
{
	return djk_subtransaction_try(check_constraints, NULL, error_context);
}
