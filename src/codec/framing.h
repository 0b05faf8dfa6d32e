/*-------------------------------------------------------------------------
 *
 * framing.h
 *	  What a schema registry's serializers put before a value: which schema it
 *	  was written with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FRAMING_H
#define DJK_FRAMING_H

#include "base/registry.h"

typedef enum DjkFramingKind
{
	DJK_FRAMING_NONE,			/* nothing is before the value: a header may say */
	DJK_FRAMING_ID,				/* 0 and a number in 4 bytes */
	DJK_FRAMING_GUID,			/* 1 and a GUID */
	DJK_FRAMING_BROKEN			/* it begins like one of these, and is cut off */
} DjkFramingKind;

typedef struct DjkFraming
{
	DjkFramingKind kind;
	uint32		id;				/* of ID, in the registry */
	const unsigned char *guid;	/* of GUID, DJK_GUID_LEN bytes within what was read */
	int			len;			/* of what is before the value */
} DjkFraming;

extern void djk_framing_read(const char *bytes, int len, DjkFraming *framing);

#endif							/* DJK_FRAMING_H */
