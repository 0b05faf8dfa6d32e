/*-------------------------------------------------------------------------
 *
 * awaited.c
 *	  Tables that messages wait for rows of, or for to lose some: who writes one wakes the workers.
 *
 * No trigger on the application's table tells of a new row: one would have to be
 * made and dropped, by its owner and under its lock, whenever something begins
 * and ceases to wait.  Instead each session notes which tables its statements
 * write, and at COMMIT, when others see it, looks whether any is waited for.
 * What that costs while nothing waits is to remember a few OIDs, and the look at
 * one counter.
 *
 * A session notes whether something waits or not, since that may change before
 * it commits; a worker counts itself before it looks for the row.  So either the
 * session finds the worker, or the worker the row.
 *
 * Tables share a thousand places, those of other databases too, so a worker may be
 * woken for nothing.  A ring sets the latches of all consumer workers, but only if
 * one that waits at the place has listened since the last one: who commits thousands
 * of parents does so no more often than workers listen.
 *
 * Not every row that comes is a statement's.  Rows that logical replication
 * brings, commits of what was prepared, and changes of tables count as any row;
 * what an extension writes past the executor is not heard of: a worker looks by
 * itself once in a while (consumer/waiting.c).
 *
 *-------------------------------------------------------------------------
 */
#include "state/awaited.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "port/atomics.h"
#include "replication/logicalworker.h"
#include "state/shmem.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define PLACES		1024
#define TABLES_MAX	32			/* that a transaction remembers */

typedef struct Place
{
	pg_atomic_uint32 workers;
	pg_atomic_uint32 rings;
	pg_atomic_uint32 unheard;	/* no worker has listened since the last one */
} Place;

typedef struct SharedAwaited
{
	pg_atomic_uint32 workers;	/* at all places */
	Place		places[PLACES];
} SharedAwaited;

static SharedAwaited *shared = NULL;

/* What this transaction has written, and in which subtransaction, by its depth. */
typedef struct Written
{
	Oid			table;
	int			level;
} Written;

static Written written[TABLES_MAX];
static int	nwritten = 0;
static int	written_any = 0;	/* perhaps all tables, at this level; 0: not */

/* What this process, a worker, waits for. */
static bool waits_at[PLACES];
static uint32 heard[PLACES];
static bool is_waiting = false;

static ExecutorEnd_hook_type prev_executor_end = NULL;

/* ---------- setting up ---------- */

void
djk_awaited_request(void)
{
	RequestAddinShmemSpace(sizeof(SharedAwaited));
}

void
djk_awaited_start(void)
{
	bool		found;

	shared = ShmemInitStruct("djkafka awaited tables", sizeof(SharedAwaited), &found);
	if (found)
		return;
	pg_atomic_init_u32(&shared->workers, 0);
	for (int i = 0; i < PLACES; i++)
	{
		pg_atomic_init_u32(&shared->places[i].workers, 0);
		pg_atomic_init_u32(&shared->places[i].rings, 0);
		pg_atomic_init_u32(&shared->places[i].unheard, 0);
	}
}

static int
place_of(Oid table)
{
	return hash_combine(murmurhash32(MyDatabaseId), murmurhash32(table)) % PLACES;
}

/* ---------- ringing ---------- */

static void
ring(int place, bool *first)
{
	Place	   *p = &shared->places[place];

	if (pg_atomic_read_u32(&p->workers) == 0)
		return;
	(void) pg_atomic_fetch_add_u32(&p->rings, 1);
	*first |= pg_atomic_exchange_u32(&p->unheard, 1) == 0;
}

static void
ring_written(bool all)
{
	bool		first = false;

	if (shared == NULL)
		return;
	/* What was committed is seen by whoever counts itself after this. */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->workers) == 0)
		return;
	for (int i = 0; all && i < PLACES; i++)
		ring(i, &first);
	for (int i = 0; !all && i < nwritten; i++)
		ring(place_of(written[i].table), &first);
	if (first)
		djk_nudge_consumers();
}

void
djk_awaited_ring_all(void)
{
	ring_written(true);
}

void
djk_awaited_note_any(void)
{
	int			level = Max(GetCurrentTransactionNestLevel(), 1);

	written_any = written_any == 0 ? level : Min(written_any, level);
}

static inline void
note(Oid table)
{
	int			level = GetCurrentTransactionNestLevel();

	for (int i = nwritten - 1; i >= 0; i--)
	{
		if (written[i].table != table)
			continue;
		written[i].level = Min(written[i].level, level);
		return;
	}
	if (nwritten < TABLES_MAX)
		written[nwritten++] = (Written) {table, level};
	else
		djk_awaited_note_any();
}

/* What a subtransaction has written is its parent's, or nobody's. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	int			n = 0;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (int i = 0; i < nwritten; i++)
	{
		Written		w = written[i];

		if (w.level >= level && event == SUBXACT_EVENT_ABORT_SUB)
			continue;
		w.level = Min(w.level, Max(level - 1, 1));
		written[n++] = w;
	}
	nwritten = n;
	if (written_any >= level)
		written_any = event == SUBXACT_EVENT_ABORT_SUB ? 0 : level - 1;
}

/* A prepared transaction has forgotten what it wrote: its end rings for all (state/wake.c). */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && (nwritten > 0 || written_any > 0 || IsLogicalWorker()))
		ring_written(written_any > 0 || IsLogicalWorker());
	nwritten = 0;
	written_any = 0;
}

