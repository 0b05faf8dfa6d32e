/*-------------------------------------------------------------------------
 *
 * produce.h
 *	  Producing a message: what functions and triggers share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SQL_PRODUCE_H
#define DJK_SQL_PRODUCE_H

#include "base/djk.h"
#include "fmgr.h"
#include "state/outbox.h"

/* ---------- where to (produce_session.c) ---------- */

/* What a session remembers of a server that it may produce for; lives as long as the session. */
typedef struct DjkProduceServer DjkProduceServer;

/*
 * Makes sure that messages may be written now and that 'role' may produce for
 * the server (NULL: the settings), once until something changes.  ERRORs:
 * 42501, undefined_object, wrong_object_type, read_only_sql_transaction.
 */
extern DjkProduceServer *djk_produce_server(const char *server, Oid role);

/* The same for what belongs to another home: a server's row that is made for it does too, and nothing is sent. */
extern DjkProduceServer *djk_produce_server_of(const char *server, Oid role, const pg_uuid_t *home);

/*
 * Writes a message and has the worker woken at commit; returns its id.  The
 * server is that of 'server'; the size is checked here: ERROR
 * program_limit_exceeded.  'header_bytes' is what djk_produce_headers() said.
 */
extern int64 djk_produce_write(DjkProduceServer *server, DjkOutboxMessage *message, Size header_bytes);

/* Whether djk_produce_write() would take the message for too large. */
extern bool djk_produce_fits(const DjkProduceServer *server, const DjkOutboxMessage *message, Size header_bytes);

/* A sentence that says what the message's key is. */
extern char *djk_produce_key_shown(const DjkOutboxMessage *message);

/*
 * Waits until all that this session has committed is taken care of; false if
 * the time is over before, or Kafka refused some of it: *dead tells how many.
 * ERROR object_not_in_prerequisite_state if the transaction itself has written.
 */
extern bool djk_produce_flush(int64 timeout_ms, int64 *dead);

/* ---------- what (produce_value.c) ---------- */

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

/* Before the row of a server is asked for: has it made, if it can be, so that nobody has to wait for us. */
extern void djk_produce_make_row(const char *server);

#endif							/* DJK_SQL_PRODUCE_H */
