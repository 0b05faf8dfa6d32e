/*-------------------------------------------------------------------------
 *
 * naming.c
 *	  Which column a field's name means.
 *
 * A field and a column that have one name belong together always.  Else both
 * names are folded as the route's naming says (fold.c), and must be equal then.
 * A name that the column had before it was renamed is as good, unless another
 * column has that name now.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/naming.h"

#include "mb/pg_wchar.h"

char *
djk_naming_show(const DjkField *field)
{
	return pnstrdup(field->name, pg_mbcliplen(field->name, field->name_len, NAMEDATALEN - 1));
}

static bool
has_fold(const DjkColumn *column, const char *folded, int len)
{
	return len > 0 && column->folded_len == len && memcmp(column->folded, folded, len) == 0;
}

void
djk_naming_build(DjkRouteState *state)
{
	for (int c = 0; c < state->ncolumns; c++)
	{
		DjkColumn  *column = &state->columns[c];
		char		folded[NAMEDATALEN];

		column->folded_len = djk_fold(state->route->naming, column->name, column->name_len, folded);
		if (column->folded_len < 0)
			continue;
		column->folded = pnstrdup(folded, column->folded_len);
		for (int other = 0; other < c; other++)
		{
			if (has_fold(&state->columns[other], folded, column->folded_len))
				ereport(ERROR,
						(errcode(ERRCODE_AMBIGUOUS_COLUMN),
						 errmsg("columns \"%s\" and \"%s\" of \"%s\" cannot be told apart by naming",
								state->columns[other].name, column->name, state->target_sql),
						 errhint("Name one of them in exclude, or set naming of the route to \"exact\".")));
		}
	}
}

DjkColumn *
djk_naming_find(DjkRouteState *state, const DjkField *field, int hint)
{
	char		folded[NAMEDATALEN];
	int			len;
	int			c = hint;

	/* Fields mostly come in one order: look where the next one should be. */
	for (int i = 0; i < state->ncolumns; i++)
	{
		if (djk_naming_is_exact(field, &state->columns[c]))
			return &state->columns[c];
		c = c + 1 < state->ncolumns ? c + 1 : 0;
	}
	len = djk_fold(state->route->naming, field->name, field->name_len, folded);
	for (int i = 0; len > 0 && i < state->ncolumns; i++)
	{
		if (has_fold(&state->columns[c], folded, len))
			return &state->columns[c];
		c = c + 1 < state->ncolumns ? c + 1 : 0;
	}
	for (c = 0; state->old_names != NIL && c < state->ncolumns; c++)
	{
		if (djk_renamed_is(state, field, state->columns[c].name))
			return &state->columns[c];
	}
	return NULL;
}
