/*-------------------------------------------------------------------------
 *
 * meaning.h
 *	  What a number, or bytes, mean by their schema, as text.
 *
 * Whether they come as JSON (connect_value.c) or as they are (native.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MEANING_H
#define DJK_MEANING_H

#include "codec/connect.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

/*
 * A number that counts, of one of the kinds of times, as much as is a
 * microsecond, to the nearest; false if that is beyond all times.
 */
extern bool djk_meaning_usecs(DjkConnectKind kind, int64 number, int64 *usecs);

/* 1 or -1 of a number that Debezium has for an infinite timestamp, or 0. */
extern int	djk_meaning_infinity(DjkConnectKind kind, int64 number);

/* … as PostgreSQL's; false if it has none. */
extern bool djk_meaning_timestamp(DjkConnectKind kind, int64 number, Timestamp *timestamp);
extern bool djk_meaning_date(int64 days, int32 *date);

/*
 * … as text, of MAXDATELEN bytes and NUL, in the server's style 'style' of dates
 * (USE_ISO_DATES, USE_XSD_DATES).  *beyond_iso where ISO 8601 has no four digits
 * for a year, or hours for the time of day.
 */
extern bool djk_meaning_time_text(DjkConnectKind kind, int64 number, int style, char *text, bool *beyond_iso);

/* Of a decimal: the scale, or minus it, at most. */
#define DJK_DECIMAL_SCALE_MAX	16383

/* An integer of big-endian bytes in two's complement; false if it has more than 64 bits, or is beyond all numbers. */
extern bool djk_meaning_integer(const char *bytes, int len, int64 *number);

/*
 * Such an integer, of any length, times 10^-scale, as the
 * literal of a number.  False if the bytes are none, or it is beyond all numbers.
 */
extern bool djk_meaning_decimal_text(const char *bytes, int len, int64 scale, StringInfo text);

/* Bits, the least significant byte first, as many as 'nbits' or, if that is none, as the bytes have. */
extern bool djk_meaning_bits_text(const char *bytes, int len, int nbits, StringInfo text);

#endif							/* DJK_MEANING_H */
