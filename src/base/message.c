/*-------------------------------------------------------------------------
 *
 * message.c
 *	  What a message is known by.
 *
 *-------------------------------------------------------------------------
 */
#include "base/message.h"

#include "port/pg_crc32c.h"

/* Stored, so it must be the same in every version and on every machine. */
static void
add_number(pg_crc32c *crc, int64 number)
{
	unsigned char bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (unsigned char) ((uint64) number >> (8 * i));
	COMP_CRC32C(*crc, bytes, sizeof(bytes));
}

static void
add_bytes(pg_crc32c *crc, const char *bytes, int len)
{
	add_number(crc, bytes == NULL ? -1 : len);
	if (bytes != NULL)
		COMP_CRC32C(*crc, bytes, len);
}

uint32
djk_message_crc(const DjkMessage *message)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	add_number(&crc, message->timestamp_ms);
	add_bytes(&crc, message->key, message->key_len);
	add_bytes(&crc, message->value, message->value_len);
	FIN_CRC32C(crc);
	return (uint32) crc;
}
