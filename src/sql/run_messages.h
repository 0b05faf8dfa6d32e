/*-------------------------------------------------------------------------
 *
 * run_messages.h
 *	  Messages that are given to djkafka_run as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RUN_MESSAGES_H
#define DJK_RUN_MESSAGES_H

#include "base/message.h"
#include "state/consumer_row.h"
#include "utils/jsonb.h"

/*
 * [{"topic": …, "key": …, "value": …, "headers": {…}, "partition": 0, "offset":
 * n, "timestamp": "…"}, …] as a detached batch in CurrentMemoryContext.  A
 * string is its own bytes, null is null, {"base64": …} is those bytes, anything
 * else is its JSON text; the topic may be left out if the consumer has only one.
 * An offset that is left out follows the last one that this session was given.  ERROR
 * invalid_parameter_value if it is something else.
 */
extern DjkBatch *djk_run_messages_parse(Jsonb *messages, const DjkConsumerRow *consumer);

#endif							/* DJK_RUN_MESSAGES_H */
