/*-------------------------------------------------------------------------
 *
 * reference.c
 *	  A foreign key whose parents can be asked for.
 *
 * To find out by trying which of many messages lack a parent takes a subtransaction
 * for each that does.  One query over their keys tells of all of them, what the
 * foreign key's own check would find: by its operators, as the parent's owner, past
 * policies.  Keys are of the server's own types, whose text says all there is to them:
 * none of their code is anybody else's.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/reference.h"

#include "apply/key_table.h"
#include "apply/transaction.h"
#include "base/compat.h"
#include "base/subtransaction.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "state/catalog.h"
#include "state/spi.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* ---------- what it is ---------- */

/* A type for all that can be told to be equal to each other; InvalidOid: it is none of those. */
static Oid
family_of(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return INT8OID;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return TEXTOID;
		case UUIDOID:
		case DATEOID:
		case NUMERICOID:
			return type;
		default:
			return InvalidOid;
	}
}

/* A column that only new rows get a value of says nothing of those that are there. */
static bool
read_column(const DjkRouteState *state, Oid table, AttrNumber column, Oid parent, DjkReferenceColumn *read)
{
	Oid			declared = get_atttype(table, column);
	Oid			of_parent = get_atttype(parent, read->parent_column);
	Oid			family;

	if (!OidIsValid(declared) || !OidIsValid(of_parent))
		return false;
	read->column = djk_route_state_column(state, get_attname(table, column, false));
	read->type = getBaseType(declared);
	family = family_of(read->type);
	return read->column >= 0 && state->columns[read->column].type == declared && !state->columns[read->column].insert_only &&
		OidIsValid(family) && family == family_of(getBaseType(of_parent));
}

static bool
read_columns(const DjkRouteState *state, HeapTuple constraint, DjkReference *reference)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);
	AttrNumber	child_columns[INDEX_MAX_KEYS];
	AttrNumber	parent_columns[INDEX_MAX_KEYS];
	Oid			operators[INDEX_MAX_KEYS];

	DeconstructFkConstraintRow(constraint, &reference->ncolumns, child_columns, parent_columns, operators, NULL, NULL, NULL, NULL);
	for (int i = 0; i < reference->ncolumns; i++)
	{
		reference->columns[i].parent_column = parent_columns[i];
		reference->columns[i].equal_operator = operators[i];
		if (!read_column(state, form->conrelid, child_columns[i], form->confrelid, &reference->columns[i]))
			return false;
	}
	/* Of which some null would be wrong. */
	return reference->ncolumns == 1 || form->confmatchtype == FKCONSTR_MATCH_SIMPLE;
}

bool
djk_reference_read(const DjkRouteState *state, HeapTuple constraint, DjkReference *reference)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);
	char		relkind = get_rel_relkind(form->confrelid);

	if (form->contype != CONSTRAINT_FOREIGN || form->conrelid != state->route->target || !form->convalidated ||
		!DJK_IS_ENFORCED(form) || OidIsValid(form->conparentid) || form->confrelid == form->conrelid ||
		(relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE))
		return false;
	reference->parent = form->confrelid;
	reference->deferred = form->condeferred;
	return read_columns(state, constraint, reference);
}

/* Whether expressions read nothing besides their message; those that were never planned may. */
static bool
computes_blindly(const DjkRouteState *state)
{
	return !state->has_expressions ||
		(state->reads_generation != 0 && !state->reads.anything && state->reads.tables == NIL);
}

bool
djk_reference_read_key(const DjkRouteState *state, DjkReference *key)
{
	key->parent = state->route->target;
	key->deferred = false;
	key->ncolumns = state->nkeys;
	for (int i = 0; i < state->nkeys; i++)
	{
		const DjkColumn *column = &state->columns[state->keys[i]];
		DjkReferenceColumn *read = &key->columns[i];

		read->column = state->keys[i];
		read->type = getBaseType(column->type);
		read->parent_column = get_attnum(key->parent, column->name);
		read->equal_operator = lookup_type_cache(read->type, TYPECACHE_EQ_OPR)->eq_opr;
		if (!OidIsValid(family_of(read->type)) || read->parent_column == InvalidAttrNumber)
			return false;
	}
	return state->nkeys > 0;
}

bool
djk_reference_is_plain(const DjkRouteState *state)
{
	return state->target_sql != NULL && !state->is_view && (!state->ordered || state->ordered_by_unique) &&
		!state->alone && !state->has_policies && computes_blindly(state) && !state->values_read && state->version < 0 && !state->has_parts &&
		djk_key_table_serves(state);
}

