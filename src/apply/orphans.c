/*-------------------------------------------------------------------------
 *
 * orphans.c
 *	  All messages of a piece that lack a parent, found at once.
 *
 * A statement that fails by a foreign key names one row.  To try the others one by one
 * takes a subtransaction for each, and where children come before their parents all
 * of a batch are such.  So the parent is asked for all of their keys (reference.c).
 *
 * That a message fails alone, and with which error, is certain only where nothing but
 * the foreign key can refuse it any more, and nothing in the piece brings its parent:
 * all that is left of the piece is one INSERT, whose rows have passed every other check
 * before those of foreign keys at its end; of these the message passes all that are
 * checked before the one that has failed; the table has no trigger; and nothing that
 * it computes looks at rows.  Of all else messages are tried alone.  A parent that comes
 * between wakes the worker, as after a try.
 *
 * Where the table has other unique constraints a row could take the place that another
 * has left, which stays there when that one is set aside.  Only a row that is there
 * already, or is written twice, can leave its place: so none of them may be such.
 *
 * Where the foreign key is deferred all has been written when it fails, the parents
 * that the batch brings too, and the rows have passed all that is not deferred.  So the
 * parent is asked then.  A message may be followed by others of its key, with which its
 * row may have become one: what it refers to is what it says itself, as it would alone,
 * and what is behind it of its key waits behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/orphans.h"

#include "access/table.h"
#include "access/xact.h"
#include "apply/judge.h"
#include "apply/key_table.h"
#include "apply/lack.h"
#include "apply/parents.h"
#include "apply/piece.h"
#include "apply/reference.h"
#include "apply/statement.h"
#include "base/subtransaction.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Messages whose parents are asked for. */
typedef struct Candidates
{
	const DjkApply *apply;
	const DjkRouteState *state;
	int		   *messages;
	int			n;
} Candidates;

/* ---------- whether it is certain ---------- */

/* Whether no row that refers to the table can be in the way of a message that does not delete. */
static bool
is_never_held(const DjkRouteState *state, Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	AttrNumber	columns[INDEX_MAX_KEYS];
	AttrNumber	referred[INDEX_MAX_KEYS];
	int			n;
	bool		never;

	if (!HeapTupleIsValid(tuple))
		return false;
	DeconstructFkConstraintRow(tuple, &n, columns, referred, NULL, NULL, NULL, NULL, NULL);
	never = djk_reference_keeps(state, state->route->target, referred, n);
	ReleaseSysCache(tuple);
	return never;
}

/* Whether foreign keys' checks are all that is behind an INSERT: that of a unique constraint may be deferred so far too. */
static bool
is_checked_last(const DjkRouteState *state, Relation rel)
{
	bool		only = rel->rd_rules == NULL;

	for (int i = 0; only && rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		only = trigger->tgisinternal && trigger->tgfoid != F_UNIQUE_KEY_RECHECK &&
			(RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_PK || is_never_held(state, trigger->tgconstraint));
	}
	return only;
}

static bool
read_reference(const DjkRouteState *state, Oid constraint, DjkReference *reference)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		read = HeapTupleIsValid(tuple) && djk_reference_read(state, tuple, reference);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return read;
}

/* Those that are checked when the constraint is, up to it and in their order; NIL: that is not known. */
static List *
read_references(const DjkRouteState *state, Relation rel, Oid constraint, bool deferred)
{
	List	   *references = NIL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];
		DjkReference *reference;

		if (trigger->tgfoid != F_RI_FKEY_CHECK_INS || trigger->tginitdeferred != deferred)
			continue;
		reference = palloc(sizeof(DjkReference));
		if (!read_reference(state, trigger->tgconstraint, reference))
			return NIL;
		references = lappend(references, reference);
		if (trigger->tgconstraint == constraint)
			return references;
	}
	return NIL;
}

/* The same of the one that an error names, of the route's target. */
static List *
find_references(const DjkRouteState *state, const ErrorData *edata, bool deferred)
{
	Oid			table;
	HeapTuple	constraint = djk_lack_find_constraint(edata, &table);
	Oid			id;
	Relation	rel;
	List	   *references = NIL;

	if (constraint == NULL)
		return NIL;
	id = ((Form_pg_constraint) GETSTRUCT(constraint))->oid;
	ReleaseSysCache(constraint);
	if (table != state->route->target)
		return NIL;
	rel = table_open(table, AccessShareLock);
	if (is_checked_last(state, rel))
		references = read_references(state, rel, id, deferred);
	table_close(rel, AccessShareLock);
	return references;
}

