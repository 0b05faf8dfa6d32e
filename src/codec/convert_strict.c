/*-------------------------------------------------------------------------
 *
 * convert_strict.c
 *	  Values that mean the same to whoever wrote them and whoever reads them.
 *
 * Input functions are made for people: "now", "tomorrow", 20261109 and an
 * object's braces all make a date or an interval of some kind, and "infinity"
 * or the year 12000 make one that most clients cannot read back.  With
 * types = strict a column takes the kinds of JSON that fit it, times as ISO
 * 8601 writes them, numbers that are finite, and years 1 to 9999.
 *
 * What passes the check goes on to the same conversion as without it; what
 * came out is looked at once more, because only that tells what year it is.
 * Direct paths take nothing that a check would refuse, so they come first.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include <math.h>

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define TIME_HINT \
	"Write times as ISO 8601 does, such as 2026-11-09T03:31:48Z; fill the column with an expression; or set the route's types to postgres, which takes whatever PostgreSQL does."

static const char *
kind_name(DjkFieldKind kind)
{
	static const char *const names[] = {
		"null", "a boolean", "a number", "a string", "an object", "an array", "bytes"
	};

	return names[kind];
}

static bool
refuse_kind(const DjkConverter *converter, const DjkField *field, const char *hint, DjkError *error)
{
	return djk_convert_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  psprintf("%s is no value of type %s: %s", kind_name(field->kind),
									   format_type_be(converter->type),
									   djk_convert_show(field->text, field->len)),
							  "The route's types are strict.", hint);
}

static bool
refuse_text(const DjkConverter *converter, const DjkField *field, const char *detail, const char *hint,
			DjkError *error)
{
	return djk_convert_refuse(error, ERRCODE_INVALID_DATETIME_FORMAT,
							  psprintf("invalid input syntax for type %s: %s",
									   format_type_be(converter->type),
									   djk_convert_show(field->text, field->len)),
							  detail, hint);
}

/* Strings, and bytes that are text: what an input function is for. */
static bool
is_string(const DjkField *field)
{
	return field->kind == DJK_FIELD_STRING || field->kind == DJK_FIELD_BYTES;
}

/* ---------- ISO 8601 ---------- */

typedef struct Scan
{
	const char *at;
	const char *end;
} Scan;

static bool
skip_digits(Scan *scan, int n)
{
	const char *start = scan->at;

	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && scan->at - start < n)
		scan->at++;
	return scan->at - start == n;
}

static bool
skip_char(Scan *scan, const char *any_of)
{
	if (scan->at >= scan->end || strchr(any_of, *scan->at) == NULL)
		return false;
	scan->at++;
	return true;
}

/* YYYY-MM-DD or YYYYMMDD */
static bool
skip_date(Scan *scan)
{
	if (!skip_digits(scan, 4))
		return false;
	if (!skip_char(scan, "-"))
		return skip_digits(scan, 4);
	return skip_digits(scan, 2) && skip_char(scan, "-") && skip_digits(scan, 2);
}

/* HH:MM, HH:MM:SS, HHMMSS, either with a fraction of the second; hours to 23. */
static bool
skip_time(Scan *scan)
{
	const char *start = scan->at;

	if (!skip_digits(scan, 2) || start[0] > '2' || (start[0] == '2' && start[1] > '3'))
		return false;
	if (!skip_char(scan, ":"))
	{
		if (!skip_digits(scan, 4))
			return false;
	}
	else
	{
		if (!skip_digits(scan, 2))
			return false;
		if (!skip_char(scan, ":"))
			return true;
		if (!skip_digits(scan, 2))
			return false;
	}
	if (!skip_char(scan, "."))
		return true;
	start = scan->at;
	while (skip_digits(scan, 1))
		continue;
	return scan->at > start;
}

/* Z, +HH, +HHMM, +HH:MM, +HH:MM:SS; nothing is a zone too. */
static bool
skip_zone(Scan *scan)
{
	if (scan->at == scan->end || skip_char(scan, "Zz"))
		return true;
	if (!skip_char(scan, "+-") || !skip_digits(scan, 2))
		return false;
	if (scan->at == scan->end)
		return true;
	if (!skip_char(scan, ":"))
		return skip_digits(scan, 2);
	if (!skip_digits(scan, 2))
		return false;
	return !skip_char(scan, ":") || skip_digits(scan, 2);
}

