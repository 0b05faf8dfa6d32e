/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Rows of a batch into a table or view.
 *
 * A statement can hold a key only once (ON CONFLICT DO UPDATE cannot touch a
 * row twice, and order must not be lost), and all its rows have the same
 * columns present.  Where nothing but the key could tell the difference,
 * messages of one key are merged: the last value of each column wins, a delete
 * forgets what came before it.  Else the batch is cut: a new statement begins
 * where a key repeats, or the operation or the set of columns changes.
 *
 * A message that is merged into another is never judged by itself.  So none is
 * whose row could be refused where the merged one is not: then what is merged
 * so far is written first.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/table.h"

#include "access/detoast.h"
#include "apply/key_table.h"
#include "apply/referrer.h"
#include "apply/row.h"
#include "apply/statement.h"
#include "apply/version.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"

/* ---------- sets of columns ---------- */

/*
 * Whether the order of rows could be seen that have different columns present:
 * some of them take a default that counts, be it a number or a clock.
 */
static bool
counts_rows(const DjkRouteState *state, DjkRow **rows, int n)
{
	if (state->counting_excluded)
		return true;
	for (int c = 0; c < state->ncolumns; c++)
	{
		if (!state->columns[c].counting_default)
			continue;
		for (int i = 0; i < n; i++)
		{
			if (!bms_is_member(c, rows[i]->present))
				return true;
		}
	}
	return false;
}

/* A column that is absent and has a constant default is the same as one that brings it. */
static void
put_defaults(const DjkRouteState *state, DjkRow *row, Bitmapset *columns)
{
	int			c = -1;

	while ((c = bms_next_member(columns, c)) >= 0)
	{
		if (bms_is_member(c, row->present))
			continue;
		row->values[c] = state->columns[c].default_value;
		row->nulls[c] = state->columns[c].default_is_null;
	}
}

/* Gives rows that are only ever inserted as few sets of columns as can be. */
static void
even_out(DjkApply *apply, const DjkRouteState *state, DjkRow **rows, int n)
{
	Bitmapset  *all = NULL;
	Bitmapset  *last = NULL;
	Bitmapset  *evened = NULL;
	bool		differ = false;

	for (int i = 1; i < n && !differ; i++)
		differ = rows[i]->present != rows[0]->present;
	if (!differ)
		return;
	for (int i = 0; i < n; i++)
	{
		if (rows[i]->present != last)
			all = bms_add_members(all, last = rows[i]->present);
	}
	for (int c = 0; c < state->ncolumns; c++)
	{
		if (!state->columns[c].constant_default)
			all = bms_del_member(all, c);
	}
	last = NULL;
	for (int i = 0; i < n; i++)
	{
		put_defaults(state, rows[i], all);
		if (evened == NULL || rows[i]->present != last)
		{
			last = rows[i]->present;
			evened = djk_row_share_present(apply, bms_union(last, all));
		}
		rows[i]->present = evened;
	}
}

/* ---------- running ---------- */

static bool
keys_repeat(DjkRouteState *state, DjkRow **rows, int n)
{
	DjkKeyTable keys;
	bool		repeat = false;

	djk_key_table_init(&keys, state, n);
	for (int i = 0; i < n && !repeat; i++)
		(void) djk_key_table_enter(&keys, rows[i], &repeat);
	return repeat;
}

/*
 * Whether rows cannot be written together.  What is there is updated by one
 * statement, what is missing inserted by another: where order can be seen, all
 * of them must be one or the other.  And whose key was inserted is found by a
 * hash; of several with one key it is the first, unless a trigger may have left
 * that one out.
 */
static bool
must_split(DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present, Tuplestorestate *store,
		   DjkRow **rows, int n)
{
	uint64		there;

	if (n == 1)
		return false;
	if (kind == DJK_SQL_INSERT_TOLD)
		return !djk_key_table_serves(state) || (state->meets && keys_repeat(state, rows, n));
	if (kind != DJK_SQL_UPSERT || !state->ordered || djk_route_sql_may_conflict(state, present))
		return false;
	there = djk_route_sql_run(state, DJK_SQL_FIND, present, store, n);
	return there > 0 && there < (uint64) n;
}

typedef struct Told
{
	DjkKeyTable keys;			/* of the rows; position: the first one of its key */
	DjkRow	  **rows;
	int			unknown;		/* keys that none of them has */
} Told;

