/*-------------------------------------------------------------------------
 *
 * generate.c
 *	  Random JSON for tests, valid or hostile, and damage to any bytes.
 *
 * A message is built from values that are near the edges of the types columns
 * have, then damaged: cut, flipped, spliced, or filled with what parsers
 * stumble over.  The same seed gives the same messages everywhere.
 *
 *-------------------------------------------------------------------------
 */
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* JSON values, each near the edge of some type. */
static const char *const values[] = {
	"null", "true", "false", "0", "-0", "1", "-1", "7", "42",
	"32767", "32768", "-32768", "-32769", "2147483647", "2147483648",
	"-2147483648", "-2147483649", "9223372036854775807", "9223372036854775808",
	"-9223372036854775808", "-9223372036854775809", "999999999999999999",
	"1000000000000000000", "123456789012345678", "12345678901234567890123",
	"0.0", "-0.0", "0.5", "-0.50", "1.0", "1.10", "3.14159", "867.97",
	"9999999999.99", "99999999999.99", "12345678.905", "0.001", "0.005",
	"1e0", "1e3", "1E+3", "15e-1", "1e-3", "-1e2", "1.5e2", "1e18", "1e20", "1e-20",
	"1e22", "1e23", "123456789e-9", "16777216", "16777217", "16777219.5",
	"9007199254740993", "9007199254740992.5", "0.1", "0.30000000000000004",
	"2.2250738585072014e-308", "1.7976931348623157e38", "3.4028235e38", "1e39",
	"\"\"", "\" \"", "\"0\"", "\"1\"", "\"-1\"", "\" 42 \"", "\"+5\"", "\"007\"",
	"\"1_000\"", "\"0x1F\"", "\"1e3\"", "\"1.5\"", "\".5\"", "\"5.\"", "\"-\"", "\".\"",
	"\"NaN\"", "\"Infinity\"", "\"-infinity\"", "\"inf\"", "\"12345678.905\"", "\"-0\"",
	"\"t\"", "\"f\"", "\"true\"", "\"FALSE\"", "\"yes\"", "\"no\"", "\"on\"", "\"off\"",
	"\"tr\"", "\"o\"", "\" true \"", "\"truely\"", "\"Y\"", "\"n\"",
	"\"2026-11-09\"", "\"2026-02-29\"", "\"2024-02-29\"", "\"1900-02-29\"", "\"2000-02-29\"",
	"\"0001-01-01\"", "\"0000-01-01\"", "\"9999-12-31\"", "\"2026-13-01\"", "\"2026-1-1\"",
	"\"20261109\"", "\"Nov 9 2026\"", "\"today is\"", "\"infinity\"", "\"epoch\"",
	"\"2026-11-09T03:31:48Z\"", "\"2026-11-09T03:31:48\"", "\"2026-11-09 03:31:48\"",
	"\"2026-11-09T03:31:48z\"", "\"2026-11-09t03:31:48Z\"",
	"\"2026-11-09T03:31:48.5Z\"", "\"2026-11-09T03:31:48.123456Z\"",
	"\"2026-11-09T03:31:48.1234567Z\"", "\"2026-11-09T03:31:48.9999995Z\"",
	"\"2026-11-09T03:31:48.Z\"", "\"2026-11-09T03:31:48.000001+00\"",
	"\"2026-11-09 03:31:48+01\"", "\"2026-11-09 03:31:48+0130\"", "\"2026-11-09 03:31:48-05:30\"",
	"\"2026-11-09 03:31:48-00:30\"", "\"2026-11-09 03:31:48+14:00\"",
	"\"2026-11-09 03:31:48+15:59\"", "\"2026-11-09 03:31:48+16:00\"", "\"2026-11-09 03:31:48+1\"",
	"\"2026-11-09 03:31:48+01:60\"", "\"2026-11-09 03:31:48 +01\"", "\"2026-11-09 03:31:48 UTC\"",
	"\"2026-11-09 03:31:48 Europe/Paris\"", "\"2026-11-09 03:31:48 Nowhere/City\"",
	"\"2026-11-09T24:00:00Z\"", "\"2026-11-09T23:59:60Z\"", "\"2026-11-09T23:60:00Z\"",
	"\"2026-11-09T03:31\"", "\"2026-11-09T03:31Z\"", "\"0001-01-01T00:00:00+14:00\"",
	"\"9999-12-31T23:59:59.999999-14:00\"", "\"2026-03-29T02:30:00\"", "\"  2026-11-09T03:31:48Z \"",
	"\"03:31:48\"", "\"1 day 2 hours\"", "\"P1DT2H\"",
	"\"123e4567-e89b-12d3-a456-426614174000\"", "\"123E4567-E89B-12D3-A456-426614174000\"",
	"\"{123e4567-e89b-12d3-a456-426614174000}\"", "\"123e4567e89b12d3a456426614174000\"",
	"\"123e4567-e89b-12d3-a456-42661417400g\"", "\"123e4567-e89b-12d3-a456_426614174000\"",
	"\"123e4567-e89b-12d3-a456-42661417400\"",
	"\"\\\\x\"", "\"\\\\x00ff\"", "\"\\\\xDEADbeef\"", "\"\\\\x0\"", "\"\\\\x0g\"", "\"\\\\x 00 ff \"",
	"\"aGVsbG8=\"", "\"new\"", "\"paid\"", "\"abc\"", "\"abcd\"", "\"abcde\"", "\"abcdef\"",
	"\"abcde   \"", "\"   \"", "\"\303\251\303\251\303\251\303\251\303\251\"",
	"\"\303\251\303\251\303\251\303\251\303\251x\"", "\"\\u00e9\\u20ac\"", "\"\\ud83d\\ude00\"",
	"\"\360\237\230\200\"", "\"a\\\\b\\\"c\\/d\\b\\f\\n\\r\\t\"", "\"192.168.0.1/24\"", "\"10.0.0.1\"",
	"[]", "[[]]", "[[],[]]", "[null]", "[1]", "[1,2,3]", "[\"1\",\"2\"]", "[1,null,3]",
	"[[1,2],[3,4]]", "[[1,2],[3]]", "[[1,2],3]", "[1,[2]]", "[[],[1]]", "[[[1]],[[2]]]",
	"[[[[[[1]]]]]]", "[[[[[[[1]]]]]]]", "[true,\"no\"]", "[1.5,\"2.5\"]", "[{\"a\":1},[2]]",
	"[\"a,b\",\"c\\\"d\",\"\",\"null\"]", "\"{1,2,3}\"", "\"{}\"", "\"{{1},{2}}\"", "\"(1,x)\"",
	"{}", "{\"a\":1}", "{ \"a\" : [ 1 , {\"b\":null} ] , \"c\":\"x\" }", "{\"a\":1,\"b\":\"x\"}",
	"{\"a\":\"1\",\"b\":null}", "{\"a\":\"x\"}", "{\"a\":1,\"a\":2}", "{\"b\":{\"c\":[1,2]}}",
	"{\"k\":1e5,\"l\":-0.0,\"m\":100000000000000000000}"
};

