/*-------------------------------------------------------------------------
 *
 * start_at.c
 *	  Where to start, as it is stored in the catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/start_at.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/start.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

pg_noreturn static void
throw_invalid(const char *word, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", what, word),
			 errhint("Valid values are \"earliest\", \"latest\", \"group\", or a time such as '2026-01-31 12:00+00'; djkafka_seek takes an offset too.")));
}

char *
djk_start_at_normalize(const char *word, const char *what, bool offset_allowed)
{
	DjkStart	start = djk_start_parse(word);

	switch (start.kind)
	{
		case DJK_START_EARLIEST:
		case DJK_START_LATEST:
		case DJK_START_GROUP:
			return pstrdup(word);
		case DJK_START_TIME:
			return pstrdup(timestamptz_to_str(djk_timestamp_from_kafka(start.value)));
		case DJK_START_OFFSET:
			if (offset_allowed)
				return psprintf(INT64_FORMAT, start.value);
			break;
		case DJK_START_BEFORE_END:
			break;
	}
	throw_invalid(word, what);
}
