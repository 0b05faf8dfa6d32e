/*-------------------------------------------------------------------------
 *
 * function.c
 *	  Messages of a batch into a handler function.
 *
 * One statement calls the handler for each message in order, or once with all
 * of them.  What the handler raises fails the attempt; isolation finds the
 * message.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/function.h"

#include "apply/input.h"
#include "apply/statement.h"

void
djk_function_write(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	int			nrows;
	Tuplestorestate *input = djk_input_store(apply, state, indexes, n, false, &nrows);

	djk_work_at_hand(apply, state, indexes, n);
	if (nrows > 0)
		djk_route_sql_call(state, input, nrows);
	state->at_hand.rows = NULL;
	tuplestore_end(input);

	for (int i = 0; i < n && apply->work[indexes[i]].fate != DJK_FATE_STOP; i++)
	{
		if (apply->work[indexes[i]].fate == DJK_FATE_PENDING)
			apply->work[indexes[i]].fate = DJK_FATE_APPLIED;
	}
}
