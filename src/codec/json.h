/*-------------------------------------------------------------------------
 *
 * json.h
 *	  JSON -> fields.  Only codec/ includes this; others go through codec.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_JSON_H
#define DJK_JSON_H

#include "codec/json_scan.h"

/* DjkCodec.decode of the format "json". */
extern bool djk_json_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error);

/*
 * The same of a value within one that was decoded: it is in the server's
 * encoding, and has been scanned.
 */
extern bool djk_json_decode_part(const DjkField *field, DjkDecoded *out, DjkError *error);

/*
 * The content of a JSON string that has escapes, as text of the server's
 * encoding.  The escapes must have been scanned.  Returns false where no text
 * can hold it; *error (may be NULL) has strings in 'context'.
 */
extern bool djk_json_unescape(const char *content, int len, MemoryContext context,
							  const char **text, int *text_len, DjkError *error);

/*
 * Reads the code point of a \u escape with its digits ('*at' on the backslash),
 * with its second half if it is a pair, and moves *at behind it.  0 for what is
 * no character: NUL or half of a pair.
 */
extern unsigned djk_json_read_code_point(const char **at, const char *end);

/*
 * JSON, scanned or not, in the server's encoding, in which each escape that no
 * text can hold is replaced (mend.c); 'json' itself if it has none.
 */
extern void djk_json_mend(const char *json, int len, MemoryContext context,
						  const char **text, int *text_len);

/* Walks the elements of an array that has been scanned before. */
typedef struct DjkJsonArray
{
	DjkJsonScan scan;
	MemoryContext context;		/* for unescaped strings */
} DjkJsonArray;

extern void djk_json_array_begin(DjkJsonArray *array, const char *json, int len,
								 MemoryContext context);
extern bool djk_json_array_next(DjkJsonArray *array, DjkField *element);

#endif							/* DJK_JSON_H */
