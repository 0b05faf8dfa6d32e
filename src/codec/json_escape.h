/*-------------------------------------------------------------------------
 *
 * json_escape.h
 *	  Escapes in strings of JSON.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_JSON_ESCAPE_H
#define DJK_JSON_ESCAPE_H

#include "base/djk.h"

#include "lib/stringinfo.h"

/*
 * The content of a JSON string that has escapes, as text of the server's
 * encoding.  The escapes must have been scanned.  Returns false where no text
 * can hold it; *error (may be NULL) has strings in 'context'.
 */
extern bool djk_json_unescape(const char *content, int len, MemoryContext context,
							  const char **text, int *text_len, DjkError *error);

/*
 * JSON, scanned or not, in the server's encoding, in which each escape that no
 * text can hold is replaced; 'json' itself if it has none.
 */
extern void djk_json_replace_invalid(const char *json, int len, MemoryContext context,
									 const char **text, int *text_len);

/* A string of JSON, with its quotes; the text may have NULs. */
extern void djk_json_append_string(StringInfo json, const char *text, int len);

#endif							/* DJK_JSON_ESCAPE_H */
