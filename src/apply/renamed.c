/*-------------------------------------------------------------------------
 *
 * renamed.c
 *	  What columns of a target were named before.
 *
 * The producer of a topic knows nothing of a migration here: a field goes on
 * filling the column that had its name (sql/column_renamed.c keeps them).  Of a
 * message log, whose columns are named for parts of a message, the parts' names
 * are djkafka's own, and never change: there the first name says what it holds.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/renamed.h"

#include "apply/fold.h"
#include "apply/route_names.h"
#include "base/compat.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

typedef struct DjkOldName
{
	char	   *column;
	char	   *name;
	bool		is_taken;		/* some column has this name now */
} DjkOldName;

pg_noreturn static void
refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("renamed of a route is not an object of arrays of names"),
			 errhint("Write for each column what it was named before, such as {\"title\": [\"name\"]}.")));
}

List *
djk_renamed_parse(const char *renamed)
{
	Jsonb	   *object;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *column = NULL;
	List	   *names = NIL;

	if (renamed == NULL)
		return NIL;
	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(renamed)));
	if (!JB_ROOT_IS_OBJECT(object))
		refuse();
	iterator = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&iterator, &value, false);
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			column = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_ELEM && value.type == jbvString)
		{
			DjkOldName *old = palloc0(sizeof(DjkOldName));

			old->column = column;
			old->name = pnstrdup(value.val.string.val, value.val.string.len);
			names = lappend(names, old);
		}
		else if (token != WJB_BEGIN_ARRAY && token != WJB_END_ARRAY && token != WJB_END_OBJECT)
			refuse();
	}
	return names;
}

void
djk_renamed_build(DjkRouteState *state, TupleDesc desc)
{
	ListCell   *lc;

	state->old_names = djk_renamed_parse(state->route->renamed);
	foreach(lc, state->old_names)
	{
		DjkOldName *old = lfirst(lc);

		old->is_taken = djk_route_has_column(desc, old->name);
	}
}

bool
djk_renamed_is(const DjkRouteState *state, const DjkField *field, const char *column)
{
	ListCell   *lc;

	foreach(lc, state->old_names)
	{
		const DjkOldName *old = lfirst(lc);

		if (!old->is_taken && strcmp(old->column, column) == 0 &&
			djk_fold_is_same(state->route->naming, field, old->name))
			return true;
	}
	return false;
}

const char *
djk_renamed_first(const DjkRouteState *state, const char *column)
{
	ListCell   *lc;

	foreach(lc, state->old_names)
	{
		const DjkOldName *old = lfirst(lc);

		if (strcmp(old->column, column) == 0)
			return old->name;
	}
	return column;
}
