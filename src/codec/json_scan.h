/*-------------------------------------------------------------------------
 *
 * json_scan.h
 *	  The JSON scanner: bytes -> slices, strictly by RFC 8259.
 *
 * Pure: no memory, no errors but a fault code and where it stands, nothing of
 * the server but its types.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_JSON_SCAN_H
#define DJK_JSON_SCAN_H

#include "codec/codec.h"

/*
 * Levels of nesting that are accepted.  jsonb_in() recurses about 300 bytes of
 * stack a level and whatever walks the jsonb later does so again; 2,000 levels
 * stay far below the default max_stack_depth of 2 MB.
 */
#define DJK_JSON_MAX_DEPTH	2000

/*
 * Fields of one object.  A table has 1,600 columns; the limit bounds the array
 * of fields, which is many times larger than a message of empty names.
 */
#define DJK_JSON_MAX_FIELDS 1000000

typedef enum DjkJsonFault
{
	DJK_JSON_OK,
	DJK_JSON_EXPECTED_VALUE,
	DJK_JSON_EXPECTED_NAME,
	DJK_JSON_EXPECTED_COLON,
	DJK_JSON_EXPECTED_COMMA_OR_BRACE,
	DJK_JSON_EXPECTED_COMMA_OR_BRACKET,
	DJK_JSON_EXPECTED_END,
	DJK_JSON_BAD_NUMBER,
	DJK_JSON_BAD_ESCAPE,
	DJK_JSON_CONTROL_CHARACTER,
	DJK_JSON_UNTERMINATED_STRING,
	DJK_JSON_BAD_UTF8,
	DJK_JSON_BYTE_ORDER_MARK,
	DJK_JSON_TOO_DEEP,
	DJK_JSON_TOO_MANY_FIELDS
} DjkJsonFault;

typedef struct DjkJsonScan
{
	const char *start;
	const char *at;				/* the next byte to look at; the fault's place */
	const char *end;
	bool		check_utf8;		/* else bytes above 0x7F have been checked before */
	DjkJsonFault fault;
} DjkJsonScan;

/* A string's content, between its quotes. */
typedef struct DjkJsonString
{
	const char *text;
	int			len;
	bool		escaped;		/* has a backslash: the content is not yet text */
} DjkJsonString;

extern void djk_json_scan_init(DjkJsonScan *scan, const char *text, int len, bool check_utf8);
extern void djk_json_scan_space(DjkJsonScan *scan);

/*
 * Each returns false with scan->fault set; 'at' is then the offending byte, and
 * what it would have filled is empty.
 */
extern bool djk_json_scan_name(DjkJsonScan *scan, DjkJsonString *name);
extern bool djk_json_scan_value(DjkJsonScan *scan, DjkField *field, bool *escaped);

#endif							/* DJK_JSON_SCAN_H */
