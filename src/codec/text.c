/*-------------------------------------------------------------------------
 *
 * text.c
 *	  UTF-8 and the server's encoding.
 *
 * What comes from Kafka as text is UTF-8.  Nearly every database is UTF-8 too,
 * and then the bytes are checked and used where they are.  Otherwise they are
 * converted with the "no error" form of the server's conversions, which tells
 * how far it came instead of throwing.
 *
 * Where a route asks for it NUL, bytes that are no UTF-8 and characters that the
 * database's encoding lacks become U+FFFD, or a question mark where the encoding
 * lacks that too.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/text.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

bool
djk_text_server_takes_utf8(void)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII;
}

/* The server's own conversion; looked up once per process. */
static Oid
find_conversion(void)
{
	static Oid	conversion = InvalidOid;

	if (!OidIsValid(conversion))
		conversion = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	return conversion;
}

int
djk_text_convert(const char *from, int len, char *to, Size size)
{
	Oid			conversion = find_conversion();

	if (!OidIsValid(conversion))
		return 0;
	return pg_do_encoding_conversion_buf(conversion, PG_UTF8, GetDatabaseEncoding(),
										 (unsigned char *) unconstify(char *, from), len,
										 (unsigned char *) to, (int) Min(size, INT_MAX), true);
}

int
djk_text_put_code_point(unsigned code, char *to, int size)
{
	unsigned char utf8[8];
	char		converted[sizeof(utf8) * MAX_CONVERSION_GROWTH + 1];
	int			len;

	if (code < 0x80)
	{
		*to = (char) code;
		return 1;
	}
	unicode_to_utf8(code, utf8);
	len = pg_utf_mblen(utf8);
	if (djk_text_server_takes_utf8())
	{
		memcpy(to, utf8, len);
		return len;
	}
	if (djk_text_convert((const char *) utf8, len, converted, sizeof(converted)) != len)
		return 0;
	len = (int) strlen(converted);
	if (len > size)
		return 0;
	memcpy(to, converted, len);
	return len;
}

/* The bytes from 'at' on have no meaning: says where, and which. */
static bool
report_bad_text(const char *bytes, int len, int good, MemoryContext context, DjkError *error)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	const char *reason = "is not UTF-8";

	if (good < len && bytes[good] == '\0')
		reason = "is NUL, which text cannot hold";
	else if (pg_encoding_verifymbstr(PG_UTF8, bytes, len) > good)
		reason = "begins a character that the database's encoding does not have";
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = pstrdup("message is not valid text");
	error->detail = psprintf("Byte %d of %d (0x%02x) %s.", good + 1, len,
							 good < len ? (unsigned char) bytes[good] : 0, reason);
	error->hint = NULL;
	MemoryContextSwitchTo(old);
	return false;
}

int
djk_text_count_ascii(const char *bytes, int len)
{
	int			i;

	for (i = 0; i < len; i++)
	{
		if ((signed char) bytes[i] <= 0)
			break;
	}
	return i;
}

bool
djk_codec_to_server_text(const char *bytes, int len, MemoryContext context,
						 const char **text, int *text_len, DjkError *error)
{
	int			good;
	Size		size;
	char	   *buf;

	*text = bytes;
	*text_len = len;
	if (djk_text_server_takes_utf8())
	{
		good = pg_encoding_verifymbstr(PG_UTF8, bytes, len);
		return good == len || report_bad_text(bytes, len, good, context, error);
	}
	good = djk_text_count_ascii(bytes, len);
	if (good == len)
		return true;

	/* the conversion refuses to begin with less room than its worst case */
	size = (Size) len * MAX_CONVERSION_GROWTH + 1;
	buf = MemoryContextAllocHuge(context, size);
	good = djk_text_convert(bytes, len, buf, size);
	if (good != len)
	{
		pfree(buf);
		return report_bad_text(bytes, len, good, context, error);
	}
	*text = buf;
	*text_len = (int) strlen(buf);
	return true;
}

/* ---------- what no text can hold, replaced ---------- */

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

static void
replace_invalid(const char *bytes, int len, MemoryContext context, const char **text, int *text_len)
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

bool
djk_text_read(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	if (djk_codec_to_server_text(bytes, len, out->context, &out->text, &out->text_len, error))
		return true;
	if (!out->replace_invalid)
		return false;
	memset(error, 0, sizeof(*error));
	replace_invalid(bytes, len, out->context, &out->text, &out->text_len);
	return true;
}

/* ---------- text with NULs ---------- */

/*
 * The parts between NULs, each in the server's encoding, with these again between
 * them.  False if one of them is no text.
 */
static bool
convert_parts(const char *bytes, int len, MemoryContext context, const char **text, int *text_len)
{
	const char *at = bytes;
	const char *end = bytes + len;
	char	   *buf = djk_text_server_takes_utf8() ? NULL : MemoryContextAllocHuge(context, (Size) len * MAX_CONVERSION_GROWTH + 1);
	char	   *to = buf;

	for (;;)
	{
		const char *nul = memchr(at, '\0', end - at);
		int			part = (int) ((nul == NULL ? end : nul) - at);
		int			good;

		if (buf != NULL)
			*to = '\0';			/* also where the server has no conversion */
		good = buf == NULL ? pg_encoding_verifymbstr(PG_UTF8, at, part) :
			djk_text_convert(at, part, to, (Size) part * MAX_CONVERSION_GROWTH + 1);
		if (good != part)
			return false;
		to += buf == NULL ? 0 : strlen(to) + 1;
		if (nul == NULL)
			break;
		at = nul + 1;
	}
	*text = buf == NULL ? bytes : buf;
	*text_len = buf == NULL ? len : (int) (to - buf) - 1;
	return true;
}

bool
djk_text_read_with_nul(const char *bytes, int len, bool replace, MemoryContext context, const char **text, int *text_len)
{
	*text = bytes;
	*text_len = len;
	if (djk_text_count_ascii(bytes, len) == len)
		return true;
	if (!replace)
		return convert_parts(bytes, len, context, text, text_len);
	replace_invalid(bytes, len, context, text, text_len);
	return true;
}