static void
take_key(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Told	   *told = arg;
	const DjkRouteState *state = told->keys.state;
	DjkRow	   *row = palloc0(sizeof(DjkRow));
	DjkChange  *change;
	bool		found;

	row->values = palloc(state->ncolumns * sizeof(Datum));
	row->nulls = palloc(state->ncolumns * sizeof(bool));
	for (int i = 0; i < state->nkeys; i++)
		row->values[state->keys[i]] = SPI_getbinval(tuple, desc, i + 1, &row->nulls[state->keys[i]]);
	change = djk_key_table_enter(&told->keys, row, &found);
	if (found && change->position >= 0)
		told->rows[change->position]->is_new = true;
	else
		told->unknown++;
	change->position = -1;
}

/*
 * INSERT … ON CONFLICT DO NOTHING that says which rows were inserted: of those
 * with one key the first.  A trigger may have changed the key; then it is one of
 * the others, and which one nobody can say.
 */
static uint64
run_told(DjkRouteState *state, const Bitmapset *present, Tuplestorestate *store, DjkRow **rows, int n)
{
	Told		told = {.rows = rows};
	uint64		processed;

	if (n == 1)
	{
		processed = djk_route_sql_run(state, DJK_SQL_INSERT_NEW, present, store, 1);
		rows[0]->is_new = processed > 0;
		return processed;
	}
	djk_key_table_init(&told.keys, state, 2 * n);
	for (int i = 0; i < n; i++)
	{
		bool		found;
		DjkChange  *change = djk_key_table_enter(&told.keys, rows[i], &found);

		if (!found)
			change->position = i;
	}
	processed = djk_route_sql_run_told(state, DJK_SQL_INSERT_TOLD, present, store, n, take_key, &told);
	for (int i = 0; i < n && told.unknown > 0; i++)
	{
		if (rows[i]->is_new)
			continue;
		rows[i]->is_new = true;
		told.unknown--;
	}
	return processed;
}

static void
take_count(HeapTuple tuple, TupleDesc desc, void *arg)
{
	bool		isnull;

	*(int64 *) arg = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
}

/* Deletes rows with what refers to them, which is counted for the first of them. */
static void
run_referred(DjkRouteState *state, const Bitmapset *present, Tuplestorestate *store, DjkRow **rows, int n)
{
	int64		count = 0;

	djk_referrers_lock(state);
	(void) djk_route_sql_run(state, DJK_SQL_LOCK, present, store, n);
	djk_referrers_require_same(state);
	(void) djk_route_sql_run_told(state, DJK_SQL_DELETE_REFERRED, present, store, n, take_count, &count);
	rows[0]->cascaded += count;
}

/* Writes rows that have the same columns present. */
static uint64
run(DjkRouteState *state, DjkRouteSql kind, DjkRow **rows, int n)
{
	Tuplestorestate *store = tuplestore_begin_heap(true, false, work_mem);
	Bitmapset  *present = rows[0]->present;
	uint64		processed;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < n; i++)
		tuplestore_putvalues(store, state->rows_desc, rows[i]->values, rows[i]->nulls);

	state->at_hand.failed = -1;
	state->at_hand.rows = rows;
	state->at_hand.nrows = n;
	/* Whoever follows the table's changes is told before the row is gone. */
	if (kind == DJK_SQL_DELETE && state->route->skip_column != NULL)
		(void) djk_route_sql_run(state, DJK_SQL_SKIP, present, store, n);
	if (must_split(state, kind, present, store, rows, n))
	{
		processed = run(state, kind, rows, n / 2);
		processed += run(state, kind, rows + n / 2, n - n / 2);
	}
	else if (kind == DJK_SQL_INSERT_TOLD)
		processed = run_told(state, present, store, rows, n);
	else if (kind == DJK_SQL_DELETE && state->referrers != NIL)
	{
		run_referred(state, present, store, rows, n);
		processed = n;
	}
	else if (kind == DJK_SQL_UPSERT && !djk_route_sql_may_conflict(state, present))
	{
		processed = djk_route_sql_run(state, DJK_SQL_UPDATE, present, store, n);
		processed += djk_route_sql_run(state, DJK_SQL_INSERT_MISSING, present, store, n);
	}
	else
		processed = djk_route_sql_run(state, kind, present, store, n);
	state->at_hand.rows = NULL;
	tuplestore_end(store);
	return processed;
}

