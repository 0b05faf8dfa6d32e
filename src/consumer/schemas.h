/*-------------------------------------------------------------------------
 *
 * schemas.h
 *	  Schemas that messages name and that nobody has fetched yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SCHEMAS_H
#define DJK_SCHEMAS_H

#include "consumer/member.h"

/* What the connection says of a registry; no transaction is needed. */
extern void djk_schemas_open(DjkConsumerWorker *worker);

/*
 * The batch being collected has come to a message that names an unknown schema
 * (DJK_APPLY_NO_SCHEMA).  If the registry answers at once the batch goes on there;
 * else the message's partition waits, and what is left of the batch is what there
 * is of others.
 */
extern void djk_schemas_want(DjkConsumerWorker *worker, const DjkApplyResult *result);

/*
 * The same of messages that had waited already, of the batch that was applied last:
 * they go on waiting.  Whether there are any.
 */
extern bool djk_schemas_want_again(DjkConsumerWorker *worker);

/* All that waits has been looked at: schemas that none of it has named are not needed for it. */
extern void djk_schemas_end_round(DjkConsumerWorker *worker);

/* Takes answers, and asks again. */
extern void djk_schemas_turn(DjkConsumerWorker *worker);

/* How long the worker may sleep, 'limit_ms' at most. */
extern long djk_schemas_ms(const DjkConsumerWorker *worker, long limit_ms);

#endif							/* DJK_SCHEMAS_H */
