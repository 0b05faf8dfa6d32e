/*-------------------------------------------------------------------------
 *
 * deleted.c
 *	  SQL on djkafka_deleted: the versions of rows that are gone.
 *
 *-------------------------------------------------------------------------
 */
#include "state/deleted.h"

#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "utils/array.h"

static Datum
types_datum(const DjkDeletedTerms *terms)
{
	Datum	   *types = palloc(Max(terms->ncolumns, 1) * sizeof(Datum));

	for (int i = 0; i < terms->ncolumns; i++)
		types[i] = ObjectIdGetDatum(terms->types[i]);
	return PointerGetDatum(construct_array(types, terms->ncolumns, REGTYPEOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* target, columns, types, seen_by. */
static void
put_terms(Datum *values, const DjkDeletedTerms *terms)
{
	values[0] = ObjectIdGetDatum(terms->target);
	values[1] = djk_text_array_datum(terms->columns, terms->ncolumns);
	values[2] = types_datum(terms);
	values[3] = ObjectIdGetDatum(terms->seen_by);
}

/*
 * Who sees all rows knows of each that is not there that it is gone, whoever has
 * seen it go; and what was gone for all is gone for a role that sees some.
 */
#define WHAT_COUNTS "d.forget_at >= now() AND ($4 = 0::oid OR d.seen_by IN (0::oid, $4))"

static int
find_keys(Datum *values)
{
	static DjkStatement select_deleted = {
		.sql = "SELECT u.n, d.key, d.version, d.seen_by = $4 FROM unnest($5) WITH ORDINALITY u (key, n)"
		" JOIN @.djkafka_deleted d ON d.target = $1 AND d.key = u.key AND d.columns = $2 AND d.types = $3"
		" WHERE " WHAT_COUNTS,
		.nargs = 5,
		.argtypes = {REGCLASSOID, TEXTARRAYOID, REGTYPEARRAYOID, OIDOID, TEXTARRAYOID}
	};

	return (int) djk_catalog_execute(&select_deleted, values, NULL);
}

/* Those of the same hashes that are written otherwise, with the key's texts. */
static int
find_hashes(Datum *values)
{
	static DjkStatement select_deleted = {
		.sql = "SELECT u.n, d.key, d.version, d.seen_by = $4, ARRAY (SELECT t.text FROM"
		" jsonb_array_elements_text(d.key::jsonb) WITH ORDINALITY t (text, n) ORDER BY t.n)"
		" FROM unnest($5, $6) WITH ORDINALITY u (key, hash, n)"
		" JOIN @.djkafka_deleted d ON d.target = $1 AND d.hash = u.hash AND d.key <> u.key AND d.columns = $2 AND d.types = $3"
		" WHERE " WHAT_COUNTS,
		.nargs = 6,
		.argtypes = {REGCLASSOID, TEXTARRAYOID, REGTYPEARRAYOID, OIDOID, TEXTARRAYOID, INT8ARRAYOID}
	};

	return (int) djk_catalog_execute(&select_deleted, values, NULL);
}

static void
take_found(DjkRemembered *found, int n, bool by_hash, MemoryContext context)
{
	for (int i = 0; i < n; i++)
	{
		found[i].row = (int) djk_row_int64(i, 1, 0) - 1;
		found[i].key = djk_row_text(i, 2, context);
		found[i].version = djk_row_text(i, 3, context);
		found[i].is_own = djk_row_bool(i, 4);
		found[i].texts = NULL;
		found[i].ntexts = by_hash ? djk_row_text_array(i, 5, context, &found[i].texts) : -1;
	}
}

DjkRemembered *
djk_deleted_find(const DjkDeletedTerms *terms, char *const *keys, const int64 *hashes, int n, MemoryContext context,
				 int *nfound)
{
	Datum		values[6];
	DjkRemembered *found;
	int			more;

	put_terms(values, terms);
	values[4] = djk_text_array_datum(keys, n);
	*nfound = find_keys(values);
	found = MemoryContextAlloc(context, Max(*nfound, 1) * sizeof(DjkRemembered));
	take_found(found, *nfound, false, context);
	if (hashes == NULL)
		return found;
	values[5] = djk_int8_array_datum(hashes, n);
	more = find_hashes(values);
	found = repalloc(found, Max(*nfound + more, 1) * sizeof(DjkRemembered));
	take_found(found + *nfound, more, true, context);
	*nfound += more;
	return found;
}

/* As many as come, or a few more: none of it lasts much longer than it should. */
static void
forget_old(Oid target, int n)
{
	static DjkStatement delete_old = {
		.sql = "DELETE FROM @.djkafka_deleted d USING ("
		"  SELECT o.ctid FROM @.djkafka_deleted o WHERE o.target = $1 AND o.forget_at < now()"
		"  ORDER BY o.forget_at LIMIT $2 FOR UPDATE SKIP LOCKED) old"
		" WHERE d.ctid = old.ctid",
		.nargs = 2,
		.argtypes = {REGCLASSOID, INT8OID}
	};
	Datum		values[2] = {ObjectIdGetDatum(target), Int64GetDatum(2 * (int64) n + 10)};

	(void) djk_catalog_execute(&delete_old, values, NULL);
}

/* Writes rows that are known alike; fewer if others have remembered some of them meanwhile. */
static uint64
write_rows(DjkStatement *statement, const DjkDeletedTerms *terms, const DjkDeleted *rows, int n, Datum keep_s)
{
	Datum		values[9];
	char	  **keys = palloc(Max(n, 1) * sizeof(char *));
	int64	   *hashes = palloc(Max(n, 1) * sizeof(int64));
	char	  **versions = palloc(Max(n, 1) * sizeof(char *));
	char	  **found = palloc(Max(n, 1) * sizeof(char *));

	for (int i = 0; i < n; i++)
	{
		keys[i] = rows[i].key;
		hashes[i] = rows[i].hash;
		versions[i] = rows[i].version;
		found[i] = rows[i].found;
	}
	put_terms(values, terms);
	values[4] = djk_text_array_datum(keys, n);
	values[5] = djk_int8_array_datum(hashes, n);
	values[6] = djk_text_array_datum(versions, n);
	values[7] = keep_s;
	if (statement->nargs > 8)
		values[8] = djk_text_array_datum(found, n);
	return djk_catalog_execute(statement, values, NULL);
}

static DjkStatement *
statement_of(DjkDeletedState state)
{
#define INSERT_ROWS \
	"INSERT INTO @.djkafka_deleted AS d (target, columns, types, seen_by, key, hash, version, forget_at)" \
	" SELECT $1, $2, $3, $4, u.key, nullif(u.hash, -1), u.version, now() + make_interval(secs => $8)" \
	" FROM unnest($5, $6, $7) u (key, hash, version)" \
	" ON CONFLICT (target, key, columns, types, seen_by) DO UPDATE SET hash = EXCLUDED.hash," \
	" version = EXCLUDED.version, deleted_at = EXCLUDED.deleted_at, forget_at = greatest(d.forget_at, EXCLUDED.forget_at)"
#define ROWS_ARGTYPES REGCLASSOID, TEXTARRAYOID, REGTYPEARRAYOID, OIDOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, FLOAT8OID
	static DjkStatement insert_any = {.sql = INSERT_ROWS, .nargs = 8, .argtypes = {ROWS_ARGTYPES}};
	static DjkStatement insert_new = {
		.sql = INSERT_ROWS " WHERE d.forget_at < now()",
		.nargs = 8,
		.argtypes = {ROWS_ARGTYPES}
	};
	static DjkStatement update_found = {
		.sql = "UPDATE @.djkafka_deleted d SET hash = nullif(u.hash, -1), version = u.version, deleted_at = now(),"
		" forget_at = greatest(d.forget_at, now() + make_interval(secs => $8))"
		" FROM unnest($5, $6, $7, $9) u (key, hash, version, found)"
		" WHERE d.target = $1 AND d.key = u.key AND d.columns = $2 AND d.types = $3 AND d.seen_by = $4 AND d.version = u.found",
		.nargs = 9,
		.argtypes = {ROWS_ARGTYPES, TEXTARRAYOID}
	};

	switch (state)
	{
		case DJK_DELETED_ANY:
			return &insert_any;
		case DJK_DELETED_NONE:
			return &insert_new;
		case DJK_DELETED_FOUND:
			return &update_found;
	}
	pg_unreachable();
}

void
djk_deleted_remember(const DjkDeletedTerms *terms, const DjkDeleted *rows, int n, int64 keep_s)
{
	DjkDeleted *alike = palloc(Max(n, 1) * sizeof(DjkDeleted));

	for (DjkDeletedState state = DJK_DELETED_ANY; state <= DJK_DELETED_FOUND; state++)
	{
		int			nalike = 0;

		for (int i = 0; i < n; i++)
		{
			if (rows[i].state == state)
				alike[nalike++] = rows[i];
		}
		if (nalike > 0 &&
			write_rows(statement_of(state), terms, alike, nalike, Float8GetDatum((double) keep_s)) != (uint64) nalike)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access: another transaction has deleted the same row meanwhile"),
					 errhint("Try the transaction again.")));
	}
	forget_old(terms->target, n);
}

void
djk_deleted_forget(Oid target)
{
	static DjkStatement delete_all = {
		.sql = "DELETE FROM @.djkafka_deleted WHERE target = $1 AND NOT EXISTS ("
		"SELECT FROM @.djkafka_route r WHERE r.target = $1 AND r.remember_deleted IS NOT NULL)",
		.nargs = 1,
		.argtypes = {REGCLASSOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(target)};

	(void) djk_catalog_execute(&delete_all, values, NULL);
}
