/*-------------------------------------------------------------------------
 *
 * prepare.c
 *	  Which route takes a message, and the row it becomes.
 *
 * Routes are tried in their order.  One without a filter takes all messages of
 * its topics that are left; one with a filter decides by SQL, one statement
 * for all of them, which evaluates the mapped columns too.  What is malformed
 * fails here, alone and before any SQL has seen it.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/prepare.h"

#include "apply/expression.h"
#include "apply/input.h"
#include "apply/row.h"
#include "apply/statement.h"
#include "apply/type_choice.h"
#include "base/compat.h"

/* Pending messages of [from, to) that no earlier route took and whose topic matches. */
static int
find_candidates(DjkApply *apply, int route, int from, int to, int *indexes)
{
	int			n = 0;

	for (int i = from; i < to; i++)
	{
		DjkWork    *work = &apply->work[i];
		int			partition = apply->batch->messages[i].partition;

		if (work->fate == DJK_FATE_PENDING && work->route < 0 &&
			bms_is_member(route, djk_work_routes(apply, apply->batch->partitions[partition].topic)))
			indexes[n++] = i;
	}
	return n;
}

/* What a look-up has not found is refused with the row, whose key is known by then. */
static void
note_missing(DjkApply *apply, DjkRouteState *state, int message, HeapTuple tuple, TupleDesc desc, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkError	error = {0};

	if (!djk_expressions_check_lookups(state, tuple, desc, &error))
	{
		DjkError   *refused = palloc(sizeof(DjkError));

		*refused = error;
		apply->work[message].row.refused = refused;
	}
	MemoryContextSwitchTo(old);
}

/* The next route knows nothing of what this one would have refused. */
static void
forget_route(DjkWork *work)
{
	work->route = -1;
	memset(&work->row, 0, sizeof(work->row));
}

/*
 * Filter and expressions of a route, for candidates that may be its own.  A
 * tombstone about which the filter knows nothing belongs to a mirror.
 */
static int
evaluate(DjkApply *apply, DjkRouteState *state, int route, int *indexes, int n)
{
	MemoryContext attempt = CurrentMemoryContext;
	Tuplestorestate *input;
	bool	   *answered = palloc0(n * sizeof(bool));
	int			nrows;
	int			taken = 0;

	for (int i = 0; i < n; i++)
		apply->work[indexes[i]].route = route;
	input = djk_input_store(apply, state, indexes, n, true, &nrows);
	if (nrows > 0)
	{
		djk_work_at_hand(apply, state, indexes, n);
		djk_route_sql_evaluate(state, input, nrows);
		state->at_hand.rows = NULL;
		for (int row = 0; row < nrows; row++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[row];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			int			ord = DatumGetInt32(SPI_getbinval(tuple, desc, DJK_RESULT_ORD, &isnull));
			int			i;
			bool		matches;

			if (isnull || ord < 0 || ord >= n)
				elog(ERROR, "filter and columns gave a row for no message");
			if (answered[ord])
				djk_route_sql_throw_set(state);
			answered[ord] = true;
			i = indexes[ord];
			matches = DatumGetBool(SPI_getbinval(tuple, desc, DJK_RESULT_FILTER, &isnull)) && !isnull;
			if (isnull && djk_row_is_tombstone(state, &apply->batch->messages[i]))
				matches = state->route->operation == DJK_OPERATION_MIRROR;
			if (state->route->filter != NULL && !matches)
				forget_route(&apply->work[i]);
			else if (apply->work[i].row.unread)
				apply->work[i].row.unprepared = apply->work[i].row.refused;
			else if (state->target_sql != NULL)
			{
				djk_row_start(apply, state, i, tuple, desc, attempt);
				note_missing(apply, state, i, tuple, desc, attempt);
			}
		}
		SPI_finish();
	}
	tuplestore_end(input);

	for (int i = 0; i < n; i++)
	{
		if (apply->work[indexes[i]].route == route && apply->work[indexes[i]].row.unprepared == NULL)
			indexes[taken++] = indexes[i];
	}
	return taken;
}

static void
prepare_route(DjkApply *apply, int route, int from, int to, DjkTypeChoice *choices)
{
	int		   *indexes = palloc((to - from) * sizeof(int));
	int			n = find_candidates(apply, route, from, to, indexes);
	DjkRouteState *state;

	if (n > 0)
	{
		apply->current_route = route;
		state = djk_work_state(apply, route);
		if (state->types != NULL)
			n = djk_type_choice_make(apply, route, indexes, n, from, choices);
		if (state->has_expressions)
			n = evaluate(apply, state, route, indexes, n);
		else
		{
			for (int i = 0; i < n; i++)
				apply->work[indexes[i]].route = route;
		}
		if (state->target_sql != NULL)
			djk_rows_build(apply, state, indexes, n);
		apply->current_route = -1;
	}
	pfree(indexes);
}

void
djk_prepare(DjkApply *apply, int from, int to)
{
	DjkTypeChoice *choices = palloc((to - from) * sizeof(DjkTypeChoice));

	apply->presents = NIL;
	for (int i = from; i < to; i++)
	{
		choices[i - from] = (DjkTypeChoice) {false, -1};
		if (apply->work[i].fate == DJK_FATE_PENDING)
			forget_route(&apply->work[i]);
	}
	for (int route = 0; route < apply->consumer->nroutes; route++)
		prepare_route(apply, route, from, to, choices);
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate == DJK_FATE_PENDING && apply->work[i].route < 0 &&
			djk_type_choice_is_forgiven(apply, i, &choices[i - from]))
			apply->work[i].fate = DJK_FATE_FILTERED;
	}
	pfree(choices);
}