/* Writes rows in runs of equal columns; in any order, if nobody can see it. */
static uint64
run_groups(DjkRouteState *state, DjkRouteSql kind, DjkRow **rows, int n, bool in_order)
{
	DjkRow	  **group = palloc(Max(n, 1) * sizeof(DjkRow *));
	bool	   *done = palloc0(Max(n, 1) * sizeof(bool));
	uint64		processed = 0;

	for (int first = 0; first < n; first++)
	{
		int			ngroup = 0;

		if (done[first])
			continue;
		CHECK_FOR_INTERRUPTS();
		for (int i = first; i < n; i++)
		{
			if (!done[i] && rows[i]->present == rows[first]->present && (ngroup == 0 || !state->alone))
			{
				group[ngroup++] = rows[i];
				done[i] = true;
			}
			else if (in_order || state->alone)
				break;
		}
		processed += run(state, kind, group, ngroup);
	}
	pfree(done);
	pfree(group);
	return processed;
}

/* What goes along is counted for its partition, so each is a statement of its own. */
static void
run_deletes_by_partition(DjkRouteState *state, DjkRow **rows, int n)
{
	DjkRow	  **group = palloc(n * sizeof(DjkRow *));
	bool	   *done = palloc0(n * sizeof(bool));

	for (int first = 0; first < n; first++)
	{
		int			ngroup = 0;

		for (int i = first; i < n && !done[first]; i++)
		{
			if (rows[i]->partition == rows[first]->partition)
				group[ngroup++] = rows[i];
		}
		for (int i = first; i < n && ngroup > 0; i++)
			done[i] |= rows[i]->partition == rows[first]->partition;
		if (ngroup > 0)
			(void) run(state, DJK_SQL_DELETE, group, ngroup);
	}
	pfree(done);
	pfree(group);
}

static void
run_deletes(DjkRouteState *state, DjkRow **rows, int n)
{
	if (n > 0 && state->referrers != NIL)
		run_deletes_by_partition(state, rows, n);
	else if (n > 0)
		(void) run(state, DJK_SQL_DELETE, rows, n);
}

/* ---------- upsert and mirror ---------- */

/* Whether the row fails whatever the table holds. */
static bool
breaks_not_null(const DjkRouteState *state, const DjkRow *row)
{
	int			c = -1;

	while ((c = bms_next_member(row->present, c)) >= 0)
	{
		if (state->columns[c].not_null && row->nulls[c])
			return true;
	}
	return false;
}

/* Whether an index may refuse the value for its size. */
static bool
is_large(const DjkRouteState *state, int c, const DjkRow *row)
{
	const FormData_pg_attribute *att = TupleDescAttr(state->rows_desc, c);
	int			limit = state->columns[c].index_limit;
	Size		size;

	if (limit == 0 || row->nulls[c])
		return false;
	size = att->attlen == -1 ? toast_raw_datum_size(row->values[c]) :
		datumGetSize(row->values[c], att->attbyval, att->attlen);
	return size > (Size) limit;
}

/* Whether the value that 'into' has, or lacks, counts for whether it is refused. */
static bool
may_be_refused(const DjkRouteState *state, int c, const DjkRow *into, bool given)
{
	return state->columns[c].constrained || (given && is_large(state, c, into));
}

static bool
same_value(const DjkRouteState *state, int c, const DjkRow *a, const DjkRow *b)
{
	const FormData_pg_attribute *att = TupleDescAttr(state->rows_desc, c);

	if (a->nulls[c] || b->nulls[c])
		return a->nulls[c] && b->nulls[c];
	return datumIsEqual(a->values[c], b->values[c], att->attbyval, att->attlen);
}

/* Whether both together are refused exactly where one of them is. */
static bool
may_merge(const DjkRouteState *state, const DjkRow *into, const DjkRow *row)
{
	int			c = -1;

	if (into->present != row->present && !bms_is_subset(state->needed, into->present) &&
		!bms_is_subset(row->present, into->present))
		return false;
	while ((c = bms_next_member(row->present, c)) >= 0)
	{
		bool		given = bms_is_member(c, into->present);

		if (state->columns[c].is_key)
			continue;
		if (given && state->columns[c].not_null && into->nulls[c])
			return false;
		/* It is inserted before it is found to be there. */
		if (state->columns[c].insert_only && state->columns[c].not_null && row->nulls[c])
			return false;
		if (may_be_refused(state, c, into, given) && !(given && same_value(state, c, into, row)))
			return false;
	}
	return true;
}