/* What breaks parsers, put anywhere into a message. */
static const char *const poison[] = {
	"\\u0000", "\\ud800", "\\udfff", "\\ud800\\ud800", "\\udc00\\ud800", "\\ud83d\\ude00", "\\u",
	"\\u12", "\\u12g4", "\\x41", "\\", "\\\\", "\\\"", "\"", "\"\"", "'", "{", "}", "[", "]", ",", ":",
	"{}", "[]", "{\"\":", "[[[[", "}}}}", "\xEF\xBB\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80",
	"\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
	"\xFF", "\xFE", "\x80", "\xBF", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC3\xA9", "\xE2\x82\xAC",
	"\xF0\x9F\x98\x80", "\x01", "\x1F", "\x7F", "\t", "\n", "\r", "\v", "\f", "\xC2\xA0", "/*x*/", "//",
	"-", "+", ".", "e", "E", "-0", "01", "1.", ".1", "1e", "1e+", "0x1", "1_0", "--1", "1e400000",
	"-1e400000", "1e-400000", "1e131071", "1e131072", "1e-16383", "1e-16384", "1e99999999999999999999",
	"NaN", "Infinity", "-Infinity", "nul", "nulll", "tru", "True", "TRUE", "undefined", "null", "true"
};

static uint64_t
next_random(DjkGenerator *generator)
{
	uint64_t	x = generator->state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	generator->state = x;
	return x * UINT64_C(2685821657736338717);
}

int
djk_generate_below(DjkGenerator *generator, int bound)
{
	return (int) ((next_random(generator) >> 33) % (uint64_t) bound);
}

/* True once in n times. */
static int
one_in(DjkGenerator *generator, int n)
{
	return djk_generate_below(generator, n) == 0;
}

void
djk_generate_init(DjkGenerator *generator, uint64_t seed,
				  const char *const *names, int nnames)
{
	generator->state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	if (generator->state == 0)
		generator->state = 1;
	generator->names = names;
	generator->nnames = nnames;
	generator->size = 4096;
	generator->buf = malloc(generator->size);
	generator->len = 0;
	if (generator->buf == NULL)
		abort();
}

void
djk_generate_free(DjkGenerator *generator)
{
	free(generator->buf);
	generator->buf = NULL;
}

