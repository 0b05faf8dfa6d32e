/*-------------------------------------------------------------------------
 *
 * naming.c
 *	  Which column a field's name means.
 *
 * A field and a column that have one name belong together always.  Else both
 * names are folded as the route's naming says, and must be equal then.  Only
 * letters of ASCII have case here, whatever the database's locale.  A name that
 * the column had before it was renamed is as good, unless another column has
 * that name now.
 *
 * snake_case: a word begins with a capital letter behind anything else, or
 * before a small one (HTTPStatus: http_status), and at each of "_", "-", "." and
 * space.  Before a digit no word begins, so that address2 is found whether the
 * column is address2 or address_2.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/naming.h"

/* What may stand between words. */
static bool
is_separator(char c)
{
	return c == '_' || c == '-' || c == '.' || c == ' ';
}

static bool
is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool
is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Whether a word begins with the capital letter at 'i'. */
static bool
begins_word(const char *name, int len, int i)
{
	if (i == 0 || is_separator(name[i - 1]))
		return false;
	return !is_upper(name[i - 1]) || (i + 1 < len && is_lower(name[i + 1]));
}

/* The length, or -1 if no column's name can be so long. */
static int
fold_snake_case(const char *name, int len, char folded[NAMEDATALEN])
{
	int			n = 0;

	for (int i = 0; i < len; i++)
	{
		char		c = name[i];

		if (is_upper(c) && begins_word(name, len, i))
		{
			if (n >= NAMEDATALEN - 1)
				return -1;
			folded[n++] = '_';
		}
		if (is_digit(c) && n > 1 && folded[n - 1] == '_' && is_lower(folded[n - 2]))
			n--;
		if (n >= NAMEDATALEN - 1)
			return -1;
		folded[n++] = is_separator(c) ? '_' : is_upper(c) ? c - 'A' + 'a' : c;
	}
	return n;
}

static int
fold_insensitive(const char *name, int len, char folded[NAMEDATALEN])
{
	int			n = 0;

	for (int i = 0; i < len; i++)
	{
		char		c = name[i];

		if (is_separator(c))
			continue;
		if (n >= NAMEDATALEN - 1)
			return -1;
		folded[n++] = is_upper(c) ? c - 'A' + 'a' : c;
	}
	return n;
}

static int
fold(DjkNaming naming, const char *name, int len, char folded[NAMEDATALEN])
{
	switch (naming)
	{
		case DJK_NAMING_EXACT:
			break;
		case DJK_NAMING_SNAKE_CASE:
			return fold_snake_case(name, len, folded);
		case DJK_NAMING_INSENSITIVE:
			return fold_insensitive(name, len, folded);
	}
	return -1;
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

		column->folded_len = fold(state->route->naming, column->name, column->name_len, folded);
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
	len = fold(state->route->naming, field->name, field->name_len, folded);
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

bool
djk_naming_is_same(DjkNaming naming, const DjkField *field, const char *name)
{
	char		of_field[NAMEDATALEN];
	char		of_column[NAMEDATALEN];
	int			name_len = strlen(name);
	int			len;

	if (name_len == field->name_len && memcmp(name, field->name, name_len) == 0)
		return true;
	len = fold(naming, field->name, field->name_len, of_field);
	return len > 0 && fold(naming, name, name_len, of_column) == len && memcmp(of_field, of_column, len) == 0;
}
