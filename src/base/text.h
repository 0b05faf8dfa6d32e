/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Text in a field of fixed size.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TEXT_H
#define DJK_TEXT_H

#include "base/djk.h"

#include "mb/pg_wchar.h"

/*
 * Copies text, or nothing if it is NULL, without cutting a character: half of one
 * would be an error for whoever reads what it is shown in.
 */
static inline void
djk_text_copy(char *field, const char *text, Size size)
{
	int			len = text ? pg_mbcliplen(text, strlen(text), size - 1) : 0;

	if (len > 0)
		memcpy(field, text, len);
	field[len] = '\0';
}

#endif							/* DJK_TEXT_H */
