/*-------------------------------------------------------------------------
 *
 * isolate.c
 *	  One bad message never costs another.
 *
 * When a batch fails it is run again in pieces, each a subtransaction: a piece
 * that fails is cut, from the left, until the bad message is alone and can
 * be judged (judge.c).  All others are applied in their order, so the whole is
 * what the batch without the bad ones would be.
 *
 * Where a piece is cut is a matter of speed alone, as no message is judged but by
 * what becomes of it alone, behind all that is before it.  A statement that reads
 * rows one after the other mostly fails at the row that it has read last: then what
 * is before that is a piece, and it is one.  Else, and where that has turned out
 * wrong, the piece is halved.  What follows is taken in pieces that reach about as
 * far as it was from one that failed to the next, and further when they pass.
 *
 * Deferred constraints are the batch's, not a piece's: a child may come before
 * its parent.  So they are checked at the end of the whole.  If that fails it
 * does not tell which message is to blame; then all is undone, and culprits are
 * looked for in a rehearsal that is undone too: here each piece is checked, what
 * fails waits, and is tried again behind all others until that helps none, a
 * few of them by twos and together too, since rows may refer to each other.
 * Constraints that have been checked there need no second look, as they would
 * after a check that is undone: what passes need not be seen again.  For that
 * all that can be deferred is, which is undone with the rehearsal.
 * What fails even then has nothing in this batch to wait for.  With its fate
 * settled, the others are applied again in their order.  To keep what the
 * rehearsal has applied instead would apply a message behind later ones of its
 * key.
 *
 * Should the check fail even so (a constraint that more rows do not help), the
 * messages are taken one after the other, each with its constraints.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/isolate.h"

#include "apply/judge.h"
#include "apply/lack.h"
#include "apply/lane.h"
#include "apply/orphans.h"
#include "apply/park.h"
#include "apply/park_key.h"
#include "apply/piece.h"
#include "base/compat.h"
#include "base/subtransaction.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Of so many that fail alone it is tried whether some can be applied together. */
#define TOGETHER_MAX		24

/* The next piece reaches so far at least: what waits of its keys is asked for all of them at once. */
#define REACH_MIN			32

/* So often what is before a suspect is cut at a suspect of its own; a wrong one each time would take as many tries as messages. */
#define SUSPECTS_WITHIN		2

/* So many suspects may turn out innocent before none is believed in. */
#define MISLED_MAX			8

typedef enum AttemptMode
{
	MODE_WHOLE,					/* deferred constraints are checked at the end */
	MODE_REHEARSAL,				/* what fails waits, and nothing stays */
	MODE_WITHOUT_CULPRITS,		/* as WHOLE */
	MODE_EACH					/* each piece with its deferred constraints */
} AttemptMode;

/* What failed in the rehearsal. */
typedef struct Waiting
{
	int			message;
	bool		deferred;		/* in its deferred constraints alone */
	ErrorData  *edata;
} Waiting;

typedef struct Isolation
{
	DjkApply   *apply;
	int			from;
	int			to;
	AttemptMode mode;
	int			max_subtransactions;	/* 0: no bound */
	int			subtransactions;
	int			reach;			/* messages of the next piece at most */
	int			fresh;			/* behind the last message that failed */
	int			misled;			/* suspects that have turned out innocent */
	DjkFate    *fates;			/* of each message before an attempt */
	List	   *waiting;
	List	   *culprits;		/* suspects among those that the rehearsal has found */
	DjkJudge	judge;
} Isolation;

/* ---------- pieces ---------- */

static bool
checks_pieces(const Isolation *isolation)
{
	return isolation->mode == MODE_REHEARSAL || isolation->mode == MODE_EACH;
}

typedef struct Piece
{
	Isolation  *isolation;
	int			from;
	int			to;
	bool		deferred;		/* it failed in the check of what can be deferred */
} Piece;