bool
djk_reference_is_lasting(const DjkRouteState *state, const DjkReference *reference)
{
	if (!state->has_expressions)
		return true;
	for (int i = 0; i < reference->ncolumns; i++)
	{
		const DjkColumn *column = &state->columns[reference->columns[i].column];

		if (column->source == DJK_SOURCE_EXPRESSION && bms_is_member(column->expression, state->reads.varying))
			return false;
	}
	return !state->reads.deciding_varies;
}

static bool
is_kept(const DjkRouteState *state, const char *name)
{
	int			c = djk_route_state_column(state, name);
	ListCell   *lc;

	foreach(lc, state->generated)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return false;
	}
	return c < 0 || state->columns[c].is_key || state->columns[c].insert_only || state->columns[c].always_identity;
}

bool
djk_reference_keeps(const DjkRouteState *state, Oid table, const AttrNumber *columns, int n)
{
	bool		kept = true;

	for (int i = 0; i < n && state->route->operation >= DJK_OPERATION_UPSERT; i++)
		kept &= is_kept(state, get_attname(table, columns[i], false));
	return kept;
}

/* ---------- asking ---------- */

/* The server's own, and of whatever length. */
static char *
type_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* "k1, k2 …", each with what is before and behind it. */
static void
append_each(StringInfo sql, int n, const char *before, const char *behind)
{
	for (int i = 1; i <= n; i++)
		appendStringInfo(sql, "%s%s%d%s", i > 1 ? ", " : "", before, i, behind);
}

static char *
build_query(const DjkReference *reference)
{
	char	   *schema = get_namespace_name(get_rel_namespace(reference->parent));
	bool		only = get_rel_relkind(reference->parent) == RELKIND_RELATION;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT r.n FROM ROWS FROM (");
	append_each(&sql, reference->ncolumns, "pg_catalog.unnest($", ")");
	appendStringInfoString(&sql, ") WITH ORDINALITY AS r(");
	append_each(&sql, reference->ncolumns, "k", "");
	appendStringInfo(&sql, ", n) WHERE NOT EXISTS (SELECT FROM %s%s x WHERE ",
					 only ? "ONLY " : "", quote_qualified_identifier(schema, get_rel_name(reference->parent)));
	for (int i = 0; i < reference->ncolumns; i++)
	{
		const DjkReferenceColumn *column = &reference->columns[i];
		char	   *name = get_attname(reference->parent, column->parent_column, false);

		if (i > 0)
			appendStringInfoString(&sql, " AND ");
		generate_operator_clause(&sql, psprintf("x.%s", quote_identifier(name)),
								 get_atttype(reference->parent, column->parent_column), column->equal_operator,
								 psprintf("CAST(r.k%d AS %s)", i + 1, type_name(column->type)), column->type);
	}
	appendStringInfoString(&sql, ") ORDER BY 1");
	return sql.data;
}

/* The lock of the table is not waited for, but those of its partitions and indexes are. */
static void
limit_locks(int lock_ms)
{
	if (lock_ms > 0 && (LockTimeout == 0 || LockTimeout > lock_ms))
		djk_set_local("lock_timeout", psprintf("%d", lock_ms));
}

/*
 * In a subtransaction, whose end restores user and limit, and takes the lock away again.  As
 * long as it is held, as it is by the foreign key's own check, what the parent is called
 * is nothing else: a view in its place would run the code of others as its owner.  Who
 * has got the table meanwhile is waited for by the next try.
 */
static bool
ask(void *arg)
{
	DjkQuestion *question = arg;
	const DjkReference *reference = question->reference;
	Oid			types[INDEX_MAX_KEYS];
	Oid			userid;
	int			sec_context;
	char	   *query;

	if (!ConditionalLockRelationOid(reference->parent, RowShareLock) || get_rel_relkind(reference->parent) == '\0')
		return false;
	for (int i = 0; i < reference->ncolumns; i++)
		types[i] = get_array_type(question->in_text ? TEXTOID : reference->columns[i].type);
	query = build_query(reference);
	limit_locks(question->lock_ms);
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(djk_table_owner(reference->parent),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	djk_spi_connect();
	if (SPI_execute_with_args(query, reference->ncolumns, types, question->keys, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask for parents");
	question->nlacking = Min((int) SPI_processed, question->nkeys);
	for (int i = 0; i < question->nlacking; i++)
		question->lacking[i] = (int) djk_row_int64(i, 1, 0) - 1;
	SPI_finish();
	SetUserIdAndSecContext(userid, sec_context);
	return false;
}

ErrorData *
djk_reference_ask(DjkQuestion *question, MemoryContext error_context)
{
	ErrorData  *failure;

	question->nlacking = 0;
	failure = djk_subtransaction_try(ask, question, error_context);
	if (failure != NULL)
		question->nlacking = 0;
	return failure;
}
