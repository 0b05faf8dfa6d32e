/*-------------------------------------------------------------------------
 *
 * convert_number.c
 *	  Direct paths to integers, floating point and numeric.
 *
 * Each takes the plain decimal form that nearly every message has, from a JSON
 * number or a string alike, and leaves everything else (spaces, exponents too
 * large, NaN, overflow, rounding) to the type's input function.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/convert_impl.h"

#include <float.h>

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* 10^18 - 1 is the largest run of nines that an int64 holds. */
#define INT64_SAFE_DIGITS 18

static const int64 powers_of_ten[INT64_SAFE_DIGITS + 1] = {
	INT64CONST(1), INT64CONST(10), INT64CONST(100), INT64CONST(1000),
	INT64CONST(10000), INT64CONST(100000), INT64CONST(1000000),
	INT64CONST(10000000), INT64CONST(100000000), INT64CONST(1000000000),
	INT64CONST(10000000000), INT64CONST(100000000000),
	INT64CONST(1000000000000), INT64CONST(10000000000000),
	INT64CONST(100000000000000), INT64CONST(1000000000000000),
	INT64CONST(10000000000000000), INT64CONST(100000000000000000),
	INT64CONST(1000000000000000000)
};

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

/* -?[0-9]{1,18}, nothing else. */
static inline bool
read_integer(const DjkField *field, int64 *result)
{
	const char *at = field->text;
	const char *end = at + field->len;
	bool		negative = false;
	int64		value = 0;

	*result = 0;
	if (at < end && *at == '-')
	{
		negative = true;
		at++;
	}
	if (at >= end || end - at > INT64_SAFE_DIGITS)
		return false;
	for (; at < end; at++)
	{
		if (!is_digit(*at))
			return false;
		value = value * 10 + (*at - '0');
	}
	*result = negative ? -value : value;
	return true;
}

bool
djk_convert_direct_int2(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	int64		number;

	if (!read_integer(field, &number) || number < PG_INT16_MIN || number > PG_INT16_MAX)
		return false;
	*value = Int16GetDatum((int16) number);
	return true;
}

bool
djk_convert_direct_int4(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	int64		number;

	if (!read_integer(field, &number) || number < PG_INT32_MIN || number > PG_INT32_MAX)
		return false;
	*value = Int32GetDatum((int32) number);
	return true;
}

bool
djk_convert_direct_int8(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	int64		number;

	if (!read_integer(field, &number))
		return false;
	*value = Int64GetDatum(number);
	return true;
}

/* Digits behind the point that are all zero are cut off. */
bool
djk_convert_full_integer(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	char	   *text = djk_convert_field_text(field, error);
	char	   *point;

	if (text == NULL)
		return false;
	if (field->kind == DJK_FIELD_NUMBER && (point = strchr(text, '.')) != NULL &&
		point[1 + strspn(point + 1, "0")] == '\0')
		*point = '\0';
	return djk_convert_by_input(converter, text, value, error);
}

/* A plain decimal: digits / 10^scale, with an exponent already in the scale. */
typedef struct Decimal
{
	bool		negative;
	int64		digits;
	int			scale;			/* digits after the point; negative after 1e5 */
} Decimal;

/* The exponent of a number, 'at' behind its e. */
static bool
read_exponent(const char *at, const char *end, int *exponent)
{
	bool		negative = false;
	int			value = 0;

	*exponent = 0;
	if (at < end && (*at == '-' || *at == '+'))
		negative = *at++ == '-';
	if (at >= end || end - at > 3)
		return false;
	for (; at < end; at++)
	{
		if (!is_digit(*at))
			return false;
		value = value * 10 + (*at - '0');
	}
	*exponent = negative ? -value : value;
	return true;
}

/*
 * -?digits(.digits)? of at most 18 digits, optionally with an exponent.
 */
static bool
read_decimal(const DjkField *field, bool with_exponent, Decimal *decimal)
{
	const char *at = field->text;
	const char *end = at + field->len;
	const char *start;
	int			ndigits;
	int			exponent = 0;

	decimal->negative = at < end && *at == '-';
	if (decimal->negative)
		at++;
	decimal->digits = 0;
	decimal->scale = 0;
	start = at;
	for (; at < end && is_digit(*at); at++)
	{
		if (at - start >= INT64_SAFE_DIGITS)
			return false;
		decimal->digits = decimal->digits * 10 + (*at - '0');
	}
	ndigits = (int) (at - start);
	if (ndigits == 0)
		return false;
	if (at < end && *at == '.')
	{
		start = ++at;
		for (; at < end && is_digit(*at); at++)
		{
			if (ndigits++ >= INT64_SAFE_DIGITS)
				return false;
			decimal->digits = decimal->digits * 10 + (*at - '0');
		}
		decimal->scale = (int) (at - start);
		if (decimal->scale == 0)
			return false;
	}
	if (at == end)
		return true;
	if (!with_exponent || (*at != 'e' && *at != 'E') ||
		!read_exponent(at + 1, end, &exponent))
		return false;
	decimal->scale -= exponent;
	return true;
}

