/*-------------------------------------------------------------------------
 *
 * pattern.c
 *	  What librdkafka makes of a pattern of topics.
 *
 * A pattern is read twice: by the library, which subscribes to what matches,
 * and by PostgreSQL, which finds the route of a message.  The library uses the
 * extended regular expressions of the C library, with which this file asks too.
 * They lack what PostgreSQL's have beyond POSIX.  Most of that is an error
 * there; an escape, though, may silently mean something else, so those are
 * looked for by hand.  (No other file can ask: <regex.h> and the server's
 * header of this name exclude each other.)
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include <ctype.h>
#include <regex.h>

#include "kafka/pattern.h"
#include "mb/pg_wchar.h"

/* An escape that the two read differently: NULL if there is none. */
static const char *
find_escape(const char *pattern, const char **hint)
{
	for (const char *c = pattern; *c != '\0'; c++)
	{
		if (*c == '[')
		{
			const char *end = djk_pattern_bracket_end(c);
			const char *escape = memchr(c, '\\', end - c);

			if (escape != NULL)
			{
				*hint = "Within brackets no backslash is needed: write [.] for a dot, and put - first or last.";
				return escape;
			}
			if (*end == '\0')
				return NULL;
			c = end;
		}
		else if (*c == '\\' && c[1] != '\0')
		{
			c++;
			if (isalnum((unsigned char) *c) && strchr("wWsS", *c) == NULL)
			{
				*hint = "Write what it stands for, such as [0-9] for \\d.";
				return c - 1;
			}
		}
	}
	return NULL;
}

void
djk_pattern_require(const char *pattern, int sqlstate)
{
	regex_t		regex;
	const char *escape;
	const char *hint;
	char		reason[128];
	const char *burden = djk_pattern_find_burden(pattern, &hint);
	int			code;

	if (burden != NULL)
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("invalid pattern of topics: \"%s\"", pattern),
				 errdetail("%s.", burden),
				 errhint("%s", hint)));
	code = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
	if (code != 0)
	{
		regerror(code, &regex, reason, sizeof(reason));
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("invalid pattern of topics: \"%s\"", pattern),
				 errdetail("librdkafka, which subscribes to the topics, cannot read it: %s.", reason),
				 errhint("Use what POSIX has, such as [0-9] and (a|b), but not (?:a), (?=a) or (?i).")));
	}
	regfree(&regex);
	escape = find_escape(pattern, &hint);
	if (escape != NULL)
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("invalid pattern of topics: \"%s\"", pattern),
				 errdetail("\"%.*s\" means something else to librdkafka, which subscribes to the topics.",
						   pg_mbcliplen(escape, strlen(escape), 2), escape),
				 errhint("%s", hint)));
}

bool
djk_pattern_subscribes(const char *pattern, const char *topic)
{
	regex_t		regex;
	bool		matches;

	if (pattern[0] != '^')
		return strcmp(pattern, topic) == 0;
	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	matches = regexec(&regex, topic, 0, NULL, 0) == 0;
	regfree(&regex);
	return matches;
}