/* ---------- what is written ---------- */

/* One that has written no row is nothing to anybody: so is a try that is made without any. */
static bool
has_written(const QueryDesc * query)
{
	const PlannedStmt *stmt = query->plannedstmt;

	return stmt->resultRelations != NIL &&
		(query->estate->es_processed > 0 || stmt->hasModifyingCTE || !stmt->canSetTag);
}

/* The actions of foreign keys end here too, but not in ExecutorFinish. */
static void
executor_end(QueryDesc * query)
{
	const PlannedStmt *stmt = query->plannedstmt;
	ListCell   *lc;

	if (has_written(query))
	{
		foreach(lc, stmt->resultRelations)
			note(rt_fetch(lfirst_int(lc), stmt->rtable)->relid);
	}
	if (prev_executor_end)
		prev_executor_end(query);
	else
		standard_ExecutorEnd(query);
}

/* Partitions are waited at by the names of their ancestors too, tables that inherit are not. */
static void
note_truncate(const TruncateStmt * stmt)
{
	bool		any = stmt->behavior == DROP_CASCADE;
	ListCell   *lc;

	foreach(lc, stmt->relations)
	{
		const RangeVar *name = lfirst(lc);
		Oid			table = RangeVarGetRelid(name, NoLock, true);

		note(table);
		any |= name->inh && get_rel_relkind(table) == RELKIND_RELATION && has_subclass(table);
	}
	if (any)
		djk_awaited_note_any();
}

/* Temporary tables come and go all the time, in any database: one that is dropped alone is not all. */
static void
note_drop(const DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE || stmt->behavior == DROP_CASCADE)
	{
		djk_awaited_note_any();
		return;
	}
	foreach(lc, stmt->objects)
		note(RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true));
}

/*
 * A table that is altered may have rows from now on that it had not, or need none any
 * more; one that is emptied or dropped refers to none.
 */
void
djk_awaited_note_utility(const Node *stmt)
{
	if (!IsTransactionState())
		return;
	switch (nodeTag(stmt))
	{
		case T_CopyStmt:
			if (((const CopyStmt *) stmt)->is_from && ((const CopyStmt *) stmt)->relation != NULL)
				note(RangeVarGetRelid(((const CopyStmt *) stmt)->relation, NoLock, true));
			break;
		case T_TruncateStmt:
			note_truncate((const TruncateStmt *) stmt);
			break;
		case T_DropStmt:
			note_drop((const DropStmt *) stmt);
			break;
		case T_AlterTableStmt:
			djk_awaited_note_any();
			break;
		case T_CreateStmt:
			if (((const CreateStmt *) stmt)->partbound != NULL)
				djk_awaited_note_any();
			break;
		default:
			break;
	}
}

void
djk_awaited_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
	prev_executor_end = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
}

/* ---------- a worker ---------- */

static void
clear_at_exit(int code, Datum arg)
{
	djk_awaited_clear();
}

static bool
wait_at(Oid table)
{
	int			place = place_of(table);

	if (waits_at[place])
		return false;
	(void) pg_atomic_fetch_add_u32(&shared->places[place].workers, 1);
	(void) pg_atomic_fetch_add_u32(&shared->workers, 1);
	heard[place] = pg_atomic_read_u32(&shared->places[place].rings);
	waits_at[place] = is_waiting = true;
	return true;
}

/* All by whose names rows of the table may be written. */
static List *
names_of(Oid table)
{
	List	   *tables = list_make1_oid(table);

	if (get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE)
		tables = list_concat_unique_oid(tables, find_all_inheritors(table, NoLock, NULL));
	if (get_rel_relispartition(table))
		tables = list_concat_unique_oid(tables, get_partition_ancestors(table));
	return tables;
}

bool
djk_awaited_add(Oid table)
{
	static bool registered = false;
	List	   *names;
	ListCell   *lc;
	bool		any = false;

	if (shared == NULL)
		return false;
	if (!registered)
		before_shmem_exit(clear_at_exit, (Datum) 0);
	registered = true;
	names = names_of(table);
	foreach(lc, names)
		any |= wait_at(lfirst_oid(lc));
	list_free(names);
	return any;
}

void
djk_awaited_clear(void)
{
	if (!is_waiting)
		return;
	for (int i = 0; i < PLACES; i++)
	{
		if (!waits_at[i])
			continue;
		waits_at[i] = false;
		(void) pg_atomic_fetch_sub_u32(&shared->places[i].workers, 1);
		(void) pg_atomic_fetch_sub_u32(&shared->workers, 1);
	}
	is_waiting = false;
}

/*
 * How often it has rung at a place.  Whoever rings counts first and sets the latches
 * then, so what is not counted yet sets them again.
 */
static uint32
hear(int place)
{
	Place	   *p = &shared->places[place];

	if (pg_atomic_read_u32(&p->unheard) != 0)
		(void) pg_atomic_exchange_u32(&p->unheard, 0);
	return pg_atomic_read_u32(&p->rings);
}

bool
djk_awaited_has_rung(void)
{
	bool		rung = false;

	for (int i = 0; is_waiting && i < PLACES; i++)
		rung |= waits_at[i] && hear(i) != heard[i];
	return rung;
}

void
djk_awaited_look(void)
{
	for (int i = 0; is_waiting && i < PLACES; i++)
	{
		if (waits_at[i])
			heard[i] = hear(i);
	}
	pg_memory_barrier();
}