/* Whether a statement that has failed was an INSERT of all that is left of the piece. */
static bool
is_whole(const DjkApply *apply, const DjkRouteState *state, int from, int to)
{
	int			n = 0;

	if (!state->running || (state->running_kind != DJK_SQL_INSERT_MISSING && state->running_kind != DJK_SQL_UPSERT))
		return false;
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];

		if (work->fate != DJK_FATE_PENDING && work->fate != DJK_FATE_APPLIED)
			continue;
		if (work->route != apply->current_route || work->row.present == NULL)
			return false;
		n++;
	}
	return state->at_hand.rows != NULL && state->at_hand.nrows == n;
}

static bool
may_be_asked(const DjkRouteState *state, const ErrorData *edata)
{
	return state != NULL && edata->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION && !IsolationUsesXactSnapshot() &&
		djk_reference_is_plain(state);
}

/* ---------- asking ---------- */

static const DjkRow *
row_of(const Candidates *candidates, int i)
{
	return &candidates->apply->work[candidates->messages[i]].row;
}

/* Whether a row says what it refers to, that or nothing. */
static bool
is_told(const DjkRow *row, const DjkReference *reference)
{
	for (int i = 0; i < reference->ncolumns; i++)
	{
		if (!bms_is_member(reference->columns[i].column, row->present))
			return false;
	}
	return true;
}

/* With a null a row refers to none. */
static bool
refers(const DjkRow *row, const DjkReference *reference)
{
	for (int i = 0; i < reference->ncolumns; i++)
	{
		if (row->nulls[reference->columns[i].column])
			return false;
	}
	return true;
}

/* Those of [from, to) that a message's row was made of, which says all that is asked for and refers to a row by the last. */
static Candidates
find_candidates(const DjkApply *apply, const DjkRouteState *state, int from, int to, const List *references)
{
	Candidates	candidates = {apply, state, palloc(Max(to - from, 1) * sizeof(int)), 0};

	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		bool		told = (work->fate == DJK_FATE_PENDING || work->fate == DJK_FATE_APPLIED) &&
			work->row.present != NULL && !work->row.is_delete;
		ListCell   *lc;

		foreach(lc, references)
			told = told && is_told(&work->row, lfirst(lc));
		if (told && refers(&work->row, llast(references)))
			candidates.messages[candidates.n++] = i;
	}
	return candidates;
}

static Datum
collect_keys(const Candidates *candidates, const int *asked, int n, const DjkReferenceColumn *column)
{
	Datum	   *keys = palloc(Max(n, 1) * sizeof(Datum));
	int16		typlen;
	bool		typbyval;
	char		typalign;

	for (int i = 0; i < n; i++)
		keys[i] = row_of(candidates, asked[i])->values[column->column];
	get_typlenbyvalalign(column->type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_array(keys, n, column->type, typlen, typbyval, typalign));
}

/* Which of the candidates lack what they refer to, by number; NULL: that cannot be asked. */
static bool *
find_lacking(DjkApply *apply, const Candidates *candidates, const DjkReference *reference)
{
	DjkQuestion question = {.reference = reference};
	bool	   *lacking = palloc0(Max(candidates->n, 1) * sizeof(bool));
	int		   *asked = palloc(Max(candidates->n, 1) * sizeof(int));
	ErrorData  *failure;

	for (int i = 0; i < candidates->n; i++)
	{
		if (refers(row_of(candidates, i), reference))
			asked[question.nkeys++] = i;
	}
	for (int c = 0; c < reference->ncolumns; c++)
		question.keys[c] = collect_keys(candidates, asked, question.nkeys, &reference->columns[c]);
	question.lacking = palloc(Max(question.nkeys, 1) * sizeof(int));
	failure = djk_reference_ask(&question, apply->batch_context);
	if (failure != NULL && djk_judge_is_transient(apply, apply->piece_from, apply->piece_to, failure))
		ReThrowError(failure);
	for (int i = 0; i < question.nlacking; i++)
		lacking[asked[question.lacking[i]]] = true;
	return failure == NULL ? lacking : NULL;
}

/* As the foreign key's own check tells of it. */
static char *
detail_of(const DjkRouteState *state, const DjkReference *reference, const DjkRow *row)
{
	StringInfoData names;
	StringInfoData values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < reference->ncolumns; i++)
	{
		const DjkReferenceColumn *column = &reference->columns[i];
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(column->type, &output, &varlena);
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", state->columns[column->column].name);
		appendStringInfo(&values, "%s%s", i > 0 ? ", " : "", OidOutputFunctionCall(output, row->values[column->column]));
	}
	return psprintf(_("Key (%s)=(%s) is not present in table \"%s\"."), names.data, values.data, get_rel_name(reference->parent));
}

