/*-------------------------------------------------------------------------
 *
 * framing.c
 *	  What a schema registry's serializers put before a value: which schema it
 *	  was written with.
 *
 * A magic byte says what follows it.  No text of JSON begins with one of these.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/framing.h"

#include "port/pg_bswap.h"

#define MAGIC_ID	0
#define MAGIC_GUID	1

void
djk_framing_read(const char *bytes, int len, DjkFraming *framing)
{
	int			rest = len - 1;

	memset(framing, 0, sizeof(*framing));
	if (len == 0 || (bytes[0] != MAGIC_ID && bytes[0] != MAGIC_GUID))
		return;
	framing->kind = DJK_FRAMING_BROKEN;
	if (bytes[0] == MAGIC_ID && rest >= (int) sizeof(uint32))
	{
		memcpy(&framing->id, bytes + 1, sizeof(uint32));
		framing->id = pg_ntoh32(framing->id);
		framing->len = 1 + sizeof(uint32);
		framing->kind = DJK_FRAMING_ID;
	}
	else if (bytes[0] == MAGIC_GUID && rest >= DJK_GUID_LEN)
	{
		framing->guid = (const unsigned char *) bytes + 1;
		framing->len = 1 + DJK_GUID_LEN;
		framing->kind = DJK_FRAMING_GUID;
	}
}
