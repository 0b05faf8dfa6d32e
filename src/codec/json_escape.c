/*-------------------------------------------------------------------------
 *
 * json_escape.c
 *	  Escapes in strings of JSON: what they stand for.
 *
 * What no text can hold is replaced in the JSON, before it is scanned: so it
 * does not matter how deep the string lies, and whether it is a name.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json_escape.h"

#include "codec/text.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* The codes are those the server has for the same. */
static bool
report_bad_escape(int sqlstate, const char *what, MemoryContext context, DjkError *error)
{
	if (error != NULL)
	{
		error->sqlstate = sqlstate;
		error->message = MemoryContextStrdup(context, "unsupported Unicode escape sequence");
		error->detail = MemoryContextStrdup(context, what);
		error->hint = MemoryContextStrdup(context, "Set invalid_text of the route to \"replace\" to have U+FFFD in its place.");
	}
	return false;
}

/* Four hexadecimal digits that have been scanned. */
static unsigned
read_hex4(const char *digits)
{
	unsigned	value = 0;
	int			i;

	for (i = 0; i < 4; i++)
	{
		unsigned	c = (unsigned char) digits[i];

		value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

/*
 * Reads the code point of a \u escape with its digits ('*at' on the backslash),
 * with its second half if it is a pair, and moves *at behind it.  0 for what is
 * no character: NUL or half of a pair.
 */
static unsigned
read_code_point(const char **at, const char *end)
{
	unsigned	high = read_hex4(*at + 2);
	unsigned	low;

	*at += 6;
	if (high < 0xD800 || high > 0xDFFF)
		return high;
	if (high > 0xDBFF || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
		return 0;
	low = read_hex4(*at + 2);
	if (low < 0xDC00 || low > 0xDFFF)
		return 0;
	*at += 6;
	return 0x10000 + ((high - 0xD800) << 10 | (low - 0xDC00));
}

static char
escaped_byte(char c)
{
	switch (c)
	{
		case 'b':
			return '\b';
		case 'f':
			return '\f';
		case 'n':
			return '\n';
		case 'r':
			return '\r';
		case 't':
			return '\t';
		default:
			return c;			/* quote, backslash, slash */
	}
}

bool
djk_json_unescape(const char *content, int len, MemoryContext context,
				  const char **text, int *text_len, DjkError *error)
{
	const char *at = content;
	const char *end = content + len;
	char	   *buf = MemoryContextAlloc(context, (Size) len + 1);
	char	   *to = buf;

	*text = NULL;
	*text_len = 0;
	/* An escape is never shorter than what it stands for: len is enough. */
	while (at < end)
	{
		const char *backslash = memchr(at, '\\', end - at);
		size_t		plain = (backslash == NULL ? end : backslash) - at;

		memcpy(to, at, plain);
		to += plain;
		at += plain;
		if (at >= end)
			break;
		if (at[1] != 'u')
		{
			*to++ = escaped_byte(at[1]);
			at += 2;
		}
		else
		{
			const char *escape = at;
			unsigned	code = read_code_point(&at, end);
			int			written;

			if (code == 0 && memcmp(escape, "\\u0000", 6) == 0)
				return report_bad_escape(ERRCODE_UNTRANSLATABLE_CHARACTER,
										 "The string has \\u0000, which text cannot hold.",
										 context, error);
			if (code == 0)
				return report_bad_escape(ERRCODE_INVALID_TEXT_REPRESENTATION,
										 "The string has half of a surrogate pair, which is no character.",
										 context, error);
			written = djk_text_put_code_point(code, to, (int) (at - escape));
			if (written == 0)
				return report_bad_escape(ERRCODE_UNTRANSLATABLE_CHARACTER,
										 "The string has a character that the database's encoding does not have.",
										 context, error);
			to += written;
		}
	}
	*to = '\0';
	*text = buf;
	*text_len = (int) (to - buf);
	return true;
}

/* Whether an escape stands here that is a \u with four digits. */
static bool
is_unicode_escape(const char *at, const char *end)
{
	if (end - at < 6 || at[1] != 'u')
		return false;
	for (int i = 2; i < 6; i++)
	{
		if (!isxdigit((unsigned char) at[i]))
			return false;
	}
	return true;
}

void
djk_json_replace_invalid(const char *json, int len, MemoryContext context, const char **text, int *text_len)
{
	const char *replacement = djk_text_server_takes_utf8() ? "\\ufffd" : "?";
	const char *copied = json;
	const char *end = json + len;
	const char *at = json;
	char	   *buf = NULL;
	char	   *to = NULL;

	while ((at = memchr(at, '\\', end - at)) != NULL)
	{
		const char *escape = at;
		char		character[8 * MAX_CONVERSION_GROWTH];
		unsigned	code;

		if (!is_unicode_escape(at, end))
		{
			at += Min(2, end - at);
			continue;
		}
		code = read_code_point(&at, end);
		if (code != 0 && djk_text_put_code_point(code, character, sizeof(character)) > 0)
			continue;
		if (buf == NULL)
			to = buf = MemoryContextAllocHuge(context, (Size) len + 1);
		memcpy(to, copied, escape - copied);
		to += escape - copied;
		memcpy(to, replacement, strlen(replacement));
		to += strlen(replacement);
		copied = at;
	}
	*text = json;
	*text_len = len;
	if (buf == NULL)
		return;
	memcpy(to, copied, end - copied);
	to += end - copied;
	*text = buf;
	*text_len = (int) (to - buf);
}

static inline bool
is_plain(char c)
{
	return (unsigned char) c >= ' ' && c != '"' && c != '\\';
}

static void
append_escape(StringInfo json, char c)
{
	static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";

	for (int i = 0; i < lengthof(letters) - 1; i += 2)
	{
		if (letters[i] == c)
		{
			appendStringInfoChar(json, '\\');
			appendStringInfoChar(json, letters[i + 1]);
			return;
		}
	}
	appendStringInfo(json, "\\u%04x", (unsigned char) c);
}

void
djk_json_append_string(StringInfo json, const char *text, int len)
{
	const char *at = text;
	const char *end = text + len;

	appendStringInfoChar(json, '"');
	while (at < end)
	{
		const char *plain = at;

		while (at < end && is_plain(*at))
			at++;
		appendBinaryStringInfo(json, plain, (int) (at - plain));
		if (at < end)
			append_escape(json, *at++);
	}
	appendStringInfoChar(json, '"');
}
