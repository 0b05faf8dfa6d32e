/*-------------------------------------------------------------------------
 *
 * text.h
 *	  UTF-8 and the server's encoding.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CODEC_TEXT_H
#define DJK_CODEC_TEXT_H

#include "codec/codec.h"

/* True where UTF-8 goes in as it is: UTF8, and SQL_ASCII, which has no idea. */
extern bool djk_text_server_takes_utf8(void);

/*
 * Writes a code point in the server's encoding, at most 'size' bytes (at least
 * 6).  Returns its length, 0 if the encoding does not have it.
 */
extern int	djk_text_put_code_point(unsigned code, char *to, int size);

/* Bytes as out->text; false and *error where they are none, and out->replace_invalid does not help. */
extern bool djk_text_read(const char *bytes, int len, DjkDecoded *out, DjkError *error);

/*
 * UTF-8 that may have NULs, as strings of JSON may, in the server's encoding; 'bytes'
 * itself where nothing has to change.  False where it is none, and 'replace' (NULs
 * too) is not said.
 */
extern bool djk_text_read_with_nul(const char *bytes, int len, bool replace, MemoryContext context,
								   const char **text, int *text_len);

/* How many bytes from the start are ASCII other than NUL. */
extern int	djk_text_count_ascii(const char *bytes, int len);

/*
 * Converts UTF-8 to the server's encoding, without throwing.  'to' holds 'size'
 * bytes, at least len * MAX_CONVERSION_GROWTH + 1, and gets a NUL at its end.
 * Returns how many of the source's bytes were converted.
 */
extern int	djk_text_convert(const char *from, int len, char *to, Size size);

#endif							/* DJK_CODEC_TEXT_H */
