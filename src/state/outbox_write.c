/*-------------------------------------------------------------------------
 *
 * outbox_write.c
 *	  Writing a message into the outbox.
 *
 * The current one of three tables is locked when a transaction writes its
 * first message, in the name of the whole transaction, so that the lock
 * outlives a savepoint that is rolled back.  A worker that truncates a table has
 * its exclusive lock, so it knows that no transaction that has written to it is
 * open; it never truncates the current table and never waits, and so nobody
 * waits for it: a writer that meets it has looked up the current table a moment
 * too early, and looks again.
 *
 * A session that deletes the row of a server waits for the writers of all three
 * tables and then holds off others until its transaction's end.  So it sees all
 * that was written by those who knew the row, and those who write later look for
 * it again.  One at a time: it deletes from these tables, too.
 *
 * A transaction's id is assigned before its message ids are drawn.  The worker
 * relies on it: a transaction that began after it has looked has higher ids.
 *
 * Rows are inserted without the executor.  It is what a caller of a million
 * messages in one statement waits for, and nothing of the executor is needed:
 * the tables have an index on the id, no constraint but NOT NULL, and a trigger
 * that is for everybody else.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"

/* After so many moved tables in a row it is somebody's lock that we meet. */
#define MAX_LOOKS	3

/* An index of the current table, all of which are on the id. */
typedef struct TableIndex
{
	Oid			oid;
	IndexInfo  *info;
} TableIndex;

/* The current transaction's table; InvalidOid: none was chosen yet. */
static Oid	this_table = InvalidOid;
static Oid	this_sequence = InvalidOid;
static TableIndex *this_indexes = NULL;
static int	this_nindexes = 0;

void
djk_outbox_end_transaction(void)
{
	this_table = InvalidOid;
	this_indexes = NULL;
	this_nindexes = 0;
}

Oid
djk_outbox_table(int number)
{
	return djk_catalog_table(psprintf("djkafka_outbox_%d", number));
}

/* Number of the current table, as it is now and not as our snapshot saw it. */
static int
current_table(void)
{
	Relation	rel = table_open(djk_catalog_table("djkafka_outbox_rotation"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	bool		isnull;
	int			number;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" does not hold its one row", RelationGetRelationName(rel)),
				 errhint("Restore the row, or drop and create the extension.")));
	number = DatumGetInt32(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return number;
}

static Oid
lock_current_table(void)
{
	for (int looks = 1;; looks++)
	{
		Oid			table = djk_outbox_table(current_table());

		if (!OidIsValid(table))
			elog(ERROR, "the outbox has no current table");
		if (ConditionalLockRelationOid(table, RowExclusiveLock))
			return table;
		if (looks >= MAX_LOOKS)
		{
			LockRelationOid(table, RowExclusiveLock);
			return table;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * There is more than one while REINDEX CONCURRENTLY makes another.  Whoever
 * changes that waits for the transactions that have the table locked.  False if
 * somebody has changed the table.
 */
static bool
find_indexes(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		known = RelationGetNumberOfAttributes(rel) == NCOLUMNS;
	ListCell   *lc;

	this_nindexes = 0;
	this_indexes = MemoryContextAlloc(TopTransactionContext, Max(list_length(indexes), 1) * sizeof(TableIndex));
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
		IndexInfo  *info = BuildIndexInfo(index);

		MemoryContextSwitchTo(old);
		known = known && info->ii_NumIndexAttrs == 1 && info->ii_IndexAttrNumbers[0] == COLUMN_ID + 1 &&
			info->ii_Predicate == NIL;
		if (info->ii_ReadyForInserts)
			this_indexes[this_nindexes++] = (TableIndex) {RelationGetRelid(index), info};
		index_close(index, NoLock);
	}
	list_free(indexes);
	return known;
}

/* Chooses and locks what this transaction writes to; an abort puts the owner back. */
static void
choose_table(void)
{
	ResourceOwner owner = CurrentResourceOwner;
	Relation	rel;
	Oid			table;
	bool		known;

	/* What is known of its indexes is about to change. */
	this_table = InvalidOid;
	CurrentResourceOwner = TopTransactionResourceOwner;
	table = lock_current_table();
	rel = table_open(table, NoLock);
	known = find_indexes(rel);
	table_close(rel, NoLock);
	/* Not before it is closed: the owner outlives a savepoint. */
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not as djkafka made it", get_rel_name(table)),
				 errhint("Drop an index that was added to it; with a column that was, drop and create the extension.")));
	this_sequence = djk_catalog_table("djkafka_outbox_id_seq");
	CurrentResourceOwner = owner;
	this_table = table;
}

