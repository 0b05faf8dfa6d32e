/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  Names of topics: Kafka's rules, and patterns.
 *
 *-------------------------------------------------------------------------
 */
#include "base/topic.h"

#include "catalog/pg_collation.h"
#include "lib/stringinfo.h"
#include "regex/regex.h"
#include "utils/builtins.h"

static bool
is_topic_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '.' || c == '_' || c == '-';
}

bool
djk_topic_name_is_valid(const char *name)
{
	int			len = 0;

	for (; name[len] != '\0'; len++)
		if (len >= DJK_TOPIC_MAX || !is_topic_char(name[len]))
			return false;
	return len > 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

void
djk_topic_name_require(const char *name, const char *hint)
{
	if (djk_topic_name_is_valid(name))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("invalid name of a topic: \"%s\"", name),
			 errdetail("A topic's name has 1 to %d letters, digits, dots, underscores or hyphens.", DJK_TOPIC_MAX),
			 hint != NULL ? errhint("%s", hint) : 0));
}

static bool
is_kafkas(const char *name)
{
	static const char *const own[] = {
		"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"
	};

	for (int i = 0; i < lengthof(own); i++)
	{
		if (strcmp(name, own[i]) == 0)
			return true;
	}
	return false;
}

bool
djk_topic_is_writable(const char *name)
{
	return djk_topic_name_is_valid(name) && !is_kafkas(name);
}

void
djk_topic_require_writable(const char *name)
{
	djk_topic_name_require(name, NULL);
	if (is_kafkas(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("topic \"%s\" is Kafka's own", name),
				 errdetail("Kafka keeps its state in it, and takes messages for it from nobody else."),
				 errhint("Name another topic.")));
}

/* ---------- templates ---------- */

char *
djk_topic_expand(const char *template, const char *group, const char *topic)
{
	StringInfoData name;

	initStringInfo(&name);
	for (const char *c = template; *c != '\0'; c++)
	{
		if (strncmp(c, "{group}", 7) == 0)
		{
			appendStringInfoString(&name, group);
			c += 6;
		}
		else if (strncmp(c, "{topic}", 7) == 0)
		{
			appendStringInfoString(&name, topic);
			c += 6;
		}
		else
			appendStringInfoChar(&name, *c);
	}
	return name.data;
}

void
djk_topic_template_require(const char *option, const char *template, const char *group)
{
	const char *name = djk_topic_expand(template, group, "t");

	if (djk_topic_is_writable(name))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("%s \"%s\" gives no name of a topic", option, template),
			 errdetail("In group \"%s\", the name for a topic \"t\" would be \"%s\".", group, name),
			 errhint("A name has 1 to %d letters, digits, dots, underscores or hyphens, and is none of Kafka's own; {group} and {topic} stand for the consumer's group and the message's topic.", DJK_TOPIC_MAX)));
}

/* ---------- patterns ---------- */

/* Kafka's own topics, and what other programs keep for themselves. */
bool
djk_topic_is_internal(const char *topic)
{
	return strncmp(topic[0] == '^' ? topic + 1 : topic, "__", 2) == 0;
}

bool
djk_topic_matches(const char *pattern, const char *topic)
{
	if (pattern[0] != '^')
		return strcmp(pattern, topic) == 0;
	if (djk_topic_is_internal(topic) && !djk_topic_is_internal(pattern))
		return false;
	return RE_compile_and_execute(cstring_to_text(pattern), unconstify(char *, topic), strlen(topic),
								  REG_ADVANCED, DEFAULT_COLLATION_OID, 0, NULL);
}
