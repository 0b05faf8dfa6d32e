/*-------------------------------------------------------------------------
 *
 * convert_epoch.c
 *	  Numbers that count from 1970, or through a day, or are a span of time.
 *
 * Only where the route's time_unit says what they count.  They are computed
 * as numeric: a double holds no nanoseconds of our time.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "codec/meaning.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* Longer literals are no time. */
#define LITERAL_MAX		64

/* Some 12,000 years: what every type here can hold of the future, but dates and timestamps not of the past. */
#define USECS_MAX		4e17

#define UNIX_EPOCH_USECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static bool
is_of_time(Oid type)
{
	return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID ||
		type == TIMEOID || type == INTERVALOID;
}

/*
 * A number, or a string that is nothing but one.  Where nobody has said what it
 * counts a string in a value is none, nor what a schema knows as a number alone; a
 * key that is text is a number without quotes.
 */
bool
djk_convert_is_epoch(const DjkConverter *converter, const DjkField *field)
{
	int			digits = 0;
	int			points = 0;

	if (converter->options.time_unit == DJK_TIME_UNIT_NONE || !is_of_time(converter->type))
		return false;
	if (field->kind != DJK_FIELD_STRING || field->text == NULL)
		return field->kind == DJK_FIELD_NUMBER && !(converter->options.unit_is_assumed && field->plain);
	if (converter->options.unit_is_assumed && field->raw != NULL)
		return false;
	for (int i = 0; i < field->len; i++)
	{
		char		c = field->text[i];

		if (c >= '0' && c <= '9')
			digits++;
		else if (!(c == '-' && i == 0) && !(c == '.' && digits > 0 && points++ == 0))
			return false;
	}
	return digits > 0 && field->text[field->len - 1] != '.';
}

/* By DjkTimeUnit. */
static const char *const unit_names[] = {"none", "s", "ms", "us", "ns", "days"};

DjkTimeUnit
djk_time_unit_parse(const char *word)
{
	for (int i = 0; i < lengthof(unit_names); i++)
	{
		if (strcmp(unit_names[i], word) == 0)
			return (DjkTimeUnit) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for time_unit: \"%s\"", word),
			 errhint("Valid values are \"none\", \"s\", \"ms\", \"us\", \"ns\", \"days\".")));
}

static bool
refuse(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	return djk_convert_refuse(error, ERRCODE_DATETIME_FIELD_OVERFLOW,
							  psprintf("value out of range for type %s: %s",
									   format_type_be(converter->type),
									   djk_convert_show(field->text, field->len)),
							  psprintf("The route's time_unit is %s.", unit_names[converter->options.time_unit]),
							  "Set time_unit to what the number counts, or fill the column with an expression.");
}

/* What a number in a unit is to Debezium's schemas. */
static DjkConnectKind
kind_of_unit(DjkTimeUnit unit)
{
	switch (unit)
	{
		case DJK_TIME_UNIT_MS:
			return DJK_CONNECT_TIMESTAMP_MS;
		case DJK_TIME_UNIT_US:
			return DJK_CONNECT_TIMESTAMP_US;
		case DJK_TIME_UNIT_NS:
			return DJK_CONNECT_TIMESTAMP_NS;
		default:
			return DJK_CONNECT_PLAIN;
	}
}

/* Infinity, where the column has it; false if the field is none. */
static bool
convert_infinity(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	char		digits[24];
	char	   *end;
	int			infinity;

	if (!converter->options.debezium || field->len >= (int) sizeof(digits) ||
		(converter->type != TIMESTAMPOID && converter->type != TIMESTAMPTZOID))
		return false;
	memcpy(digits, field->text, field->len);
	digits[field->len] = '\0';
	errno = 0;
	infinity = djk_meaning_infinity(kind_of_unit(converter->options.time_unit), strtoi64(digits, &end, 10));
	if (errno != 0 || *end != '\0' || infinity == 0)
		return false;
	*value = TimestampGetDatum(infinity > 0 ? DT_NOEND : DT_NOBEGIN);
	return true;
}