static bool
has_large(const DjkRouteState *state, const DjkRow *row)
{
	int			c = -1;

	while ((c = bms_next_member(row->present, c)) >= 0)
	{
		if (is_large(state, c, row))
			return true;
	}
	return false;
}

/* Whether the row, which nothing will be left of, cannot be refused. */
static bool
may_forget(const DjkRouteState *state, const DjkRow *row)
{
	return !state->constrained && !state->needed_excluded && bms_is_subset(state->needed, row->present) &&
		!breaks_not_null(state, row) && !has_large(state, row);
}

/* Later columns win, absent ones stay; key and what is for new rows alone are those that were there first. */
static void
merge_rows(DjkApply *apply, const DjkRouteState *state, DjkRow *into, const DjkRow *row)
{
	Bitmapset  *present = NULL;
	int			c = -1;

	if (into->present != row->present)
		present = bms_copy(into->present);
	while ((c = bms_next_member(row->present, c)) >= 0)
	{
		if (state->columns[c].is_key || state->columns[c].insert_only)
			continue;
		into->values[c] = row->values[c];
		into->nulls[c] = row->nulls[c];
		if (into->present != row->present)
			present = bms_add_member(present, c);
	}
	if (into->present != row->present)
		into->present = djk_row_share_present(apply, present);
}

/* Writes what is merged so far: a row stands where its first message stood. */
static void
write_changes(DjkRouteState *state, const DjkKeyTable *table, int first, int n)
{
	DjkRow	  **deletes = palloc(Max(n, 1) * sizeof(DjkRow *));
	DjkRow	  **upserts = palloc0(Max(n, 1) * sizeof(DjkRow *));
	int			ndeletes = 0;
	int			nupserts = 0;

	for (int i = 0; i < table->nchanges; i++)
	{
		const DjkChange *change = &table->changes[i];

		if (change->delete_first)
			deletes[ndeletes++] = change->key;
		if (change->row != NULL)
			upserts[change->position - first] = change->row;
	}
	for (int i = 0; i < n; i++)
	{
		if (upserts[i] != NULL)
			upserts[nupserts++] = upserts[i];
	}
	run_deletes(state, deletes, ndeletes);
	(void) run_groups(state, DJK_SQL_UPSERT, upserts, nupserts, counts_rows(state, upserts, nupserts));
	pfree(deletes);
	pfree(upserts);
}

static bool
must_write_first(const DjkRouteState *state, const DjkChange *change, const DjkRow *row)
{
	if (change->row == NULL)
		return false;
	return row->is_delete ? !may_forget(state, change->row) : !may_merge(state, change->row, row);
}

static void
write_merged(DjkApply *apply, DjkRouteState *state, DjkRow **rows, int n)
{
	DjkKeyTable table;
	int			first = 0;

	djk_key_table_init(&table, state, n);
	for (int i = 0; i < n; i++)
	{
		bool		found;
		DjkChange  *change = djk_key_table_enter(&table, rows[i], &found);

		if (must_write_first(state, change, rows[i]))
		{
			CHECK_FOR_INTERRUPTS();
			write_changes(state, &table, first, i - first);
			first = i;
			djk_key_table_reset(&table);
			change = djk_key_table_enter(&table, rows[i], &found);
		}
		if (rows[i]->is_delete)
		{
			change->delete_first = true;
			change->row = NULL;
		}
		else if (change->row != NULL)
			merge_rows(apply, state, change->row, rows[i]);
		else
		{
			change->row = rows[i];
			change->position = i;
		}
	}
	write_changes(state, &table, first, n - first);
}

static void
flush(DjkRouteState *state, DjkRow **rows, int n)
{
	if (n == 0)
		return;
	if (rows[0]->is_delete)
		run_deletes(state, rows, n);
	else
		(void) run(state, DJK_SQL_UPSERT, rows, n);
}

/*
 * Whether a row is a statement of its own.  What is deleted is marked first: all
 * rows would be marked before the first is deleted.  So is what refers to it not
 * taken along in its order.
 */
static bool
stands_alone(const DjkRouteState *state, const DjkRow *row)
{
	return state->alone ||
		(state->ordered && row->is_delete && (state->route->skip_column != NULL || state->referrers != NIL));
}