static bool
apply_piece(void *arg)
{
	Piece	   *piece = arg;
	Isolation  *isolation = piece->isolation;
	ErrorData  *violation;

	(void) djk_piece_apply(isolation->apply, piece->from, piece->to);
	if (isolation->mode == MODE_REHEARSAL)
	{
		/* What it has left to check is checked, and what follows deferred again. */
		piece->deferred = true;
		djk_piece_set_constraints(false);
		piece->deferred = false;
		djk_piece_set_constraints(true);
	}
	else if (isolation->mode == MODE_EACH)
	{
		violation = djk_piece_find_violation(isolation->apply->batch_context);
		piece->deferred = violation != NULL;
		if (violation != NULL)
			ReThrowError(violation);
	}
	return true;
}

/* NULL if the piece could be applied; else its error, and nothing of it stays. */
static ErrorData *
try_piece(Isolation *isolation, int from, int to, bool *deferred)
{
	Piece		piece = {isolation, from, to, false};
	ErrorData  *edata;

	isolation->subtransactions++;
	edata = djk_subtransaction_try(apply_piece, &piece, isolation->apply->batch_context);
	*deferred = piece.deferred;
	return edata;
}

static void
wait_for_others(Isolation *isolation, int message, bool deferred, ErrorData *edata)
{
	MemoryContext old = MemoryContextSwitchTo(isolation->apply->batch_context);
	Waiting    *waiting = palloc(sizeof(Waiting));

	waiting->message = message;
	waiting->deferred = deferred;
	waiting->edata = edata;
	isolation->waiting = lappend(isolation->waiting, waiting);
	MemoryContextSwitchTo(old);
}

/* A message has failed alone.  Returns false if the attempt ends with it. */
static bool
take_failure(Isolation *isolation, int message, bool deferred, ErrorData *edata)
{
	/* While what was prepared of it is still there. */
	djk_park_note_key(isolation->apply, message);
	if (djk_park_behind(isolation->apply, message))
		return isolation->apply->work[message].fate != DJK_FATE_STOP;
	djk_lack_note(isolation->apply, message, edata);
	if (isolation->mode == MODE_REHEARSAL)
	{
		wait_for_others(isolation, message, deferred, edata);
		return true;
	}
	djk_judge_message(&isolation->judge, message, edata, deferred);
	return isolation->apply->work[message].fate != DJK_FATE_STOP &&
		!djk_judge_has_enough(&isolation->judge, message);
}

/* More would overflow the cache of subtransactions; what waits must be settled. */
static bool
is_used_up(const Isolation *isolation, int from)
{
	return isolation->max_subtransactions > 0 && from > isolation->from &&
		isolation->subtransactions >= isolation->max_subtransactions && isolation->waiting == NIL;
}

/* What is behind a message that fails has been prepared in vain. */
static int
reach_of(const DjkApply *apply)
{
	return apply->failure_gap < 0 ? INT_MAX : Max(1 + (int) (2 * apply->failure_gap), REACH_MIN);
}

static void
note_failure(Isolation *isolation, int message)
{
	DjkApply   *apply = isolation->apply;
	int			gap = Max(message - isolation->fresh, 0);	/* before what was set aside there is none */

	apply->failure_gap = apply->failure_gap < 0 ? gap : (3 * apply->failure_gap + gap) / 4;
	isolation->reach = reach_of(apply);
	isolation->fresh = message + 1;
}

static void
note_passed(Isolation *isolation, int n)
{
	if (n >= isolation->reach)
		isolation->reach = isolation->reach > INT_MAX / 2 ? INT_MAX : isolation->reach * 2;
}

/* One fails as its piece has, but for the detail. */
static void
set_aside(Isolation *isolation, const DjkOrphan *orphan, const ErrorData *edata, Oid table, HeapTuple constraint)
{
	DjkApply   *apply = isolation->apply;
	ErrorData  *own;

	(void) djk_piece_reset(apply, orphan->message, orphan->message + 1);
	djk_park_note_key(apply, orphan->message);
	if (djk_park_behind_known(apply, orphan->message))
		return;
	own = MemoryContextAlloc(apply->batch_context, sizeof(ErrorData));
	*own = *edata;
	own->detail = orphan->detail;
	djk_lack_note_constraint(apply, orphan->message, own, table, constraint);
	djk_judge_message(&isolation->judge, orphan->message, own, false);
}

