/*-------------------------------------------------------------------------
 *
 * uses.c
 *	  What an expression takes of its message.
 *
 * A mapped column depends on the fields of 'value' that its expression names,
 * so they are found in the analyzed expression: value->'x', value->>'x',
 * value #> '{x,y}', value #>> '{x,y}', value['x'], jsonb_extract_path…(value,
 * 'x'), jsonpath that begins with $.x; and as questions that are also answered
 * by what is not there, value ? 'x', value ?| …, value ?& … and value @> '{…}'.
 * Names must be constants.  Wherever else 'value' stands it is taken whole.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/uses.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"

typedef struct Walk
{
	DjkUses    *uses;
	AttrNumber	value;			/* number of the column whose fields are wanted */
	int			ncolumns;		/* of the input relation */
	int			depth;			/* queries round the node at hand */
} Walk;

/* ---------- names ---------- */

bool
djk_uses_name(const DjkUses *uses, const char *name, int len)
{
	ListCell   *lc;

	foreach(lc, uses->fields)
	{
		const char *field = lfirst(lc);

		if ((int) strlen(field) == len && memcmp(field, name, len) == 0)
			return true;
	}
	return false;
}

static void
add_name(DjkUses *uses, const char *name, int len)
{
	if (!djk_uses_name(uses, name, len))
		uses->fields = lappend(uses->fields, pnstrdup(name, len));
}

void
djk_uses_add(DjkUses *uses, const DjkUses *other)
{
	ListCell   *lc;

	uses->columns = bms_add_members(uses->columns, other->columns);
	uses->whole |= other->whole;
	uses->asks |= other->asks;
	foreach(lc, other->fields)
		add_name(uses, lfirst(lc), strlen(lfirst(lc)));
}

static const Const *
constant_of(Node *node, Oid type)
{
	const Const *constant = (const Const *) node;

	return IsA(node, Const) && constant->consttype == type && !constant->constisnull ? constant : NULL;
}

/* A constant name; false if it is none. */
static bool
take_name(DjkUses *uses, Node *node)
{
	const Const *constant = constant_of(node, TEXTOID);
	text	   *name;

	if (constant == NULL)
		return false;
	name = DatumGetTextPP(constant->constvalue);
	add_name(uses, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	return true;
}

static bool
take_names_of_array(DjkUses *uses, const Const *constant, bool all)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	if (n == 0 || nulls[0])
		return false;
	for (int i = 0; i < (all ? n : 1); i++)
	{
		text	   *name = nulls[i] ? NULL : DatumGetTextPP(elements[i]);

		if (name != NULL)
			add_name(uses, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	return true;
}

/* The first name of a path, or all of a list. */
static bool
take_names(DjkUses *uses, Node *node, bool all)
{
	const Const *constant = constant_of(node, TEXTARRAYOID);
	const ArrayExpr *array = (const ArrayExpr *) node;
	ListCell   *lc;

	if (constant != NULL)
		return take_names_of_array(uses, constant, all);
	if (!IsA(node, ArrayExpr) || array->multidims || array->elements == NIL)
		return false;
	foreach(lc, array->elements)
	{
		if (!take_name(uses, lfirst(lc)))
			return false;
		if (!all)
			break;
	}
	return true;
}

/* The names of a constant object that 'value' must contain. */
static bool
take_keys(DjkUses *uses, Node *node)
{
	const Const *constant = constant_of(node, JSONBOID);
	Jsonb	   *object = constant ? DatumGetJsonbP(constant->constvalue) : NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object) || JB_ROOT_COUNT(object) == 0)
		return false;
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			add_name(uses, value.val.string.val, value.val.string.len);
	}
	return true;
}

/* ---------- jsonpath ---------- */

static void take_path(DjkUses *uses, JsonPathItem *item);

static void
take_root(DjkUses *uses, JsonPathItem *root)
{
	JsonPathItem next;
	int32		len;
	char	   *name;

	if (!jspGetNext(root, &next) || next.type != jpiKey)
	{
		uses->whole = true;
		return;
	}
	name = jspGetString(&next, &len);
	add_name(uses, name, len);
}

static void
take_subscripts(DjkUses *uses, JsonPathItem *item)
{
	for (int i = 0; i < item->content.array.nelems; i++)
	{
		JsonPathItem from;
		JsonPathItem to;

		if (jspGetArraySubscript(item, &from, &to, i))
			take_path(uses, &to);
		take_path(uses, &from);
	}
}

/* The roots in one item, without what follows it. */
static void
take_item(DjkUses *uses, JsonPathItem *item)
{
	JsonPathItem part;

	switch (item->type)
	{
		case jpiRoot:
			take_root(uses, item);
			break;
		case jpiAnd:
		case jpiOr:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiAdd:
		case jpiSub:
		case jpiMul:
		case jpiDiv:
		case jpiMod:
		case jpiStartsWith:
			jspGetLeftArg(item, &part);
			take_path(uses, &part);
			jspGetRightArg(item, &part);
			take_path(uses, &part);
			break;
		case jpiNot:
		case jpiExists:
		case jpiIsUnknown:
		case jpiPlus:
		case jpiMinus:
		case jpiFilter:
			jspGetArg(item, &part);
			take_path(uses, &part);
			break;
		case jpiLikeRegex:
			jspInitByBuffer(&part, item->base, item->content.like_regex.expr);
			take_path(uses, &part);
			break;
		case jpiIndexArray:
			take_subscripts(uses, item);
			break;
		default:				/* the others have no parts that could begin with $ */
			break;
	}
}

