/*-------------------------------------------------------------------------
 *
 * outbox_rotate.c
 *	  Getting rid of sent messages: three tables that are truncated in turn.
 *
 * Rows of the outbox are never deleted: under a snapshot that somebody holds,
 * dead rows would stay, and each later look would wade through them.  A table
 * is truncated as a whole instead.  That needs its exclusive lock, which is
 * only taken if nobody has any: no writer whose transaction is open (a
 * prepared one included), no pg_dump.  What is in the table then is committed
 * or gone, and if all of it has been sent it can go.
 *
 * While a backlog is sent that is asked every second, so a table is not read
 * from its beginning, where what has been sent lies, but from its end, and the
 * unsent message that was found is looked at alone until it has been sent.
 *
 * New messages go to the current table, which is never truncated.  Once it is
 * large, another one that is empty becomes current.  With three, one may be
 * kept by a transaction that stays open, and the other two still take turns.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Blocks of a table and its TOAST table. */
static BlockNumber
count_blocks(int number)
{
	Relation	rel = table_open(djk_outbox_table(number), AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);

		blocks += RelationGetNumberOfBlocks(toast);
		table_close(toast, AccessShareLock);
	}
	table_close(rel, AccessShareLock);
	return blocks;
}

/* The unsent message of each table that had the highest id when it was looked for; 0: none is known. */
static int64 witnesses[DJK_OUTBOX_TABLES];

/* Where a server stands. */
typedef struct Position
{
	char	   *server;
	DjkOutboxMark *done;
	DjkOutboxMark *target;		/* NULL: none */
	int64		cursor_id;
	int64		copied_id;
} Position;

static DjkOutboxMark *
row_mark(int row, int column)
{
	bool		isnull;
	Datum		snapshot = djk_row_datum(row, column, &isnull);

	return isnull ? NULL : djk_outbox_mark_create(CurrentMemoryContext, snapshot, 0, 0);
}

/* Of all servers, in CurrentMemoryContext. */
static Position *
load_positions(int *count)
{
	static DjkStatement select_positions = {
		.sql = "SELECT server, done, target, cursor_id, copied_id FROM @.djkafka_outbox_server"
	};
	Position   *positions;

	*count = (int) djk_catalog_execute(&select_positions, NULL, NULL);
	positions = palloc(Max(*count, 1) * sizeof(Position));
	for (int i = 0; i < *count; i++)
	{
		positions[i].server = djk_row_text(i, 1, CurrentMemoryContext);
		positions[i].done = row_mark(i, 2);
		positions[i].target = row_mark(i, 3);
		positions[i].cursor_id = djk_row_int64(i, 4, 0);
		positions[i].copied_id = djk_row_int64(i, 5, PG_INT64_MAX);
	}
	return positions;
}

/* Its server has taken care of it; a message whose server is not known waits. */
static bool
is_sent(const DjkOutboxScan *scan, const Position *positions, int count)
{
	uint64		txid = DatumGetUInt64(scan->values[COLUMN_TXID]);
	int64		id = DatumGetInt64(scan->values[COLUMN_ID]);

	for (int i = 0; i < count; i++)
	{
		const Position *position = &positions[i];

		if (djk_outbox_scan_is_of(scan, position->server))
			return id <= position->copied_id &&
				djk_outbox_mark_is_sent(position->done, position->target, position->cursor_id, id, txid);
	}
	return false;
}

/*
 * The highest id in a range of ids of a message that waits for its server; 0:
 * there is none.  Where the servers stand is read first: they only go on.
 */
static int64
last_unsent(int number, int64 first_id, int64 last_id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka outbox positions",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			count;
	Position   *positions = load_positions(&count);
	DjkOutboxScan scan;
	int64		found = 0;

	djk_outbox_scan_begin(&scan, number, first_id - 1, last_id, BackwardScanDirection);
	while (!scan.at_end && is_sent(&scan, positions, count))
		djk_outbox_scan_next(&scan);
	if (!scan.at_end)
		found = DatumGetInt64(scan.values[COLUMN_ID]);
	djk_outbox_scan_end(&scan);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return found;
}

/*
 * Takes the table's lock if all its messages have been sent; false if not, or
 * if somebody has the table.  A large one takes long to read: writers, who go
 * to another one, are kept away meanwhile, and readers are not.
 */
static bool
lock_if_sent(int number)
{
	Oid			table = djk_outbox_table(number);

	if (!ConditionalLockRelationOid(table, ExclusiveLock) ||
		!ConditionalLockRelationOid(table, AccessExclusiveLock))
		return false;
	UnlockRelationOid(table, AccessExclusiveLock);
	witnesses[number] = last_unsent(number, 0, PG_INT64_MAX);
	return witnesses[number] == 0 && ConditionalLockRelationOid(table, AccessExclusiveLock);
}

static void
truncate_table(int number)
{
	static DjkStatement truncate[DJK_OUTBOX_TABLES] = {
		{.sql = "TRUNCATE @.djkafka_outbox_0"},
		{.sql = "TRUNCATE @.djkafka_outbox_1"},
		{.sql = "TRUNCATE @.djkafka_outbox_2"}
	};

	(void) djk_catalog_execute(&truncate[number], NULL, NULL);
}

/* True if the table is empty now.  The lock lasts until the transaction's end. */
static bool
try_truncate(int number)
{
	if (count_blocks(number) == 0)
		return true;
	if (witnesses[number] != 0 && last_unsent(number, witnesses[number], witnesses[number]) != 0)
		return false;
	if (!lock_if_sent(number))
		return false;
	truncate_table(number);
	return true;
}

static int
current_table(void)
{
	static DjkStatement select_current = {
		.sql = "SELECT current_table FROM @.djkafka_outbox_rotation"
	};

	return djk_catalog_execute(&select_current, NULL, NULL) == 1 ? (int) djk_row_int64(0, 1, 0) : 0;
}

static void
set_current_table(int from, int to)
{
	static DjkStatement update_current = {
		.sql = "UPDATE @.djkafka_outbox_rotation SET current_table = $2 WHERE current_table = $1",
		.nargs = 2,
		.argtypes = {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(from), Int32GetDatum(to)};

	(void) djk_catalog_execute(&update_current, values, NULL);
}

void
djk_outbox_rotate(int at_least_kb)
{
	int			current = current_table();
	int64		size_kb = (int64) count_blocks(current) * (BLCKSZ / 1024);
	int			empty = -1;

	for (int i = 1; i < DJK_OUTBOX_TABLES; i++)
	{
		int			number = (current + i) % DJK_OUTBOX_TABLES;

		if (try_truncate(number))
			empty = number;
	}
	if (empty >= 0 && size_kb >= at_least_kb)
		set_current_table(current, empty);
}