/*
 * What is certain to fail alone as the piece has, for want of a parent, is set aside
 * without a try; what is behind it of its key is behind it when the rest is tried.
 * Returns whether anything was.
 */
static bool
set_orphans_aside(Isolation *isolation, int from, int to, const ErrorData *edata)
{
	DjkApply   *apply = isolation->apply;
	MemoryContext old = MemoryContextSwitchTo(apply->attempt_context);
	int			n;
	int			done = 0;
	const DjkOrphan *orphans = djk_orphans_find(apply, from, to, edata, &n);
	Oid			table;
	HeapTuple	constraint = orphans != NULL ? djk_lack_find_constraint(edata, &table) : NULL;

	MemoryContextSwitchTo(old);
	for (; constraint != NULL && done < n && djk_park_may_wait(apply, orphans[done].message); done++)
	{
		CHECK_FOR_INTERRUPTS();
		set_aside(isolation, &orphans[done], edata, table, constraint);
	}
	if (constraint != NULL)
		ReleaseSysCache(constraint);
	if (done == 0)
		return false;
	/* So far nothing costs a try of its own. */
	if (apply->failure_gap < 0)
		apply->failure_gap = to - from;
	isolation->fresh = to;
	return true;
}

static bool split(Isolation *isolation, int from, int to, int suspects, int *decided);

/* Applies [from, to), or ends early, as split() does. */
static bool
apply_pieces(Isolation *isolation, int from, int to, int suspects, int *decided)
{
	*decided = from;
	while (*decided < to)
	{
		int			end = to - *decided > isolation->reach ? *decided + isolation->reach : to;

		if (!split(isolation, *decided, end, suspects, decided))
			return false;
	}
	return true;
}

/* What is before a suspect, and then the suspect. */
static bool
split_at(Isolation *isolation, int from, int suspect, int suspects, int *decided)
{
	if (!apply_pieces(isolation, from, suspect, suspects - 1, decided) ||
		!split(isolation, suspect, suspect + 1, 0, decided))
		return false;
	isolation->misled += isolation->fresh != suspect + 1;
	return true;
}

/*
 * Applies what is first in [from, to), all of it if it is not cut at a suspect, with
 * *decided behind it.  Returns false when it ended early, with *decided behind the
 * last message that has its fate; one that stops has none.
 */
static bool
split(Isolation *isolation, int from, int to, int suspects, int *decided)
{
	DjkApply   *apply = isolation->apply;
	ErrorData  *edata;
	bool		deferred;
	bool		going;
	int			middle;
	int			suspect;

	CHECK_FOR_INTERRUPTS();
	*decided = from;
	if (is_used_up(isolation, from))
		return false;

	edata = djk_piece_reset(apply, from, to) ? try_piece(isolation, from, to, &deferred) : NULL;
	if (edata == NULL)
	{
		*decided = djk_piece_first_stop(apply, from, to);
		djk_judge_note_applied(&isolation->judge, from, *decided);
		note_passed(isolation, to - from);
		return *decided == to;
	}
	if (djk_judge_is_transient(apply, from, to, edata))
		ReThrowError(edata);

	if (to - from == 1)
	{
		note_failure(isolation, from);
		going = take_failure(isolation, from, deferred, edata);
		*decided = djk_piece_first_stop(apply, from, to);
		return going;
	}
	if (!deferred && !checks_pieces(isolation) && set_orphans_aside(isolation, from, to, edata))
	{
		FreeErrorData(edata);
		return split(isolation, from, to, suspects, decided);
	}
	FreeErrorData(edata);
	suspect = suspects > 0 && isolation->misled < MISLED_MAX ? djk_work_suspect(apply) : -1;
	if (suspect >= from && suspect < to)
		return split_at(isolation, from, suspect, suspects, decided);
	middle = from + (to - from) / 2;
	return apply_pieces(isolation, from, middle, suspects, decided) &&
		apply_pieces(isolation, middle, to, suspects, decided);
}

