/*-------------------------------------------------------------------------
 *
 * native.h
 *	  Fields that are no text: numbers and bytes as a binary format has them.
 *
 * field->native says what one is, and has its name for errors.  Of one that
 * counts, and of an integer, field->number is the number; of a decimal it is the
 * scale, of bits how many there are (none: as many as the bytes have), and of a
 * floating-point number it holds its bits.  The bytes are field->text.
 *
 * Most go to a column of the fitting type as they are (convert_native.c); in all
 * other places they are the JSON that says the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_NATIVE_H
#define DJK_NATIVE_H

#include "codec/connect.h"

static inline double
djk_native_double(const DjkField *field)
{
	double		real;

	memcpy(&real, &field->number, sizeof(real));
	return real;
}

static inline void
djk_native_set_double(DjkField *field, double real)
{
	memcpy(&field->number, &real, sizeof(real));
}

/*
 * The field as a string or a number, in CurrentMemoryContext.  False and *error
 * where it is beyond all values of its kind; *shown is a string of what was sent
 * then.
 */
extern bool djk_native_show(const DjkField *field, DjkField *shown, DjkError *error);

#endif							/* DJK_NATIVE_H */
