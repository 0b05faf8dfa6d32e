/*-------------------------------------------------------------------------
 *
 * publish_state.c
 *	  What a session derives from a publication, and with whose rights it runs.
 *
 * A state is built at the first change of a table and kept until the table or
 * the publication changes: whoever changes a publication's row invalidates its
 * relation, so both arrive the same way.  The row is read as it is now and not
 * by the transaction's snapshot, which may be older than the invalidation.
 *
 * Expressions, casts to json and output functions are the table owner's or of
 * their choice, and whoever writes to the table makes them run.  They run as the
 * owner, as index expressions do in maintenance commands: neither does an owner
 * get a writer's rights by them, nor does a writer need rights on what they
 * read.  The context is a security-restricted operation; search_path is the
 * publication's, with temporary objects, which may be the writer's, last.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publish.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/spi.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"
#include "utils/varlena.h"

#define ORIGIN_HEADER		"djkafka-origin"

/*
 * How many rows the planner is told of a transition table: enough for it to
 * hash, where a nested loop would be quadratic for a large statement.
 */
#define PLANNED_ROWS		1000

typedef struct StateEntry
{
	int64		id;
	DjkPublishState *state;
	TimestampTz command;		/* of the client's that published last: when it began */
} StateEntry;

static HTAB *states = NULL;

/* ---------- the cache ---------- */

static void
invalidate_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	StateEntry *entry;

	hash_seq_init(&scan, states);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->state != NULL && (!OidIsValid(relid) || entry->state->relation == relid ||
									 list_member_oid(entry->state->partitions, relid)))
			entry->state->valid = false;
	}
}

/* A schema that is renamed touches none of its tables, and its name may be another's now. */
static void
invalidate_names(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate_relation(arg, InvalidOid);
}

static StateEntry *
find_entry(int64 id)
{
	bool		found;
	StateEntry *entry;

	if (states == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(int64);
		ctl.entrysize = sizeof(StateEntry);
		ctl.hcxt = TopMemoryContext;
		states = hash_create("djkafka publications", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_names, (Datum) 0);
	}
	entry = hash_search(states, &id, HASH_ENTER, &found);
	if (!found)
	{
		entry->state = NULL;
		entry->command = 0;
	}
	return entry;
}

static void
destroy_state(DjkPublishState *state)
{
	for (int i = 0; i < 2 * DJK_PUBLISH_EVENTS; i++)
	{
		SPIPlanPtr	plan = state->plans[i / DJK_PUBLISH_EVENTS][i % DJK_PUBLISH_EVENTS];

		if (plan != NULL)
			SPI_freeplan(plan);
	}
	if (state->delete_plan != NULL)
		SPI_freeplan(state->delete_plan);
	MemoryContextDelete(state->context);
}

/* A statement that still runs with an old state destroys it when it ends. */
static void
forget_state(StateEntry *entry)
{
	DjkPublishState *state = entry->state;

	entry->state = NULL;
	if (state != NULL && state->users == 0)
		destroy_state(state);
}

/* ---------- building ---------- */

/* One header that says where a message was made. */
static void
build_origin(DjkPublishState *state)
{
	Oid			type = djk_catalog_type("djkafka_header");
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	bool		nulls[2] = {false, false};
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkHome		home;
	Datum		values[2];
	char	   *text;
	Datum		header;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	djk_catalog_enter(&identity);
	djk_home_load(&home);
	djk_catalog_leave(&identity);
	MemoryContextSwitchTo(context);

	text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&home.id)));
	values[0] = CStringGetTextDatum(ORIGIN_HEADER);
	values[1] = CStringGetTextDatum(text);
	header = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	state->origin = PointerGetDatum(construct_array(&header, 1, type, typlen, typbyval, typalign));
	state->origin_header = header;
	state->origin_bytes = strlen(ORIGIN_HEADER) + strlen(text) + 10;
	ReleaseTupleDesc(desc);
}

static bool
is_of_another_home(const DjkPublicationRow *row)
{
	DjkIdentity identity;
	DjkHome		home;

	djk_catalog_enter(&identity);
	djk_home_load(&home);
	djk_catalog_leave(&identity);
	return memcmp(&row->home, &home.id, sizeof(pg_uuid_t)) != 0;
}

