/*-------------------------------------------------------------------------
 *
 * isolate.c
 *	  One bad message never costs another.
 *
 * When a batch fails it is run again in pieces, each a subtransaction: a piece
 * that fails is halved, from the left, until the bad message is alone.  The
 * deferred constraints of a piece are checked in an inner subtransaction that
 * is always rolled back, because a released SET CONSTRAINTS would stay.
 *
 * A message that fails alone only in that check may wait for a later one (a
 * child before its parent): it is set aside and tried again after all others,
 * until a pass helps none.
 *
 * An error that speaks of the definition (a missing table, a revoked right)
 * makes its message a suspect.  If any other message of its route could be
 * applied, the suspect is at fault; if none could, the route is broken and
 * nothing of this is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/isolate.h"

#include "access/xact.h"
#include "apply/retry.h"
#include "apply/statement.h"
#include "base/compat.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Suspects of one route that are enough to call it broken. */
#define SUSPECTS_ENOUGH		3

/* What failed alone, and waits for the verdict. */
typedef struct Suspect
{
	int			message;
	int			route;			/* the one at work when it failed; -1 none */
	ErrorData  *edata;
} Suspect;

typedef struct Isolation
{
	DjkApply   *apply;
	int			from;
	int			subtransactions;
	int			max_subtransactions;
	List	   *aside;			/* Suspects that failed in the deferred check only */
	List	   *suspects;		/* Suspects of the definition */
	int64	   *applied;		/* by route */
	int			stopped_at;		/* message that failed under on_error = stop, or -1 */
} Isolation;

/* ---------- a piece as it is ---------- */

static void
reset_fates(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		DjkFate    *fate = &apply->work[i].fate;

		if (*fate == DJK_FATE_APPLIED || *fate == DJK_FATE_FILTERED || *fate == DJK_FATE_DUPLICATE)
			*fate = DJK_FATE_PENDING;
	}
}

static void
write_route(DjkApply *apply, int route, const int *indexes, int n)
{
	DjkRouteState *state = djk_work_state_prepared(apply, route);

	apply->current_route = route;
	if (state->target_sql != NULL)
		djk_table_write(apply, state, indexes, n);
	else
		djk_function_write(apply, state, indexes, n);
	apply->current_route = -1;
}

/*
 * Whether routes may be written one after the other: not if two share a
 * target, or one is a handler, which may see what another has written.
 */
static bool
routes_are_independent(const DjkApply *apply)
{
	const DjkConsumerRow *consumer = apply->consumer;

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
			n = 0;
		}
		route = apply->work[i].route;
		indexes[n++] = i;
	}
	if (n > 0)
		write_route(apply, route, indexes, n);
}

static int
first_stop(const DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate == DJK_FATE_STOP)
			return i;
	}
	return to;
}

int
djk_isolate_apply(DjkApply *apply, int from, int to)
{
	MemoryContext old;
	int		   *indexes;

	MemoryContextReset(apply->attempt_context);
	old = MemoryContextSwitchTo(apply->attempt_context);
	/* An attempt that failed has left them where they were. */
	apply->current = apply->current_route = -1;
	apply->piece_from = from;
	apply->piece_to = to;

	reset_fates(apply, from, to);
	djk_prepare(apply, from, to);
	to = first_stop(apply, from, to);

	indexes = palloc(Max(to - from, 1) * sizeof(int));
	if (routes_are_independent(apply))
		write_by_route(apply, from, to, indexes);
	else
		write_in_order(apply, from, to, indexes);

	MemoryContextSwitchTo(old);
	/* A handler's input may have failed only now. */
	return first_stop(apply, from, to);
}

/* ---------- constraints ---------- */

void
djk_isolate_check_constraints(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	stmt->constraints = NIL;
	stmt->deferred = false;
	AfterTriggerSetState(stmt);
}

static void
check_constraints_and_forget(void)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		djk_isolate_check_constraints();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (edata != NULL)
		ReThrowError(edata);
}

/* ---------- errors ---------- */

