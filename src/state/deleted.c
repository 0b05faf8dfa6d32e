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
#include "utils/builtins.h"

static Datum
keys_of(const DjkDeleted *rows, int n)
{
	char	  **keys = palloc(Max(n, 1) * sizeof(char *));

	for (int i = 0; i < n; i++)
		keys[i] = rows[i].key;
	return djk_text_array_datum(keys, n);
}

static Datum
versions_of(const DjkDeleted *rows, int n)
{
	char	  **versions = palloc(Max(n, 1) * sizeof(char *));

	for (int i = 0; i < n; i++)
		versions[i] = rows[i].version;
	return djk_text_array_datum(versions, n);
}

/* target, columns, types, seen_by. */
static void
put_terms(Datum *values, const DjkDeletedTerms *terms)
{
	values[0] = ObjectIdGetDatum(terms->target);
	values[1] = djk_text_array_datum(terms->columns, terms->ncolumns);
	values[2] = djk_text_array_datum(terms->types, terms->ncolumns);
	values[3] = CStringGetTextDatum(terms->seen_by);
}

void
djk_deleted_find(const DjkDeletedTerms *terms, DjkDeleted *rows, int n, MemoryContext context)
{
	static DjkStatement select_deleted = {
		.sql = "SELECT u.n, d.version FROM unnest($5) WITH ORDINALITY u (key, n)"
		" JOIN @.djkafka_deleted d ON d.target = $1 AND d.key = u.key AND d.columns = $2 AND d.types = $3 AND d.seen_by = $4"
		" WHERE d.forget_at >= now()",
		.nargs = 5,
		.argtypes = {REGCLASSOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, TEXTARRAYOID}
	};
	Datum		values[5];
	int			found;

	put_terms(values, terms);
	values[4] = keys_of(rows, n);
	found = (int) djk_catalog_execute(&select_deleted, values, NULL);
	for (int i = 0; i < found; i++)
	{
		int64		number = djk_row_int64(i, 1, 0);

		if (number >= 1 && number <= n)
			rows[number - 1].version = djk_row_text(i, 2, context);
	}
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

void
djk_deleted_remember(const DjkDeletedTerms *terms, const DjkDeleted *rows, int n, int64 keep_s)
{
	static DjkStatement insert_deleted = {
		.sql = "INSERT INTO @.djkafka_deleted AS d (target, columns, types, seen_by, key, version, forget_at)"
		" SELECT $1, $2, $3, $4, u.key, u.version, now() + make_interval(secs => $7) FROM unnest($5, $6) u (key, version)"
		" ON CONFLICT (target, key, columns, types, seen_by) DO UPDATE SET version = EXCLUDED.version,"
		" deleted_at = EXCLUDED.deleted_at, forget_at = greatest(d.forget_at, EXCLUDED.forget_at)",
		.nargs = 7,
		.argtypes = {REGCLASSOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, FLOAT8OID}
	};
	Datum		values[7];

	put_terms(values, terms);
	values[4] = keys_of(rows, n);
	values[5] = versions_of(rows, n);
	values[6] = Float8GetDatum((double) keep_s);
	(void) djk_catalog_execute(&insert_deleted, values, NULL);
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