/*
 * Another table is chosen if the first is gone: the transaction itself has
 * dropped the extension and made it again, or rolled that back.
 */
void
djk_outbox_begin_writing(void)
{
	if (!OidIsValid(this_table) || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(this_table)))
		choose_table();
}

/*
 * Transactions that are open already are waited for before the lock is asked
 * for: in its queue others would wait behind us for all of their time.
 */
void
djk_outbox_lock_out_writers(void)
{
	Oid			tables[DJK_OUTBOX_TABLES];
	List	   *tags = NIL;

	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
	{
		LOCKTAG    *tag = palloc(sizeof(LOCKTAG));

		tables[i] = djk_outbox_table(i);
		SET_LOCKTAG_RELATION(*tag, MyDatabaseId, tables[i]);
		tags = lappend(tags, tag);
	}
	WaitForLockersMultiple(tags, ShareRowExclusiveLock, false);
	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
		LockRelationOid(tables[i], ShareRowExclusiveLock);
	list_free_deep(tags);
}

static HeapTuple
form_tuple(TupleDesc desc, int64 id, FullTransactionId txid, const DjkOutboxMessage *message)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {false};

	values[COLUMN_ID] = Int64GetDatum(id);
	values[COLUMN_TXID] = UInt64GetDatum(U64FromFullTransactionId(txid));
	values[COLUMN_MESSAGE_TIME] = TimestampTzGetDatum(message->message_time);
	values[COLUMN_PARTITION] = Int32GetDatum(message->partition);
	nulls[COLUMN_PARTITION] = message->partition < 0;
	values[COLUMN_TOPIC] = CStringGetTextDatum(message->topic);
	nulls[COLUMN_SERVER] = message->server == NULL;
	values[COLUMN_SERVER] = nulls[COLUMN_SERVER] ? (Datum) 0 : CStringGetTextDatum(message->server);
	values[COLUMN_KEY] = PointerGetDatum(message->key);
	nulls[COLUMN_KEY] = message->key == NULL;
	values[COLUMN_VALUE] = PointerGetDatum(message->value);
	nulls[COLUMN_VALUE] = message->value == NULL;
	values[COLUMN_HEADERS] = message->headers;
	nulls[COLUMN_HEADERS] = !message->has_headers;
	return heap_form_tuple(desc, values, nulls);
}

int64
djk_outbox_write(const DjkOutboxMessage *message)
{
	FullTransactionId txid;
	Relation	rel;
	HeapTuple	tuple;
	Datum		key;
	bool		isnull = false;
	int64		id;

	txid = GetTopFullTransactionId();
	id = nextval_internal(this_sequence, false);
	rel = table_open(this_table, NoLock);
	tuple = form_tuple(RelationGetDescr(rel), id, txid, message);
	simple_heap_insert(rel, tuple);
	key = Int64GetDatum(id);
	for (int i = 0; i < this_nindexes; i++)
	{
		Relation	index = index_open(this_indexes[i].oid, NoLock);

		(void) index_insert(index, &key, &isnull, &tuple->t_self, rel, UNIQUE_CHECK_NO, false, this_indexes[i].info);
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	heap_freetuple(tuple);
	return id;
}
