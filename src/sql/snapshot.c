/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  djkafka_snapshot: publishing what a table has already.
 *
 * The table is gone through in the order of its key, in chunks of a transaction
 * each.  A chunk's rows are locked FOR SHARE when its messages are written, so
 * whoever changes one of them has either committed before, and it is their row
 * that is published, or writes the message after ours is committed.  A second
 * query makes the messages: the one that locks sees what expressions read in
 * other tables as it was before it waited.
 *
 * A row may get another key while its lock is waited for.  The end of a chunk is
 * therefore looked up before, without locks: a row that leaves the chunk meanwhile
 * was published by its own change, and the next chunk begins where this one ends.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/relation.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sql/publish.h"
#include "state/catalog.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(djkafka_snapshot);

#define CHUNK_MAX	1000000

typedef struct Snapshotting
{
	int64		id;				/* of the publication */
	Oid			relation;
	char	   *name;			/* of it, at the beginning */
	int			chunk;
	MemoryContext context;		/* outlives the transactions */
	Datum	   *last;			/* key that ended the chunk before; NULL at first */
	Datum	   *bound;			/* key that ends this one; NULL: the last */
	char	  **keys;			/* what the key was when the first chunk was made */
	Oid		   *key_types;
	int			nkeys;
	DjkPublishSkipped *skipped; /* NULL: a row that is too large is an error */
} Snapshotting;

/* ---------- arguments ---------- */

static void
require_no_transaction(FunctionCallInfo fcinfo)
{
	CallContext *call = (CallContext *) fcinfo->context;

	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("djkafka_snapshot cannot run inside a transaction block"),
				 errdetail("It commits after each chunk of rows."),
				 errhint("Use CALL djkafka_snapshot(...) in autocommit, in a Django migration with atomic = False.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("djkafka_snapshot needs the isolation level read committed"),
				 errhint("SET default_transaction_isolation = 'read committed'.")));
}

/* At the beginning, and of each chunk: the table may have got another owner meanwhile. */
static void
require_owner(Oid relation)
{
	Oid			owner = djk_table_owner(relation);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", get_rel_name(relation)),
				 errdetail("A publication runs with the rights of the table's owner.")));
}

/* The one publication of the table that publishes rows, or that to the topic. */
static int64
find_publication(Oid relation, text *topic)
{
	static DjkStatement select_publications = {
		.sql = "SELECT id FROM @.djkafka_publication WHERE relation = $1 AND shape = 'rows'"
		" AND ($2 IS NULL OR topic = $2)",
		.nargs = 2,
		.argtypes = {REGCLASSOID, TEXTOID}
	};
	Datum		values[2] = {ObjectIdGetDatum(relation), PointerGetDatum(topic)};
	DjkIdentity identity;
	uint64		found;
	int64		id = 0;

	djk_catalog_enter(&identity);
	found = djk_catalog_execute(&select_publications, values, topic == NULL ? " n" : NULL);
	if (found > 0)
		id = djk_row_int64(0, 1, 0);
	djk_catalog_leave(&identity);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no such publication", get_rel_name(relation)),
				 errhint("Publish it first, with djkafka_publish.")));
	if (found > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("table \"%s\" is published to several topics", get_rel_name(relation)),
				 errhint("Name one with topic => '...'.")));
	return id;
}

/* ---------- a chunk ---------- */

/* The key of the one row that was found, to outlive the transaction. */
static Datum *
copy_key(const Snapshotting *work)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	MemoryContext old = MemoryContextSwitchTo(work->context);
	Datum	   *key = palloc(work->nkeys * sizeof(Datum));

	for (int i = 0; i < work->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], desc, i + 1, &isnull);

		if (isnull)
			elog(ERROR, "a key column is null");
		if (att->attlen == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		else
			value = datumCopy(value, att->attbyval, att->attlen);
		key[i] = value;
	}
	MemoryContextSwitchTo(old);
	return key;
}

/* Sets work->bound: the key of the chunk's last row. */
static void
find_bound(Snapshotting *work, const DjkPublishTable *table)
{
	int			nargs = (work->last != NULL ? work->nkeys : 0) + 1;
	Oid		   *types = palloc(nargs * sizeof(Oid));
	Datum	   *values = palloc(nargs * sizeof(Datum));
	SPIPlanPtr	plan;

	for (int i = 0; i < nargs - 1; i++)
	{
		types[i] = table->key_types[i];
		values[i] = work->last[i];
	}
	types[nargs - 1] = INT8OID;
	values[nargs - 1] = Int64GetDatum(work->chunk - 1);
	plan = djk_publish_prepare(djk_publish_sql(table, DJK_PUBLISH_BOUND, work->last == NULL, false), nargs, types);
	if (SPI_execute_plan(plan, values, NULL, false, 0) < 0)
		elog(ERROR, "could not find the next rows of a snapshot");
	work->bound = SPI_processed > 0 ? copy_key(work) : NULL;
}

static void
publish_chunk(Snapshotting *work, DjkPublishState *state, const DjkPublishIdentity *identity,
			  const DjkPublishTable *table)
{
	Oid		   *types = palloc(2 * work->nkeys * sizeof(Oid));
	Datum	   *values = palloc(2 * work->nkeys * sizeof(Datum));
	int			nargs = 0;
	SPIPlanPtr	plan;
	Tuplestorestate *rows;

	for (int k = 0; k < 2; k++)
	{
		const Datum *key = k == 0 ? work->last : work->bound;

		for (int i = 0; key != NULL && i < work->nkeys; i++)
		{
			types[nargs] = table->key_types[i];
			values[nargs++] = key[i];
		}
	}
	plan = djk_publish_prepare(djk_publish_sql(table, DJK_PUBLISH_LOCK, work->last == NULL, work->bound == NULL),
							   nargs, types);
	rows = djk_publish_collect(plan, values);
	djk_publish_run(state, identity, djk_publish_prepare(djk_publish_sql(table, DJK_PUBLISH_CHUNK, false, false), 0, NULL),
					work->skipped);
	tuplestore_end(rows);
}

