/*-------------------------------------------------------------------------
 *
 * numbered.c
 *	  Columns whose default is the next number of a sequence.
 *
 * INSERT … ON CONFLICT takes a number before it finds that the row is there: an
 * upsert that updates would burn one each time, and an integer's numbers are
 * used up by two thousand million updates.  So such a statement looks for the
 * row first, and gives it the number that it has.  Only where nothing else could
 * come of it: not where a trigger may change the key before it is compared, rows
 * may be hidden, or children have rows of the same key.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/numbered.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool
is_cast(Node *expression)
{
	return IsA(expression, FuncExpr) && (((FuncExpr *) expression)->funcformat == COERCE_EXPLICIT_CAST ||
										 ((FuncExpr *) expression)->funcformat == COERCE_IMPLICIT_CAST);
}

/* What the number can stand beside in a coalesce(), and be assigned to, without any other cast of the default's. */
static bool
is_number(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return true;
		default:
			return false;
	}
}

/* The sequence that a default takes its number from; InvalidOid if it is another default. */
static Oid
sequence_of(Node *expression)
{
	if (expression == NULL)
		return InvalidOid;
	if (IsA(expression, NextValueExpr))
		return ((NextValueExpr *) expression)->seqid;
	if (is_cast(expression))
		return sequence_of(linitial(((FuncExpr *) expression)->args));
	if (IsA(expression, FuncExpr) && ((FuncExpr *) expression)->funcid == F_NEXTVAL)
	{
		Node	   *sequence = linitial(((FuncExpr *) expression)->args);

		if (IsA(sequence, Const) && !((Const *) sequence)->constisnull)
			return DatumGetObjectId(((Const *) sequence)->constvalue);
	}
	return InvalidOid;
}

static bool
may_look_first(const DjkRouteState *state, Relation rel)
{
	return state->route->operation != DJK_OPERATION_INSERT && state->nkeys > 0 && !state->is_view &&
		rel->rd_rel->relkind == RELKIND_RELATION && !rel->rd_rel->relhassubclass && !rel->rd_rel->relrowsecurity &&
		(rel->trigdesc == NULL || !rel->trigdesc->trig_insert_before_row) &&
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_INSERT) == ACLCHECK_OK &&
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

void
djk_numbered_build(DjkRouteState *state, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; may_look_first(state, rel) && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		DjkNumbered *numbered;
		Oid			sequence;

		if (att->attisdropped || att->attgenerated != '\0' || !is_number(att->atttypid))
			continue;
		sequence = sequence_of(build_column_default(rel, att->attnum));
		/* An identity's needs no right of its own; a call of nextval() does. */
		if (!OidIsValid(sequence) ||
			pg_class_aclcheck(sequence, GetUserId(), ACL_USAGE | ACL_UPDATE) != ACLCHECK_OK)
			continue;
		numbered = palloc0(sizeof(DjkNumbered));
		numbered->name = pstrdup(quote_identifier(NameStr(att->attname)));
		numbered->column = djk_route_state_column(state, NameStr(att->attname));
		numbered->next = psprintf("pg_catalog.nextval('%u'::pg_catalog.regclass)", sequence);
		numbered->always_identity = att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
		state->numbered = lappend(state->numbered, numbered);
	}
}

List *
djk_numbered_absent(const DjkRouteState *state, const Bitmapset *present)
{
	List	   *absent = NIL;
	ListCell   *lc;

	foreach(lc, state->numbered)
	{
		DjkNumbered *numbered = lfirst(lc);

		if (numbered->column < 0 || !bms_is_member(numbered->column, present))
			absent = lappend(absent, numbered);
	}
	return absent;
}
