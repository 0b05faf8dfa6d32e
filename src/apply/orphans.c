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
 * before the foreign key's at its end; the table has no other foreign key and no
 * trigger; and nothing that it computes looks at rows.  Of all else messages are tried
 * alone.  A parent that comes between wakes the worker, as after a try.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/orphans.h"

#include "access/table.h"
#include "access/xact.h"
#include "apply/judge.h"
#include "apply/lack.h"
#include "apply/reference.h"
#include "apply/statement.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* ---------- whether it is certain ---------- */

/* Whether the foreign key's is the only check behind an INSERT: that of a unique constraint may be deferred so far too. */
static bool
is_checked_last(Oid table)
{
	Relation	rel = table_open(table, AccessShareLock);
	bool		only = list_length(RelationGetFKeyList(rel)) == 1 && rel->rd_rules == NULL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		only &= rel->trigdesc->triggers[i].tgisinternal && rel->trigdesc->triggers[i].tgfoid != F_UNIQUE_KEY_RECHECK;
	table_close(rel, AccessShareLock);
	return only;
}

static bool
find_reference(const DjkRouteState *state, const ErrorData *edata, DjkReference *reference)
{
	Oid			table;
	HeapTuple	constraint = djk_lack_find_constraint(edata, &table);
	bool		found;

	if (constraint == NULL)
		return false;
	found = table == state->route->target && djk_reference_read(state, constraint, reference) && is_checked_last(table);
	ReleaseSysCache(constraint);
	return found;
}

/* Whether a statement that has failed was an INSERT of all that is left of the piece. */
static bool
is_whole(const DjkApply *apply, const DjkRouteState *state, int from, int to)
{
	int			n = 0;

	if (!state->running.now || (state->running.kind != DJK_SQL_INSERT_MISSING && state->running.kind != DJK_SQL_UPSERT))
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

/* ---------- asking ---------- */

/* As the foreign key's own check tells of it. */
static char *
detail_of(const DjkRouteState *state, const DjkReference *reference, const DjkRow *row)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(reference->type, &output, &varlena);
	return psprintf(_("Key (%s)=(%s) is not present in table \"%s\"."), state->columns[reference->column].name,
					OidOutputFunctionCall(output, row->values[reference->column]), get_rel_name(reference->parent));
}

/*
 * Which of the rows lack their parent.  Where none of them would be told of as it was
 * told, what the check may say is not known.
 */
static DjkOrphan *
find_orphans(const DjkApply *apply, const DjkRouteState *state, const int *messages, const DjkQuestion *question,
			 const ErrorData *edata)
{
	DjkOrphan  *orphans = palloc(Max(question->nlacking, 1) * sizeof(DjkOrphan));
	bool		told = false;

	for (int i = 0; i < question->nlacking; i++)
	{
		orphans[i].message = messages[question->lacking[i]];
		orphans[i].detail = detail_of(state, question->reference, &apply->work[orphans[i].message].row);
		told |= edata->detail != NULL && strcmp(orphans[i].detail, edata->detail) == 0;
	}
	return told ? orphans : NULL;
}

static DjkOrphan *
ask_for_all(DjkApply *apply, const DjkRouteState *state, int from, int to, const ErrorData *edata, int *n)
{
	DjkReference reference;
	DjkQuestion question = {.reference = &reference};
	int		   *messages;
	Datum	   *keys;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	ErrorData  *failure;
	DjkOrphan  *orphans;

	if (!find_reference(state, edata, &reference))
		return NULL;
	messages = palloc(state->at_hand.nrows * sizeof(int));
	keys = palloc(state->at_hand.nrows * sizeof(Datum));
	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];

		if ((work->fate != DJK_FATE_PENDING && work->fate != DJK_FATE_APPLIED) ||
			!bms_is_member(reference.column, work->row.present) || work->row.nulls[reference.column])
			continue;
		messages[question.nkeys] = i;
		keys[question.nkeys++] = work->row.values[reference.column];
	}
	get_typlenbyvalalign(reference.type, &typlen, &typbyval, &typalign);
	question.keys = PointerGetDatum(construct_array(keys, question.nkeys, reference.type, typlen, typbyval, typalign));
	question.lacking = palloc(Max(question.nkeys, 1) * sizeof(int));
	failure = djk_reference_ask(&question, apply->batch_context);
	if (failure != NULL && djk_judge_is_transient(apply, from, to, failure))
		ReThrowError(failure);
	if (failure != NULL)
		return NULL;
	orphans = find_orphans(apply, state, messages, &question, edata);
	*n = orphans != NULL ? question.nlacking : 0;
	return orphans;
}

/*
 * The lock of the table has gone with the piece.  What was prepared of that is used for
 * more than one message, so the table must stay what it was prepared for until then.
 */
DjkOrphan *
djk_orphans_find(DjkApply *apply, int from, int to, const ErrorData *edata, int *n)
{
	const DjkRouteState *state = apply->current_route >= 0 ? apply->states[apply->current_route] : NULL;
	DjkOrphan  *orphans = NULL;

	*n = 0;
	if (state == NULL || edata->sqlerrcode != ERRCODE_FOREIGN_KEY_VIOLATION || IsolationUsesXactSnapshot() ||
		!djk_reference_is_plain(state) || !is_whole(apply, state, from, to) ||
		!ConditionalLockRelationOid(state->route->target, RowExclusiveLock))
		return NULL;
	if (state->valid)
		orphans = ask_for_all(apply, state, from, to, edata, n);
	if (orphans == NULL)
		UnlockRelationOid(state->route->target, RowExclusiveLock);
	return orphans;
}