static void
require_enabled(const DjkPublishState *state, Oid relation)
{
	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the publication of table \"%s\" was dropped meanwhile", get_rel_name(relation))));
	if (!state->row->enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the publication of table \"%s\" is not enabled", get_rel_name(relation)),
				 errhint("UPDATE djkafka_publication SET enabled = true.")));
	if (djk_publish_is_kept_out(state))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the publication of table \"%s\" belongs to another database, of which this one is a copy",
						get_rel_name(relation)),
				 errhint("SELECT djkafka_adopt() makes what came with the copy this database's.")));
}

/* A key that ended a chunk says nothing of another key, or of another type. */
static void
require_same_key(Snapshotting *work, const DjkPublishTable *table)
{
	bool		same = work->nkeys == table->nkeys;

	if (work->keys == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(work->context);

		work->nkeys = table->nkeys;
		work->keys = palloc(table->nkeys * sizeof(char *));
		work->key_types = palloc(table->nkeys * sizeof(Oid));
		for (int i = 0; i < table->nkeys; i++)
		{
			work->keys[i] = pstrdup(table->keys[i]);
			work->key_types[i] = table->key_types[i];
		}
		MemoryContextSwitchTo(old);
		return;
	}
	for (int i = 0; i < work->nkeys && same; i++)
		same = strcmp(work->keys[i], table->keys[i]) == 0 && work->key_types[i] == table->key_types[i];
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key of table \"%s\" was changed meanwhile", RelationGetRelationName(table->rel)),
				 errhint("Call djkafka_snapshot again.")));
}

/* Publishes the next chunk; false if it was the last. */
static bool
next_chunk(Snapshotting *work)
{
	Relation	rel = try_relation_open(work->relation, RowShareLock);
	DjkPublishState *state;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" was dropped meanwhile", work->name)));
	require_owner(work->relation);
	state = djk_publish_acquire(work->id, rel);
	require_enabled(state, work->relation);
	PG_TRY();
	{
		DjkPublishTable table;
		DjkPublishIdentity identity;

		djk_publish_enter(state, &identity);
		djk_publish_table_init(&table, state->row, rel, state->partitions);
		require_same_key(work, &table);
		find_bound(work, &table);
		if (!djk_publish_silenced(state, state->row->topic, 1))
			publish_chunk(work, state, &identity, &table);
		djk_publish_leave(&identity);
	}
	PG_FINALLY();
	{
		djk_publish_release(state);
	}
	PG_END_TRY();
	relation_close(rel, NoLock);
	return work->bound != NULL;
}

/* ---------- the procedure ---------- */

/* The keys are kept as long as the procedure runs. */
static DjkPublishSkipped *
make_skipped(void)
{
	DjkPublishSkipped *skipped = palloc0(sizeof(DjkPublishSkipped));

	initStringInfo(&skipped->keys);
	return skipped;
}

static void
report_skipped(const Snapshotting *work)
{
	if (work->skipped == NULL || work->skipped->count == 0)
		return;
	ereport(WARNING,
			(errcode(DJK_ERRCODE_TOO_LARGE),
			 errmsg("rows of table \"%s\" that are too large were not published: " UINT64_FORMAT, work->name,
					work->skipped->count),
			 errdetail("%s%s", work->skipped->keys.data,
					   work->skipped->count > DJK_PUBLISH_SKIPPED_SHOWN ? "\n..." : ""),
			 errhint("Raise message.max.bytes of the connection, and max.message.bytes of the topic in Kafka, and change these rows.")));
}

static int
require_chunk(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("arguments \"relation\", \"chunk\" and \"skip_too_large\" must not be null")));
	if (PG_GETARG_INT32(2) < 1 || PG_GETARG_INT32(2) > CHUNK_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is outside the valid range for chunk (1 .. %d)", PG_GETARG_INT32(2), CHUNK_MAX)));
	return PG_GETARG_INT32(2);
}

Datum
djkafka_snapshot(PG_FUNCTION_ARGS)
{
	Snapshotting work = {0};
	MemoryContext chunk_context;
	bool		more = true;

	require_no_transaction(fcinfo);
	work.chunk = require_chunk(fcinfo);
	work.relation = PG_GETARG_OID(0);
	require_owner(work.relation);
	work.id = find_publication(work.relation, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* SPI's own memory lives as long as the procedure. */
	work.context = CurrentMemoryContext;
	work.name = get_rel_name(work.relation);
	if (PG_GETARG_BOOL(3))
		work.skipped = make_skipped();
	chunk_context = AllocSetContextCreate(work.context, "djkafka chunk", ALLOCSET_DEFAULT_SIZES);
	while (more)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(chunk_context);
		PushActiveSnapshot(GetTransactionSnapshot());
		more = next_chunk(&work);
		PopActiveSnapshot();
		MemoryContextSwitchTo(work.context);
		MemoryContextReset(chunk_context);
		SPI_commit();
		work.last = work.bound;
	}
	report_skipped(&work);
	SPI_finish();
	PG_RETURN_VOID();
}