void
djk_isolate_describe(const ErrorData *edata, bool is_delete, MemoryContext context, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	error->name = NULL;
	error->sqlstate = edata->sqlerrcode;
	error->message = edata->message ? pstrdup(edata->message) : NULL;
	error->detail = edata->detail ? pstrdup(edata->detail) : NULL;
	error->hint = edata->hint ? pstrdup(edata->hint) : NULL;

	if (error->hint == NULL && edata->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION && edata->column_name)
		error->hint = psprintf("Map the column with columns => '{\"%s\": …}', or give it a default in the database (Django: db_default).",
							   edata->column_name);
	if (error->hint == NULL && edata->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION && is_delete)
		error->hint = pstrdup("Other rows still reference the deleted one: Django's on_delete=CASCADE lives in Python. Delete them first, or declare ON DELETE in the database.");
	MemoryContextSwitchTo(old);
}

/* Not the fault of any message: leave the isolation with it. */
static void
rethrow_if_transient(ErrorData *edata)
{
	if (djk_retry_verdict(edata->sqlerrcode) == DJK_VERDICT_TRANSIENT)
		ReThrowError(edata);
}

static void
fail_message(Isolation *isolation, int message, const ErrorData *edata)
{
	DjkApply   *apply = isolation->apply;
	DjkError	error = {0};

	djk_isolate_describe(edata, apply->work[message].row.is_delete, apply->batch_context, &error);
	djk_work_fail(apply, message, &error, edata->context);
	if (apply->work[message].fate == DJK_FATE_STOP)
		isolation->stopped_at = message;
}

pg_noreturn static void
throw_broken(const DjkApply *apply, const Suspect *suspect)
{
	const ErrorData *edata = suspect->edata;
	const DjkRouteRow *route = &apply->consumer->routes[Max(suspect->route, 0)];

	ereport(ERROR,
			(errcode(DJK_ERRCODE_BROKEN),
			 errmsg("route " INT64_FORMAT " to %s is broken: %s", route->id,
					route->handler ? route->handler : route->target_name ? route->target_name : "its target",
					edata->message),
			 edata->detail ? errdetail("%s", edata->detail) : 0,
			 edata->hint ? errhint("%s", edata->hint) :
			 errhint("Mend the table, function or right it speaks of (as role \"%s\"), or the route; the consumer then goes on by itself.",
					 GetUserNameFromId(apply->consumer->owner, true))));
}

/* ---------- pieces ---------- */

/* NULL if the piece could be applied; else its error, and nothing of it stays. */
static ErrorData *
try_piece(Isolation *isolation, int from, int to, bool *only_deferred)
{
	DjkApply   *apply = isolation->apply;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	volatile bool checking = false;

	isolation->subtransactions++;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		(void) djk_isolate_apply(apply, from, to);
		checking = true;
		check_constraints_and_forget();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(apply->batch_context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	*only_deferred = edata != NULL && checking;
	return edata;
}

static int
count_suspects(const Isolation *isolation, int route)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, isolation->suspects)
	{
		const Suspect *suspect = lfirst(lc);

		if (suspect->route == route)
			n++;
	}
	return n;
}

static Suspect *
make_suspect(Isolation *isolation, int message, ErrorData *edata)
{
	Suspect    *suspect = MemoryContextAlloc(isolation->apply->batch_context, sizeof(Suspect));

	suspect->message = message;
	/* A route whose state cannot be made fails before it has taken the message. */
	suspect->route = isolation->apply->work[message].route;
	if (suspect->route < 0)
		suspect->route = isolation->apply->current_route;
	suspect->edata = edata;
	return suspect;
}

/* A message that failed alone. */
static void
judge_message(Isolation *isolation, int message, ErrorData *edata, bool only_deferred)
{
	Suspect    *suspect = make_suspect(isolation, message, edata);
	int			route = suspect->route;
	MemoryContext old = MemoryContextSwitchTo(isolation->apply->batch_context);

	if (only_deferred)
		isolation->aside = lappend(isolation->aside, suspect);
	else if (djk_retry_verdict(edata->sqlerrcode) == DJK_VERDICT_DEFINITION)
	{
		isolation->suspects = lappend(isolation->suspects, suspect);
		if (count_suspects(isolation, route) >= SUSPECTS_ENOUGH &&
			(route < 0 || isolation->applied[route] == 0))
			throw_broken(isolation->apply, suspect);
	}
	else
		fail_message(isolation, message, edata);
	MemoryContextSwitchTo(old);
}

static void
count_applied(Isolation *isolation, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &isolation->apply->work[i];

		if (work->fate == DJK_FATE_APPLIED || work->fate == DJK_FATE_DUPLICATE)
			isolation->applied[work->route]++;
	}
}

