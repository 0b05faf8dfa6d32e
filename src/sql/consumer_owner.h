/*-------------------------------------------------------------------------
 *
 * consumer_owner.h
 *	  Who may change a consumer and what is of it, and who may own one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONSUMER_OWNER_H
#define DJK_CONSUMER_OWNER_H

#include "base/djk.h"

/* For what comes before the consumer, or the offset, that it is of. */
#define DJK_RESTORE_ORDER_HINT \
	"pg_restore -j keeps no order: restore djkafka_route, djkafka_offset and djkafka_parked once more, when djkafka_consumer is there."

/* ERROR 42501 unless the current user is a member of a consumer's owner. */
extern void djk_require_consumer_owner(Oid owner);

/*
 * The id of a consumer, whose row is locked.  ERROR if there is none, or the
 * current user is no member of its owner.
 */
extern int64 djk_find_owned_consumer(const char *name);

/* ERROR undefined_object if the owner was dropped. */
extern void djk_require_existing_owner(Oid owner);

/* ERROR unless a worker could connect as the owner. */
extern void djk_require_usable_owner(Oid owner);

#endif							/* DJK_CONSUMER_OWNER_H */
