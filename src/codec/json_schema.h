/*-------------------------------------------------------------------------
 *
 * json_schema.h
 *	  JSON as the serializers of a schema registry write it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_JSON_SCHEMA_H
#define DJK_JSON_SCHEMA_H

#include "codec/codec.h"

/* DjkCodec.decode of the format "json_schema". */
extern bool djk_json_schema_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error);

#endif							/* DJK_JSON_SCHEMA_H */