/* Opens a gap of len bytes at 'at', filled from 'bytes'. */
static void
insert(DjkGenerator *generator, int at, const char *bytes, int len)
{
	if (generator->len + len + 1 > generator->size)
	{
		while (generator->len + len + 1 > generator->size)
			generator->size *= 2;
		generator->buf = realloc(generator->buf, generator->size);
		if (generator->buf == NULL)
			abort();
	}
	memmove(generator->buf + at + len, generator->buf + at, generator->len - at);
	memcpy(generator->buf + at, bytes, len);
	generator->len += len;
	generator->buf[generator->len] = '\0';
}

static void
append(DjkGenerator *generator, const char *text)
{
	insert(generator, generator->len, text, (int) strlen(text));
}

static void
append_space(DjkGenerator *generator)
{
	static const char *const spaces[] = {" ", "\n", "\t", "\r", "  ", " \n\t\r "};

	if (one_in(generator, 12))
		append(generator, spaces[djk_generate_below(generator, COUNT(spaces))]);
}

/* A string of pieces: runs, escapes, characters of every length. */
static void
append_string(DjkGenerator *generator)
{
	static const char *const pieces[] = {
		"a", "bc", "def", "0", " ", "0123456789abcdef", "The quick brown fox", "\303\251", "\320\226",
		"\342\202\254", "\346\227\245\346\234\254", "\360\237\230\200", "\\n", "\\t", "\\\"", "\\\\", "\\/",
		"\\u0041", "\\u00e9", "\\u20AC", "\\ud83d\\ude00", "\177", "'", "{", "]", ","
	};
	int			n = djk_generate_below(generator, one_in(generator, 50) ? 400 : 6);

	append(generator, "\"");
	while (n-- > 0)
		append(generator, pieces[djk_generate_below(generator, COUNT(pieces))]);
	append(generator, "\"");
}

/* A number with random digits, point and exponent. */
static void
append_number(DjkGenerator *generator)
{
	char		digit[2] = "0";
	int			n = djk_generate_below(generator, one_in(generator, 10) ? 40 : 10);
	int			fraction = djk_generate_below(generator, 8);

	if (one_in(generator, 4))
		append(generator, "-");
	digit[0] = (char) ('1' + djk_generate_below(generator, 9));
	append(generator, digit);
	while (n-- > 0)
	{
		digit[0] = (char) ('0' + djk_generate_below(generator, 10));
		append(generator, digit);
	}
	if (one_in(generator, 2))
	{
		append(generator, ".");
		do
		{
			digit[0] = (char) ('0' + djk_generate_below(generator, 10));
			append(generator, digit);
		} while (fraction-- > 0);
	}
	if (one_in(generator, 8))
	{
		char		exponent[16];

		snprintf(exponent, sizeof(exponent), "%s%s%d", one_in(generator, 2) ? "e" : "E",
				 one_in(generator, 3) ? "-" : one_in(generator, 2) ? "+" : "",
				 djk_generate_below(generator, 30));
		append(generator, exponent);
	}
}

/* An ISO 8601 time with random fields, a few out of range. */
static void
append_time(DjkGenerator *generator)
{
	static const char *const zones[] = {"", "Z", "+00:00", "+01", "-0800", "+05:45", "-12:00", " UTC"};
	char		text[64];
	char		fraction[16] = "";

	if (one_in(generator, 2))
		snprintf(fraction, sizeof(fraction), ".%d", djk_generate_below(generator, 10000000));
	snprintf(text, sizeof(text), "\"%04d-%02d-%02d%c%02d:%02d:%02d%s%s\"",
			 1 + djk_generate_below(generator, 9999), 1 + djk_generate_below(generator, one_in(generator, 20) ? 14 : 12),
			 1 + djk_generate_below(generator, one_in(generator, 10) ? 31 : 28),
			 one_in(generator, 2) ? 'T' : ' ',
			 djk_generate_below(generator, 25), djk_generate_below(generator, 60),
			 djk_generate_below(generator, one_in(generator, 10) ? 62 : 60), fraction,
			 zones[djk_generate_below(generator, COUNT(zones))]);
	append(generator, text);
}

static void
append_name(DjkGenerator *generator)
{
	if (generator->nnames == 0 || one_in(generator, 6))
		append_string(generator);
	else
	{
		append(generator, "\"");
		append(generator, generator->names[djk_generate_below(generator, generator->nnames)]);
		append(generator, "\"");
	}
}

static void
append_value(DjkGenerator *generator, int depth)
{
	int			n;

	append_space(generator);
	switch (djk_generate_below(generator, depth > 4 ? 7 : 9))
	{
		case 0:
			append_string(generator);
			break;
		case 1:
			append_number(generator);
			break;
		case 2:
			append_time(generator);
			break;
		case 7:
			append(generator, "[");
			for (n = djk_generate_below(generator, 5); n > 0; n--)
			{
				append_value(generator, depth + 1);
				if (n > 1)
					append(generator, ",");
			}
			append(generator, "]");
			break;
		case 8:
			append(generator, "{");
			for (n = djk_generate_below(generator, 4); n > 0; n--)
			{
				append_string(generator);
				append_space(generator);
				append(generator, ":");
				append_value(generator, depth + 1);
				if (n > 1)
					append(generator, ",");
			}
			append_space(generator);
			append(generator, "}");
			break;
		default:
			append(generator, values[djk_generate_below(generator, COUNT(values))]);
			break;
	}
	append_space(generator);
}