/* Temporary tables may be another's: looked up last, unless the path names them. */
static char *
pin_search_path(const char *path)
{
	List	   *schemas;
	ListCell   *lc;

	/* What cannot be split is refused where it is set. */
	(void) SplitIdentifierString(pstrdup(path), ',', &schemas);
	foreach(lc, schemas)
	{
		if (strcmp(lfirst(lc), "pg_temp") == 0)
			return pstrdup(path);
	}
	return psprintf("%s%spg_temp", path, path[strspn(path, " ")] != '\0' ? ", " : "");
}

static void
fill_state(DjkPublishState *state, const DjkPublicationRow *row, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	/* Before their triggers are looked at, so that a change of those is not missed. */
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		state->partitions = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	state->search_path = pin_search_path(row->search_path);
	state->label = psprintf("publication " INT64_FORMAT " of table \"%s\"", row->id, RelationGetRelationName(rel));
	state->is_foreign = is_of_another_home(row);
	if (row->origin)
		build_origin(state);
	/* Last: it says that the state is whole. */
	state->row = row;
	MemoryContextSwitchTo(old);
}

static DjkPublishState *
create_state(Relation rel, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "djkafka publication", ALLOCSET_SMALL_SIZES);
	DjkPublishState *state = MemoryContextAllocZero(context, sizeof(DjkPublishState));

	MemoryContext old = MemoryContextSwitchTo(context);

	state->context = context;
	state->relation = RelationGetRelid(rel);
	state->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	state->owner = rel->rd_rel->relowner;
	MemoryContextSwitchTo(old);
	state->valid = true;
	return state;
}

/* False if there is no such publication of this table. */
static bool
load_state(DjkPublishState *state, int64 id, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);
	DjkPublicationRow *row = palloc(sizeof(DjkPublicationRow));
	bool		found = djk_publication_load(id, row);

	MemoryContextSwitchTo(old);
	if (!found || row->relation != state->relation)
		return false;
	fill_state(state, row, rel);
	return true;
}

/*
 * Whether what is kept was made for this very table as it is now.  The id was
 * written by whoever made the trigger, and invalidations only tell of what we
 * know to be the publication's: a plan must never read rows of another shape,
 * nor run with rights that are another's.
 */
static bool
fits(const DjkPublishState *state, Relation rel)
{
	return state->valid && state->row != NULL && state->relation == RelationGetRelid(rel) &&
		state->owner == rel->rd_rel->relowner && equalTupleDescs(state->desc, RelationGetDescr(rel));
}

DjkPublishState *
djk_publish_acquire(int64 id, Relation rel)
{
	StateEntry *entry = find_entry(id);

	if (entry->state != NULL && !fits(entry->state, rel))
		forget_state(entry);
	if (entry->state == NULL)
	{
		/* In the cache before it is filled: an invalidation meanwhile must not be lost. */
		entry->state = create_state(rel, CacheMemoryContext);
		if (!load_state(entry->state, id, rel))
		{
			forget_state(entry);
			return NULL;
		}
	}
	entry->state->users++;
	return entry->state;
}

void
djk_publish_release(DjkPublishState *state)
{
	StateEntry *entry = find_entry(state->row->id);

	state->users--;
	if (entry->state != state && state->users == 0)
		destroy_state(state);
}

/* Two commands that begin in one microsecond are taken for one, which only costs time. */
bool
djk_publish_note_command(const DjkPublishState *state)
{
	StateEntry *entry = find_entry(state->row->id);
	TimestampTz command = GetCurrentStatementStartTimestamp();
	bool		again = entry->command == command;

	entry->command = command;
	return again;
}

/* ---------- plans ---------- */

static SPIPlanPtr
keep(SPIPlanPtr plan)
{
	SPI_keepplan(plan);
	return plan;
}

