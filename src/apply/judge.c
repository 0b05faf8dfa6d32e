/*-------------------------------------------------------------------------
 *
 * judge.c
 *	  Whose fault an error is: the message's, the definition's, nobody's.
 *
 * Its SQLSTATE does not tell.  A value of type ltree may be a syntax error, a
 * row that a policy refuses lacks a privilege, a trigger may raise what it
 * likes for one row; and a table without a replica identity says what one
 * message might have said.  So it is found out what else fails:
 *
 *	  no message		The statement that failed is run over no rows.  If it fails
 *						in the same way, no message is to blame.
 *	  other messages	If the route could apply another one, this one is to blame.
 *	  a value			What fails while a field is turned into its column's type
 *						is that field's; unless a null, which nobody brought, fails
 *						there too: a domain whose check has lost what it reads;
 *						or a default of a column of the key, without any field.
 *	  repetition		Where nothing else tells: a route that has applied messages
 *						before may give up two in a row so; the third, or the first
 *						of a route that has applied none, makes it wait as if it
 *						were broken.  It is tried again DJK_TRIES_DOUBTFUL times,
 *						then it gets its fate, since what never passes must not
 *						hold up all others for ever.
 *
 * Only errors whose class speaks of names, rights or internals need more than
 * the first of these (retry.c): most of what is wrong with a message says so.
 * What is transient is waited out; after DJK_TRIES_TRANSIENT tries in a row at
 * its partition that came to nothing it is judged like the rest.
 *
 * djkafka_run has no repetition and does not need it: whoever called it sees
 * what has become of the messages, and may roll back.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/judge.h"

#include "apply/lack.h"
#include "apply/park.h"
#include "apply/retry.h"
#include "apply/row.h"
#include "apply/transaction.h"
#include "apply/statement.h"
#include "base/compat.h"
#include "base/subtransaction.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Messages in a row, with nothing applied between, whose route is called broken. */
#define SUSPECTS_ENOUGH		3

/* What became of a route's statement when it was run over no message. */
typedef struct DjkEmptiness
{
	bool		known;
	bool		in_value;		/* what was run: a column's type, */
	int			kind;			/* … or a DjkRouteSql; -1: what comes before all */
	Bitmapset  *present;		/* … for a row of these columns */
	int			sqlstate;		/* 0: it goes */
} DjkEmptiness;

typedef struct Suspect
{
	int			message;
	int			route;
	ErrorData  *edata;
} Suspect;

/* ---------- errors as values ---------- */

/* What to do about it, where the error does not say so itself; NULL: nothing that is known. */
static const char *
hint_of(const DjkApply *apply, int message, const ErrorData *edata)
{
	const DjkWork *work = &apply->work[message];
	DjkReferenced on_referenced = work->route >= 0 ? apply->consumer->routes[work->route].on_referenced : DJK_REFERENCED_WAIT;

	if (work->row.is_delete && on_referenced == DJK_REFERENCED_SET_NULL && edata->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION)
		return "A row that refers to the deleted one cannot lose its reference. Let the column be null, or set on_referenced of the route to \"cascade\" or \"wait\".";
	if (edata->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION && edata->column_name)
		return psprintf("Give it a default in the database (Django: db_default), or fill it in new rows alone with columns => '{\"%s\": {\"insert\": …}}'.",
						edata->column_name);
	if (!OidIsValid(work->lack.row.children))
		return NULL;
	if (work->row.is_delete && on_referenced != DJK_REFERENCED_WAIT)
		return "Rows that on_referenced does not reach still reference this one: those of tables of other owners than the target's and the consumer's, those that policies or triggers keep, and those that were written meanwhile.";
	return "Other rows still reference this one: Django's on_delete=CASCADE lives in Python. Delete them first, declare ON DELETE in the database, or set on_referenced of the route.";
}

void
djk_judge_describe(const ErrorData *edata, MemoryContext context, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	error->name = NULL;
	error->sqlstate = edata->sqlerrcode;
	error->message = djk_convert_shown(edata->message);
	error->detail = djk_convert_shown(edata->detail);
	error->hint = djk_convert_shown(edata->hint);
	MemoryContextSwitchTo(old);
}

static void
fail_message(DjkApply *apply, int message, const ErrorData *edata)
{
	DjkError	error = {0};

	djk_judge_describe(edata, apply->batch_context, &error);
	if (error.hint == NULL)
		error.hint = unconstify(char *, hint_of(apply, message, edata));
	djk_park_or_fail(apply, message, &error, djk_lack_may_end(edata->sqlerrcode), djk_convert_shown(edata->context));
}

