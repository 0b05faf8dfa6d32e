/*-------------------------------------------------------------------------
 *
 * pattern_size.c
 *	  Whether the C library can take a pattern of topics.
 *
 * It writes out what is repeated: a{20} is twenty times an a, and a+ is aa*.  So
 * a pattern of a few bytes may take all memory there is, or all stack.  Where
 * what is repeated may be empty it looks for all ways past it, of which there may
 * be more than it can ever look at.  It does all that in a
 * backend or a worker, where nothing can stop it.  (PostgreSQL's own expressions
 * are of other sizes, and it takes most of these.)
 *
 * So a pattern is read here first, as the C library reads it.  It has passed
 * PostgreSQL's reading before; of what only one of them can read nothing is told
 * here.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include <ctype.h>

#include "kafka/pattern.h"
#include "miscadmin.h"

#define WRITTEN_OUT_MAX		1000
#define TIMES_MAX			1000	/* more than any library allows */

/* A part of a pattern. */
typedef struct Part
{
	int			size;			/* characters when written out, WRITTEN_OUT_MAX + 1 at most */
	bool		may_be_empty;
} Part;

typedef struct Reader
{
	const char *c;				/* where it is */
	bool		repeats_nothing;	/* what may be empty is repeated */
} Reader;

static Part read_alternatives(Reader *reader, bool within_group);

static int
cap_size(int64 size)
{
	return (int) Min(size, WRITTEN_OUT_MAX + 1);
}

/* ---------- how often ---------- */

static int
read_number(const char **c, int if_none)
{
	int			number = 0;

	if (!isdigit((unsigned char) **c))
		return if_none;
	for (; isdigit((unsigned char) **c); (*c)++)
		number = Min(number * 10 + (**c - '0'), TIMES_MAX);
	return number;
}

/* {n}, {n,} or {n,m}; false if it is none, and so stands for itself or is an error. */
static bool
read_bounds(Reader *reader, int *min, int *max)
{
	const char *c = reader->c + 1;

	*min = *max = read_number(&c, 0);
	if (*c == ',')
	{
		c++;
		*max = read_number(&c, -1);
	}
	if (*c != '}')
		return false;
	reader->c = c + 1;
	return true;
}

/* How often the part before may come, max -1: without end; false if nothing is said (any more). */
static bool
read_times(Reader *reader, int *min, int *max)
{
	const char *mark = *reader->c != '\0' ? strchr("*+?", *reader->c) : NULL;

	*min = *max = 1;
	if (*reader->c == '{')
		return read_bounds(reader, min, max);
	if (mark == NULL)
		return false;
	*min = *mark == '+';
	*max = *mark == '?' ? 1 : -1;
	reader->c++;
	return true;
}

static void
repeat(Reader *reader, Part *part, int min, int max)
{
	int			copies = max < 0 ? min + 1 : Max(min, max);

	if (part->may_be_empty && (max < 0 || max > 1))
		reader->repeats_nothing = true;
	part->size = cap_size((int64) part->size * Max(copies, 1) + 1);
	part->may_be_empty |= min == 0;
}

/* ---------- what ---------- */

const char *
djk_pattern_bracket_end(const char *start)
{
	const char *c = start + 1;

	if (*c == '^')
		c++;
	if (*c == ']')
		c++;					/* stands for itself there */
	while (*c != '\0' && *c != ']')
	{
		if (*c == '[' && (c[1] == ':' || c[1] == '.' || c[1] == '='))
		{
			const char	kind = c[1];

			for (c += 2; *c != '\0' && !(c[0] == kind && c[1] == ']'); c++)
				;
			if (*c != '\0')
				c++;
		}
		if (*c != '\0')
			c++;
	}
	return c;
}

/* Bytes of one character, or of some more: what is behind one that is not of ASCII is counted with it. */
static void
skip_character(Reader *reader)
{
	bool		is_ascii = !IS_HIGHBIT_SET(*reader->c);

	reader->c++;
	while (!is_ascii && IS_HIGHBIT_SET(*reader->c))
		reader->c++;
}

static Part
read_group(Reader *reader)
{
	Part		part;

	reader->c++;
	part = read_alternatives(reader, true);
	if (*reader->c == ')')
		reader->c++;
	part.size = cap_size((int64) part.size + 1);
	return part;
}

static Part
read_atom(Reader *reader)
{
	const char *start = reader->c;
	Part		part = {1, false};

	switch (*start)
	{
		case '(':
			return read_group(reader);
		case '[':
			reader->c = djk_pattern_bracket_end(start);
			reader->c += *reader->c != '\0';
			break;
		case '^':
		case '$':
			part.may_be_empty = true;
			reader->c++;
			break;
		case '\\':
			/* Some are GNU's own anchors. */
			part.may_be_empty = start[1] != '\0' && strchr("<>`'bB", start[1]) != NULL;
			reader->c += start[1] != '\0' ? 2 : 1;
			break;
		default:
			skip_character(reader);
			part.size = cap_size(reader->c - start);
			break;
	}
	return part;
}

static Part
read_sequence(Reader *reader, bool within_group)
{
	Part		all = {0, true};

	while (*reader->c != '\0' && *reader->c != '|' && !(within_group && *reader->c == ')'))
	{
		Part		part = read_atom(reader);
		int			min;
		int			max;

		while (read_times(reader, &min, &max))
			repeat(reader, &part, min, max);
		all.size = cap_size((int64) all.size + part.size);
		all.may_be_empty &= part.may_be_empty;
	}
	return all;
}

static Part
read_alternatives(Reader *reader, bool within_group)
{
	Part		all;

	check_stack_depth();
	all = read_sequence(reader, within_group);
	while (*reader->c == '|')
	{
		Part		part;

		reader->c++;
		part = read_sequence(reader, within_group);
		all.size = cap_size((int64) all.size + part.size + 1);
		all.may_be_empty |= part.may_be_empty;
	}
	return all;
}

const char *
djk_pattern_find_burden(const char *pattern, const char **hint)
{
	Reader		reader = {pattern, false};
	Part		all = read_alternatives(&reader, false);

	*hint = NULL;
	if (reader.repeats_nothing)
	{
		*hint = "Write a* for (a*)*, and (a|b)* for (a|b|)+.";
		return "What is repeated may be empty, and librdkafka's expressions get lost in that";
	}
	if (all.size > WRITTEN_OUT_MAX)
	{
		*hint = "Repeat less often, above all within what is repeated itself; name the topics by several routes.";
		return psprintf("librdkafka's expressions write out what is repeated, and this is more than %d characters then",
						WRITTEN_OUT_MAX);
	}
	return NULL;
}
