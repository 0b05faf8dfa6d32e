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

#include "access/genam.h"
#include "access/sdir.h"
#include "utils/array.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Columns of djkafka_outbox_0, _1 and _2, and the first ones of the other tables of messages. */
enum
{
	COLUMN_ID,
	COLUMN_TXID,
	COLUMN_MESSAGE_TIME,
	COLUMN_PARTITION,
	COLUMN_TOPIC,
	COLUMN_SERVER,
	COLUMN_KEY,
	COLUMN_VALUE,
	COLUMN_HEADERS,
	NCOLUMNS
};

#define TABLE_COLUMNS	"id, txid, message_time, partition, topic, server, key, value, headers"

/* What a message is; and a row of them, in 'context', with nothing that goes with SPI. */
#define MESSAGE_COLUMNS	"server, topic, partition, message_time, key, value, headers"

extern void djk_outbox_copy_message(int row, MemoryContext context, DjkOutboxMessage *message);

/* Of rows m of djkafka_outbox_message: $1 above, $2 up to, $3 server, $4 done, $5 target */
#define DIFFERENCE \
	"m.id > $1 AND m.id <= $2 AND m.server IS NOT DISTINCT FROM $3" \
	" AND NOT pg_catalog.pg_visible_in_snapshot(m.txid, $4) AND pg_catalog.pg_visible_in_snapshot(m.txid, $5)"

#define DIFFERENCE_TYPES	INT8OID, INT8OID, TEXTOID, PG_SNAPSHOTOID, PG_SNAPSHOTOID

/* OID of djkafka_outbox_0 and so on; InvalidOid if missing. */
extern Oid	djk_outbox_table(int number);

/*
 * The last message id given out, 0 if none was.  Never a later one: nextval()
 * writes a higher number into the sequence for a moment, which a query of it may
 * see, and this does not.
 */
extern int64 djk_outbox_last_id(void);

/* Fills in the five arguments of DIFFERENCE and their nulls. */
extern void djk_outbox_set_difference(const DjkOutbox *outbox, int64 up_to, Datum *values, char *nulls);

/* All of the target has been taken care of; or of it up to an id. */
extern void djk_outbox_reach_target(DjkOutbox *outbox);
extern void djk_outbox_move_cursor(DjkOutbox *outbox, int64 last_id);

/* One of the tables, read by its index, as of when that began; its row that comes next. */
typedef struct DjkOutboxScan
{
	ScanDirection direction;
	Snapshot	snapshot;
	Relation	rel;
	Relation	index;
	SysScanDesc rows;
	bool		at_end;
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];
} DjkOutboxScan;

/*
 * What lies behind one id and up to another, from its beginning or its end.
 * ERROR object_not_in_prerequisite_state if the table's index is missing.
 */
extern void djk_outbox_scan_begin(DjkOutboxScan *scan, int number, int64 after_id, int64 up_to,
								  ScanDirection direction);
extern void djk_outbox_scan_next(DjkOutboxScan *scan);
extern void djk_outbox_scan_end(DjkOutboxScan *scan);

/* Whether the row is a message for this server. */
extern bool djk_outbox_scan_is_of(const DjkOutboxScan *scan, const char *server);

/*
 * Adds to a batch what of the difference lies behind an id, in the order of
 * ids and up to the limits; ids of messages of topics that 'is_held' (NULL:
 * none are) names go to 'held' instead.  Returns the last id that was read, 0 if
 * there was none, and whether the end was seen.
 */
extern int64 djk_outbox_read_difference(const DjkOutbox *outbox, int64 after_id, const DjkOutboxLimits *limits,
										bool (*is_held) (const char *topic, void *arg), void *arg,
										DjkOutboxBatch *batch, ArrayBuildState **held, bool *all);

/* Adds the rows of a query, TABLE_COLUMNS, up to the limits (NULL: all).  Returns the last id, 0 if there was none. */
extern int64 djk_outbox_read_rows(Portal portal, const DjkOutboxLimits *limits, DjkOutboxBatch *batch);

/* Copies messages of the difference (bigint[]) to those that are held. */
extern void djk_outbox_hold(const DjkOutbox *outbox, int64 up_to, Datum ids);

#endif							/* DJK_OUTBOX_INTERNAL_H */
