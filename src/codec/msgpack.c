/*-------------------------------------------------------------------------
 *
 * msgpack.c
 *	  MessagePack -> JSON.
 *
 * The bytes are hostile: each read is checked against their end, nothing is
 * allocated by what a length or a count claims, and levels are counted and not
 * on our stack.  A byte becomes ten of JSON at most.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/msgpack.h"

#include "codec/connect.h"
#include "codec/json_escape.h"
#include "codec/native.h"
#include "codec/text.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Levels of values within values. */
#define DEPTH_MAX		1000

/* What a byte of a string may become: \u0000. */
#define GROWTH_OF_BYTE	6

/* The extension type that is a time. */
#define TIMESTAMP		(-1)

typedef enum Fault
{
	FAULT_NONE,
	FAULT_CUT_SHORT,
	FAULT_NO_VALUE,
	FAULT_NO_TEXT,
	FAULT_NO_NAME,
	FAULT_NO_TIME,
	FAULT_EXTENSION,
	FAULT_TOO_DEEP,
	FAULT_TOO_LONG,
	FAULT_BYTES_LEFT
} Fault;

static const char *const fault_texts[] = {
	"Fault", "Cut short", "No value begins so", "String that is not UTF-8, or not of the database's encoding,",
	"Name of a field that is neither a string nor an integer", "Malformed time",
	"Extension type that is no time", "Nesting of more than " CppAsString2(DEPTH_MAX) " levels",
	"It is too long as JSON", "There is more behind the value"
};

/* An array or a map that is being read. */
typedef struct Level
{
	uint32		left;			/* elements; of a map names and values */
	bool		is_map;
	bool		begun;
} Level;

typedef struct Reader
{
	const unsigned char *start;
	const unsigned char *at;	/* the next byte; the fault's place */
	const unsigned char *end;
	bool		replace_invalid;
	StringInfo	json;
	Fault		fault;
	int			depth;
	Level		levels[DEPTH_MAX];
} Reader;

static const DjkConnectType of_integer = {.kind = DJK_CONNECT_INTEGER};
static const DjkConnectType of_float = {.kind = DJK_CONNECT_FLOAT};
static const DjkConnectType of_double = {.kind = DJK_CONNECT_DOUBLE};
static const DjkConnectType of_time = {.kind = DJK_CONNECT_INSTANT_US};

static bool
fail(Reader *reader, Fault fault)
{
	reader->fault = fault;
	return false;
}

/* ---------- bytes ---------- */

