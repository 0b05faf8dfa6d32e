/*-------------------------------------------------------------------------
 *
 * error.h
 *	  Errors of librdkafka: what they mean for us, and how they are reported.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_ERROR_H
#define DJK_KAFKA_ERROR_H

#include <librdkafka/rdkafka.h>

#include "base/compat.h"
#include "kafka/consumer.h"

/* What a caller should do about 'code'; a fatal error is known by the event, not by its code. */
extern DjkConsumerErrorClass djk_kafka_error_classify(rd_kafka_resp_err_t code);

/* The same of an error that is of no partition: what answers, but not as a broker does, is no broker. */
extern DjkConsumerErrorClass djk_kafka_error_classify_client(rd_kafka_resp_err_t code);

/*
 * The code of an error that an event tells.  A TLS handshake that fails at its first
 * step, which only a slow machine sees, is told as if the network were at fault.
 */
extern rd_kafka_resp_err_t djk_kafka_error_code(rd_kafka_event_t *rkev);

/* SQLSTATE for an error of that class. */
extern int	djk_kafka_error_sqlstate(DjkConsumerErrorClass error_class);

/*
 * A copy, in CurrentMemoryContext, of a string of the library's, which may quote
 * a broker or a path, as text of the server: bytes that are none become \xNN, and
 * so does UTF-8 in a database of another encoding.  Needs no transaction.
 */
extern char *djk_kafka_text(const char *text);

/*
 * Fills *error, strings in CurrentMemoryContext.  'text' is what the library
 * said, or NULL for the code's own description.
 */
extern void djk_kafka_error_fill(DjkError *error, rd_kafka_resp_err_t code, const char *text);

/*
 * What a line of the library's log says of a connection that a broker has closed
 * as if it spoke another security.protocol, which no error tells; NULL of any
 * other line.  Points into 'text'.
 */
extern const char *djk_kafka_closed_connection(const char *facility, const char *text);

/*
 * Whether an error says only that a broker has closed a connection that worked, as
 * it does with one that is not used.  If that broker is gone, the next one fails.
 */
extern bool djk_kafka_is_hangup(rd_kafka_resp_err_t code, const char *text);

/* Raises an error of the library as 'could not <action>'. */
pg_noreturn extern void djk_kafka_error_throw(rd_kafka_resp_err_t code, const char *text, const char *action);

#endif							/* DJK_KAFKA_ERROR_H */
