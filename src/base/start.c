/*-------------------------------------------------------------------------
 *
 * start.c
 *	  Where to begin in a partition, as people write it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/start.h"

#include "base/clock.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool
is_number(const char *text)
{
	const char *digits = text + (text[0] == '-');

	return digits[0] != '\0' && digits[strspn(digits, "0123456789")] == '\0';
}

static DjkStart
parse_number(const char *text)
{
	DjkStart	start;
	int64		number;

	errno = 0;
	number = strtoll(text, NULL, 10);
	if (errno != 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("offset \"%s\" is out of range", text)));
	start.kind = text[0] == '-' ? DJK_START_BEFORE_END : DJK_START_OFFSET;
	start.value = text[0] == '-' ? -number : number;
	return start;
}

static DjkStart
parse_time(const char *text)
{
	DjkStart	start = {DJK_START_TIME, 0};
	TimestampTz time;

	/* Words that are no time would get a message about times: say what is allowed. */
	if (strpbrk(text, "0123456789") == NULL && pg_strcasecmp(text, "now") != 0 &&
		pg_strcasecmp(text, "today") != 0 && pg_strcasecmp(text, "yesterday") != 0 &&
		pg_strcasecmp(text, "tomorrow") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid start: \"%s\"", text),
				 errhint("Use earliest, latest, an offset, or a time.")));
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	start.value = Max(djk_timestamp_to_kafka(time), 0);
	return start;
}

DjkStart
djk_start_parse(const char *text)
{
	if (pg_strcasecmp(text, "earliest") == 0)
		return (DjkStart) {DJK_START_EARLIEST, 0};
	if (pg_strcasecmp(text, "latest") == 0)
		return (DjkStart) {DJK_START_LATEST, 0};
	if (pg_strcasecmp(text, "group") == 0)
		return (DjkStart) {DJK_START_GROUP, 0};
	if (is_number(text))
		return parse_number(text);
	return parse_time(text);
}
