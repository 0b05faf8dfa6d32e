/*-------------------------------------------------------------------------
 *
 * lack.c
 *	  Which row a message waits for, or which rows it waits for to go.
 *
 * The error of a foreign key names its constraint, in fields of its own; what it
 * refers to is the constraint's, and which row is the message's own row's.  The
 * same error comes of a deletion, or of a change of a key, that rows refer to: then
 * it is they that are waited for, until they are gone.
 * Nothing is taken from the error's text, which depends on the language and on
 * what the owner may read.
 *
 * The tables become known to the worker, which is woken when somebody writes
 * them (state/awaited.c).
 *
 *-------------------------------------------------------------------------
 */
#include "apply/lack.h"

#include "access/htup_details.h"
#include "apply/apply.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_constraint.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "state/awaited.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Of a value, as it is shown. */
#define SHOWN_BYTES		500

static void
await(DjkApply *apply, Oid table)
{
	MemoryContext old = MemoryContextSwitchTo(apply->context);

	if (!list_member_oid(apply->awaited, table))
	{
		apply->awaited = lappend_oid(apply->awaited, table);
		apply->awaits_more = true;
	}
	MemoryContextSwitchTo(old);
}

void
djk_lack_forget(DjkApply *apply, int message)
{
	memset(&apply->work[message].lack, 0, sizeof(DjkLack));
}

/* ---------- foreign keys ---------- */

bool
djk_lack_may_end(int sqlstate)
{
	/* Since PostgreSQL 18 what ON DELETE RESTRICT refuses has a code of its own. */
	return sqlstate == ERRCODE_FOREIGN_KEY_VIOLATION || sqlstate == ERRCODE_RESTRICT_VIOLATION;
}

HeapTuple
djk_lack_find_constraint(const ErrorData *edata, Oid *table)
{
	Oid			schema;
	Oid			constraint;
	HeapTuple	tuple;

	*table = InvalidOid;
	if (edata->schema_name == NULL || edata->table_name == NULL || edata->constraint_name == NULL)
		return NULL;
	schema = get_namespace_oid(edata->schema_name, true);
	if (OidIsValid(schema))
		*table = get_relname_relid(edata->table_name, schema);
	constraint = OidIsValid(*table) ? get_relation_constraint_oid(*table, edata->constraint_name, true) : InvalidOid;
	tuple = OidIsValid(constraint) ? SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint)) : NULL;
	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_FOREIGN)
		return tuple;
	ReleaseSysCache(tuple);
	return NULL;
}

/* The state of the route that has made the row of a message; NULL: there is no row. */
static const DjkRouteState *
state_of_row(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];
	const DjkRouteState *state = work->route >= 0 ? apply->states[work->route] : NULL;

	if (state == NULL || state->target_sql == NULL || work->row.present == NULL ||
		message < apply->piece_from || message >= apply->piece_to)
		return NULL;
	return state;
}

static bool
is_partition_of(Oid table, Oid other)
{
	return get_rel_relispartition(table) && list_member_oid(get_partition_ancestors(table), other);
}

/* Whether rows of the route's target are, or may be, those of a table. */
static bool
is_target(const DjkRouteState *state, Oid table)
{
	Oid			target = state->route->target;

	return target == table || is_partition_of(table, target) || is_partition_of(target, table);
}

/* The text of a column's value; NULL: the message does not say it. */
static char *
column_text(const DjkRouteState *state, const DjkRow *row, const char *name)
{
	int			c = djk_route_state_column(state, name);
	Oid			output;
	bool		varlena;
	char	   *text;

	if (c < 0 || !bms_is_member(c, row->present) || row->nulls[c])
		return NULL;
	getTypeOutputInfo(state->columns[c].type, &output, &varlena);
	text = OidOutputFunctionCall(output, row->values[c]);
	text[pg_mbcliplen(text, strlen(text), SHOWN_BYTES)] = '\0';
	return text;
}

