/*-------------------------------------------------------------------------
 *
 * produce_value.h
 *	  What a message is made of: values of SQL as bytes, and headers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PRODUCE_VALUE_H
#define DJK_PRODUCE_VALUE_H

#include "base/djk.h"
#include "fmgr.h"
#include "state/outbox.h"
#include "state/produce.h"

typedef enum DjkPayloadKind
{
	DJK_PAYLOAD_TEXT,			/* as it stands, in UTF-8 */
	DJK_PAYLOAD_BYTES,
	DJK_PAYLOAD_JSONB,
	DJK_PAYLOAD_OUTPUT,			/* what the type's output function says */
	DJK_PAYLOAD_UNKNOWN			/* a literal without a type */
} DjkPayloadKind;

/* How values of a type become bytes. */
typedef struct DjkPayload
{
	DjkPayloadKind kind;
	FmgrInfo	output;
} DjkPayload;

/*
 * ERROR datatype_mismatch if there is no form for the type; 'what' is the
 * argument's name.  The lookups live in 'context'.
 */
extern void djk_payload_init(DjkPayload *payload, Oid type, const char *what, MemoryContext context);
extern struct varlena *djk_payload_bytes(DjkPayload *payload, Datum value);

/*
 * Sets the message's headers from a jsonb object or array of pairs, and
 * returns the most they take on the wire.  ERROR invalid_parameter_value.
 */
extern Size djk_produce_headers(DjkOutboxMessage *message, Datum jsonb);

#endif							/* DJK_PRODUCE_VALUE_H */