/* A date, or a date and a time; *zone is where the zone begins. */
bool
djk_convert_is_iso_timestamp(const DjkField *field, const char **zone)
{
	Scan		scan = {field->text, field->text + field->len};

	*zone = scan.end;
	if (!skip_date(&scan))
		return false;
	if (scan.at == scan.end)
		return true;
	if (!skip_char(&scan, "Tt ") || !skip_time(&scan))
		return false;
	*zone = scan.at;
	return skip_zone(&scan) && scan.at == scan.end;
}

static bool
is_iso_time(const DjkField *field, bool with_zone)
{
	Scan		scan = {field->text, field->text + field->len};

	return skip_time(&scan) && (!with_zone || skip_zone(&scan)) && scan.at == scan.end;
}

/*
 * What an interval must not be: a bare number, whose unit nobody has said;
 * 10:15, minutes for some and hours for others; and punctuation that the input
 * function would pass over.
 */
static bool
is_clear_interval(const DjkField *field)
{
	int			colons = 0;
	bool		words = false;

	for (int i = 0; i < field->len; i++)
	{
		char		c = field->text[i];

		if (c == ':')
			colons++;
		else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			words = true;
		else if ((c < '0' || c > '9') && strchr(" .,+-@", c) == NULL)
			return false;
	}
	return colons == 2 || (words && colons == 0);
}

/* ---------- checks before ---------- */

/* The hint for a number where a time is wanted. */
static const char *
number_hint(const DjkField *field)
{
	if (field->kind == DJK_FIELD_NUMBER)
		return "Say what the number counts with the route's time_unit (s, ms, us, ns or days), or fill the column with an expression, such as to_timestamp((value->>'created')::float8).";
	return TIME_HINT;
}

static bool
require_string(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	return is_string(field) ||
		refuse_kind(converter, field,
					"Fill the column with an expression, or set the route's types to postgres, which takes whatever PostgreSQL does.",
					error);
}

bool
djk_convert_is_infinity(const DjkField *field)
{
	return field->kind == DJK_FIELD_STRING && field->text != NULL &&
		((field->len == 8 && memcmp(field->text, "infinity", 8) == 0) ||
		 (field->len == 9 && memcmp(field->text, "-infinity", 9) == 0));
}

static bool
check_timestamp(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	const char *zone;

	if (!is_string(field))
		return refuse_kind(converter, field, number_hint(field), error);
	if (field->text == NULL)
		return true;			/* what converts it says why */
	if (converter->options.debezium && djk_convert_is_infinity(field))
		return true;
	if (!djk_convert_is_iso_timestamp(field, &zone))
		return refuse_text(converter, field, "It is not a date or time of ISO 8601; the route's types are strict.",
						   TIME_HINT, error);
	if (converter->options.zone_required && converter->type == TIMESTAMPTZOID && zone == field->text + field->len)
		return refuse_text(converter, field, "It has no zone, and the route's time_zone is error.",
						   "Write the zone, or set the route's time_zone to the one that is meant.", error);
	return true;
}

static bool
check_time(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	if (!is_string(field))
		return refuse_kind(converter, field, number_hint(field), error);
	if (field->text == NULL || is_iso_time(field, converter->type == TIMETZOID))
		return true;
	return refuse_text(converter, field, "It is not a time of day of ISO 8601; the route's types are strict.",
					   TIME_HINT, error);
}

static bool
check_interval(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	if (!is_string(field))
		return refuse_kind(converter, field, number_hint(field), error);
	if (field->text == NULL || is_clear_interval(field))
		return true;
	return refuse_text(converter, field, "It does not say its units; the route's types are strict.",
					   "Write P1DT2H30M, 1 day 02:30:00 or 02:30:00; or set the route's types to postgres, which takes whatever PostgreSQL does.",
					   error);
}

/*
 * A range's bounds: what looks like a number, a date or a time.  An infinite
 * bound is one that is left out.
 */
