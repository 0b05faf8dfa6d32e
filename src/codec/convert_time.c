/*-------------------------------------------------------------------------
 *
 * convert_time.c
 *	  Direct paths to date, timestamp and timestamptz.
 *
 * They take ISO 8601 with four digits of year, which means the same under
 * every DateStyle: 2026-11-09, 2026-11-09T03:31:48.25Z, 2026-11-09
 * 03:31:48+01:00.  All else, right or wrong, goes to the input function.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* Zones lie within this; the server takes some more. */
#define ZONE_HOURS_MAX 14

typedef struct IsoTime
{
	int			days;			/* since 2000-01-01 */
	int64		usecs;			/* of the day */
	bool		has_zone;
	int			zone_secs;		/* east of Greenwich */
} IsoTime;

/* Two digits, or -1. */
static inline int
read2(const char *at)
{
	unsigned	tens = (unsigned char) (at[0] - '0');
	unsigned	ones = (unsigned char) (at[1] - '0');

	if (tens > 9 || ones > 9)
		return -1;
	return (int) (tens * 10 + ones);
}

/* YYYY-MM-DD, ten bytes. */
static inline bool
read_day(const char *at, int *days)
{
	int			century = read2(at);
	int			year = read2(at + 2);
	int			month = read2(at + 5);
	int			day = read2(at + 8);

	*days = 0;
	if (century < 0 || year < 0 || at[4] != '-' || at[7] != '-' ||
		month < 1 || month > 12 || day < 1)
		return false;
	year += century * 100;
	if (year == 0 || day > day_tab[isleap(year)][month - 1])
		return false;
	*days = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return true;
}

/* Z, +HH, +HHMM or +HH:MM up to 'end'. */
static inline bool
read_zone(const char *at, const char *end, int *zone_secs)
{
	int			sign;
	int			hours;
	int			minutes = 0;

	*zone_secs = 0;
	if (*at == 'Z')
		return at + 1 == end;
	if (*at != '+' && *at != '-')
		return false;
	sign = *at++ == '-' ? -1 : 1;
	if (end - at < 2)
		return false;
	hours = read2(at);
	at += 2;
	if (at < end)
	{
		if (*at == ':')
			at++;
		if (end - at != 2)
			return false;
		minutes = read2(at);
	}
	if (hours < 0 || hours > ZONE_HOURS_MAX || minutes < 0 || minutes > 59)
		return false;
	*zone_secs = sign * (hours * SECS_PER_HOUR + minutes * SECS_PER_MINUTE);
	return true;
}

/* .f to .ffffff; moves *at behind it. */
static inline bool
read_fraction(const char **at, const char *end, int *usecs)
{
	int			unit = USECS_PER_SEC;
	int			value = 0;

	*usecs = 0;
	(*at)++;
	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
	{
		unit /= 10;
		if (unit == 0)
			return false;		/* more than six digits are rounded */
		value += (**at - '0') * unit;
	}
	*usecs = value;
	return unit < USECS_PER_SEC;
}

/* YYYY-MM-DD[T ]HH:MM:SS[.ffffff][zone] */
static bool
read_iso(const DjkField *field, IsoTime *iso)
{
	const char *at = field->text;
	const char *end = at + field->len;
	int			hour;
	int			minute;
	int			second;
	int			usecs = 0;

	memset(iso, 0, sizeof(*iso));
	if (field->len < 19 || !read_day(at, &iso->days))
		return false;
	if ((at[10] != 'T' && at[10] != ' ') || at[13] != ':' || at[16] != ':')
		return false;
	hour = read2(at + 11);
	minute = read2(at + 14);
	second = read2(at + 17);
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	at += 19;
	if (at < end && *at == '.' && !read_fraction(&at, end, &usecs))
		return false;
	iso->usecs = ((hour * MINS_PER_HOUR + minute) * SECS_PER_MINUTE + second) * USECS_PER_SEC + usecs;
	iso->has_zone = at < end;
	return at == end || read_zone(at, end, &iso->zone_secs);
}

bool
djk_convert_direct_date(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	int			days;

	if (field->len != 10 || !read_day(field->text, &days))
		return false;
	*value = DateADTGetDatum(days);
	return true;
}

/* A zone in a timestamp without one is ignored, as the input function does, unless types are strict. */
bool
djk_convert_direct_timestamp(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	IsoTime		iso;

	if (!read_iso(field, &iso) || (iso.has_zone && converter->options.strict))
		return false;
	*value = TimestampGetDatum(iso.days * USECS_PER_DAY + iso.usecs);
	return true;
}

/* Without a zone the session's TimeZone decides: the input function knows. */
bool
djk_convert_direct_timestamptz(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	IsoTime		iso;

	if (!read_iso(field, &iso) || !iso.has_zone)
		return false;
	*value = TimestampTzGetDatum(iso.days * USECS_PER_DAY + iso.usecs -
								 iso.zone_secs * USECS_PER_SEC);
	return true;
}

static bool
convert_local_time(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	const char *zone;
	bool		isnull;

	if (field->text == NULL || !djk_convert_is_iso_timestamp(field, &zone) || zone == field->text + field->len)
		return djk_convert_full_input(converter, field, value, error);
	if (!djk_convert(converter->inner, field, value, &isnull, error))
		return false;
	*value = DirectFunctionCall1(timestamptz_timestamp, *value);
	return true;
}

void
djk_convert_init_local_time(DjkConverter *converter)
{
	converter->inner = djk_converter_create(TIMESTAMPTZOID, converter->typmod, &djk_convert_lenient);
	converter->full = convert_local_time;
}
