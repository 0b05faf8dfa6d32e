/*-------------------------------------------------------------------------
 *
 * version.c
 *	  Messages that are not newer than their row.
 *
 * With a version_column the greatest version of a row wins, not the last
 * message.  The versions that the rows of a batch have are asked for once, and
 * the rows locked; then each message is compared with what its row would be
 * after those before it.  What is left is written as by any other route.
 *
 * A row that is missing when it is asked for may be there when it is written, by
 * another session: the statements compare once more (statement_sql.c).
 *
 *-------------------------------------------------------------------------
 */
#include "apply/version.h"

#include "apply/key_table.h"
#include "apply/statement.h"
#include "miscadmin.h"
#include "utils/datum.h"

/* The version of a row as the messages so far have made it. */
typedef struct Version
{
	bool		known;			/* the row is there, and has one */
	Datum		value;
} Version;

typedef struct Versions
{
	DjkRouteState *state;
	MemoryContext context;
	DjkKeyTable keys;
	Version    *versions;		/* by change of 'keys'; of the one row, if it cannot be hashed */
} Versions;

/* Whether messages of several rows can be compared before the first is written. */
static bool
rows_are_independent(const DjkRouteState *state)
{
	return !state->meets && !state->alone && !state->is_view && !state->has_policies && djk_key_table_serves(state);
}

/*
 * Where what one message writes may be refused or changed by something else than
 * its own row, the next one of its key must see what became of it.
 */
int
djk_version_stretch(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	DjkKeyTable keys;

	if (!rows_are_independent(state))
		return 1;
	if (state->merge)
		return n;
	djk_key_table_init(&keys, state, n);
	for (int i = 0; i < n; i++)
	{
		bool		found;

		(void) djk_key_table_enter(&keys, &apply->work[indexes[i]].row, &found);
		if (found)
			return i;
	}
	return n;
}

static Version *
version_of(Versions *versions, DjkRow *row, bool *found)
{
	if (!djk_key_table_serves(versions->state))
		return &versions->versions[0];
	return &versions->versions[djk_key_table_enter(&versions->keys, row, found) - versions->keys.changes];
}

static void
take_version(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Versions   *versions = arg;
	DjkRouteState *state = versions->state;
	const FormData_pg_attribute *att = TupleDescAttr(state->rows_desc, state->version);
	MemoryContext old = MemoryContextSwitchTo(versions->context);
	DjkRow	   *row = palloc0(sizeof(DjkRow));
	Version    *version;
	bool		found = false;
	bool		isnull;
	Datum		value;

	/* It stays, should its type's equality say that it does not equal itself. */
	row->values = palloc(state->ncolumns * sizeof(Datum));
	row->nulls = palloc(state->ncolumns * sizeof(bool));
	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];
		const FormData_pg_attribute *key = TupleDescAttr(state->rows_desc, c);

		row->values[c] = SPI_getbinval(tuple, desc, i + 1, &row->nulls[c]);
		if (!row->nulls[c])
			row->values[c] = datumCopy(row->values[c], key->attbyval, key->attlen);
	}
	version = version_of(versions, row, &found);
	value = SPI_getbinval(tuple, desc, state->nkeys + 1, &isnull);
	version->known = !isnull;
	if (!isnull)
		version->value = datumCopy(value, att->attbyval, att->attlen);
	MemoryContextSwitchTo(old);
}

/* What the table holds for the keys of the messages. */
static void
look_up(DjkApply *apply, Versions *versions, const int *indexes, int n)
{
	DjkRouteState *state = versions->state;
	Tuplestorestate *store = tuplestore_begin_heap(true, false, work_mem);

	for (int i = 0; i < n; i++)
	{
		DjkRow	   *row = &apply->work[indexes[i]].row;
		bool		found = false;

		(void) version_of(versions, row, &found);
		if (!found)
			tuplestore_putvalues(store, state->rows_desc, row->values, row->nulls);
	}
	(void) djk_statement_run_told(state, DJK_STATEMENT_VERSIONS, NULL, store, n, take_version, versions);
	tuplestore_end(store);
}

/* Whether a message comes too late; if not, it becomes what the next is compared with. */
static bool
is_stale(Versions *versions, DjkRow *row)
{
	DjkRouteState *state = versions->state;
	int			c = state->version;
	bool		found;
	Version    *version = version_of(versions, row, &found);
	bool		has_version = !row->nulls[c] && (row->is_delete || bms_is_member(c, row->present));

	if (has_version && version->known &&
		DatumGetInt32(FunctionCall2Coll(state->version_compare, state->columns[c].collation,
										row->values[c], version->value)) <= 0)
		return true;
	version->known = has_version && !row->is_delete;
	version->value = row->values[c];
	return false;
}

int
djk_version_drop_stale(DjkApply *apply, DjkRouteState *state, int *indexes, int n)
{
	Versions	versions = {.state = state, .context = CurrentMemoryContext};
	int			nleft = 0;

	versions.versions = palloc0_array(Version, 2 * n);
	if (djk_key_table_serves(state))
		djk_key_table_init(&versions.keys, state, 2 * n);
	look_up(apply, &versions, indexes, n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_stale(&versions, &apply->work[indexes[i]].row))
			apply->work[indexes[i]].fate = DJK_FATE_STALE;
		else
			indexes[nleft++] = indexes[i];
	}
	return nleft;
}