/*
 * Those of the candidates that lack their parent, and pass what is checked before.  Where
 * none of them would be told of as it was told, what the check may say is not known.
 */
static DjkOrphan *
find_orphans(DjkApply *apply, Candidates *candidates, const List *references, const ErrorData *edata, int *n)
{
	DjkOrphan  *orphans = palloc(Max(candidates->n, 1) * sizeof(DjkOrphan));
	bool		told = false;
	ListCell   *lc;

	foreach(lc, references)
	{
		const DjkReference *reference = lfirst(lc);
		bool		last = lnext(references, lc) == NULL;
		bool	   *lacking = find_lacking(apply, candidates, reference);
		int			kept = 0;

		if (lacking == NULL)
			return NULL;
		for (int i = 0; i < candidates->n; i++)
		{
			if (lacking[i] == last)
				candidates->messages[kept++] = candidates->messages[i];
		}
		candidates->n = kept;
	}
	for (int i = 0; i < candidates->n; i++)
	{
		orphans[i].message = candidates->messages[i];
		orphans[i].detail = detail_of(candidates->state, llast(references), row_of(candidates, i));
		told |= edata->detail != NULL && strcmp(orphans[i].detail, edata->detail) == 0;
	}
	*n = told ? candidates->n : 0;
	return told ? orphans : NULL;
}

/* ---------- places of others ---------- */

static int
compare_hashes(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

/* Hashes of the keys of all rows that a route has made of [from, to), sorted. */
static uint32 *
sort_hashes(const DjkApply *apply, const DjkRouteState *state, int from, int to, int *n)
{
	uint32	   *hashes = palloc(Max(to - from, 1) * sizeof(uint32));

	*n = 0;
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];

		if (work->row.present != NULL && apply->states[work->route] == state)
			hashes[(*n)++] = djk_key_hash(state, &work->row);
	}
	qsort(hashes, *n, sizeof(uint32), compare_hashes);
	return hashes;
}

/* Whether each has a key of its own in [from, to). */
static bool
are_written_once(const Candidates *orphans, int from, int to)
{
	int			n;
	uint32	   *hashes = sort_hashes(orphans->apply, orphans->state, from, to, &n);
	uint32	   *end = hashes + n;

	for (int i = 0; i < orphans->n; i++)
	{
		uint32		hash = djk_key_hash(orphans->state, row_of(orphans, i));
		uint32	   *found = bsearch(&hash, hashes, n, sizeof(uint32), compare_hashes);

		if (found == NULL || (found > hashes && found[-1] == hash) || (found + 1 < end && found[1] == hash))
			return false;
	}
	return true;
}

/* Whether there is no row yet of any of their keys. */
static bool
are_new(DjkApply *apply, const Candidates *orphans)
{
	DjkReference key;
	bool	   *lacking;

	if (!djk_reference_read_key(orphans->state, &key))
		return false;
	lacking = find_lacking(apply, orphans, &key);
	for (int i = 0; i < orphans->n && lacking != NULL; i++)
	{
		if (!lacking[i])
			return false;
	}
	return lacking != NULL;
}

static bool
leave_no_place(DjkApply *apply, const DjkRouteState *state, int from, int to, const DjkOrphan *orphans, int n)
{
	Candidates	candidates = {apply, state, palloc(Max(n, 1) * sizeof(int)), n};

	for (int i = 0; i < n; i++)
		candidates.messages[i] = orphans[i].message;
	return !state->ordered_by_unique || (are_written_once(&candidates, from, to) && are_new(apply, &candidates));
}

/* ---------- at the end of a statement ---------- */

static DjkOrphan *
ask_for_all(DjkApply *apply, const DjkRouteState *state, int from, int to, const ErrorData *edata, int *n)
{
	List	   *references = find_references(state, edata, false);
	Candidates	candidates;

	if (references == NIL)
		return NULL;
	candidates = find_candidates(apply, state, from, to, references);
	return find_orphans(apply, &candidates, references, edata, n);
}

