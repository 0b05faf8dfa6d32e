/*-------------------------------------------------------------------------
 *
 * mend.c
 *	  What no text can hold, replaced.
 *
 * NUL, bytes that are no UTF-8, half of a surrogate pair and characters that the
 * database's encoding lacks become U+FFFD, or a question mark where the encoding
 * lacks that too.  JSON is mended as text, before it is scanned: so it does not
 * matter how deep the string lies, and whether it is a name.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/json.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "codec/text.h"

/* Copies the character that begins here; false if it cannot be held. */
static bool
append_character(const char *at, int len, char **to)
{
	char		converted[8 * MAX_CONVERSION_GROWTH + 1];

	if (*at == '\0' || !pg_utf8_islegal((const unsigned char *) at, len))
		return false;
	if (djk_text_server_takes_utf8())
	{
		memcpy(*to, at, len);
		*to += len;
		return true;
	}
	if (djk_text_convert(at, len, converted, sizeof(converted)) != len)
		return false;
	memcpy(*to, converted, strlen(converted));
	*to += strlen(converted);
	return true;
}

void
djk_text_mend(const char *bytes, int len, MemoryContext context, const char **text, int *text_len)
{
	const char *replacement = djk_text_server_takes_utf8() ? "\xEF\xBF\xBD" : "?";
	const char *at = bytes;
	const char *end = bytes + len;
	char	   *buf = MemoryContextAllocHuge(context, (Size) len * MAX_CONVERSION_GROWTH + 1);
	char	   *to = buf;

	while (at < end)
	{
		int			wanted = pg_utf_mblen((const unsigned char *) at);

		if (wanted <= end - at && append_character(at, wanted, &to))
		{
			at += wanted;
			continue;
		}
		memcpy(to, replacement, strlen(replacement));
		to += strlen(replacement);
		/* What is left of a character that is cut off goes with its beginning. */
		for (at++; wanted > 1 && at < end && (*at & 0xC0) == 0x80; wanted--)
			at++;
	}
	*to = '\0';
	*text = buf;
	*text_len = (int) (to - buf);
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
djk_json_mend(const char *json, int len, MemoryContext context, const char **text, int *text_len)
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
		code = djk_json_read_code_point(&at, end);
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
