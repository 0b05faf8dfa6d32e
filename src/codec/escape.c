/*-------------------------------------------------------------------------
 *
 * escape.c
 *	  Bytes of a message as text that always exists.
 *
 * What is shown or given to user code beside a message, such as the name of a
 * header, must not cost the message its life: what the server's encoding does
 * not have is written as \xNN.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/text.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* One character of UTF-8, or one byte that begins none; returns its length. */
static int
append_escaped(StringInfo buf, const char *bytes, int len)
{
	char		converted[8 * MAX_CONVERSION_GROWTH + 1];
	int			valid = *bytes == '\0' ? 0 : pg_encoding_verifymbchar(PG_UTF8, bytes, len);
	int			n = Max(valid, 1);

	if (valid == 1 || (valid > 1 && djk_text_server_takes_utf8()))
		appendBinaryStringInfo(buf, bytes, valid);
	else if (valid > 1 && djk_text_convert(bytes, valid, converted, sizeof(converted)) == valid)
		appendStringInfoString(buf, converted);
	else
	{
		for (int i = 0; i < n; i++)
			appendStringInfo(buf, "\\x%02x", (unsigned char) bytes[i]);
	}
	return n;
}

text *
djk_codec_escaped_text(const char *bytes, int len)
{
	StringInfoData buf;

	if (djk_text_count_ascii(bytes, len) == len)
		return cstring_to_text_with_len(bytes, len);
	initStringInfo(&buf);
	while (len > 0)
	{
		int			n = append_escaped(&buf, bytes, len);

		bytes += n;
		len -= n;
	}
	return cstring_to_text_with_len(buf.data, buf.len);
}