void
djk_generate_value(DjkGenerator *generator)
{
	generator->len = 0;
	append_value(generator, 2);
}

/* Nesting of up to 120,000 levels, closed or not. */
static void
append_nesting(DjkGenerator *generator)
{
	static const int levels[] = {10, 500, 1999, 2000, 2001, 5000, 100000, 120000};
	const char *open = one_in(generator, 2) ? "[" : "{\"a\":";
	int			closes = !one_in(generator, 3);
	int			n = levels[djk_generate_below(generator, one_in(generator, 20) ? COUNT(levels) : 5)];
	int			i;

	for (i = 0; i < n; i++)
		append(generator, open);
	append(generator, "1");
	for (i = 0; closes && i < n; i++)
		append(generator, *open == '[' ? "]" : "}");
}

static void
append_object(DjkGenerator *generator)
{
	int			n = djk_generate_below(generator, one_in(generator, 500) ? 5000 : 12);

	append(generator, "{");
	while (n-- > 0)
	{
		append_space(generator);
		append_name(generator);
		append(generator, ":");
		if (one_in(generator, 300))
			append_nesting(generator);
		else
			append_value(generator, 0);
		if (n > 0)
			append(generator, ",");
	}
	append_space(generator);
	append(generator, "}");
}

/* One blow against the text. */
static void
damage(DjkGenerator *generator)
{
	int			at = djk_generate_below(generator, generator->len + 1);
	int			span = djk_generate_below(generator, 20);
	char		byte = (char) djk_generate_below(generator, 256);
	char		copy[20];

	if (span > generator->len - at)
		span = generator->len - at;
	switch (djk_generate_below(generator, 6))
	{
		case 0:					/* cut off */
			generator->len = at;
			break;
		case 1:					/* change a byte */
			if (at < generator->len)
				generator->buf[at] = byte;
			break;
		case 2:					/* add a byte */
			insert(generator, at, &byte, 1);
			break;
		case 3:					/* drop a piece */
			memmove(generator->buf + at, generator->buf + at + span, generator->len - at - span);
			generator->len -= span;
			break;
		case 4:					/* a piece from elsewhere */
			memcpy(copy, generator->buf + at, span);
			insert(generator, djk_generate_below(generator, generator->len + 1), copy, span);
			break;
		case 5:
			{
				const char *text = poison[djk_generate_below(generator, COUNT(poison))];

				insert(generator, at, text, (int) strlen(text));
				break;
			}
	}
}

void
djk_generate_hostile(DjkGenerator *generator)
{
	int			blows = 0;

	generator->len = 0;
	append_space(generator);
	if (one_in(generator, 10))
		append_value(generator, 0);
	else
		append_object(generator);
	append_space(generator);
	if (!one_in(generator, 4))
		blows = 1 + djk_generate_below(generator, 3);
	while (blows-- > 0)
		damage(generator);
}

static int
least(int a, int b)
{
	return a < b ? a : b;
}

int
djk_generate_damage(DjkGenerator *generator, char *bytes, int len, int size)
{
	static const unsigned char odd[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0xfe, '"', '{', '}', ',', ':', '\\'};
	int			times = one_in(generator, 3) ? 1 + djk_generate_below(generator, 4) : 1;

	while (times-- > 0)
	{
		int			at = djk_generate_below(generator, len + 1);
		int			n = 1 + djk_generate_below(generator, 12);

		switch (djk_generate_below(generator, 6))
		{
			case 0:				/* a bit */
				if (at < len)
					bytes[at] ^= 1 << djk_generate_below(generator, 8);
				break;
			case 1:
				if (at < len)
					bytes[at] = odd[djk_generate_below(generator, (int) sizeof(odd))];
				break;
			case 2:				/* a number of many bytes */
				for (int i = at; i < len && i < at + n; i++)
					bytes[i] = (char) (0x80 | djk_generate_below(generator, 128));
				break;
			case 3:				/* something is missing */
				n = least(n, len - at);
				memmove(bytes + at, bytes + at + n, len - at - n);
				len -= n;
				break;
			case 4:				/* something stands twice */
				n = least(n, least(len - at, size - len));
				memmove(bytes + at + n, bytes + at, len - at);
				len += n;
				break;
			default:			/* the rest is missing */
				if (djk_generate_below(generator, 4) == 0)
					len = at;
				break;
		}
	}
	return len;
}
