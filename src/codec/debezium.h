/*-------------------------------------------------------------------------
 *
 * debezium.h
 *	  The formats of Debezium's connectors over JSON.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_DEBEZIUM_H
#define DJK_DEBEZIUM_H

#include "codec/codec.h"

/* DjkCodec.decode of both formats: JSON, without the schema that may be round it. */
extern bool djk_debezium_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error);

/* DjkCodec.open of the format "debezium", whole envelopes. */
extern bool djk_debezium_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error);

/* The same of "debezium_flat", what the transform ExtractNewRecordState leaves. */
extern bool djk_debezium_open_flat(DjkDecoded *decoded, DjkEffect *effect, DjkError *error);

#endif							/* DJK_DEBEZIUM_H */
