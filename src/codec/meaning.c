/*-------------------------------------------------------------------------
 *
 * meaning.c
 *	  What a number, or bytes, mean by their schema, as text.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/meaning.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* Of a decimal; it is converted in the square of its length. */
#define DECIMAL_BYTES_MAX	8192

/* A digit of base 1e9, and how many of them the bytes above are. */
#define LIMB				1000000000
#define LIMBS_MAX			(DECIMAL_BYTES_MAX * 8 / 29 + 2)

/* Zeros that are written out; more of them become an exponent, for a few bytes can have thousands. */
#define ZEROS_MAX			1000

/* Digits of a bit string beyond what its bytes have. */
#define BITS_MAX			64

#define UNIX_EPOCH_USECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* ---------- times ---------- */

bool
djk_meaning_usecs(DjkConnectKind kind, int64 number, int64 *usecs)
{
	switch (kind)
	{
		case DJK_CONNECT_TIME_MS:
		case DJK_CONNECT_TIMESTAMP_MS:
		case DJK_CONNECT_INSTANT_MS:
			return !pg_mul_s64_overflow(number, 1000, usecs);
		case DJK_CONNECT_TIME_NS:
		case DJK_CONNECT_TIMESTAMP_NS:
		case DJK_CONNECT_INSTANT_NS:
		case DJK_CONNECT_DURATION_NS:
			*usecs = number / 1000 + (number % 1000 >= 500) - (number % 1000 <= -500);
			return true;
		default:
			*usecs = number;
			return true;
	}
}

/* Debezium has the bounds of Java's clock for nanoseconds, and else those of PostgreSQL's driver. */
int
djk_meaning_infinity(DjkConnectKind kind, int64 number)
{
	switch (kind)
	{
		case DJK_CONNECT_TIMESTAMP_MS:
			return number == INT64CONST(9223372036825200) ? 1 : number == INT64CONST(-9223372036832400) ? -1 : 0;
		case DJK_CONNECT_TIMESTAMP_US:
			return number == INT64CONST(9223372036825200000) ? 1 : number == INT64CONST(-9223372036832400000) ? -1 : 0;
		case DJK_CONNECT_TIMESTAMP_NS:
			return number == PG_INT64_MAX ? 1 : number == PG_INT64_MIN ? -1 : 0;
		default:
			return 0;
	}
}

bool
djk_meaning_timestamp(DjkConnectKind kind, int64 number, Timestamp *timestamp)
{
	int			infinity = djk_meaning_infinity(kind, number);
	int64		usecs;

	*timestamp = infinity > 0 ? DT_NOEND : DT_NOBEGIN;
	if (infinity != 0)
		return true;
	return djk_meaning_usecs(kind, number, &usecs) &&
		!pg_sub_s64_overflow(usecs, UNIX_EPOCH_USECS, timestamp) && IS_VALID_TIMESTAMP(*timestamp);
}

bool
djk_meaning_date(int64 days, int32 *date)
{
	*date = 0;
	if (days < (int64) DATETIME_MIN_JULIAN - UNIX_EPOCH_JDATE || days >= (int64) DATE_END_JULIAN - UNIX_EPOCH_JDATE)
		return false;
	*date = (int32) (days - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE));
	return true;
}

static bool
timestamp_text(DjkConnectKind kind, int64 number, int style, char *text)
{
	bool		has_zone = kind == DJK_CONNECT_INSTANT_MS || kind == DJK_CONNECT_INSTANT_US ||
		kind == DJK_CONNECT_INSTANT_NS;
	struct pg_tm tm;
	fsec_t		fsec;
	Timestamp	timestamp;

	if (!djk_meaning_timestamp(kind, number, &timestamp))
		return false;
	if (TIMESTAMP_NOT_FINITE(timestamp))
	{
		strcpy(text, TIMESTAMP_IS_NOEND(timestamp) ? "infinity" : "-infinity");
		return true;
	}
	if (timestamp2tm(timestamp, NULL, &tm, &fsec, NULL, NULL) != 0)
		return false;
	tm.tm_isdst = 0;			/* or the zone would not be known */
	EncodeDateTime(&tm, fsec, has_zone, 0, NULL, style, text);
	return true;
}

static bool
date_text(int64 days, char *text)
{
	struct pg_tm tm = {0};
	int32		date;

	if (!djk_meaning_date(days, &date))
		return false;
	j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, text);
	return true;
}

static bool
time_text(DjkConnectKind kind, int64 number, char *text)
{
	struct pg_tm tm = {0};
	fsec_t		fsec;
	int64		usecs;

	if (!djk_meaning_usecs(kind, number, &usecs) || usecs < 0 || usecs > USECS_PER_DAY)
		return false;
	time2tm(usecs, &tm, &fsec);
	EncodeTimeOnly(&tm, fsec, false, 0, USE_ISO_DATES, text);
	return true;
}

static bool
duration_text(DjkConnectKind kind, int64 number, char *text)
{
	Interval	span = {0};
	struct pg_itm itm;

	if (!djk_meaning_usecs(kind, number, &span.time))
		return false;
	interval2itm(span, &itm);
	EncodeInterval(&itm, INTSTYLE_POSTGRES, text);
	return true;
}