/* ---------- attempts ---------- */

static void
begin_attempt(Isolation *isolation, AttemptMode mode)
{
	isolation->mode = mode;
	isolation->subtransactions = 0;
	isolation->reach = reach_of(isolation->apply);
	isolation->fresh = isolation->from;
	isolation->misled = 0;
	isolation->waiting = NIL;
	for (int i = isolation->from; i < isolation->to; i++)
		isolation->apply->work[i].fate = isolation->fates[i - isolation->from];
	djk_judge_begin(&isolation->judge, isolation->apply);
	isolation->judge.suspects = list_copy(isolation->culprits);
}

/* Applies what is left of [from, to); returns the end of what has its fate. */
static int
split_all(Isolation *isolation)
{
	int			decided = isolation->from;

	return apply_pieces(isolation, isolation->from, isolation->to, SUSPECTS_WITHIN, &decided) ? isolation->to : decided;
}

/* What a message has come to, whatever is tried after. */
static void
fix_fate(Isolation *isolation, int message)
{
	isolation->fates[message - isolation->from] = isolation->apply->work[message].fate;
}

/* Whether what is pending violates deferred constraints. */
static bool
is_violated(const Isolation *isolation)
{
	ErrorData  *edata = djk_piece_find_violation(isolation->apply->batch_context);

	if (edata != NULL && djk_judge_is_transient(isolation->apply, isolation->from, isolation->to, edata))
		ReThrowError(edata);
	return edata != NULL;
}

/* Whoever catches an error after us ends a subtransaction of its own. */
static void
run_attempt(Isolation *isolation, AttemptMode mode, bool (*body) (void *arg), void *arg)
{
	ErrorData  *edata;

	begin_attempt(isolation, mode);
	edata = djk_subtransaction_try(body, arg, isolation->apply->batch_context);
	if (edata != NULL)
		ReThrowError(edata);
}

typedef struct Attempt
{
	Isolation  *isolation;
	int			end;
	bool		violated;
	bool		stays;
} Attempt;

static bool
make_attempt(void *arg)
{
	Attempt    *attempt = arg;
	Isolation  *isolation = attempt->isolation;
	int			decided = split_all(isolation);
	int			condemned;

	attempt->end = djk_judge_settle(&isolation->judge, isolation->from, decided, &condemned);
	attempt->violated = attempt->end == decided && !checks_pieces(isolation) && is_violated(isolation);
	attempt->stays = attempt->end == decided && !attempt->violated;
	if (condemned >= 0 && !attempt->stays)
		fix_fate(isolation, condemned);
	return attempt->stays;
}

/*
 * Applies what is left of [from, to) and keeps it if all is well; *end is then
 * the end of it.  Else nothing stays: *end is where the next attempt has to
 * end, because a message stops there or is not convicted, or the deferred
 * constraints of the whole are violated (*violated).
 */
static bool
attempt(Isolation *isolation, AttemptMode mode, int *end, bool *violated)
{
	Attempt		attempt = {.isolation = isolation};

	run_attempt(isolation, mode, make_attempt, &attempt);
	*end = attempt.end;
	*violated = attempt.violated;
	return attempt.stays;
}

/* ---------- the rehearsal ---------- */

/*
 * Tries messages of 'waiting' together, in their order and behind all that is
 * applied: numbers of it, 'chosen'.  If it helps they wait no longer.
 */