/*
 * Where the digits and the power of ten are both exact in the type, one
 * division or multiplication rounds once and so gives the nearest value, as
 * strtod() does.  The limits are 2^53 and 10^22 for double, 2^24 and 10^10 for
 * float.  Zero is left to the input function if it has a sign.
 */
bool
djk_convert_direct_float8(const DjkConverter *converter, const DjkField *field, Datum *value)
{
#if FLT_EVAL_METHOD == 0
	static const double exact[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
	};
	Decimal		decimal;
	double		result;

	if (!read_decimal(field, true, &decimal) ||
		decimal.digits > (INT64CONST(1) << 53) ||
		decimal.scale > 22 || decimal.scale < -22 ||
		(decimal.negative && decimal.digits == 0))
		return false;
	result = (double) decimal.digits;
	if (decimal.scale >= 0)
		result /= exact[decimal.scale];
	else
		result *= exact[-decimal.scale];
	*value = Float8GetDatum(decimal.negative ? -result : result);
	return true;
#else
	return false;
#endif
}

bool
djk_convert_direct_float4(const DjkConverter *converter, const DjkField *field, Datum *value)
{
#if FLT_EVAL_METHOD == 0
	static const float exact[] = {
		1e0f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f, 1e7f, 1e8f, 1e9f, 1e10f
	};
	Decimal		decimal;
	float		result;

	if (!read_decimal(field, true, &decimal) ||
		decimal.digits > (1 << 24) ||
		decimal.scale > 10 || decimal.scale < -10 ||
		(decimal.negative && decimal.digits == 0))
		return false;
	result = (float) decimal.digits;
	if (decimal.scale >= 0)
		result /= exact[decimal.scale];
	else
		result *= exact[-decimal.scale];
	*value = Float4GetDatum(decimal.negative ? -result : result);
	return true;
#else
	return false;
#endif
}

/*
 * The column's own scale if it has one: the digits are padded to it.  False if
 * the value has to be rounded or does not fit.
 */
static bool
apply_numeric_typmod(int32 typmod, Decimal *decimal)
{
	int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
	int			scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	int64		digits;

	if (scale < decimal->scale || scale - decimal->scale > INT64_SAFE_DIGITS)
		return false;
	if (pg_mul_s64_overflow(decimal->digits, powers_of_ten[scale - decimal->scale], &digits))
		return false;
	if (precision <= INT64_SAFE_DIGITS && digits >= powers_of_ten[precision])
		return false;
	decimal->digits = digits;
	decimal->scale = scale;
	return true;
}

static bool
make_numeric(const DjkConverter *converter, Decimal *decimal, Datum *value)
{
	if (converter->typmod >= (int32) VARHDRSZ &&
		!apply_numeric_typmod(converter->typmod, decimal))
		return false;
	*value = NumericGetDatum(int64_div_fast_to_numeric(decimal->negative ? -decimal->digits : decimal->digits,
													   decimal->scale));
	return true;
}

bool
djk_convert_direct_numeric(const DjkConverter *converter, const DjkField *field, Datum *value)
{
	Decimal		decimal;

	return read_decimal(field, false, &decimal) && make_numeric(converter, &decimal, value);
}

bool
djk_convert_direct_decimal(const DjkConverter *converter, int64 digits, int scale, Datum *value)
{
	Decimal		decimal = {.negative = digits < 0, .digits = digits < 0 ? -digits : digits, .scale = scale};

	if (decimal.digits >= powers_of_ten[INT64_SAFE_DIGITS])
		return false;
	return make_numeric(converter, &decimal, value);
}

bool
djk_convert_number_is_odd(const char *text, int len)
{
	bool		zero = true;
	int			i;

	for (i = 0; i < len; i++)
	{
		if (text[i] == 'e' || text[i] == 'E')
			return true;
		if (text[i] >= '1' && text[i] <= '9')
			zero = false;
	}
	return zero && len > 0 && text[0] == '-';
}

/*
 * jsonb prints 1e3 as 1000 and 1e-3 as 0.001; jsonb_populate_record() gives
 * that to a column's input function, so an integer column takes 1e3.  Six
 * bytes can print as 131,072 digits that way, so only exponents below 100 are
 * written out: beyond that no integer type is reached any more.
 */
char *
djk_convert_normalize_number(const char *text, int len)
{
	char	   *literal = pnstrdup(text, len);
	char	   *e = strpbrk(literal, "eE");
	int			exponent = 0;
	Datum		number;

	if (e != NULL && !read_exponent(e + 1, literal + len, &exponent))
		return literal;
	if (exponent >= 100 || exponent <= -100 || len > 1000)
		return literal;
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(literal),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return DatumGetCString(DirectFunctionCall1(numeric_out, number));
}

/*
 * The type's input function reads by lc_monetary, where a point may separate
 * thousands, takes an empty string for nothing, and (1) for -1.
 */
bool
djk_convert_full_money(DjkConverter *converter, const DjkField *field, Datum *value, DjkError *error)
{
	Datum		number;
	bool		isnull;

	if (!djk_convert(converter->inner, field, &number, &isnull, error))
		return false;
	*value = DirectFunctionCall1(numeric_cash, number);
	return true;
}
