/*-------------------------------------------------------------------------
 *
 * park_record.h
 *	  What a batch leaves in djkafka_parked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PARK_RECORD_H
#define DJK_PARK_RECORD_H

#include "apply/work.h"

/*
 * Writes what waits of [from, to), or, of a batch of those that waited, deletes
 * what waits no longer; as the catalog's owner.
 */
extern void djk_park_record(DjkApply *apply, int from, int to);

#endif							/* DJK_PARK_RECORD_H */
