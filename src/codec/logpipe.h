/*-------------------------------------------------------------------------
 *
 * logpipe.h
 *	  Messages of django-logpipe.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LOGPIPE_H
#define DJK_LOGPIPE_H

#include "codec/codec.h"

/* DjkCodec.decode of the format "logpipe": what is behind the name of its encoding. */
extern bool djk_logpipe_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error);

/* DjkCodec.open of the same: the object in its "message". */
extern bool djk_logpipe_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error);

#endif							/* DJK_LOGPIPE_H */