DjkOrphan *
djk_orphans_find(DjkApply *apply, int from, int to, const ErrorData *edata, int *n)
{
	const DjkRouteState *state = apply->current_route >= 0 ? apply->states[apply->current_route] : NULL;
	DjkOrphan  *orphans = NULL;

	*n = 0;
	if (!may_be_asked(state, edata) || !is_whole(apply, state, from, to) ||
		!ConditionalLockRelationOid(state->route->target, RowExclusiveLock))
		return NULL;
	if (state->valid)
		orphans = ask_for_all(apply, state, from, to, edata, n);
	if (orphans != NULL && !leave_no_place(apply, state, from, to, orphans, *n))
		orphans = NULL;
	if (orphans == NULL)
	{
		*n = 0;
		UnlockRelationOid(state->route->target, RowExclusiveLock);
	}
	return orphans;
}

/* ---------- at the end of all ---------- */

/* The only route of what was applied whose target is the table that an error names; -1: there are several, or none. */
static int
find_route(const DjkApply *apply, int from, int to, const ErrorData *edata)
{
	Oid			table;
	HeapTuple	constraint = djk_lack_find_constraint(edata, &table);
	int			route = -1;

	if (constraint == NULL)
		return -1;
	ReleaseSysCache(constraint);
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];

		if (work->fate != DJK_FATE_APPLIED || apply->consumer->routes[work->route].target != table)
			continue;
		if (route >= 0 && work->route != route)
			return -1;
		route = work->route;
	}
	return route;
}

typedef struct Again
{
	DjkApply   *apply;
	int			from;
	int			to;
} Again;

static bool
prepare(void *arg)
{
	Again	   *again = arg;

	djk_piece_prepare(again->apply, again->from, again->to);
	return false;
}

/* Makes the rows once more of what a route has applied, since they may be gone, or one with others.  Fates stay. */
static bool
prepare_again(DjkApply *apply, int from, int to, int route)
{
	Again		again = {apply, from, to};
	DjkFate    *fates = MemoryContextAlloc(apply->batch_context, (to - from) * sizeof(DjkFate));
	ErrorData  *failure;

	for (int i = from; i < to; i++)
	{
		DjkWork    *work = &apply->work[i];

		fates[i - from] = work->fate;
		if (work->fate != DJK_FATE_APPLIED || work->route != route)
			work->fate = DJK_FATE_LOST;
	}
	failure = djk_subtransaction_try(prepare, &again, apply->batch_context);
	for (int i = from; i < to; i++)
	{
		/* What was not made again is no row. */
		if (apply->work[i].fate != DJK_FATE_PENDING)
			apply->work[i].row.present = NULL;
		apply->work[i].fate = fates[i - from];
	}
	pfree(fates);
	if (failure != NULL && djk_judge_is_transient(apply, from, to, failure))
		ReThrowError(failure);
	return failure == NULL;
}

static bool
all_stay(const DjkApply *apply, int from, int to, const List *references)
{
	ListCell   *lc;

	foreach(lc, references)
	{
		if (!djk_parents_stay(apply, from, to, lfirst(lc)))
			return false;
	}
	return true;
}

DjkOrphan *
djk_orphans_find_deferred(DjkApply *apply, int from, int to, const ErrorData *edata, int *n)
{
	int			route;
	const DjkRouteState *state;
	uint64		shape;
	List	   *references;
	MemoryContext old;
	Candidates	candidates;
	DjkOrphan  *orphans;

	*n = 0;
	route = edata->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION ? find_route(apply, from, to, edata) : -1;
	state = route >= 0 ? apply->states[route] : NULL;
	if (!may_be_asked(state, edata) || !state->valid)
		return NULL;
	references = find_references(state, edata, true);
	shape = state->shape;
	if (references == NIL || !all_stay(apply, from, to, references) || !prepare_again(apply, from, to, route))
		return NULL;
	state = apply->states[route];
	if (state == NULL || state->shape != shape)
		return NULL;
	old = MemoryContextSwitchTo(apply->attempt_context);
	candidates = find_candidates(apply, state, from, to, references);
	orphans = find_orphans(apply, &candidates, references, edata, n);
	MemoryContextSwitchTo(old);
	return orphans;
}

/* The lock has gone with what failed; what was prepared for the table as it was is used for more than one message. */
bool
djk_orphans_confirm(DjkApply *apply, int from, int to, const DjkOrphan *orphans, int n)
{
	const DjkRouteState *state = apply->states[apply->work[orphans[0].message].route];

	if (!ConditionalLockRelationOid(state->route->target, RowExclusiveLock))
		return false;
	if (state->valid && leave_no_place(apply, state, from, to, orphans, n))
		return true;
	UnlockRelationOid(state->route->target, RowExclusiveLock);
	return false;
}
