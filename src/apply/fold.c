/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  Names as a route's naming compares them.
 *
 * Only letters of ASCII have case here, whatever the database's locale.
 *
 * snake_case: a word begins with a capital letter behind anything else, or
 * before a small one (HTTPStatus: http_status), and at each of "_", "-", "." and
 * space.  Before a digit no word begins, so that address2 is found whether the
 * column is address2 or address_2.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/fold.h"

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

int
djk_fold(DjkNaming naming, const char *name, int len, char folded[NAMEDATALEN])
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

bool
djk_fold_is_same(DjkNaming naming, const DjkField *field, const char *name)
{
	char		of_field[NAMEDATALEN];
	char		of_column[NAMEDATALEN];
	int			name_len = strlen(name);
	int			len;

	if (name_len == field->name_len && memcmp(name, field->name, name_len) == 0)
		return true;
	len = djk_fold(naming, field->name, field->name_len, of_field);
	return len > 0 && djk_fold(naming, name, name_len, of_column) == len && memcmp(of_field, of_column, len) == 0;
}
