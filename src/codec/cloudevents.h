/*-------------------------------------------------------------------------
 *
 * cloudevents.h
 *	  CloudEvents.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CLOUDEVENTS_H
#define DJK_CLOUDEVENTS_H

#include "codec/codec.h"

/* DjkCodec.decode of the format "cloudevents": an event as its JSON, whichever way it came. */
extern bool djk_cloudevents_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error);

/* DjkCodec.open of the same: the object in its data. */
extern bool djk_cloudevents_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error);

#endif							/* DJK_CLOUDEVENTS_H */
