/*-------------------------------------------------------------------------
 *
 * orphans.c
 *	  All messages of a piece that lack a parent, found at once.
 *
 * A statement that fails by a foreign key names one row.  To try the others one by one
 * takes a subtransaction for each, and where children come before their parents all
 * of a batch are such.  So the parent is asked for all of their keys, as the foreign
 * key's own check does: by its operator, as the parent's owner, past policies.
 *
 * That a message fails alone, and with which error, is certain only where nothing but
 * the foreign key can refuse it any more, and nothing in the piece brings its parent:
 * all that is left of the piece is one INSERT, whose rows have passed every other check
 * before the foreign key's at its end; the table has no other foreign key and no
 * trigger; nothing that it computes looks at rows; and keys are integers or uuids,
 * which are equal where they look so.  Of all else messages are tried alone.  A parent
 * that comes between wakes the worker, as after a try.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/orphans.h"

#include "access/table.h"
#include "access/xact.h"
#include "apply/judge.h"
#include "apply/key_table.h"
#include "apply/lack.h"
#include "apply/statement.h"
#include "base/operator.h"
#include "base/subtransaction.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/spi.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* A foreign key of one column. */
typedef struct Reference
{
	int			column;			/* of the route's state: it refers, */
	Oid			type;
	Oid			parent;			/* … to this table's */
	AttrNumber	parent_column;
	char	   *equal_operator;
} Reference;

/* What is asked, and the answer. */
typedef struct Question
{
	const Reference *reference;
	Datum		keys;
	int			nkeys;
	int		   *lacking;		/* numbers of keys */
	int			nlacking;
} Question;

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
is_comparable(Oid child, Oid parent)
{
	if (child == UUIDOID || parent == UUIDOID)
		return child == parent;
	return (child == INT2OID || child == INT4OID || child == INT8OID) &&
		(parent == INT2OID || parent == INT4OID || parent == INT8OID);
}

static bool
read_reference(const DjkRouteState *state, HeapTuple constraint, Reference *reference)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);
	AttrNumber	child_columns[INDEX_MAX_KEYS];
	AttrNumber	parent_columns[INDEX_MAX_KEYS];
	Oid			operators[INDEX_MAX_KEYS];
	char		relkind = get_rel_relkind(form->confrelid);
	int			n;

	if (form->condeferrable || !form->convalidated || OidIsValid(form->conparentid) || form->confrelid == form->conrelid ||
		(relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE))
		return false;
	DeconstructFkConstraintRow(constraint, &n, child_columns, parent_columns, operators, NULL, NULL, NULL, NULL);
	if (n != 1)
		return false;
	reference->parent = form->confrelid;
	reference->parent_column = parent_columns[0];
	reference->equal_operator = djk_operator_sql(operators[0]);
	reference->column = djk_route_state_column(state, get_attname(form->conrelid, child_columns[0], false));
	reference->type = get_atttype(form->conrelid, child_columns[0]);
	return reference->column >= 0 && state->columns[reference->column].type == reference->type &&
		is_comparable(reference->type, get_atttype(form->confrelid, parent_columns[0]));
}

static bool
find_reference(const DjkRouteState *state, const ErrorData *edata, Reference *reference)
{
	Oid			table;
	HeapTuple	constraint = djk_lack_find_constraint(edata, &table);
	bool		found;

	if (constraint == NULL)
		return false;
	found = table == state->route->target && read_reference(state, constraint, reference) && is_checked_last(table);
	ReleaseSysCache(constraint);
	return found;
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

/* Whether nothing that is computed looks at rows, and each row has a key of its own that can be told from others. */
static bool
is_plain(const DjkRouteState *state)
{
	return state->target_sql != NULL && !state->is_view && !state->ordered && !state->alone && !state->has_policies &&
		!state->has_expressions && !state->values_read && state->version < 0 && !state->has_parts &&
		djk_key_table_serves(state);
}

/* ---------- asking ---------- */

static char *
build_query(const Reference *reference)
{
	char	   *schema = get_namespace_name(get_rel_namespace(reference->parent));
	bool		only = get_rel_relkind(reference->parent) == RELKIND_RELATION;

	return psprintf("SELECT r.n FROM pg_catalog.unnest($1) WITH ORDINALITY AS r(k, n)"
					" WHERE NOT EXISTS (SELECT FROM %s%s x WHERE x.%s %s r.k) ORDER BY 1",
					only ? "ONLY " : "", quote_qualified_identifier(schema, get_rel_name(reference->parent)),
					quote_identifier(get_attname(reference->parent, reference->parent_column, false)),
					reference->equal_operator);
}

static Oid
owner_of(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * In a subtransaction, whose end restores the user, and takes the lock away again.  As
 * long as it is held, as it is by the foreign key's own check, what the parent is called
 * is nothing else: a view in its place would run the code of others as its owner.  Who
 * has got the table meanwhile is waited for by the next try.
 */
static bool
ask(void *arg)
{
	Question   *question = arg;
	Oid			types[1] = {get_array_type(question->reference->type)};
	Oid			userid;
	int			sec_context;
	char	   *query;

	if (!ConditionalLockRelationOid(question->reference->parent, RowShareLock) ||
		get_rel_relkind(question->reference->parent) == '\0')
		return false;
	query = build_query(question->reference);
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(owner_of(question->reference->parent),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	djk_spi_connect();
	if (SPI_execute_with_args(query, 1, types, &question->keys, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask for parents");
	question->nlacking = Min((int) SPI_processed, question->nkeys);
	for (int i = 0; i < question->nlacking; i++)
	{
		bool		isnull;

		question->lacking[i] = (int) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)) - 1;
	}
	SPI_finish();
	SetUserIdAndSecContext(userid, sec_context);
	return false;
}

/* As the foreign key's own check tells of it. */
static char *
detail_of(const DjkRouteState *state, const Reference *reference, const DjkRow *row)
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
find_orphans(const DjkApply *apply, const DjkRouteState *state, const int *messages, const Question *question,
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
	Reference	reference;
	Question	question = {.reference = &reference};
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
	failure = djk_subtransaction_try(ask, &question, apply->batch_context);
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
		!is_plain(state) || !is_whole(apply, state, from, to) ||
		!ConditionalLockRelationOid(state->route->target, RowExclusiveLock))
		return NULL;
	if (state->valid)
		orphans = ask_for_all(apply, state, from, to, edata, n);
	if (orphans == NULL)
		UnlockRelationOid(state->route->target, RowExclusiveLock);
	return orphans;
}