SPIPlanPtr
djk_publish_plan(DjkPublishState *state, Relation rel, DjkPublishEvent event, bool outdated)
{
	SPIPlanPtr *kept = &state->plans[outdated][event];
	SPIPlanPtr	plan;
	DjkPublishTable table;

	if (*kept != NULL)
		return *kept;
	djk_publish_table_init(&table, state->row, rel, state->partitions);
	table.read_back |= outdated && table.can_read_back;
	djk_catalog_look_at(state->row->filter != NULL ? "filter" : state->row->ncolumns > 0 ? "columns" : "relation");
	plan = djk_publish_prepare(djk_publish_sql(&table, event, true, true), 0, NULL);
	if (state->row->delete_rows && state->delete_plan == NULL)
	{
		const char *sql = djk_publish_sql_delete(&table);
		SPIPlanPtr	delete_plan = SPI_prepare(sql, 0, NULL);

		if (delete_plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		state->delete_plan = keep(delete_plan);
	}
	/* Last: it says that nothing is left to prepare. */
	*kept = keep(plan);
	return *kept;
}

void
djk_publish_check(const DjkPublicationRow *row, Relation rel)
{
	/* TRUNCATE and a snapshot evaluate nothing else, and only they may not read the table. */
	static const DjkPublishEvent events[] = {DJK_PUBLISH_INSERT, DJK_PUBLISH_UPDATE, DJK_PUBLISH_DELETE};
	DjkPublishState *state;
	DjkPublishIdentity identity;

	/* They are one query: what is wrong without the filter is not the filter's. */
	if (row->filter != NULL && row->ncolumns > 0)
	{
		DjkPublicationRow unfiltered = *row;

		unfiltered.filter = NULL;
		djk_publish_check(&unfiltered, rel);
	}
	state = create_state(rel, CurrentMemoryContext);
	fill_state(state, row, rel);
	djk_publish_enter(state, &identity);
	djk_publish_register(state, NULL, NULL);
	for (int i = 0; i < (row->is_outbox ? 1 : lengthof(events)); i++)
		(void) djk_publish_plan(state, rel, events[i], false);
	djk_publish_leave(&identity);
	destroy_state(state);
}

/* ---------- identity ---------- */

void
djk_publish_enter(const DjkPublishState *state, DjkPublishIdentity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(state->owner, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	saved->guc_level = NewGUCNestLevel();
	djk_publish_settings_pin(state->row, state->search_path);
	djk_spi_connect();
}

void
djk_publish_leave(const DjkPublishIdentity *saved)
{
	SPI_finish();
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

/* ---------- running ---------- */

/* Both, whatever the event: a name that is not there would be looked up as a table. */
void
djk_publish_register(const DjkPublishState *state, Tuplestorestate *old, Tuplestorestate *new)
{
	djk_spi_register_rows(DJK_PUBLISH_OLD, state->relation, NULL, old, PLANNED_ROWS);
	djk_spi_register_rows(DJK_PUBLISH_NEW, state->relation, NULL, new, PLANNED_ROWS);
}

void
djk_publish_refuse_expressions(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("columns and filter of a publication must be single SQL expressions")));
}

SPIPlanPtr
djk_publish_prepare(const char *sql, int nargs, Oid *argtypes)
{
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, argtypes);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(plan))
		djk_publish_refuse_expressions();
	return plan;
}

static ParamListInfo
make_parameters(SPIPlanPtr plan, const Datum *values)
{
	int			n = SPI_getargcount(plan);
	ParamListInfo params = makeParamList(n);

	for (int i = 0; i < n; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = SPI_getargtypeid(plan, i);
	}
	return params;
}

Tuplestorestate *
djk_publish_collect(SPIPlanPtr plan, Datum *values)
{
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	SPIExecuteOptions options = {0};
	int			result;

	options.params = make_parameters(plan, values);
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, rows, CurrentMemoryContext, false, NULL, NULL);
	result = SPI_execute_plan_extended(plan, &options);
	if (result < 0)
		elog(ERROR, "could not read the rows of a publication: %s", SPI_result_code_string(result));
	djk_spi_register_rows(DJK_PUBLISH_NEW, InvalidOid, source->resultDesc, rows, PLANNED_ROWS);
	return rows;
}
