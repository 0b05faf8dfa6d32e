/*-------------------------------------------------------------------------
 *
 * json_scan.c
 *	  The JSON scanner: bytes -> slices, strictly by RFC 8259.
 *
 * A message costs one pass over its bytes.  Names and strings are slices of
 * the message; a nested object or array is walked once, to validate it and to
 * find its end, by a loop that keeps one bit a level instead of recursing: a
 * message cannot choose how much stack we use.
 *
 * The time of a message goes into its strings, so they are searched for the
 * first byte that is not plain (a quote, a backslash, a control character or
 * anything above 0x7F) 16 bytes at a time with SSE2, 8 at a time elsewhere.
 * No read leaves [start, end).
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json_scan.h"

/* DJK_JSON_PORTABLE lets a test run the other path on this machine. */
#if defined(__SSE2__) && !defined(DJK_JSON_PORTABLE)
#include <emmintrin.h>
#define DJK_JSON_SSE2
#endif

static inline bool
fail(DjkJsonScan *scan, DjkJsonFault fault, const char *at)
{
	scan->fault = fault;
	scan->at = at;
	return false;
}

static inline bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

static inline const char *
skip_space(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

/* The first byte that is not plain content of a string, or end. */
static inline const char *
skip_plain(const char *at, const char *end)
{
#ifdef DJK_JSON_SSE2
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i backslash = _mm_set1_epi8('\\');
	const __m128i space = _mm_set1_epi8(' ');

	while (end - at >= 16)
	{
		__m128i		chunk = _mm_loadu_si128((const __m128i *) at);
		__m128i		found;
		int			mask;

		/* The comparison is signed: bytes above 0x7F are below a space too. */
		found = _mm_or_si128(_mm_cmplt_epi8(chunk, space),
							 _mm_or_si128(_mm_cmpeq_epi8(chunk, quote),
										  _mm_cmpeq_epi8(chunk, backslash)));
		mask = _mm_movemask_epi8(found);
		if (mask != 0)
			return at + __builtin_ctz(mask);
		at += 16;
	}
#else
#define DJK_ONES	UINT64CONST(0x0101010101010101)
#define DJK_HIGHS	UINT64CONST(0x8080808080808080)
#define has_zero(x) (((x) - DJK_ONES) & ~(x) & DJK_HIGHS)
#define has_below(x, n) (((x) - DJK_ONES * (n)) & ~(x) & DJK_HIGHS)
	while (end - at >= 8)
	{
		uint64		chunk;

		memcpy(&chunk, at, sizeof(chunk));
		if (((chunk & DJK_HIGHS) |
			 has_below(chunk, 0x20) |
			 has_zero(chunk ^ (DJK_ONES * '"')) |
			 has_zero(chunk ^ (DJK_ONES * '\\'))) != 0)
			break;
		at += 8;
	}
#endif
	while (at < end && (signed char) *at >= ' ' && *at != '"' && *at != '\\')
		at++;
	return at;
}

/*
 * The length of the UTF-8 sequence at 'at' (whose first byte is above 0x7F), 0
 * if it is not one: overlong forms, surrogates and what lies beyond U+10FFFF
 * are refused as the server refuses them.
 */
static inline int
utf8_sequence(const char *at, const char *end)
{
	const unsigned char *s = (const unsigned char *) at;
	ptrdiff_t	left = end - at;

#define is_tail(c) (((c) & 0xC0) == 0x80)
	if (s[0] < 0xC2)
		return 0;
	if (s[0] < 0xE0)
		return left >= 2 && is_tail(s[1]) ? 2 : 0;
	if (s[0] < 0xF0)
	{
		if (left < 3 || !is_tail(s[1]) || !is_tail(s[2]))
			return 0;
		if (s[0] == 0xE0 && s[1] < 0xA0)
			return 0;
		if (s[0] == 0xED && s[1] > 0x9F)
			return 0;
		return 3;
	}
	if (s[0] > 0xF4 || left < 4 || !is_tail(s[1]) || !is_tail(s[2]) || !is_tail(s[3]))
		return 0;
	if (s[0] == 0xF0 && s[1] < 0x90)
		return 0;
	if (s[0] == 0xF4 && s[1] > 0x8F)
		return 0;
	return 4;
}

/* Walks an escape; its first byte is the backslash. */
static const char *
skip_escape(DjkJsonScan *scan, const char *at)
{
	const char *escape = at;
	int			digits;

	if (++at >= scan->end)
	{
		fail(scan, DJK_JSON_UNTERMINATED_STRING, at);
		return NULL;
	}
	switch (*at++)
	{
		case '"':
		case '\\':
		case '/':
		case 'b':
		case 'f':
		case 'n':
		case 'r':
		case 't':
			return at;
		case 'u':
			for (digits = 0; digits < 4; digits++, at++)
			{
				if (at >= scan->end)
				{
					fail(scan, DJK_JSON_UNTERMINATED_STRING, at);
					return NULL;
				}
				if (!is_digit(*at) &&
					!(*at >= 'a' && *at <= 'f') && !(*at >= 'A' && *at <= 'F'))
				{
					fail(scan, DJK_JSON_BAD_ESCAPE, escape);
					return NULL;
				}
			}
			return at;
		default:
			fail(scan, DJK_JSON_BAD_ESCAPE, escape);
			return NULL;
	}
}

/* The rest of a string after its plain beginning: escapes, UTF-8, faults. */
static const char *
skip_string_slowly(DjkJsonScan *scan, const char *at, bool *escaped)
{
	const char *end = scan->end;

	for (;;)
	{
		if (at >= end)
		{
			fail(scan, DJK_JSON_UNTERMINATED_STRING, at);
			return NULL;
		}
		if (*at == '"')
			return at;
		if (*at == '\\')
		{
			*escaped = true;
			at = skip_escape(scan, at);
			if (at == NULL)
				return NULL;
		}
		else if ((unsigned char) *at < ' ')
		{
			fail(scan, DJK_JSON_CONTROL_CHARACTER, at);
			return NULL;
		}
		else if (!scan->check_utf8)
			at++;
		else
		{
			/* text in one script comes in runs */
			do
			{
				int			len = utf8_sequence(at, end);

				if (len == 0)
				{
					fail(scan, DJK_JSON_BAD_UTF8, at);
					return NULL;
				}
				at += len;
			} while (at < end && (unsigned char) *at >= 0x80);
		}
		at = skip_plain(at, end);
	}
}

/*
 * Walks a string; its first byte is the opening quote.  Returns the closing
 * quote, or NULL with the fault set.
 */
static inline const char *
skip_string(DjkJsonScan *scan, const char *at, bool *escaped)
{
	at = skip_plain(at + 1, scan->end);
	if (likely(at < scan->end && *at == '"'))
		return at;
	return skip_string_slowly(scan, at, escaped);
}

/* Walks a number; its first byte is a digit or a minus. */
static inline const char *
skip_number(DjkJsonScan *scan, const char *at)
{
	const char *end = scan->end;
	const char *number = at;

	if (*at == '-' && ++at >= end)
		goto bad;
	if (*at == '0')
		at++;
	else if (is_digit(*at))
	{
		while (at < end && is_digit(*at))
			at++;
	}
	else
		goto bad;
	if (at < end && *at == '.')
	{
		if (++at >= end || !is_digit(*at))
			goto bad;
		while (at < end && is_digit(*at))
			at++;
	}
	if (at < end && (*at == 'e' || *at == 'E'))
	{
		if (++at < end && (*at == '+' || *at == '-'))
			at++;
		if (at >= end || !is_digit(*at))
			goto bad;
		while (at < end && is_digit(*at))
			at++;
	}
	/* 01, 1x and -a1 are one bad number to a reader, not two tokens */
	if (unlikely(at < end && (is_digit(*at) || *at == '.' || *at == '_' ||
							  ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z'))))
		goto bad;
	return at;

bad:
	fail(scan, DJK_JSON_BAD_NUMBER, number);
	return NULL;
}

/* Walks true, false or null. */
static inline const char *
skip_word(DjkJsonScan *scan, const char *at, DjkFieldKind *kind)
{
	ptrdiff_t	left = scan->end - at;

	*kind = DJK_FIELD_NULL;
	if (left >= 4 && memcmp(at, "true", 4) == 0)
	{
		*kind = DJK_FIELD_BOOL;
		return at + 4;
	}
	if (left >= 4 && memcmp(at, "null", 4) == 0)
	{
		*kind = DJK_FIELD_NULL;
		return at + 4;
	}
	if (left >= 5 && memcmp(at, "false", 5) == 0)
	{
		*kind = DJK_FIELD_BOOL;
		return at + 5;
	}
	fail(scan, DJK_JSON_EXPECTED_VALUE, at);
	return NULL;
}

/* One bit a level of nesting: set where that level is an object. */
typedef struct Levels
{
	uint64		is_object[(DJK_JSON_MAX_DEPTH + 63) / 64];
	int			depth;
} Levels;

static inline bool
push_level(Levels *levels, bool is_object)
{
	int			word = levels->depth / 64;
	uint64		bit = UINT64CONST(1) << (levels->depth % 64);

	if (levels->depth >= DJK_JSON_MAX_DEPTH)
		return false;
	if (is_object)
		levels->is_object[word] |= bit;
	else
		levels->is_object[word] &= ~bit;
	levels->depth++;
	return true;
}

static inline bool
in_object(const Levels *levels)
{
	int			level = levels->depth - 1;

	return (levels->is_object[level / 64] >> (level % 64)) & 1;
}

/* Walks a member's name and colon and the space round them. */
static inline const char *
skip_name(DjkJsonScan *scan, const char *at, DjkJsonString *name)
{
	const char *quote;

	memset(name, 0, sizeof(*name));
	at = skip_space(at, scan->end);
	if (at >= scan->end || *at != '"')
	{
		fail(scan, DJK_JSON_EXPECTED_NAME, at);
		return NULL;
	}
	quote = skip_string(scan, at, &name->escaped);
	if (quote == NULL)
		return NULL;
	name->text = at + 1;
	name->len = (int) (quote - at - 1);
	at = skip_space(quote + 1, scan->end);
	if (at >= scan->end || *at != ':')
	{
		fail(scan, DJK_JSON_EXPECTED_COLON, at);
		return NULL;
	}
	return skip_space(at + 1, scan->end);
}

/* Walks a value that is neither object nor array. */
static inline const char *
skip_scalar(DjkJsonScan *scan, const char *at)
{
	DjkFieldKind kind;
	bool		escaped;

	if (*at == '"')
	{
		at = skip_string(scan, at, &escaped);
		return at == NULL ? NULL : at + 1;
	}
	if (*at == '-' || is_digit(*at))
		return skip_number(scan, at);
	return skip_word(scan, at, &kind);
}

/*
 * After a value inside a container: closes levels, and stops behind the comma
 * that announces the next value, or behind the outermost closing bracket
 * (depth 0).
 */
static inline const char *
skip_closings(DjkJsonScan *scan, const char *at, Levels *levels)
{
	do
	{
		bool		object = in_object(levels);

		at = skip_space(at, scan->end);
		if (at < scan->end && *at == ',')
			return at + 1;
		if (at >= scan->end || *at != (object ? '}' : ']'))
		{
			fail(scan, object ? DJK_JSON_EXPECTED_COMMA_OR_BRACE
				 : DJK_JSON_EXPECTED_COMMA_OR_BRACKET, at);
			return NULL;
		}
		at++;
	} while (--levels->depth > 0);
	return at;
}

/* Walks an object or array; its first byte is the opening bracket. */
static const char *
skip_container(DjkJsonScan *scan, const char *at)
{
	const char *end = scan->end;
	Levels		levels;
	DjkJsonString name;

	levels.depth = 0;
	for (;;)
	{
		/* here stands a value; at its first byte, with no space before it */
		if (at >= end)
		{
			fail(scan, DJK_JSON_EXPECTED_VALUE, at);
			return NULL;
		}
		if (*at == '{' || *at == '[')
		{
			bool		object = *at == '{';

			if (!push_level(&levels, object))
			{
				fail(scan, DJK_JSON_TOO_DEEP, at);
				return NULL;
			}
			at = skip_space(at + 1, end);
			if (at >= end || *at != (object ? '}' : ']'))
			{
				if (object && (at = skip_name(scan, at, &name)) == NULL)
					return NULL;
				continue;
			}
		}
		else if ((at = skip_scalar(scan, at)) == NULL)
			return NULL;

		at = skip_closings(scan, at, &levels);
		if (at == NULL || levels.depth == 0)
			return at;
		if (in_object(&levels))
			at = skip_name(scan, at, &name);
		else
			at = skip_space(at, end);
		if (at == NULL)
			return NULL;
	}
}

void
djk_json_scan_init(DjkJsonScan *scan, const char *text, int len, bool check_utf8)
{
	scan->start = text;
	scan->at = text;
	scan->end = text + len;
	scan->check_utf8 = check_utf8;
	scan->fault = DJK_JSON_OK;
}

void
djk_json_scan_space(DjkJsonScan *scan)
{
	scan->at = skip_space(scan->at, scan->end);
}

/* Reads `"name" :` and the space round it; leaves 'at' on the value. */
bool
djk_json_scan_name(DjkJsonScan *scan, DjkJsonString *name)
{
	const char *at = skip_name(scan, scan->at, name);

	if (at == NULL)
		return false;
	scan->at = at;
	return true;
}

/*
 * Reads one value of any kind, 'at' being on its first byte, and fills all of
 * *field but its name.  A string's text is its content between the quotes;
 * *escaped tells whether it is text yet.
 */
bool
djk_json_scan_value(DjkJsonScan *scan, DjkField *field, bool *escaped)
{
	const char *at = scan->at;
	const char *value = at;

	*escaped = false;
	field->kind = DJK_FIELD_NULL;
	field->text = field->raw = NULL;
	field->len = field->raw_len = 0;
	field->sure = field->plain = field->documents = false;
	if (at >= scan->end)
		return fail(scan, DJK_JSON_EXPECTED_VALUE, at);
	if (*at == '"')
	{
		const char *quote = skip_string(scan, at, escaped);

		if (quote == NULL)
			return false;
		field->kind = DJK_FIELD_STRING;
		field->text = value + 1;
		field->len = (int) (quote - value - 1);
		field->raw = value;
		field->raw_len = (int) (quote - value + 1);
		scan->at = quote + 1;
		return true;
	}
	if (*at == '-' || is_digit(*at))
	{
		field->kind = DJK_FIELD_NUMBER;
		at = skip_number(scan, at);
	}
	else if (*at == '{' || *at == '[')
	{
		field->kind = *at == '{' ? DJK_FIELD_OBJECT : DJK_FIELD_ARRAY;
		at = skip_container(scan, at);
	}
	else
		at = skip_word(scan, at, &field->kind);
	if (at == NULL)
		return false;
	field->text = field->raw = value;
	field->len = field->raw_len = (int) (at - value);
	scan->at = at;
	return true;
}
