/*-------------------------------------------------------------------------
 *
 * outbox_internal.h
 *	  What the files of the outbox share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_INTERNAL_H
#define DJK_OUTBOX_INTERNAL_H

#include "state/outbox.h"

#define MESSAGE_COLUMNS	"id, topic, partition, key, value, headers, message_time"
#define TABLE_COLUMNS	"id, txid, message_time, partition, topic, server, key, value, headers"

/* The three tables as one, read in the order of their indexes. */
#define ALL_TABLES \
	"(SELECT " TABLE_COLUMNS " FROM @.djkafka_outbox_0" \
	" UNION ALL SELECT " TABLE_COLUMNS " FROM @.djkafka_outbox_1" \
	" UNION ALL SELECT " TABLE_COLUMNS " FROM @.djkafka_outbox_2) m"

/* $1 above, $2 up to, $3 server, $4 done, $5 target */
#define DIFFERENCE \
	"m.id > $1 AND m.id <= $2 AND m.server IS NOT DISTINCT FROM $3" \
	" AND NOT pg_catalog.pg_visible_in_snapshot(m.txid, $4) AND pg_catalog.pg_visible_in_snapshot(m.txid, $5)"

#define DIFFERENCE_TYPES	INT8OID, INT8OID, TEXTOID, PG_SNAPSHOTOID, PG_SNAPSHOTOID

/* OID of djkafka_outbox_0 and so on; InvalidOid if missing. */
extern Oid	djk_outbox_table(int number);

/* Fills in the five arguments of DIFFERENCE and their nulls. */
extern void djk_outbox_set_difference(const DjkOutbox *outbox, int64 up_to, Datum *values, char *nulls);

/* All of the target has been taken care of; or of it up to an id. */
extern void djk_outbox_reach_target(DjkOutbox *outbox);
extern void djk_outbox_move_cursor(DjkOutbox *outbox, int64 last_id);

/* Copies messages of the difference (bigint[]) to those that are held. */
extern void djk_outbox_hold(const DjkOutbox *outbox, int64 up_to, Datum ids);

#endif							/* DJK_OUTBOX_INTERNAL_H */
