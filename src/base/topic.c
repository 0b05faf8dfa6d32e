/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  Kafka's rules for the name of a topic.
 *
 *-------------------------------------------------------------------------
 */
#include "base/topic.h"

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
