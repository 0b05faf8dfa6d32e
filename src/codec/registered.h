/*-------------------------------------------------------------------------
 *
 * registered.h
 *	  Avro as the serializers of a schema registry write it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_REGISTERED_H
#define DJK_REGISTERED_H

#include "codec/codec.h"

/* DjkCodec.decode of the format "avro": by out->writer. */
extern bool djk_registered_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error);

#endif							/* DJK_REGISTERED_H */