pg_noreturn static void
throw_broken(DjkApply *apply, int message, int route_index, const ErrorData *edata)
{
	const DjkRouteRow *route = &apply->consumer->routes[Max(route_index, 0)];

	apply->failed_at = message;
	ereport(ERROR,
			(errcode(DJK_ERRCODE_BROKEN),
			 errmsg("route " INT64_FORMAT " to %s is broken: %s", route->id,
					route->handler ? route->handler : route->target_name ? route->target_name : "its target",
					djk_convert_shown(edata->message)),
			 edata->detail ? errdetail("%s", djk_convert_shown(edata->detail)) : 0,
			 edata->hint ? errhint("%s", djk_convert_shown(edata->hint)) :
			 errhint("Fix the table, function or right it speaks of (as role \"%s\"), or the route; the consumer then goes on by itself.",
					 GetUserNameFromId(apply->consumer->owner, true))));
}

/* ---------- without any message ---------- */

/*
 * Turns a null into each column's type, and makes the key of nothing; throws what
 * a type or a default then throws.
 */
static void
try_nulls(DjkRouteState *state)
{
	int			guc_level = djk_route_state_enter(state);

	for (int c = 0; c < state->ncolumns; c++)
	{
		DjkField	null = {.kind = DJK_FIELD_NULL};
		DjkError	refused = {0};
		Datum		value;
		bool		isnull;

		(void) djk_convert(state->columns[c].converter, &null, &value, &isnull, &refused);
	}
	djk_row_try_default_keys(state);
	djk_route_state_leave(guc_level);
}

typedef struct Emptiness
{
	DjkApply   *apply;
	int			route;
	bool		in_value;
} Emptiness;

/* Leaves nothing behind. */
static bool
run_empty(void *arg)
{
	const Emptiness *empty = arg;
	DjkRouteState *state = djk_work_state(empty->apply, empty->route);

	if (empty->in_value)
		try_nulls(state);
	else
		djk_route_sql_try_empty(state);
	return false;
}

/* With what the route fails if it is given nothing; NULL: it does not. */
static ErrorData *
try_empty(DjkApply *apply, int route, bool in_value)
{
	Emptiness	empty = {apply, route, in_value};

	return djk_subtransaction_try(run_empty, &empty, apply->batch_context);
}

/* What would be run without a message; with 'known' unset. */
static DjkEmptiness
describe_empty(const DjkApply *apply, int route, bool in_value)
{
	const DjkRouteState *state = apply->states[route];
	DjkEmptiness empty = {0};

	empty.in_value = in_value;
	empty.kind = -1;
	if (!in_value && state != NULL && state->running.now)
	{
		empty.kind = state->running.kind;
		empty.present = unconstify(Bitmapset *, state->running.present);
	}
	return empty;
}

/*
 * Whether the route fails as it has with the message: the statement that it
 * failed in, or what makes of a column's null a value of its type.
 */
static bool
fails_without_messages(DjkJudge *judge, int route, const ErrorData *edata, bool in_value)
{
	DjkEmptiness *known = &judge->empty[route];
	DjkEmptiness empty = describe_empty(judge->apply, route, in_value);

	if (!known->known || known->in_value != in_value || known->kind != empty.kind ||
		!bms_equal(known->present, empty.present))
	{
		MemoryContext old = MemoryContextSwitchTo(judge->apply->batch_context);
		ErrorData  *found;

		empty.present = bms_copy(empty.present);
		found = try_empty(judge->apply, route, in_value);
		/* What is nobody's fault tells nothing: it is waited for. */
		if (found != NULL && djk_retry_verdict(found->sqlerrcode) == DJK_VERDICT_TRANSIENT)
			ReThrowError(found);
		empty.known = true;
		empty.sqlstate = found != NULL ? found->sqlerrcode : 0;
		*known = empty;
		MemoryContextSwitchTo(old);
	}
	return known->sqlstate == edata->sqlerrcode;
}

/* ---------- one message ---------- */

void
djk_judge_begin(DjkJudge *judge, DjkApply *apply)
{
	int			nroutes = Max(apply->consumer->nroutes, 1);

	judge->apply = apply;
	judge->suspects = NIL;
	judge->applied = MemoryContextAllocZero(apply->batch_context, nroutes * sizeof(int64));
	judge->empty = MemoryContextAllocZero(apply->batch_context, nroutes * sizeof(DjkEmptiness));
}

bool
djk_judge_is_transient(const DjkApply *apply, int from, int to, const ErrorData *edata)
{
	if (djk_retry_verdict(edata->sqlerrcode) != DJK_VERDICT_TRANSIENT)
		return false;
	/* Our own limit does not strike twice: what went on would have none. */
	return djk_work_vain(apply, from, to) < DJK_TRIES_TRANSIENT ||
		(edata->sqlerrcode == ERRCODE_QUERY_CANCELED && djk_apply_time_is_over(apply));
}

/* A route whose state cannot be made fails before it has taken the message. */
static int
route_at_work(const DjkApply *apply, int message)
{
	int			route = apply->work[message].route;

	return route >= 0 ? route : apply->current_route;
}