static bool
try_together(Isolation *isolation, const int *chosen, int n)
{
	DjkApply   *apply = isolation->apply;
	int			from = isolation->to;
	int			to = isolation->from;
	ErrorData  *edata;
	bool		deferred;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < n; i++)
	{
		Waiting    *waiting = list_nth(isolation->waiting, chosen[i]);

		apply->work[waiting->message].fate = DJK_FATE_PENDING;
		from = Min(from, waiting->message);
		to = Max(to, waiting->message + 1);
	}
	edata = try_piece(isolation, from, to, &deferred);
	if (edata != NULL && djk_judge_is_transient(apply, from, to, edata))
		ReThrowError(edata);

	for (int i = n - 1; i >= 0; i--)
	{
		Waiting    *waiting = list_nth(isolation->waiting, chosen[i]);

		apply->work[waiting->message].fate = DJK_FATE_LOST;
		if (edata == NULL)
			isolation->waiting = list_delete_nth_cell(isolation->waiting, chosen[i]);
		else if (n == 1)
		{
			FreeErrorData(waiting->edata);
			waiting->edata = edata;
			djk_lack_note(apply, waiting->message, edata);
			waiting->deferred = deferred;
		}
		else if (i == 0)
			FreeErrorData(edata);
	}
	return edata == NULL;
}

/* Each alone, once, from the first or from the last: a chain may lie either way. */
static bool
try_each(Isolation *isolation, bool backwards)
{
	int			n = list_length(isolation->waiting);
	int			at = 0;

	for (int i = 0; i < n; i++)
	{
		int			chosen = backwards ? n - 1 - i : at;

		if (!try_together(isolation, &chosen, 1))
			at++;
	}
	return list_length(isolation->waiting) < n;
}

/* Two that need each other: rows that refer to each other, or change places. */
static bool
try_pairs(Isolation *isolation)
{
	int			n = list_length(isolation->waiting);

	for (int a = 0; a < n; a++)
	{
		for (int b = a + 1; b < n; b++)
		{
			int			chosen[] = {a, b};

			if (try_together(isolation, chosen, 2))
				return true;
		}
	}
	return false;
}

/* All but one: a larger circle beside a single culprit. */
static bool
try_all_but_one(Isolation *isolation)
{
	int			n = list_length(isolation->waiting);
	int			chosen[TOGETHER_MAX];

	for (int a = 0; n > 3 && a < n; a++)
	{
		int			nchosen = 0;

		for (int i = 0; i < n; i++)
		{
			if (i != a)
				chosen[nchosen++] = i;
		}
		if (try_together(isolation, chosen, nchosen))
			return true;
	}
	return false;
}

/* Tries again what waits for others, until nothing helps any more. */
static void
settle_waiting(Isolation *isolation, int end)
{
	bool		backwards = true;

	/* What is applied is not to be applied again. */
	for (int i = isolation->from; i < end; i++)
		isolation->apply->work[i].fate = DJK_FATE_LOST;
	do
	{
		/* What helped none one way helps none the other way: nothing has changed. */
		while (try_each(isolation, backwards))
			backwards = !backwards;
	} while (list_length(isolation->waiting) <= TOGETHER_MAX &&
			 (try_pairs(isolation) || try_all_but_one(isolation)));
}

/* What the caller of djkafka_run has left pending is not our messages' fault. */
static void
refuse_violated(DjkApply *apply)
{
	ErrorData  *edata = djk_piece_find_violation(apply->batch_context);

	if (edata == NULL)
		return;
	if (djk_judge_is_transient(apply, 0, 0, edata))
		ReThrowError(edata);
	ereport(ERROR,
			(errcode(edata->sqlerrcode),
			 errmsg("%s", edata->message),
			 edata->detail ? errdetail("%s", edata->detail) : 0,
			 errhint("A deferred constraint is violated by what this transaction did before messages were applied. Fix that first, or apply messages in a transaction of their own.")));
}

static bool
make_rehearsal(void *arg)
{
	Attempt    *attempt = arg;

	djk_piece_set_constraints(true);
	attempt->end = split_all(attempt->isolation);
	settle_waiting(attempt->isolation, attempt->end);
	return false;
}