static bool
check_range_of_time(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	if (!require_string(converter, field, error))
		return false;
	if (field->text == NULL || (field->len == 5 && memcmp(field->text, "empty", 5) == 0))
		return true;
	for (int i = 0; i < field->len; i++)
	{
		char		c = field->text[i];

		if ((c < '0' || c > '9') && strchr("-:.+ TtZz,()[]{}\"", c) == NULL)
			return refuse_text(converter, field, "Its bounds are not dates or times of ISO 8601; the route's types are strict.",
							   TIME_HINT, error);
	}
	return true;
}

static bool
check_number(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	return is_string(field) || field->kind == DJK_FIELD_NUMBER ||
		refuse_kind(converter, field, "Fill the column with an expression that makes a number of it.", error);
}

/* The input function takes -1 for the last one. */
static bool
check_oid(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	int			blanks = 0;

	if (!check_number(converter, field, error))
		return false;
	while (field->text != NULL && blanks < field->len && field->text[blanks] == ' ')
		blanks++;
	if (field->text == NULL || blanks == field->len || field->text[blanks] != '-')
		return true;
	return djk_convert_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							  psprintf("value out of range for type oid: %s", djk_convert_show(field->text, field->len)),
							  "The route's types are strict.", NULL);
}

static bool
check_bool(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	return is_string(field) || field->kind == DJK_FIELD_BOOL || field->kind == DJK_FIELD_NUMBER ||
		refuse_kind(converter, field, "Fill the column with an expression that makes a boolean of it.", error);
}

/* Whether values of the type are looked at; its text form within another's would pass by. */
static bool
is_checked(const DjkConverter *converter)
{
	if (converter->check_value != NULL || converter->check == check_range_of_time ||
		converter->full == djk_convert_full_bytea || converter->full == djk_convert_full_money)
		return true;
	if (converter->is_domain || converter->full == djk_convert_full_array)
		return is_checked(converter->inner);
	for (int i = 0; converter->desc != NULL && i < converter->desc->natts; i++)
	{
		if (converter->attributes[i].converter != NULL && is_checked(converter->attributes[i].converter))
			return true;
	}
	return false;
}

/* An array's own text form is {now,5}, and a composite's (now,5). */
static bool
check_nested(const DjkConverter *converter, const DjkField *field, DjkError *error)
{
	return !is_string(field) ||
		refuse_kind(converter, field,
					converter->desc != NULL ? "Send a JSON object, or fill the column with an expression."
					: "Send a JSON array, or fill the column with an expression.", error);
}

/* ---------- checks after ---------- */

/* 0001-01-01 and 10000-01-01, as Julian days and from 2000 on. */
#define FIRST_DAY	(1721426 - POSTGRES_EPOCH_JDATE)
#define END_DAY		(5373485 - POSTGRES_EPOCH_JDATE)

static bool
refuse_range(const DjkConverter *converter, const DjkField *field, const char *detail, DjkError *error)
{
	return djk_convert_refuse(error, ERRCODE_DATETIME_FIELD_OVERFLOW,
							  psprintf("value out of range for type %s: %s",
									   format_type_be(converter->type),
									   djk_convert_show(field->text, field->len)),
							  detail, TIME_HINT);
}

static bool
is_date_value(const DjkConverter *converter, const DjkField *field, Datum value, DjkError *error)
{
	DateADT		day = DatumGetDateADT(value);

	return (day >= FIRST_DAY && day < END_DAY) ||
		refuse_range(converter, field, "Years are 1 to 9999; the route's types are strict.", error);
}

static bool
is_timestamp_value(const DjkConverter *converter, const DjkField *field, Datum value, DjkError *error)
{
	Timestamp	at = DatumGetTimestamp(value);

	return (at >= FIRST_DAY * USECS_PER_DAY && at < END_DAY * USECS_PER_DAY) ||
		(converter->options.debezium && TIMESTAMP_NOT_FINITE(at)) ||
		refuse_range(converter, field, "Years are 1 to 9999; the route's types are strict.", error);
}

/* 23:59:60 and what is rounded up to midnight are 24:00 to PostgreSQL. */
static bool
is_time_value(const DjkConverter *converter, const DjkField *field, Datum value, DjkError *error)
{
	TimeADT		time = converter->type == TIMETZOID ? DatumGetTimeTzADTP(value)->time : DatumGetTimeADT(value);

	return time < USECS_PER_DAY ||
		refuse_range(converter, field, "Times of day end before 24:00; the route's types are strict.", error);
}

