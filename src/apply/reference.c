/*-------------------------------------------------------------------------
 *
 * reference.c
 *	  A foreign key whose parents can be asked for.
 *
 * To find out by trying which of many messages lack a parent takes a subtransaction
 * for each that does.  One query over their keys tells of all of them, what the
 * foreign key's own check would find: by its operator, as the parent's owner, past
 * policies.  Keys are integers or uuids, which are equal where they look so.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/reference.h"

#include "apply/key_table.h"
#include "apply/transaction.h"
#include "base/compat.h"
#include "base/operator.h"
#include "base/subtransaction.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/spi.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* ---------- what it is ---------- */

static bool
is_comparable(Oid child, Oid parent)
{
	if (child == UUIDOID || parent == UUIDOID)
		return child == parent;
	return (child == INT2OID || child == INT4OID || child == INT8OID) &&
		(parent == INT2OID || parent == INT4OID || parent == INT8OID);
}

bool
djk_reference_read(const DjkRouteState *state, HeapTuple constraint, DjkReference *reference)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);
	AttrNumber	child_columns[INDEX_MAX_KEYS];
	AttrNumber	parent_columns[INDEX_MAX_KEYS];
	Oid			operators[INDEX_MAX_KEYS];
	char		relkind = get_rel_relkind(form->confrelid);
	int			n;

	if (form->conrelid != state->route->target || form->condeferrable || !form->convalidated || !DJK_IS_ENFORCED(form) ||
		OidIsValid(form->conparentid) || form->confrelid == form->conrelid ||
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

bool
djk_reference_is_plain(const DjkRouteState *state)
{
	return state->target_sql != NULL && !state->is_view && !state->ordered && !state->alone && !state->has_policies &&
		!state->has_expressions && !state->values_read && state->version < 0 && !state->has_parts &&
		djk_key_table_serves(state);
}

/* ---------- asking ---------- */

static char *
build_query(const DjkReference *reference)
{
	char	   *schema = get_namespace_name(get_rel_namespace(reference->parent));
	bool		only = get_rel_relkind(reference->parent) == RELKIND_RELATION;

	return psprintf("SELECT r.n FROM pg_catalog.unnest($1) WITH ORDINALITY AS r(k, n)"
					" WHERE NOT EXISTS (SELECT FROM %s%s x WHERE x.%s %s CAST(r.k AS %s)) ORDER BY 1",
					only ? "ONLY " : "", quote_qualified_identifier(schema, get_rel_name(reference->parent)),
					quote_identifier(get_attname(reference->parent, reference->parent_column, false)),
					reference->equal_operator, format_type_be_qualified(reference->type));
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
	Oid			types[1] = {get_array_type(question->in_text ? TEXTOID : reference->type)};
	Oid			userid;
	int			sec_context;
	char	   *query;

	if (!ConditionalLockRelationOid(reference->parent, RowShareLock) || get_rel_relkind(reference->parent) == '\0')
		return false;
	query = build_query(reference);
	limit_locks(question->lock_ms);
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(djk_table_owner(reference->parent),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	djk_spi_connect();
	if (SPI_execute_with_args(query, 1, types, &question->keys, NULL, false, 0) != SPI_OK_SELECT)
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