/* Leaves in 'waiting' what fails whatever else is applied. */
static void
rehearse(Isolation *isolation)
{
	Attempt		rehearsal = {.isolation = isolation};

	run_attempt(isolation, MODE_REHEARSAL, make_rehearsal, &rehearsal);
	isolation->to = rehearsal.end;
}

/* What is deferred has been judged by now, or is behind one itself. */
static bool
may_wait(const Isolation *isolation, const Waiting *waiting)
{
	if (waiting->deferred)
		return isolation->apply->work[waiting->message].fate == DJK_FATE_PARKED;
	return djk_park_would_wait(isolation->apply, waiting->message, waiting->edata->sqlerrcode);
}

/* Whether it is behind one that waits, or that is judged at its place and may wait then. */
static bool
may_be_behind(const Isolation *isolation, const Waiting *culprit)
{
	ListCell   *lc;

	if (isolation->apply->batch->detached)
		return false;
	foreach(lc, isolation->waiting)
	{
		const Waiting *other = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (other->message >= culprit->message)
			return false;
		if (djk_park_key_would_hold(isolation->apply, other->message, culprit->message) && may_wait(isolation, other))
			return true;
	}
	return false;
}

/*
 * Gives the messages their fates that violate deferred constraints whatever
 * else is applied.  What fails before its constraints are looked at may do so
 * for want of another one, and is judged at its place; so is what may be behind
 * such a one, or is behind one that has been judged and waits.
 */
static void
find_culprits(Isolation *isolation)
{
	ListCell   *lc;

	if (isolation->apply->inside)
		refuse_violated(isolation->apply);
	rehearse(isolation);
	foreach(lc, isolation->waiting)
	{
		Waiting    *waiting = lfirst(lc);

		if (!waiting->deferred || may_be_behind(isolation, waiting) ||
			djk_lane_gives_way(isolation->apply, waiting->message))
			continue;
		djk_judge_message(&isolation->judge, waiting->message, waiting->edata, true);
		fix_fate(isolation, waiting->message);
	}
	isolation->culprits = isolation->judge.suspects;
	isolation->waiting = NIL;
}

/*
 * What follows an attempt of which nothing stays.  With culprits known there is
 * no bound any more: a parent may be the last of the batch.
 */
static AttemptMode
next_mode(Isolation *isolation, AttemptMode mode, bool violated)
{
	if (!violated)
		return mode;
	if (mode != MODE_WHOLE)
		return MODE_EACH;
	find_culprits(isolation);
	isolation->max_subtransactions = 0;
	return MODE_WITHOUT_CULPRITS;
}

int
djk_isolate(DjkApply *apply, int from, int to, int max_subtransactions)
{
	Isolation	isolation = {0};
	AttemptMode mode = MODE_WHOLE;
	bool		violated;
	DjkFate    *before = MemoryContextAlloc(apply->batch_context, Max(to - from, 1) * sizeof(DjkFate));
	int			end;

	isolation.apply = apply;
	isolation.from = from;
	isolation.to = to;
	isolation.max_subtransactions = max_subtransactions;
	isolation.fates = MemoryContextAlloc(apply->batch_context, Max(to - from, 1) * sizeof(DjkFate));
	(void) djk_piece_reset(apply, from, to);
	for (int i = from; i < to; i++)
		before[i - from] = isolation.fates[i - from] = apply->work[i].fate;

	while (!attempt(&isolation, mode, &end, &violated))
	{
		if (!violated || apply->work[Min(end, to - 1)].fate == DJK_FATE_STOP)
			isolation.to = end;
		mode = next_mode(&isolation, mode, violated);
	}
	if (isolation.fresh == from)
		apply->failure_gap = -1;
	apply->pieces = isolation.subtransactions;
	/*
	 * What is left is left as it was, but for what stops here; what an earlier
	 * attempt has stopped at may have failed for what of that has not stayed.
	 */
	for (int i = end; i < to; i++)
	{
		if (i > end || (end > from && end == isolation.to) || apply->work[i].fate != DJK_FATE_STOP)
			apply->work[i].fate = before[i - from];
	}
	return end;
}
