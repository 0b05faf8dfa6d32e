/*-------------------------------------------------------------------------
 *
 * convert_impl.h
 *	  What the files convert*.c share.
 *
 * A converter has up to two functions.  'direct' handles the usual form of a
 * value at once: true, or false for "not that form", with nothing said of
 * whether it is an error and nothing in *value; it is not called for a string that is no text
 * (field->text NULL).  'full' then handles every form and knows the
 * errors; for most types it is the type's input function.  Only djk_convert()
 * and these functions call them: what is refused must not be read as a value.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONVERT_IMPL_H
#define DJK_CONVERT_IMPL_H

#include "codec/convert.h"

#include "access/tupdesc.h"
#include "fmgr.h"

typedef bool (*DjkConvertDirect) (const DjkConverter *converter, const DjkField *field,
								  Datum *value);
typedef bool (*DjkConvertFull) (DjkConverter *converter, const DjkField *field,
								Datum *value, DjkError *error);

/* Strict types: whether the field, or the value that was made of it, is taken. */
typedef bool (*DjkConvertCheck) (const DjkConverter *converter, const DjkField *field,
								 DjkError *error);
typedef bool (*DjkConvertCheckValue) (const DjkConverter *converter, const DjkField *field,
									  Datum value, DjkError *error);

typedef struct DjkAttribute
{
	DjkConverter *converter;	/* NULL: dropped */
	const char *name;
	int			name_len;
} DjkAttribute;

struct DjkConverter
{
	DjkConvertDirect direct;	/* may be NULL */
	DjkConvertFull full;
	DjkConvertCheck check;		/* before full; may be NULL */
	DjkConvertCheckValue check_value;	/* after full; may be NULL */
	DjkConvertCheckValue check_direct;	/* after direct; may be NULL */
	DjkConvertOptions options;
	Oid			type;
	int32		typmod;
	int16		typlen;
	bool		byval;
	FmgrInfo	input;			/* the type's input function */
	Oid			input_param;
	bool		input_is_pure;	/* its error can be caught without a subtransaction */
	bool		is_domain;		/* NULL has to be checked too */
	void	   *domain_info;	/* domain_check()'s cache */
	DjkConverter *inner;		/* a domain's base type, an array's element type, jsonb's numeric,
								 * a strict timestamp's timestamptz */
	MemoryContext scratch;		/* jsonb, composite: for building one value */
	FmgrInfo	populate;		/* composite: jsonb_populate_record() for this type */
	DjkConverter *jsonb;		/* composite: its argument */
	bool		has_parts;		/* … of which an attribute may make many values that are not simple */
	TupleDesc	desc;			/* strict composite, and what fills its attributes */
	DjkAttribute *attributes;
	DjkDecoded	decoded;
	MemoryContext context;
};

/* convert.c: reports, and steps that several types share */

/* Fills *error and returns false.  'message' is copied. */
extern bool djk_convert_refuse(DjkError *error, int sqlstate, const char *message,
							   const char *detail, const char *hint);

/* The value for a message: quoted, cut to a short length. */
extern char *djk_convert_show(const char *text, int len);

/*
 * The field as the text an input function reads: NUL-terminated, numbers in
 * the form that jsonb gives them.  NULL with *error if no text can hold it.
 */
extern char *djk_convert_field_text(const DjkField *field, DjkError *error);

/* Whether a type's input function only computes: it leaves nothing behind, and its error can be caught. */
extern bool djk_convert_input_is_pure(Oid type);

/* Calls the type's input function. */
extern bool djk_convert_by_input(DjkConverter *converter, char *text, Datum *value, DjkError *error);

/* DjkConvertFull for most types: text form, input function. */
extern bool djk_convert_full_input(DjkConverter *converter, const DjkField *field,
								   Datum *value, DjkError *error);

/* convert_number.c */
extern bool djk_convert_direct_int2(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_int4(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_int8(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_float4(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_float8(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_numeric(const DjkConverter *, const DjkField *, Datum *);

/* digits * 10^-scale, of a scale from 0 to 18 and any digits but the least int64. */
extern bool djk_convert_direct_decimal(const DjkConverter *, int64 digits, int scale, Datum *);

/* Strict types: 5.00 and 50e-1 are integers. */
extern bool djk_convert_full_integer(DjkConverter *, const DjkField *, Datum *, DjkError *);

/* Strict types: a number, whatever the locale's money looks like. */
extern bool djk_convert_full_money(DjkConverter *, const DjkField *, Datum *, DjkError *);

/* True if the literal is not as jsonb would print it (1e3, -0). */
extern bool djk_convert_number_is_odd(const char *text, int len);

/* The literal as jsonb prints it, or itself if that would be very long. */
extern char *djk_convert_normalize_number(const char *text, int len);

/* convert_time.c */
extern bool djk_convert_direct_date(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_timestamp(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_timestamptz(const DjkConverter *, const DjkField *, Datum *);

/* A zone in a timestamp without one is obeyed: the time becomes one of the session's zone. */
extern void djk_convert_init_local_time(DjkConverter *converter);

/* convert_epoch.c: numbers by the route's time_unit; false if the field or the type is none of them */
extern bool djk_convert_is_epoch(const DjkConverter *converter, const DjkField *field);
extern bool djk_convert_epoch(DjkConverter *, const DjkField *, Datum *, DjkError *);

/* Whether a string is infinity or -infinity. */
extern bool djk_convert_is_infinity(const DjkField *field);

/* convert_strict.c */
extern void djk_convert_init_strict(DjkConverter *converter);

/* An ISO 8601 date, or date and time; *zone is where its zone begins, or its end. */
extern bool djk_convert_is_iso_timestamp(const DjkField *field, const char **zone);

/* convert_native.c: what goes to a column as it is; false of all else, which goes as text */
extern bool djk_convert_direct_native(const DjkConverter *, const DjkField *, Datum *);

/* convert_text.c */
extern bool djk_convert_direct_text(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_varchar(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_bool(const DjkConverter *, const DjkField *, Datum *);
extern bool djk_convert_direct_uuid(const DjkConverter *, const DjkField *, Datum *);

/* Base64 of either alphabet, padded or not; the number of bytes, -1 if malformed. */
extern int	djk_convert_decode_base64(const char *at, const char *end, char *to);

extern bool djk_convert_full_bytea(DjkConverter *, const DjkField *, Datum *, DjkError *);

/* convert_json.c */
extern bool djk_convert_full_json(DjkConverter *, const DjkField *, Datum *, DjkError *);
extern bool djk_convert_full_jsonb(DjkConverter *, const DjkField *, Datum *, DjkError *);
extern void djk_convert_init_jsonb(DjkConverter *converter);

/* convert_nested.c */

/* As djk_convert_full_input(), for a type of many parts: a text of too many of them is refused. */
extern bool djk_convert_full_parts(DjkConverter *, const DjkField *, Datum *, DjkError *);

extern bool djk_convert_full_array(DjkConverter *, const DjkField *, Datum *, DjkError *);
extern bool djk_convert_full_composite(DjkConverter *, const DjkField *, Datum *, DjkError *);
extern void djk_convert_init_array(DjkConverter *converter, Oid element_type);
extern void djk_convert_init_composite(DjkConverter *converter);

#endif							/* DJK_CONVERT_IMPL_H */