static void
suspect(DjkJudge *judge, int message, int route, ErrorData *edata)
{
	MemoryContext old = MemoryContextSwitchTo(judge->apply->batch_context);
	Suspect    *new = palloc(sizeof(Suspect));

	new->message = message;
	new->route = route;
	new->edata = edata;
	judge->suspects = lappend(judge->suspects, new);
	MemoryContextSwitchTo(old);
}

/* Whether an error is the definition's: it comes without the message too. */
static bool
is_definition(DjkJudge *judge, int route, const ErrorData *edata, bool deferred, bool in_value)
{
	if (deferred || route < 0)
		return false;
	if (in_value && djk_retry_verdict(edata->sqlerrcode) != DJK_VERDICT_DOUBTFUL)
		return false;
	return fails_without_messages(judge, route, edata, in_value);
}

void
djk_judge_message(DjkJudge *judge, int message, ErrorData *edata, bool deferred)
{
	DjkApply   *apply = judge->apply;
	DjkVerdict	verdict = djk_retry_verdict(edata->sqlerrcode);
	int			route = route_at_work(apply, message);
	bool		in_value = !deferred && apply->current == message;

	if (is_definition(judge, route, edata, deferred, in_value))
		throw_broken(apply, message, route, edata);
	if (apply->work[message].route < 0)
		apply->work[message].route = route;
	fail_message(apply, message, edata);
	/* One that stops the consumer is not lost, whosever fault it is. */
	if (verdict != DJK_VERDICT_MESSAGE && !in_value && !apply->inside &&
		apply->work[message].fate != DJK_FATE_STOP)
		suspect(judge, message, route, edata);
}

/* ---------- the attempt ---------- */

void
djk_judge_note_applied(DjkJudge *judge, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &judge->apply->work[i];

		if (work->fate == DJK_FATE_APPLIED || work->fate == DJK_FATE_DUPLICATE)
			judge->applied[work->route]++;
	}
}

static int
count_suspects(const DjkJudge *judge, int route)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, judge->suspects)
		n += ((const Suspect *) lfirst(lc))->route == route;
	return n;
}

/* Whether nothing of a route has passed since so many of its messages failed. */
static bool
fails_in_a_row(const DjkJudge *judge, int route)
{
	int			before = route >= 0 ? judge->apply->doubtful_in_row[route] : 0;

	return (route < 0 || judge->applied[route] == 0) &&
		before + count_suspects(judge, route) >= SUSPECTS_ENOUGH;
}

bool
djk_judge_has_enough(const DjkJudge *judge, int message)
{
	int			route = route_at_work(judge->apply, message);

	return count_suspects(judge, route) > 0 && fails_in_a_row(judge, route);
}

/* Whether other messages tell that it is this one's fault. */
static bool
is_convicted(const DjkJudge *judge, const Suspect *suspect)
{
	int			route = suspect->route;

	if (route < 0)
		return false;
	return judge->applied[route] > 0 ||
		(judge->apply->worked[route] && !fails_in_a_row(judge, route));
}

pg_noreturn static void
throw_doubtful(DjkApply *apply, const Suspect *suspect)
{
	apply->doubtful = true;
	throw_broken(apply, suspect->message, suspect->route, suspect->edata);
}

/* The first message before 'end' of which it is not known whose fault it is; NULL: none. */
static const Suspect *
first_doubtful(const DjkJudge *judge, int end)
{
	const Suspect *first = NULL;
	ListCell   *lc;

	foreach(lc, judge->suspects)
	{
		const Suspect *suspect = lfirst(lc);

		if (suspect->message < end && (first == NULL || suspect->message < first->message) &&
			!is_convicted(judge, suspect))
			first = suspect;
	}
	return first;
}

int
djk_judge_settle(DjkJudge *judge, int from, int decided, int *condemned)
{
	const Suspect *first = first_doubtful(judge, decided);

	*condemned = -1;
	if (first == NULL)
		return decided;
	if (first->message > from)
		return first->message;
	if (djk_work_vain(judge->apply, first->message, first->message + 1) < DJK_TRIES_DOUBTFUL)
		throw_doubtful(judge->apply, first);
	*condemned = first->message;
	return from + 1;
}

void
djk_judge_note_committed(DjkApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];

		if (work->route < 0)
			continue;
		if (work->fate == DJK_FATE_APPLIED)
		{
			apply->worked[work->route] = true;
			apply->doubtful_in_row[work->route] = 0;
		}
		else if ((work->fate == DJK_FATE_DEAD || work->fate == DJK_FATE_SKIPPED || work->fate == DJK_FATE_RETRIED ||
				  (work->fate == DJK_FATE_PARKED && work->due_at != 0 && !apply->batch->again)) &&
				 djk_retry_verdict(work->error.sqlstate) == DJK_VERDICT_DOUBTFUL)
			apply->doubtful_in_row[work->route]++;
	}
}