/* Microseconds in a unit, as numeric. */
static Datum
unit_usecs(DjkTimeUnit unit)
{
	switch (unit)
	{
		case DJK_TIME_UNIT_S:
			return NumericGetDatum(int64_to_numeric(USECS_PER_SEC));
		case DJK_TIME_UNIT_MS:
			return NumericGetDatum(int64_to_numeric(1000));
		case DJK_TIME_UNIT_NS:
			return NumericGetDatum(int64_div_fast_to_numeric(1, 3));
		case DJK_TIME_UNIT_DAYS:
			return NumericGetDatum(int64_to_numeric(USECS_PER_DAY));
		default:
			return NumericGetDatum(int64_to_numeric(1));
	}
}

/* The number as microseconds; false if it is beyond all times. */
static bool
read_usecs(const DjkConverter *converter, const DjkField *field, int64 *usecs)
{
	char	   *text;
	Datum		number;

	*usecs = 0;
	if (field->len > LITERAL_MAX)
		return false;
	text = field->kind == DJK_FIELD_NUMBER ? djk_convert_normalize_number(field->text, field->len)
		: pnstrdup(field->text, field->len);
	if (strlen(text) > LITERAL_MAX || strpbrk(text, "eE") != NULL)
		return false;
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	number = DirectFunctionCall2(numeric_mul, number, unit_usecs(converter->options.time_unit));
	if (!(fabs(DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, number))) < USECS_MAX))
		return false;
	*usecs = DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	return true;
}

static int64
floor_days(int64 usecs)
{
	return usecs / USECS_PER_DAY - (usecs % USECS_PER_DAY < 0 ? 1 : 0);
}

static Datum
interval_of(DjkTimeUnit unit, int64 usecs)
{
	Interval   *span = palloc0(sizeof(Interval));

	if (unit == DJK_TIME_UNIT_DAYS)
	{
		span->day = (int32) (usecs / USECS_PER_DAY);
		usecs %= USECS_PER_DAY;
	}
	span->time = usecs;
	return IntervalPGetDatum(span);
}

/* To the precision of the column. */
static Datum
scale(const DjkConverter *converter, PGFunction function, Datum value)
{
	if (converter->typmod < 0)
		return value;
	return DirectFunctionCall2(function, value, Int32GetDatum(converter->typmod));
}

/*
 * Debezium's numbers are what the source's clock showed, as if it were in UTC;
 * its schemas have it so too.  False if that is no time here.
 */
static bool
convert_clock(const DjkConverter *converter, Timestamp clock, Datum *value)
{
	TimestampTz instant;
	int			overflow = 0;

	if (converter->type == TIMESTAMPOID)
	{
		*value = scale(converter, timestamp_scale, TimestampGetDatum(clock));
		return true;
	}
	instant = timestamp2timestamptz_opt_overflow(clock, &overflow);
	if (overflow != 0)
		return false;
	*value = scale(converter, timestamptz_scale, TimestampTzGetDatum(instant));
	return true;
}

bool
djk_convert_epoch(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	int64		usecs;
	DateADT		date;
	TimestampTz timestamp;

	*value = (Datum) 0;
	if (convert_infinity(converter, field, value))
		return true;
	if (!read_usecs(converter, field, &usecs))
		return refuse(converter, field, error);
	switch (converter->type)
	{
		case DATEOID:
			date = floor_days(usecs) - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE);
			if (!IS_VALID_DATE(date))
				return refuse(converter, field, error);
			*value = DateADTGetDatum(date);
			return true;
		case TIMEOID:
			/* The end of the day is a time to Debezium's sources as it is here. */
			if (usecs < 0 || usecs > USECS_PER_DAY || (usecs == USECS_PER_DAY && !converter->options.debezium))
				return refuse(converter, field, error);
			*value = scale(converter, time_scale, TimeADTGetDatum(usecs));
			return true;
		case INTERVALOID:
			*value = scale(converter, interval_scale, interval_of(converter->options.time_unit, usecs));
			return true;
		default:
			break;
	}
	timestamp = usecs - UNIX_EPOCH_USECS;
	if (!IS_VALID_TIMESTAMP(timestamp))
		return refuse(converter, field, error);
	if (converter->options.debezium && !converter->options.zone_required)
		return convert_clock(converter, timestamp, value) || refuse(converter, field, error);
	*value = TimestampTzGetDatum(timestamp);
	if (converter->type == TIMESTAMPOID)
		*value = scale(converter, timestamp_scale, DirectFunctionCall1(timestamptz_timestamp, *value));
	else
		*value = scale(converter, timestamptz_scale, *value);
	return true;
}