static bool
has(Reader *reader, uint32 len)
{
	return (Size) (reader->end - reader->at) >= len || fail(reader, FAULT_CUT_SHORT);
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static bool
read_unsigned(Reader *reader, int size, uint64 *number)
{
	*number = 0;
	if (!has(reader, size))
		return false;
	for (int i = 0; i < size; i++)
		*number = *number << 8 | *reader->at++;
	return true;
}

static bool
read_signed(Reader *reader, int size, int64 *number)
{
	uint64		bits;
	int			unused = 64 - 8 * size;

	*number = 0;
	if (!read_unsigned(reader, size, &bits))
		return false;
	*number = (int64) (bits << unused) >> unused;
	return true;
}

/* ---------- scalars ---------- */

static bool
append_native(Reader *reader, const DjkConnectType *type, int64 number)
{
	DjkField	field = {.kind = DJK_FIELD_NATIVE, .native = type, .number = number};

	djk_codec_append_json(&field, reader->json);
	return true;
}

static bool
append_unsigned(Reader *reader, int size)
{
	uint64		number;

	if (!read_unsigned(reader, size, &number))
		return false;
	appendStringInfo(reader->json, UINT64_FORMAT, number);
	return true;
}

static bool
append_signed(Reader *reader, int size)
{
	int64		number;

	return read_signed(reader, size, &number) && append_native(reader, &of_integer, number);
}

static bool
append_real(Reader *reader, bool is_double)
{
	DjkField	field = {.kind = DJK_FIELD_NATIVE, .native = is_double ? &of_double : &of_float};
	uint64		bits;

	if (!read_unsigned(reader, is_double ? 8 : 4, &bits))
		return false;
	field.number = (int64) bits;
	if (!is_double)
	{
		uint32		half = (uint32) bits;
		float		single;

		memcpy(&single, &half, sizeof(single));
		djk_native_set_double(&field, single);
	}
	djk_codec_append_json(&field, reader->json);
	return true;
}

/* Whether there are so many bytes, and JSON has room for what they may become. */
static bool
has_room(Reader *reader, uint32 len)
{
	return has(reader, len) &&
		(reader->json->len + (int64) GROWTH_OF_BYTE * len < (int64) MaxAllocSize - 1024 || fail(reader, FAULT_TOO_LONG));
}

static bool
append_string(Reader *reader, uint32 len)
{
	const char *bytes = (const char *) reader->at;
	const char *text;
	int			text_len;

	if (!has_room(reader, len))
		return false;
	if (!djk_text_read_with_nul(bytes, (int) len, reader->replace_invalid, CurrentMemoryContext, &text, &text_len))
		return fail(reader, FAULT_NO_TEXT);
	reader->at += len;
	djk_json_append_string(reader->json, text, text_len);
	if (text != bytes)
		pfree(unconstify(char *, text));
	return true;
}

static bool
append_bytes(Reader *reader, uint32 len)
{
	DjkField	field = {.kind = DJK_FIELD_BYTES, .text = (const char *) reader->at, .len = (int) len};

	if (!has_room(reader, len))
		return false;
	reader->at += len;
	djk_codec_append_json(&field, reader->json);
	return true;
}

/* Seconds where microseconds have no room: it stays the number that was sent. */
static bool
append_time(Reader *reader, int64 seconds, uint64 nanoseconds)
{
	int64		number;

	if (nanoseconds > 999999999)
		return fail(reader, FAULT_NO_TIME);
	if (pg_mul_s64_overflow(seconds, INT64CONST(1000000), &number) ||
		pg_add_s64_overflow(number, (int64) (nanoseconds + 500) / 1000, &number))
		return append_native(reader, &of_integer, seconds);
	return append_native(reader, &of_time, number);
}

static bool
append_extension(Reader *reader, uint32 len)
{
	int64		type;
	int64		seconds;
	uint64		bits;

	if (!read_signed(reader, 1, &type) || !has(reader, len))
		return false;
	if (type != TIMESTAMP)
		return fail(reader, FAULT_EXTENSION);
	switch (len)
	{
		case 4:
			return read_unsigned(reader, 4, &bits) && append_time(reader, (int64) bits, 0);
		case 8:
			return read_unsigned(reader, 8, &bits) &&
				append_time(reader, (int64) (bits & UINT64CONST(0x3FFFFFFFF)), bits >> 34);
		case 12:
			return read_unsigned(reader, 4, &bits) && read_signed(reader, 8, &seconds) &&
				append_time(reader, seconds, bits);
		default:
			return fail(reader, FAULT_NO_TIME);
	}
}

static bool
append_word(Reader *reader, const char *word)
{
	appendStringInfoString(reader->json, word);
	return true;
}

/* ---------- what holds others ---------- */

/* An element is one byte at least, so no count may claim more than there are. */
static bool
enter(Reader *reader, bool is_map, uint64 count)
{
	uint64		left = is_map ? 2 * count : count;

	if (left > (uint64) (reader->end - reader->at))
		return fail(reader, FAULT_CUT_SHORT);
	if (reader->depth >= DEPTH_MAX)
		return fail(reader, FAULT_TOO_DEEP);
	reader->levels[reader->depth++] = (Level) {(uint32) left, is_map, false};
	appendStringInfoChar(reader->json, is_map ? '{' : '[');
	return true;
}

/* ---------- values ---------- */

typedef enum Family
{
	FAMILY_STRING,
	FAMILY_BYTES,
	FAMILY_EXTENSION,
	FAMILY_ARRAY,
	FAMILY_MAP
} Family;

/* What has its length, or how many there are, in 'size' bytes before it. */
static bool
append_sized(Reader *reader, Family family, int size)
{
	uint64		n;

	if (!read_unsigned(reader, size, &n))
		return false;
	switch (family)
	{
		case FAMILY_STRING:
			return append_string(reader, (uint32) n);
		case FAMILY_BYTES:
			return append_bytes(reader, (uint32) n);
		case FAMILY_EXTENSION:
			return append_extension(reader, (uint32) n);
		case FAMILY_ARRAY:
			return enter(reader, false, n);
		case FAMILY_MAP:
			return enter(reader, true, n);
	}
	return false;
}

/* Those whose first byte says nothing but what they are: from 0xC0 to 0xDF. */
static bool
append_marked(Reader *reader, unsigned char mark)
{
	switch (mark)
	{
		case 0xC0:
			return append_word(reader, "null");
		case 0xC2:
			return append_word(reader, "false");
		case 0xC3:
			return append_word(reader, "true");
		case 0xC4:
		case 0xC5:
		case 0xC6:
			return append_sized(reader, FAMILY_BYTES, 1 << (mark - 0xC4));
		case 0xC7:
		case 0xC8:
		case 0xC9:
			return append_sized(reader, FAMILY_EXTENSION, 1 << (mark - 0xC7));
		case 0xCA:
		case 0xCB:
			return append_real(reader, mark == 0xCB);
		case 0xCC:
		case 0xCD:
		case 0xCE:
		case 0xCF:
			return append_unsigned(reader, 1 << (mark - 0xCC));
		case 0xD0:
		case 0xD1:
		case 0xD2:
		case 0xD3:
			return append_signed(reader, 1 << (mark - 0xD0));
		case 0xD4:
		case 0xD5:
		case 0xD6:
		case 0xD7:
		case 0xD8:
			return append_extension(reader, 1 << (mark - 0xD4));
		case 0xD9:
		case 0xDA:
		case 0xDB:
			return append_sized(reader, FAMILY_STRING, 1 << (mark - 0xD9));
		case 0xDC:
		case 0xDD:
			return append_sized(reader, FAMILY_ARRAY, 2 << (mark - 0xDC));
		case 0xDE:
		case 0xDF:
			return append_sized(reader, FAMILY_MAP, 2 << (mark - 0xDE));
		default:
			reader->at--;
			return fail(reader, FAULT_NO_VALUE);
	}
}

/* A value, or the beginning of one that holds others. */
static bool
append_value(Reader *reader)
{
	unsigned char mark;

	if (!has(reader, 1))
		return false;
	mark = *reader->at++;
	if (mark <= 0x7F)
		return append_native(reader, &of_integer, mark);
	if (mark <= 0x8F)
		return enter(reader, true, mark & 0x0F);
	if (mark <= 0x9F)
		return enter(reader, false, mark & 0x0F);
	if (mark <= 0xBF)
		return append_string(reader, mark & 0x1F);
	if (mark >= 0xE0)
		return append_native(reader, &of_integer, (signed char) mark);
	return append_marked(reader, mark);
}

static bool
is_string(unsigned char mark)
{
	return (mark >= 0xA0 && mark <= 0xBF) || (mark >= 0xD9 && mark <= 0xDB);
}

static bool
is_integer(unsigned char mark)
{
	return mark <= 0x7F || mark >= 0xE0 || (mark >= 0xCC && mark <= 0xD3);
}

/* An integer becomes a string: JSON has no other names. */
static bool
append_name(Reader *reader)
{
	if (!has(reader, 1))
		return false;
	if (is_string(*reader->at))
		return append_value(reader);
	if (!is_integer(*reader->at))
		return fail(reader, FAULT_NO_NAME);
	appendStringInfoChar(reader->json, '"');
	if (!append_value(reader))
		return false;
	appendStringInfoChar(reader->json, '"');
	return true;
}

/* The next of what is within the innermost level. */
static bool
append_next(Reader *reader, Level *level)
{
	bool		is_name = level->is_map && level->left % 2 == 0;

	if (level->is_map && !is_name)
		appendStringInfoChar(reader->json, ':');
	else if (level->begun)
		appendStringInfoChar(reader->json, ',');
	level->begun = true;
	level->left--;
	return is_name ? append_name(reader) : append_value(reader);
}

/* Closes what is at its end. */
static void
leave(Reader *reader)
{
	while (reader->depth > 0 && reader->levels[reader->depth - 1].left == 0)
		appendStringInfoChar(reader->json, reader->levels[--reader->depth].is_map ? '}' : ']');
}

static bool
append_document(Reader *reader)
{
	if (!append_value(reader))
		return false;
	for (leave(reader); reader->depth > 0; leave(reader))
	{
		CHECK_FOR_INTERRUPTS();
		if (!has_room(reader, 0) || !append_next(reader, &reader->levels[reader->depth - 1]))
			return false;
	}
	return reader->at == reader->end || fail(reader, FAULT_BYTES_LEFT);
}

static bool
report(const Reader *reader, DjkError *error)
{
	memset(error, 0, sizeof(*error));
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = pstrdup("message is not valid MessagePack");
	if (reader->fault == FAULT_CUT_SHORT)
		error->detail = psprintf("It is cut short, after byte %lld.", (long long) (reader->end - reader->start));
	else
		error->detail = psprintf("%s at byte %lld of %lld.", fault_texts[reader->fault],
								 (long long) (reader->at - reader->start) + 1, (long long) (reader->end - reader->start));
	return false;
}

bool
djk_msgpack_append_json(const char *bytes, int len, bool replace_invalid, StringInfo json, DjkError *error)
{
	Reader	   *reader = palloc(sizeof(Reader));
	bool		appended;

	reader->start = reader->at = (const unsigned char *) bytes;
	reader->end = reader->start + len;
	reader->replace_invalid = replace_invalid;
	reader->json = json;
	reader->fault = FAULT_NONE;
	reader->depth = 0;
	appended = append_document(reader) || report(reader, error);
	pfree(reader);
	return appended;
}
