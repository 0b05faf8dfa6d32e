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

/* The same of what was made of a message, in out->context; it need not have been scanned. */
extern bool djk_json_decode_made(const StringInfoData *json, DjkDecoded *out, DjkError *error);

/*
 * A document that is in the server's encoding, and need not have been scanned.
 * False if it is none.  One that is null is a value, and no null: it goes by its
 * text, as an object does.
 */
extern bool djk_json_read_document(const char *text, int len, MemoryContext context, DjkField *field);

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
