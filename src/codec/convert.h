/*-------------------------------------------------------------------------
 *
 * convert.h
 *	  A field -> a Datum of a column's type.
 *
 * The common types (text, varchar, integers, bool, uuid, numeric, date,
 * timestamptz, timestamp, jsonb, json, bytea, float) take a direct path where
 * that is equal to their input function and faster; all others go through the
 * input function.  Arrays take JSON arrays (nested for more dimensions),
 * json/jsonb any value, composites and domains what their input accepts (a
 * JSON object for a composite as jsonb_populate_record would).  JSON null is
 * SQL NULL for every type.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONVERT_H
#define DJK_CONVERT_H

#include "codec/codec.h"

typedef struct DjkConverter DjkConverter;

/* What a number in a column of dates or times counts, from 1970 on. */
typedef enum DjkTimeUnit
{
	DJK_TIME_UNIT_NONE,			/* a number is no time */
	DJK_TIME_UNIT_S,
	DJK_TIME_UNIT_MS,
	DJK_TIME_UNIT_US,
	DJK_TIME_UNIT_NS,
	DJK_TIME_UNIT_DAYS
} DjkTimeUnit;

/* A unit by its name in a route, or none; ERROR invalid_parameter_value naming the valid ones. */
extern DjkTimeUnit djk_time_unit_parse(const char *word);

typedef struct DjkConvertOptions
{
	bool		strict;			/* only what means the same to everybody: see convert_strict.c */
	bool		zone_required;	/* strict: a time without a zone is refused where an instant is wanted */
	DjkTimeUnit time_unit;
	bool		unit_is_assumed;	/* nobody has said it, so it is that of numbers alone that may be times */
	bool		debezium;		/* numbers by time_unit are any that PostgreSQL has, infinity as Debezium writes it */
} DjkConvertOptions;

/* Whatever the type's input function takes. */
extern const DjkConvertOptions djk_convert_lenient;

/*
 * Builds the converter of a column in CurrentMemoryContext; needs a
 * transaction (catalog look-ups).  The options are copied.
 */
extern DjkConverter *djk_converter_create(Oid type, int32 typmod, const DjkConvertOptions *options);

/*
 * Converts in CurrentMemoryContext.  Returns false, leaves a null in *value and
 * *isnull, and fills *error (strings in CurrentMemoryContext) for a value the
 * type refuses, where that can be told without throwing: all direct paths, and on PostgreSQL 16+ every input
 * function that supports soft errors.  Otherwise the type's input function may
 * throw, so the caller runs this where an ERROR can be caught (a transaction
 * or subtransaction).
 */
extern bool djk_convert(DjkConverter *converter, const DjkField *field,
						Datum *value, bool *isnull, DjkError *error);

/*
 * A copy of a text of an error, which may quote a value of megabytes, cut where
 * it is longer than anybody reads: it goes into tables and, with each try, into
 * the server's log.  NULL of NULL.
 */
extern char *djk_convert_shown(const char *string);

#endif							/* DJK_CONVERT_H */