bool
djk_meaning_time_text(DjkConnectKind kind, int64 number, int style, char *text, bool *beyond_iso)
{
	*beyond_iso = true;
	switch (kind)
	{
		case DJK_CONNECT_DATE:
			if (!date_text(number, text))
				return false;
			break;
		case DJK_CONNECT_TIME_MS:
		case DJK_CONNECT_TIME_US:
		case DJK_CONNECT_TIME_NS:
			if (!time_text(kind, number, text))
				return false;
			*beyond_iso = strncmp(text, "24", 2) == 0;
			return true;
		case DJK_CONNECT_DURATION_US:
		case DJK_CONNECT_DURATION_NS:
			return duration_text(kind, number, text);
		default:
			if (!timestamp_text(kind, number, style, text))
				return false;
			break;
	}
	*beyond_iso = text[4] != '-' || text[strlen(text) - 1] == 'C';
	return true;
}

/* ---------- decimals ---------- */

bool
djk_meaning_integer(const char *bytes, int len, int64 *number)
{
	const unsigned char *at = (const unsigned char *) bytes;
	uint64		value = 0;

	*number = 0;
	if (len < 1 || len > DECIMAL_BYTES_MAX)
		return false;
	value = (at[0] & 0x80) != 0 ? PG_UINT64_MAX : 0;
	/* those of a fixed may say nothing but the sign */
	for (; len > (int) sizeof(value); at++, len--)
	{
		if (at[0] != (unsigned char) value || ((at[1] ^ at[0]) & 0x80) != 0)
			return false;
	}
	for (int i = 0; i < len; i++)
		value = value << 8 | at[i];
	*number = (int64) value;
	return true;
}

/* The bytes of an integer's absolute value. */
static unsigned char *
absolute(const char *bytes, int len, bool *negative)
{
	unsigned char *positive = palloc(len);

	memcpy(positive, bytes, len);
	*negative = (positive[0] & 0x80) != 0;
	for (int i = len - 1, carry = 1; *negative && i >= 0; i--)
	{
		carry += 0xFF & ~positive[i];
		positive[i] = (unsigned char) carry;
		carry >>= 8;
	}
	return positive;
}

/* The digits of an integer that its bytes are, the most significant first. */
static char *
long_digits(const char *bytes, int len, bool *negative)
{
	uint32		limbs[LIMBS_MAX];
	int			nlimbs = 1;
	unsigned char *positive = absolute(bytes, len, negative);
	StringInfoData digits;

	limbs[0] = 0;
	for (int i = 0, n; i < len; i += n)
	{
		uint64		carry = 0;

		CHECK_FOR_INTERRUPTS();
		n = (len - i) % 4 == 0 ? 4 : (len - i) % 4;
		for (int b = 0; b < n; b++)
			carry = carry << 8 | positive[i + b];
		for (int l = 0; l < nlimbs; l++)
		{
			carry += (uint64) limbs[l] << (8 * n);
			limbs[l] = (uint32) (carry % LIMB);
			carry /= LIMB;
		}
		for (; carry > 0; carry /= LIMB)
			limbs[nlimbs++] = (uint32) (carry % LIMB);
	}
	pfree(positive);
	initStringInfo(&digits);
	appendStringInfo(&digits, "%u", limbs[nlimbs - 1]);
	for (int l = nlimbs - 2; l >= 0; l--)
		appendStringInfo(&digits, "%09u", limbs[l]);
	return digits.data;
}

static void
append_zeros(StringInfo text, int n)
{
	while (n-- > 0)
		appendStringInfoChar(text, '0');
}

static void
append_literal(StringInfo text, const char *digits, bool negative, int scale)
{
	int			ndigits = strlen(digits);

	if (negative)
		appendStringInfoChar(text, '-');
	if (scale <= 0 && strcmp(digits, "0") == 0)
		appendStringInfoChar(text, '0');
	else if (-scale > ZEROS_MAX || scale - ndigits > ZEROS_MAX)
		appendStringInfo(text, "%sE%d", digits, -scale);
	else if (scale <= 0)
	{
		appendStringInfoString(text, digits);
		append_zeros(text, -scale);
	}
	else if (ndigits > scale)
		appendStringInfo(text, "%.*s.%s", ndigits - scale, digits, digits + ndigits - scale);
	else
	{
		appendStringInfoString(text, "0.");
		append_zeros(text, scale - ndigits);
		appendStringInfoString(text, digits);
	}
}

bool
djk_meaning_decimal_text(const char *bytes, int len, int64 scale, StringInfo text)
{
	char		buffer[24];
	char	   *digits = buffer;
	bool		negative;
	int64		number;

	if (len < 1 || len > DECIMAL_BYTES_MAX || scale < -DJK_DECIMAL_SCALE_MAX || scale > DJK_DECIMAL_SCALE_MAX)
		return false;
	if (djk_meaning_integer(bytes, len, &number))
	{
		negative = number < 0;
		buffer[pg_ulltoa_n(negative ? 0 - (uint64) number : (uint64) number, buffer)] = '\0';
	}
	else
		digits = long_digits(bytes, len, &negative);
	append_literal(text, digits, negative, (int) scale);
	if (digits != buffer)
		pfree(digits);
	return true;
}

/* ---------- bits ---------- */

bool
djk_meaning_bits_text(const char *bytes, int len, int nbits, StringInfo text)
{
	if (nbits > (int64) len * 8 + BITS_MAX)
		return false;
	if (nbits <= 0)
		nbits = len * 8;
	enlargeStringInfo(text, nbits);
	for (int i = nbits - 1; i >= 0; i--)
		appendStringInfoCharMacro(text, i / 8 < len && (bytes[i / 8] & (1 << (i % 8))) ? '1' : '0');
	return true;
}
