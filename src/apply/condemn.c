/*-------------------------------------------------------------------------
 *
 * condemn.c
 *	  Messages that take the server down.
 *
 * No error can tell of them, so it is not an error that is judged: see
 * state/crash_mark.c for what a worker knows of those that died before it.
 * Whatever looks into such a message may be what crashes, the filter too; so it
 * belongs to no route, and is treated as the strictest of its topic's routes
 * wants it.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/condemn.h"

#include "base/topic.h"
#include "state/crash_mark.h"

static int
strictness(DjkOnError on_error)
{
	return on_error == DJK_ON_ERROR_STOP ? 2 : on_error == DJK_ON_ERROR_DEAD_LETTER ? 1 : 0;
}

/* The route of the topic that forgives least; -1 if it has none any more. */
static int
strictest_route(const DjkApply *apply, const char *topic)
{
	const DjkRouteRow *routes = apply->consumer->routes;
	int			found = -1;

	for (int r = 0; r < apply->consumer->nroutes; r++)
	{
		if (djk_topic_matches(routes[r].topic, topic) &&
			(found < 0 || strictness(routes[r].on_error) > strictness(routes[found].on_error)))
			found = r;
	}
	return found;
}

static void
condemn(DjkApply *apply, int message, int deaths)
{
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);
	DjkError	error = {0};

	error.sqlstate = DJK_ERRCODE_CRASHED;
	error.message = psprintf("the server ended %d times while this message was applied", deaths);
	error.detail = pstrdup("The worker left no error: it crashed, or was killed, by the system where memory was short.");
	error.hint = pstrdup("The server log tells the signal. Look at the triggers, functions and extensions that the message runs through; when they are fixed, give the message again.");
	apply->work[message].route = strictest_route(apply, apply->batch->partitions[apply->batch->messages[message].partition].topic);
	djk_work_fail(apply, message, &error, NULL);
	MemoryContextSwitchTo(old);
}

int
djk_condemn_begin(DjkApply *apply, int from, int to)
{
	int			deaths;

	to = djk_crash_limit(apply->batch, from, to);
	deaths = to - from == 1 ? djk_crash_deaths(apply->batch, from) : 0;
	if (deaths >= DJK_CRASHES_ENOUGH && apply->work[from].fate == DJK_FATE_PENDING)
		condemn(apply, from, deaths);
	djk_crash_begin(apply->batch, from, to);
	return to;
}

void
djk_condemn_end(DjkApply *apply)
{
	djk_crash_end();
	if (djk_crash_suspects())
		djk_crash_passed(apply->batch);
}
