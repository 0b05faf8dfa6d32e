/*-------------------------------------------------------------------------
 *
 * avro_check.h
 *	  What must be so of every message that the decoder of Avro takes, or refuses.
 *
 * The server's tests and the stand-alone fuzzer share it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TEST_AVRO_CHECK_H
#define DJK_TEST_AVRO_CHECK_H

#include "codec/avro.h"

/*
 * Decodes a message, in CurrentMemoryContext; decoded->text is its JSON, or NULL
 * with *error if it is refused.  What is wrong with that, or NULL.
 */
extern const char *avro_check(const DjkAvroSchema *schema, const char *bytes, int len,
							  DjkDecoded *decoded, DjkError *error);

#endif							/* DJK_TEST_AVRO_CHECK_H */
