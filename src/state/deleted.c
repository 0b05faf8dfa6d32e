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
#include "utils/builtins.h"

static Datum
text_array(const DjkDeleted *rows, int n, bool versions)
{
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(versions ? rows[i].version : rows[i].key);
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

void
djk_deleted_find(int64 route_id, int64 keep_s, DjkDeleted *rows, int n, MemoryContext context)
{
	static DjkStatement select_deleted = {
		.sql = "SELECT u.n, d.version FROM unnest($2) WITH ORDINALITY u (key, n)"
		" JOIN @.djkafka_deleted d ON d.route_id = $1 AND d.key = u.key"
		" WHERE d.deleted_at >= now() - make_interval(secs => $3)",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTARRAYOID, FLOAT8OID}
	};
	Datum		values[3] = {Int64GetDatum(route_id), text_array(rows, n, false), Float8GetDatum((double) keep_s)};
	int			found = (int) djk_catalog_execute(&select_deleted, values, NULL);

	for (int i = 0; i < found; i++)
	{
		int64		number = djk_row_int64(i, 1, 0);

		if (number >= 1 && number <= n)
			rows[number - 1].version = djk_row_text(i, 2, context);
	}
}

void
djk_deleted_remember(int64 route_id, const DjkDeleted *rows, int n, int64 keep_s)
{
	static DjkStatement insert_deleted = {
		.sql = "INSERT INTO @.djkafka_deleted AS d (route_id, key, version)"
		" SELECT $1, u.key, u.version FROM unnest($2, $3) u (key, version)"
		" ON CONFLICT (route_id, key) DO UPDATE SET version = EXCLUDED.version, deleted_at = EXCLUDED.deleted_at",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTARRAYOID, TEXTARRAYOID}
	};
	/* As many as come, or a few more: none of it lasts much longer than it should. */
	static DjkStatement delete_old = {
		.sql = "DELETE FROM @.djkafka_deleted d USING ("
		"  SELECT o.key FROM @.djkafka_deleted o WHERE o.route_id = $1 AND o.deleted_at < now() - make_interval(secs => $2)"
		"  ORDER BY o.deleted_at LIMIT $3 FOR UPDATE SKIP LOCKED) old"
		" WHERE d.route_id = $1 AND d.key = old.key",
		.nargs = 3,
		.argtypes = {INT8OID, FLOAT8OID, INT8OID}
	};
	Datum		values[3] = {Int64GetDatum(route_id), text_array(rows, n, false), text_array(rows, n, true)};
	Datum		old[3] = {Int64GetDatum(route_id), Float8GetDatum((double) keep_s), Int64GetDatum(2 * (int64) n + 10)};

	(void) djk_catalog_execute(&insert_deleted, values, NULL);
	(void) djk_catalog_execute(&delete_old, old, NULL);
}

void
djk_deleted_forget(int64 route_id)
{
	static DjkStatement delete_all = {
		.sql = "DELETE FROM @.djkafka_deleted WHERE route_id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(route_id)};

	(void) djk_catalog_execute(&delete_all, values, NULL);
}