static bool
has_pending(DjkApply *apply, int from, int to)
{
	reset_fates(apply, from, to);
	for (int i = from; i < to; i++)
	{
		if (apply->work[i].fate == DJK_FATE_PENDING)
			return true;
	}
	return false;
}

/*
 * Halves [from, to) from the left.  Returns false when it ended early, with
 * *decided behind the last message that has its fate.
 */
static bool
split(Isolation *isolation, int from, int to, int *decided)
{
	ErrorData  *edata;
	bool		only_deferred;
	int			middle;

	CHECK_FOR_INTERRUPTS();
	*decided = from;
	/* What was set aside must be settled in this transaction, so it goes on then. */
	if (isolation->max_subtransactions > 0 && from > isolation->from &&
		isolation->subtransactions >= isolation->max_subtransactions && isolation->aside == NIL)
		return false;
	if (!has_pending(isolation->apply, from, to))
	{
		*decided = first_stop(isolation->apply, from, to);
		return *decided == to;
	}

	edata = try_piece(isolation, from, to, &only_deferred);
	if (edata == NULL)
	{
		*decided = first_stop(isolation->apply, from, to);
		count_applied(isolation, from, *decided);
		if (*decided < to)
			isolation->stopped_at = *decided;
		return *decided == to;
	}
	rethrow_if_transient(edata);

	if (to - from == 1)
	{
		judge_message(isolation, from, edata, only_deferred);
		*decided = isolation->stopped_at == from ? from : to;
		return isolation->stopped_at < 0;
	}
	middle = from + (to - from) / 2;
	return split(isolation, from, middle, decided) && split(isolation, middle, to, decided);
}

/* Tries again what waits for others, until a pass helps none. */
static void
settle_aside(Isolation *isolation)
{
	bool		helped = true;

	while (helped && isolation->aside != NIL)
	{
		List	   *waiting = isolation->aside;
		ListCell   *lc;

		isolation->aside = NIL;
		helped = false;
		foreach(lc, waiting)
		{
			Suspect    *suspect = lfirst(lc);
			bool		only_deferred;
			ErrorData  *edata = try_piece(isolation, suspect->message, suspect->message + 1, &only_deferred);

			CHECK_FOR_INTERRUPTS();
			if (edata == NULL)
			{
				count_applied(isolation, suspect->message, suspect->message + 1);
				helped = true;
				continue;
			}
			rethrow_if_transient(edata);
			judge_message(isolation, suspect->message, edata, only_deferred);
		}
	}
}

/*
 * What was set aside lies among messages that are applied already: where it
 * stops the consumer, nothing of the whole may stay.
 */
static void
fail_settled(Isolation *isolation, const Suspect *suspect)
{
	DjkApply   *apply = isolation->apply;
	const DjkMessage *message = &apply->batch->messages[suspect->message];
	const DjkBatchPartition *partition = &apply->batch->partitions[message->partition];

	fail_message(isolation, suspect->message, suspect->edata);
	if (apply->work[suspect->message].fate == DJK_FATE_STOP)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_STOPPED),
				 errmsg("message at offset " INT64_FORMAT " of topic \"%s\", partition %d, failed: %s",
						message->offset, partition->topic, partition->partition, suspect->edata->message),
				 errhint("Mend its cause, or go past it with djkafka_seek.")));
}

static void
settle(Isolation *isolation)
{
	ListCell   *lc;

	settle_aside(isolation);
	foreach(lc, isolation->aside)
	{
		fail_settled(isolation, lfirst(lc));
	}
	foreach(lc, isolation->suspects)
	{
		Suspect    *suspect = lfirst(lc);
		int			route = suspect->route;

		if (route < 0 || isolation->applied[route] == 0)
			throw_broken(isolation->apply, suspect);
		fail_settled(isolation, suspect);
	}
}

int
djk_isolate(DjkApply *apply, int from, int to, int max_subtransactions)
{
	Isolation	isolation = {0};
	int			decided = from;

	isolation.apply = apply;
	isolation.from = from;
	isolation.max_subtransactions = max_subtransactions;
	isolation.stopped_at = -1;
	isolation.applied = MemoryContextAllocZero(apply->batch_context,
											   Max(apply->consumer->nroutes, 1) * sizeof(int64));

	if (split(&isolation, from, to, &decided))
		decided = to;
	settle(&isolation);
	return decided;
}
