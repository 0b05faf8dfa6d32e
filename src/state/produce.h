/*-------------------------------------------------------------------------
 *
 * produce.h
 *	  Producing a message, in whatever process has a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STATE_PRODUCE_H
#define DJK_STATE_PRODUCE_H

#include "base/djk.h"
#include "state/outbox.h"

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

/* ERROR insufficient_privilege unless the role may call djkafka_produce(). */
extern void djk_produce_require_execute(Oid role);

/*
 * Writes a message and has the worker woken at commit; returns its id.  The
 * server is that of 'server'; the size is checked here: ERROR
 * program_limit_exceeded.  'header_bytes' is the most that headers take on the wire.
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

/* Before the row of a server is asked for: has it made, if it can be, so that nobody has to wait for us. */
extern void djk_produce_make_row(const char *server);

#endif							/* DJK_STATE_PRODUCE_H */
