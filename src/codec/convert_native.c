/*-------------------------------------------------------------------------
 *
 * convert_native.c
 *	  Numbers and bytes of a binary format, to columns of the fitting type.
 *
 * Each gives what the text of the same value would give, checks of strict types
 * included, and leaves to it whatever needs rounding, a zone, or an error.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "codec/meaning.h"
#include "codec/native.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Of a decimal whose digits are an integer. */
#define DECIMAL_SCALE_MAX	18

/* Integers that a double has all of. */
#define DOUBLE_INTEGER_MAX	(INT64CONST(1) << 53)

static bool
integer_to_text(int64 number, Datum *value)
{
	char		digits[MAXINT8LEN + 1];
	int			len = pg_lltoa(number, digits);

	*value = PointerGetDatum(cstring_to_text_with_len(digits, len));
	return true;
}

static bool
convert_integer(const DjkConverter *converter, int64 number, Datum *value)
{
	if (converter->direct == djk_convert_direct_text)
		return integer_to_text(number, value);
	switch (converter->type)
	{
		case INT2OID:
			*value = Int16GetDatum((int16) number);
			return number >= PG_INT16_MIN && number <= PG_INT16_MAX;
		case INT4OID:
			*value = Int32GetDatum((int32) number);
			return number >= PG_INT32_MIN && number <= PG_INT32_MAX;
		case INT8OID:
			*value = Int64GetDatum(number);
			return true;
		case FLOAT8OID:
			*value = Float8GetDatum((double) number);
			return number >= -DOUBLE_INTEGER_MAX && number <= DOUBLE_INTEGER_MAX;
		case NUMERICOID:
			return number != PG_INT64_MIN && djk_convert_direct_decimal(converter, number, 0, value);
		default:
			return false;
	}
}

/* The shortest digits of a float are no double's, but its value is. */
static bool
convert_real(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	double		real = djk_native_double(field);

	if (!isfinite(real))
		return false;
	if (converter->type == FLOAT8OID)
		*value = Float8GetDatum(real);
	else if (converter->type == FLOAT4OID && field->native->kind == DJK_CONNECT_FLOAT)
		*value = Float4GetDatum((float) real);
	else
		return false;
	return true;
}

static bool
convert_decimal(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	int64		digits;

	return converter->type == NUMERICOID && field->number >= 0 && field->number <= DECIMAL_SCALE_MAX &&
		djk_meaning_integer(field->text, field->len, &digits) && digits != PG_INT64_MIN &&
		djk_convert_direct_decimal(converter, digits, (int) field->number, value);
}

static bool
convert_date(const DjkConverter *converter, int64 days, Datum *value)
{
	int32		date;

	if (converter->type != DATEOID || !djk_meaning_date(days, &date))
		return false;
	*value = DateADTGetDatum(date);
	return true;
}

static bool
convert_time(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	int64		usecs;

	if (converter->type != TIMEOID || converter->typmod >= 0 ||
		!djk_meaning_usecs(field->native->kind, field->number, &usecs) || usecs < 0 || usecs > USECS_PER_DAY)
		return false;
	*value = TimeADTGetDatum(usecs);
	return true;
}

/* 'direct' is the path of texts, which only a column has that rounds nothing. */
static bool
convert_timestamp(const DjkConverter *converter, DjkConvertDirect direct, const DjkField *field, Datum *value)
{
	Timestamp	timestamp;

	if (converter->direct != direct || !djk_meaning_timestamp(field->native->kind, field->number, &timestamp))
		return false;
	*value = TimestampGetDatum(timestamp);
	return true;
}

static bool
convert_uuid(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	pg_uuid_t  *uuid;

	if (converter->type != UUIDOID)
		return false;
	uuid = palloc(sizeof(*uuid));
	memcpy(uuid->data, field->text, UUID_LEN);
	*value = UUIDPGetDatum(uuid);
	return true;
}

static bool
convert(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	switch (field->native->kind)
	{
		case DJK_CONNECT_INTEGER:
			return convert_integer(converter, field->number, value);
		case DJK_CONNECT_FLOAT:
		case DJK_CONNECT_DOUBLE:
			return convert_real(converter, field, value);
		case DJK_CONNECT_DECIMAL:
			return convert_decimal(converter, field, value);
		case DJK_CONNECT_DATE:
			return convert_date(converter, field->number, value);
		case DJK_CONNECT_TIME_MS:
		case DJK_CONNECT_TIME_US:
		case DJK_CONNECT_TIME_NS:
			return convert_time(converter, field, value);
		case DJK_CONNECT_TIMESTAMP_MS:
		case DJK_CONNECT_TIMESTAMP_US:
		case DJK_CONNECT_TIMESTAMP_NS:
			return convert_timestamp(converter, djk_convert_direct_timestamp, field, value);
		case DJK_CONNECT_INSTANT_MS:
		case DJK_CONNECT_INSTANT_US:
		case DJK_CONNECT_INSTANT_NS:
			return convert_timestamp(converter, djk_convert_direct_timestamptz, field, value);
		case DJK_CONNECT_UUID:
			return convert_uuid(converter, field, value);
		default:
			return false;
	}
}

/* What strict types do not take is refused as text, which can be shown. */
static bool
is_taken(const DjkConverter *converter, const DjkField *field, Datum value)
{
	DjkError	ignored = {0};

	return field->native->of_source || converter->check_value == NULL ||
		converter->check_value(converter, field, value, &ignored);
}

bool
djk_convert_direct_native(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	return convert(converter, field, value) && is_taken(converter, field, *value);
}
