/*-------------------------------------------------------------------------
 *
 * park_key.h
 *	  Keys of which messages wait, in a batch and before it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PARK_KEY_H
#define DJK_PARK_KEY_H

#include "apply/work.h"

/* A key of which a message waits. */
typedef struct DjkParkKey
{
	struct
	{
		int			partition;
		int64		lane;		/* 0: all */
		int64		hash;
	}			key;
	int64		stored;			/* the first in djkafka_parked that is not of this batch, by its offset; PG_INT64_MAX: none */
	int			first;			/* no message of this batch before it waits with the key; PG_INT32_MAX: none does */
	int			last_end;		/* the last message that ends the lane, or may; -1: none */
	bool		is_counted;		/* in this transaction: */
	DjkParkedLane counted;		/* … what waits of it in djkafka_parked, */
	DjkParkedEnd counted_for;	/* … and of which row, and key in Kafka, it says whether that is alike */
} DjkParkKey;

/* Another transaction: what was counted in djkafka_parked may have changed. */
extern void djk_park_key_begin(DjkApply *apply);

/* The entry of a key, made if there is none; lives as long as the batch. */
extern DjkParkKey *djk_park_key_enter(DjkApply *apply, int partition, int64 lane, int64 hash);

/* That of a message's own key; NULL: nothing waits with that. */
extern DjkParkKey *djk_park_key_of(const DjkApply *apply, int message);

/* Whether a message waits with the key. */
extern bool djk_park_key_waits_with(const DjkApply *apply, const DjkParkKey *entry, int message);

/* The last message that ends the lane of a key before another one, or at it; -1: none does. */
extern int	djk_park_key_end(const DjkApply *apply, const DjkParkKey *entry, int message);

/* Whether an earlier message waits whose key is, or may be, that of this one, … */
extern bool djk_park_key_is_behind(DjkApply *apply, int message);

/* … and whether no other key may be the same. */
extern bool djk_park_key_is_sure(DjkApply *apply, int message);

/* Whether a message would wait behind an earlier one of the batch, if that waited; the keys of both were noted. */
extern bool djk_park_key_would_hold(const DjkApply *apply, int earlier, int message);

#endif							/* DJK_PARK_KEY_H */