static void
take_path(DjkUses *uses, JsonPathItem *item)
{
	JsonPathItem at = *item;
	JsonPathItem next;

	check_stack_depth();
	for (;;)
	{
		take_item(uses, &at);
		if (!jspGetNext(&at, &next))
			return;
		at = next;
	}
}

static bool
take_jsonpath(DjkUses *uses, Node *node)
{
	const Const *constant = constant_of(node, JSONPATHOID);
	JsonPathItem item;

	if (constant == NULL)
		return false;
	jspInit(&item, DatumGetJsonPathP(constant->constvalue));
	take_path(uses, &item);
	return true;
}

/* ---------- expressions ---------- */

/* What a function, whose first argument is 'value', takes of it; false if that cannot be said. */
static bool
take_by_function(DjkUses *uses, Oid function, Node *argument)
{
	switch (function)
	{
		case F_JSONB_OBJECT_FIELD:
		case F_JSONB_OBJECT_FIELD_TEXT:
			return take_name(uses, argument);
		case F_JSONB_EXTRACT_PATH:
		case F_JSONB_EXTRACT_PATH_TEXT:
			return take_names(uses, argument, false);
		case F_JSONB_PATH_EXISTS:
		case F_JSONB_PATH_EXISTS_OPR:
		case F_JSONB_PATH_EXISTS_TZ:
		case F_JSONB_PATH_MATCH:
		case F_JSONB_PATH_MATCH_OPR:
		case F_JSONB_PATH_MATCH_TZ:
		case F_JSONB_PATH_QUERY:
		case F_JSONB_PATH_QUERY_TZ:
		case F_JSONB_PATH_QUERY_ARRAY:
		case F_JSONB_PATH_QUERY_ARRAY_TZ:
		case F_JSONB_PATH_QUERY_FIRST:
		case F_JSONB_PATH_QUERY_FIRST_TZ:
			return take_jsonpath(uses, argument);
		case F_JSONB_EXISTS:
			uses->asks = true;
			return take_name(uses, argument);
		case F_JSONB_EXISTS_ANY:
		case F_JSONB_EXISTS_ALL:
			uses->asks = true;
			return take_names(uses, argument, true);
		case F_JSONB_CONTAINS:
			uses->asks = true;
			return take_keys(uses, argument);
		default:
			return false;
	}
}

/* A column of the input relation; 0: none, or all of them. */
static bool
is_input(const Walk *walk, Node *node, AttrNumber *column)
{
	const Var  *var = (const Var *) node;

	*column = 0;
	if (node == NULL || !IsA(node, Var) || var->varno != 1 || var->varlevelsup != walk->depth)
		return false;
	*column = Max(var->varattno, 0);
	return true;
}

static bool
is_value(const Walk *walk, Node *node)
{
	AttrNumber	column;

	return is_input(walk, node, &column) && column == walk->value;
}

/* 'value' with the name of a field at once; *rest is what else the node has. */
static bool
takes_field(const Walk *walk, Node *node, List **rest)
{
	List	   *args = NIL;
	Oid			function = InvalidOid;

	*rest = NIL;
	if (IsA(node, OpExpr))
	{
		set_opfuncid((OpExpr *) node);
		function = ((OpExpr *) node)->opfuncid;
		args = ((OpExpr *) node)->args;
	}
	else if (IsA(node, FuncExpr))
	{
		function = ((FuncExpr *) node)->funcid;
		args = ((FuncExpr *) node)->args;
	}
	else if (IsA(node, SubscriptingRef))
	{
		const SubscriptingRef *subscript = (const SubscriptingRef *) node;

		*rest = subscript->refupperindexpr;
		return is_value(walk, (Node *) subscript->refexpr) && *rest != NIL && linitial(*rest) != NULL &&
			subscript->refassgnexpr == NULL && subscript->reflowerindexpr == NIL &&
			take_name(walk->uses, linitial(*rest));
	}
	if (list_length(args) < 2 || !is_value(walk, linitial(args)))
		return false;
	*rest = list_copy_tail(args, 1);
	return take_by_function(walk->uses, function, lsecond(args));
}

static bool
collect(Node *node, void *context)
{
	Walk	   *walk = context;
	List	   *rest;
	AttrNumber	column;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		/* what reads the messages themselves reads all of them */
		if (walk->depth > 0 && ((RangeTblEntry *) node)->rtekind == RTE_NAMEDTUPLESTORE)
			walk->uses->whole = true;
		return false;
	}
	if (IsA(node, Query))
	{
		walk->depth++;
		query_tree_walker((Query *) node, collect, context, QTW_EXAMINE_RTES_BEFORE);
		walk->depth--;
		return false;
	}
	if (takes_field(walk, node, &rest))
	{
		walk->uses->columns = bms_add_member(walk->uses->columns, walk->value - 1);
		return expression_tree_walker((Node *) rest, collect, context);
	}
	if (is_input(walk, node, &column))
	{
		if (column > 0)
			walk->uses->columns = bms_add_member(walk->uses->columns, column - 1);
		else
			walk->uses->columns = bms_add_range(walk->uses->columns, 0, walk->ncolumns - 1);
		walk->uses->whole |= column == 0 || column == walk->value;
		return false;
	}
	return expression_tree_walker(node, collect, context);
}

void
djk_uses_collect(Query *query, int column, DjkUses *uses)
{
	const RangeTblEntry *input = linitial(query->rtable);
	Walk		walk = {uses, column + 1, list_length(input->eref->colnames), 0};

	(void) query_tree_walker(query, collect, &walk, QTW_EXAMINE_RTES_BEFORE);
}