static void
write_cut(DjkRouteState *state, DjkRow **rows, int n)
{
	DjkKeyTable table;
	bool		hashable = djk_key_table_serves(state);
	int			first = 0;

	if (hashable)
		djk_key_table_init(&table, state, n);
	for (int i = 0; i < n; i++)
	{
		bool		found = !hashable;

		CHECK_FOR_INTERRUPTS();
		if (hashable)
			(void) djk_key_table_enter(&table, rows[i], &found);
		if (i > first &&
			(found || stands_alone(state, rows[i]) || rows[i]->is_delete != rows[first]->is_delete ||
			 ((!rows[i]->is_delete || state->route->partial_deletes) && rows[i]->present != rows[first]->present)))
		{
			flush(state, rows + first, i - first);
			first = i;
			if (hashable)
			{
				djk_key_table_reset(&table);
				(void) djk_key_table_enter(&table, rows[i], &found);
			}
		}
	}
	flush(state, rows + first, n - first);
}

/* ---------- insert ---------- */

/*
 * Rows that are there already are counted for their partition, so each
 * partition is a statement of its own.  Which ones they are is asked only where
 * somebody is told.
 */
static void
write_new(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	bool		told = state->route->notify == DJK_NOTIFY_KEYS;
	DjkRow	  **rows = palloc(n * sizeof(DjkRow *));
	int		   *messages = palloc(n * sizeof(int));

	for (int p = 0; p < apply->batch->npartitions; p++)
	{
		int			nrows = 0;
		uint64		inserted;

		for (int i = 0; i < n; i++)
		{
			if (apply->batch->messages[indexes[i]].partition != p)
				continue;
			messages[nrows] = indexes[i];
			rows[nrows++] = &apply->work[indexes[i]].row;
		}
		if (nrows == 0)
			continue;
		even_out(apply, state, rows, nrows);
		/* In order always: of two with one key the first is the one that stays. */
		inserted = run_groups(state, told ? DJK_SQL_INSERT_TOLD : DJK_SQL_INSERT_NEW, rows, nrows, true);
		for (int i = 0; i < nrows; i++)
		{
			if (told ? !rows[i]->is_new : i >= (int) inserted)
				apply->work[messages[i]].fate = DJK_FATE_DUPLICATE;
		}
	}
}

/* ---------- the whole ---------- */

static void
write_by_key(DjkApply *apply, DjkRouteState *state, DjkRow **rows, int n)
{
	if (state->merge)
		write_merged(apply, state, rows, n);
	else
		write_cut(state, rows, n);
}

/* With a version_column: without the messages that come too late. */
static void
write_newer(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	DjkRow	  **rows = palloc(n * sizeof(DjkRow *));
	int		   *newer = palloc(n * sizeof(int));
	int			stretch;

	for (int first = 0; first < n; first += stretch)
	{
		int			nnewer;
		DjkVersions *versions;

		stretch = djk_version_stretch(apply, state, indexes + first, n - first);
		memcpy(newer, indexes + first, stretch * sizeof(int));
		nnewer = djk_version_drop_stale(apply, state, newer, stretch, &versions);
		for (int i = 0; i < nnewer; i++)
			rows[i] = &apply->work[newer[i]].row;
		if (nnewer > 0)
			write_by_key(apply, state, rows, nnewer);
		djk_version_remember(versions);
	}
}

void
djk_table_write(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	DjkRow	  **rows = palloc(n * sizeof(DjkRow *));

	for (int i = 0; i < n; i++)
	{
		rows[i] = &apply->work[indexes[i]].row;
		rows[i]->partition = apply->batch->messages[indexes[i]].partition;
		apply->work[indexes[i]].fate = DJK_FATE_APPLIED;
	}
	switch (state->route->operation)
	{
		case DJK_OPERATION_INSERT:
			even_out(apply, state, rows, n);
			(void) run_groups(state, DJK_SQL_INSERT, rows, n, state->ordered || counts_rows(state, rows, n));
			break;
		case DJK_OPERATION_INSERT_NEW:
			write_new(apply, state, indexes, n);
			break;
		case DJK_OPERATION_UPSERT:
		case DJK_OPERATION_MIRROR:
			if (state->version >= 0)
				write_newer(apply, state, indexes, n);
			else
				write_by_key(apply, state, rows, n);
			break;
	}
}