/* Neither infinite, as PostgreSQL 17 knows it, nor beyond Python's timedelta and others like it. */
static bool
is_interval_value(const DjkConverter *converter, const DjkField *field, Datum value, DjkError *error)
{
	const Interval *span = DatumGetIntervalP(value);
	double		days = (double) span->month * DAYS_PER_MONTH + span->day + (double) span->time / USECS_PER_DAY;

	return fabs(days) < 1e9 ||
		refuse_range(converter, field, "Intervals are less than 1000000000 days; the route's types are strict.", error);
}

static bool
is_finite_value(const DjkConverter *converter, const DjkField *field, Datum value, DjkError *error)
{
	bool		finite;

	switch (converter->type)
	{
		case FLOAT4OID:
			finite = isfinite(DatumGetFloat4(value));
			break;
		case FLOAT8OID:
			finite = isfinite(DatumGetFloat8(value));
			break;
		default:
			finite = !numeric_is_nan(DatumGetNumeric(value)) && !numeric_is_inf(DatumGetNumeric(value));
			break;
	}
	return finite ||
		djk_convert_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
						   psprintf("value is not a finite number: %s", djk_convert_show(field->text, field->len)),
						   "The route's types are strict.",
						   "Send null where there is no number, or set the route's types to postgres.");
}

/* ---------- making ---------- */

static bool
is_of_time(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(getBaseType(type), &category, &preferred);
	return category == TYPCATEGORY_DATETIME;
}

static void
choose_of_range(DjkConverter *converter, char typtype)
{
	Oid			range = typtype == TYPTYPE_RANGE ? converter->type : get_multirange_range(converter->type);

	converter->check = is_of_time(get_range_subtype(range)) ? check_range_of_time : require_string;
}

static void
choose_of_category(DjkConverter *converter)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(converter->type, &category, &preferred);
	switch (category)
	{
		case TYPCATEGORY_NUMERIC:
			converter->check = check_number;
			break;
		case TYPCATEGORY_BOOLEAN:
			converter->check = check_bool;
			break;
		case TYPCATEGORY_GEOMETRIC:
		case TYPCATEGORY_NETWORK:
		case TYPCATEGORY_BITSTRING:
			converter->check = require_string;
			break;
		case TYPCATEGORY_USER:
			/* Of types that came with an extension only they know. */
			if (converter->type < FirstNormalObjectId && converter->full == djk_convert_full_input)
				converter->check = require_string;
			break;
		default:
			break;
	}
}

void
djk_convert_init_strict(DjkConverter *converter)
{
	char		typtype = get_typtype(converter->type);

	if (typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE)
	{
		choose_of_range(converter, typtype);
		return;
	}
	if (converter->full == djk_convert_full_array || converter->full == djk_convert_full_composite)
	{
		if (is_checked(converter))
			converter->check = check_nested;
		return;
	}
	if (typtype != TYPTYPE_BASE)
		return;
	switch (converter->type)
	{
		case DATEOID:
			converter->check = check_timestamp;
			converter->check_value = is_date_value;
			break;
		case TIMESTAMPOID:
			converter->check = check_timestamp;
			converter->check_value = is_timestamp_value;
			djk_convert_init_local_time(converter);
			break;
		case TIMESTAMPTZOID:
			converter->check = check_timestamp;
			converter->check_value = is_timestamp_value;
			/* The last day of 9999 in New York is in the year 10000. */
			converter->check_direct = is_timestamp_value;
			break;
		case TIMEOID:
		case TIMETZOID:
			converter->check = check_time;
			converter->check_value = is_time_value;
			break;
		case INTERVALOID:
			converter->check = check_interval;
			converter->check_value = is_interval_value;
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			converter->check = check_number;
			converter->full = djk_convert_full_integer;
			break;
		case OIDOID:
			converter->check = check_oid;
			break;
		case CASHOID:
			converter->check = check_number;
			converter->full = djk_convert_full_money;
			converter->inner = djk_converter_create(NUMERICOID, -1, &converter->options);
			break;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			converter->check = check_number;
			converter->check_value = is_finite_value;
			break;
		default:
			choose_of_category(converter);
			break;
	}
}
