/*-------------------------------------------------------------------------
 *
 * header.h
 *	  djkafka_header[] as it was stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_HEADER_H
#define DJK_HEADER_H

#include "base/djk.h"
#include "base/message.h"

/*
 * The headers of an array (0: none), as Kafka has them, in CurrentMemoryContext;
 * their bytes lie in the array where they can.
 */
extern int	djk_headers_read(Datum array, DjkHeader **headers);

/* The most that they take on the wire. */
extern Size djk_headers_bytes(Datum array);

#endif							/* DJK_HEADER_H */