/* {"column of the parent": "value"}; NULL if the row does not say it. */
static char *
missing_key(const DjkRouteState *state, const DjkRow *row, Oid table, HeapTuple constraint)
{
	Oid			parent = ((Form_pg_constraint) GETSTRUCT(constraint))->confrelid;
	AttrNumber	child_columns[INDEX_MAX_KEYS];
	AttrNumber	parent_columns[INDEX_MAX_KEYS];
	StringInfoData json;
	int			n;

	DeconstructFkConstraintRow(constraint, &n, child_columns, parent_columns, NULL, NULL, NULL, NULL, NULL);
	initStringInfo(&json);
	for (int i = 0; i < n; i++)
	{
		char	   *text = column_text(state, row, get_attname(table, child_columns[i], false));

		if (text == NULL)
			return NULL;
		appendStringInfoString(&json, i == 0 ? "{" : ", ");
		escape_json(&json, get_attname(parent, parent_columns[i], false));
		appendStringInfoString(&json, ": ");
		escape_json(&json, text);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/*
 * What a constraint lacks is told by what the message does.  If it deletes a row of
 * the table that is referred to, or writes there and not to where the reference is, it
 * is held by the rows that refer to its own.  Where the reference is within the
 * table a row that refers to none lacks none.  Where it is between other tables a
 * deletion is held by rows that refer to what it cascades to.
 */
static bool
is_held(const DjkRouteState *state, const DjkRow *row, Form_pg_constraint constraint, const char *key)
{
	bool		refers = is_target(state, constraint->conrelid);
	bool		referred = is_target(state, constraint->confrelid);

	if (row->is_delete)
		return referred || !refers;
	return referred && (!refers || key == NULL);
}

/* Whether nothing but rows that refer to others can be in the way: no trigger of the target's lacks one. */
static bool
is_held_alone(const DjkRouteState *state, const DjkRow *row, Form_pg_constraint constraint)
{
	return state != NULL && row->is_delete && is_target(state, constraint->confrelid);
}

/* Where it is not known what the message does, as it is of a handler's, it may be either. */
static void
note_constraint(DjkApply *apply, int message, Oid table, HeapTuple tuple)
{
	Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	const DjkRow *row = &apply->work[message].row;
	DjkParkedLack *lack = &apply->work[message].lack.row;
	const DjkRouteState *state = state_of_row(apply, message);

	if (state != NULL && is_target(state, table) && !row->is_delete)
		lack->key = missing_key(state, row, table, tuple);
	if (state != NULL && is_held(state, row, constraint, lack->key))
		lack->children = constraint->conrelid;
	else
		lack->parent = constraint->confrelid;
	if (state == NULL || OidIsValid(lack->children))
		await(apply, constraint->conrelid);
	if (!is_held_alone(state, row, constraint))
		await(apply, constraint->confrelid);
}

void
djk_lack_note_constraint(DjkApply *apply, int message, const ErrorData *edata, Oid table, HeapTuple constraint)
{
	DjkLack    *lack = &apply->work[message].lack;
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);

	djk_lack_forget(apply, message);
	lack->row.constraint = pstrdup(edata->constraint_name);
	lack->is_watched = true;
	note_constraint(apply, message, table, constraint);
	MemoryContextSwitchTo(old);
}

void
djk_lack_note(DjkApply *apply, int message, const ErrorData *edata)
{
	HeapTuple	constraint;
	Oid			table;

	djk_lack_forget(apply, message);
	if (!djk_lack_may_end(edata->sqlerrcode) || (constraint = djk_lack_find_constraint(edata, &table)) == NULL)
		return;
	djk_lack_note_constraint(apply, message, edata, table, constraint);
	ReleaseSysCache(constraint);
}

/* ---------- lookups ---------- */

void
djk_lack_note_lookup(DjkApply *apply, int message)
{
	int			route = apply->work[message].route;
	const DjkRouteState *state = route >= 0 ? apply->states[route] : NULL;
	ListCell   *lc;

	djk_lack_forget(apply, message);
	if (state == NULL || state->reads_generation == 0 || state->reads.anything || state->reads.tables == NIL)
		return;
	apply->work[message].lack.is_watched = true;
	foreach(lc, state->reads.tables)
		await(apply, lfirst_oid(lc));
}

/* ---------- the worker ---------- */

bool
djk_apply_awaits_more(const DjkApply *apply)
{
	return apply->awaits_more;
}

bool
djk_apply_watch(DjkApply *apply)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, apply->awaited)
		any |= djk_awaited_add(lfirst_oid(lc));
	apply->awaits_more = false;
	return any;
}

void
djk_apply_unwatch(DjkApply *apply)
{
	djk_awaited_clear();
	list_free(apply->awaited);
	apply->awaited = NIL;
	apply->awaits_more = false;
}
