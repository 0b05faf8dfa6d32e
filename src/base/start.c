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

#define HINT	"Valid values are \"earliest\", \"latest\", \"group\", an offset, and a time such as '2026-01-31 12:00+00'."

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
	if (errno != 0 || number == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("offset \"%s\" is out of range", text),
				 errhint(HINT)));
	start.kind = text[0] == '-' ? DJK_START_BEFORE_END : DJK_START_OFFSET;
	start.value = text[0] == '-' ? -number : number;
	return start;
}

/* What the type's input function raises says nothing of the other forms. */
static void
add_hint(void *arg)
{
	errhint(HINT);
}

static DjkStart
parse_time(const char *text)
{
	DjkStart	start = {DJK_START_TIME, 0};
	ErrorContextCallback callback = {error_context_stack, add_hint, NULL};
	TimestampTz time;

	/* Words that are no time would get a message about times: say what is allowed. */
	if (strpbrk(text, "0123456789") == NULL && pg_strcasecmp(text, "now") != 0 &&
		pg_strcasecmp(text, "today") != 0 && pg_strcasecmp(text, "yesterday") != 0 &&
		pg_strcasecmp(text, "tomorrow") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid start: \"%s\"", text),
				 errhint(HINT)));
	error_context_stack = &callback;
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	error_context_stack = callback.previous;
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
