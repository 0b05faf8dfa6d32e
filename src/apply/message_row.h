/*-------------------------------------------------------------------------
 *
 * message_row.h
 *	  Messages as the SQL types djkafka_message and djkafka_header[].
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MESSAGE_ROW_H
#define DJK_MESSAGE_ROW_H

#include "base/djk.h"
#include "base/message.h"

#include "access/tupdesc.h"

/*
 * All in CurrentMemoryContext; never throw for what a message contains: a
 * header's name is converted from UTF-8, and what cannot be appears as \xNN.
 */

/* djkafka_header[]; (Datum) 0 if the message has no headers. */
extern Datum djk_headers_datum(Oid header_type, const DjkHeader *headers, int nheaders);

/* djkafka_message, of the composite type's blessed descriptor. */
extern Datum djk_message_datum(TupleDesc message_desc, Oid header_type, const char *topic, int partition,
							   const DjkMessage *message, const DjkHeader *headers, int nheaders);

#endif							/* DJK_MESSAGE_ROW_H */
