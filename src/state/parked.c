/*-------------------------------------------------------------------------
 *
 * parked.c
 *	  SQL on djkafka_parked.
 *
 * Whoever writes it holds the lock of the offset row, whose counter 'parked'
 * says how many there are of its partition.
 *
 *-------------------------------------------------------------------------
 */
#include "state/parked.h"

#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/header.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* Messages may be large: no more of them than these are in memory twice. */
#define FETCH_ROWS		16

/* ---------- writing ---------- */

void
djk_parked_delete(const int64 *ids, int n)
{
	static DjkStatement delete_parked = {
		.sql = "DELETE FROM @.djkafka_parked WHERE id = ANY ($1)",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID},
		.generic = true
	};
	Datum		values[1] = {djk_int8_array_datum(ids, n)};

	if (djk_catalog_execute_by_index(&delete_parked, values, NULL) != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("messages that waited were applied by somebody else")));
}

/* ---------- reading ---------- */

int64
djk_parked_count(int64 consumer_id)
{
	static DjkStatement count_parked = {
		.sql = "SELECT coalesce(sum(parked), 0)::bigint FROM @.djkafka_offset WHERE consumer_id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	(void) djk_catalog_execute(&count_parked, values, NULL);
	return djk_row_int64(0, 1, 0);
}

/* By the index of keys, which is of a hash, and by no other. */
#define KEY_PLACE(a)	"hashint8extended(" a ".key_hash, " a ".offset_id # " a ".lane)"
#define SAME_KEY(a, b) \
	KEY_PLACE(a) " = " KEY_PLACE(b) " AND (" a ".offset_id + 0, " a ".lane + 0, " a ".key_hash + 0) = (" \
	b ".offset_id, " b ".lane, " b ".key_hash)"

/* … and one that may be of any key of the same lane. */
#define ANY_KEY(a, b) \
	KEY_PLACE(a) " = hashint8extended(-1::bigint, " b ".offset_id # " b ".lane)" \
	" AND (" a ".offset_id + 0, " a ".lane + 0, " a ".key_hash + 0) = (" b ".offset_id, " b ".lane, -1)"

typedef enum KeyPart
{
	KEY_OFFSET_ID,
	KEY_LANE,
	KEY_HASH,
	KEY_OFFSET
} KeyPart;

/* One part of all keys. */
static Datum
key_parts(const DjkParkedKey *keys, int n, KeyPart part)
{
	int64	   *parts = palloc(Max(n, 1) * sizeof(int64));

	for (int i = 0; i < n; i++)
	{
		const int64 all[] = {keys[i].offset_id, keys[i].lane, keys[i].hash, keys[i].offset};

		parts[i] = all[part];
	}
	return djk_int8_array_datum(parts, n);
}

/*
 * Which lanes there are is found by one look at the index for each, however many
 * messages wait in it.  So is each key: a sub-select that the planner may not
 * join otherwise, for what it knows of the table may be old.
 */
DjkParkedKey *
djk_parked_keys(const int64 *offset_ids, const int64 *below, int npartitions, const int64 *lanes, int nlanes,
				const DjkParkedKey *wanted, int nwanted, const int64 *but, int nbut, MemoryContext context, int *nkeys)
{
	static DjkStatement select_keys = {
		.sql = "WITH RECURSIVE b AS (SELECT * FROM unnest($1, $2) AS b(id, below)), l AS ("
		"  SELECT b.id, b.below, (SELECT min(p.lane) FROM @.djkafka_parked p WHERE p.offset_id = b.id) AS lane FROM b"
		"  UNION ALL SELECT l.id, l.below, (SELECT min(p.lane) FROM @.djkafka_parked p"
		"   WHERE p.offset_id = l.id AND p.lane > l.lane) FROM l WHERE l.lane IS NOT NULL)"
		" SELECT l.id, 0::bigint, 0::bigint, f.\"offset\" FROM l CROSS JOIN LATERAL (SELECT p.\"offset\""
		"   FROM @.djkafka_parked p WHERE p.offset_id = l.id AND p.lane = l.lane AND p.\"offset\" < l.below"
		"   AND p.id <> ALL ($7) ORDER BY p.\"offset\" LIMIT 1) f WHERE l.lane <> ALL ($3)"
		" UNION ALL SELECT w.offset_id, w.lane, w.key_hash, k.\"offset\""
		"   FROM unnest($4, $5, $6, $8) AS w(offset_id, lane, key_hash, below) CROSS JOIN LATERAL (SELECT p.\"offset\""
		"   FROM @.djkafka_parked p WHERE " SAME_KEY("p", "w")
		"   AND p.\"offset\" < w.below AND p.id <> ALL ($7) ORDER BY p.\"offset\" LIMIT 1) k",
		.nargs = 8,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID},
		.generic = true
	};
	Datum		values[8] = {
		djk_int8_array_datum(offset_ids, npartitions), djk_int8_array_datum(below, npartitions),
		djk_int8_array_datum(lanes, nlanes), key_parts(wanted, nwanted, KEY_OFFSET_ID),
		key_parts(wanted, nwanted, KEY_LANE), key_parts(wanted, nwanted, KEY_HASH), djk_int8_array_datum(but, nbut),
		key_parts(wanted, nwanted, KEY_OFFSET)
	};
	int			n = (int) djk_catalog_execute_along_index(&select_keys, values, NULL);
	DjkParkedKey *keys = MemoryContextAlloc(context, Max(n, 1) * sizeof(DjkParkedKey));

	for (int i = 0; i < n; i++)
	{
		keys[i].offset_id = djk_row_int64(i, 1, 0);
		keys[i].lane = djk_row_int64(i, 2, 0);
		keys[i].hash = djk_row_int64(i, 3, 0);
		keys[i].offset = djk_row_int64(i, 4, 0);
	}
	*nkeys = n;
	return keys;
}

/* ---------- what waits of a key ---------- */

/* A column of bytes, copied to CurrentMemoryContext. */
static const char *
copy_bytes(int row, int column, int *len)
{
	bool		isnull;
	Datum		datum = djk_row_datum(row, column, &isnull);
	bytea	   *copy;

	*len = 0;
	if (isnull)
		return NULL;
	copy = DatumGetByteaPCopy(datum);
	*len = VARSIZE_ANY_EXHDR(copy);
	return VARDATA_ANY(copy);
}

static Datum
bytes_array(Datum *elements, bool *nulls, int n)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};

	return PointerGetDatum(construct_md_array(elements, nulls, 1, dims, lbs, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* The parts of ends, as END_COLUMNS names them. */
static void
end_parts(const DjkParkedEnd *ends, int n, Datum *values)
{
	DjkParkedKey *keys = palloc(Max(n, 1) * sizeof(DjkParkedKey));
	Datum	   *message_keys = palloc(Max(n, 1) * sizeof(Datum));
	Datum	   *row_keys = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *no_message_key = palloc(Max(n, 1) * sizeof(bool));
	bool	   *no_row_key = palloc(Max(n, 1) * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		char		null = ' ';

		keys[i] = ends[i].key;
		message_keys[i] = djk_bytes_datum(ends[i].message_key, ends[i].message_key_len, &null);
		no_message_key[i] = null == 'n';
		row_keys[i] = PointerGetDatum(ends[i].row_key);
		no_row_key[i] = ends[i].row_key == NULL;
	}
	for (int part = KEY_OFFSET_ID; part <= KEY_OFFSET; part++)
		values[part] = key_parts(keys, n, (KeyPart) part);
	values[KEY_OFFSET + 1] = bytes_array(message_keys, no_message_key, n);
	values[KEY_OFFSET + 2] = bytes_array(row_keys, no_row_key, n);
}

#define ENDS	"unnest($1, $2, $3, $4, $5, $6) "
#define END_COLUMNS	"offset_id, lane, key_hash, below, message_key, row_key"
#define END_TYPES	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, BYTEAARRAYOID, BYTEAARRAYOID
#define END_PARTS	6

/* A hash is another row's, too. */
#define SAME_ROW(a, b) a ".row_key = " b ".row_key AND " a ".key = " b ".message_key"

DjkParkedLane *
djk_parked_count_lanes(const DjkParkedEnd *ends, int n, MemoryContext context)
{
	static DjkStatement count_lanes = {
		.sql = "SELECT l.* FROM " ENDS "WITH ORDINALITY AS w(" END_COLUMNS ", n) CROSS JOIN LATERAL ("
		"  SELECT count(*), coalesce(sum(coalesce(octet_length(p.key), 0) + coalesce(octet_length(p.value), 0)), 0)::bigint,"
		"   min(p.parked_at), bool_and(coalesce(" SAME_ROW("p", "w") ", false))"
		"   FROM @.djkafka_parked p WHERE " SAME_KEY("p", "w") ") l ORDER BY w.n",
		.nargs = END_PARTS,
		.argtypes = {END_TYPES},
		.generic = true
	};
	Datum		values[END_PARTS];
	DjkParkedLane *lanes = MemoryContextAllocZero(context, Max(n, 1) * sizeof(DjkParkedLane));

	end_parts(ends, n, values);
	(void) djk_catalog_execute_by_index(&count_lanes, values, NULL);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		oldest = djk_row_datum(i, 3, &isnull);

		lanes[i].messages = djk_row_int64(i, 1, 0);
		lanes[i].bytes = djk_row_int64(i, 2, 0);
		lanes[i].oldest = isnull ? 0 : DatumGetTimestampTz(oldest);
		lanes[i].alike = lanes[i].messages == 0 || djk_row_bool(i, 4);
	}
	return lanes;
}

/* Rows of offset_id and count. */
static DjkParkedEnded *
read_ended(int n, MemoryContext context, int *nended)
{
	DjkParkedEnded *ended = MemoryContextAlloc(context, Max(n, 1) * sizeof(DjkParkedEnded));

	for (int i = 0; i < n; i++)
	{
		ended[i].offset_id = djk_row_int64(i, 1, 0);
		ended[i].messages = djk_row_int64(i, 2, 0);
	}
	*nended = n;
	return ended;
}

DjkParkedEnded *
djk_parked_supersede(const DjkParkedEnd *ends, int n, MemoryContext context, int *nended)
{
	static DjkStatement delete_superseded = {
		.sql = "WITH gone AS (DELETE FROM @.djkafka_parked p USING " ENDS "AS w(" END_COLUMNS ") WHERE " SAME_KEY("p", "w")
		"  AND p.\"offset\" < w.below AND " SAME_ROW("p", "w") " RETURNING p.offset_id)"
		" SELECT offset_id, count(*) FROM gone GROUP BY 1",
		.nargs = END_PARTS,
		.argtypes = {END_TYPES},
		.generic = true
	};
	Datum		values[END_PARTS];

	end_parts(ends, n, values);
	return read_ended((int) djk_catalog_execute_by_index(&delete_superseded, values, NULL), context, nended);
}

/* The same of JSON. */
static const Jsonb *
copy_json(int row, int column)
{
	bool		isnull;
	Datum		datum = djk_row_datum(row, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(datum);
}

static Oid
row_oid(int row, int column)
{
	bool		isnull;
	Datum		datum = djk_row_datum(row, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(datum);
}

/* In CurrentMemoryContext. */
static DjkParked *
read_parked(int row)
{
	DjkParked  *parked = palloc0(sizeof(DjkParked));
	DjkMessage *message = &parked->message;
	bool		isnull;
	Datum		datum;

	parked->id = djk_row_int64(row, 1, 0);
	parked->key.offset_id = djk_row_int64(row, 2, 0);
	message->offset = djk_row_int64(row, 3, 0);
	datum = djk_row_datum(row, 4, &isnull);
	message->timestamp_ms = isnull ? DJK_TIMESTAMP_NONE : djk_timestamp_to_kafka(DatumGetTimestampTz(datum));
	message->key = copy_bytes(row, 5, &message->key_len);
	message->value = copy_bytes(row, 6, &message->value_len);
	parked->bytes = message->key_len + message->value_len;
	datum = djk_row_datum(row, 7, &isnull);
	if (!isnull)
	{
		struct varlena *headers = PG_DETOAST_DATUM_COPY(datum);

		parked->nheaders = djk_headers_read(PointerGetDatum(headers), &parked->headers);
		parked->bytes += VARSIZE_ANY(headers);
	}
	parked->route_id = djk_row_int64(row, 8, 0);
	parked->key.lane = djk_row_int64(row, 9, 0);
	(void) djk_row_datum(row, 10, &isnull);
	parked->has_key = !isnull;
	parked->key.hash = djk_row_int64(row, 10, 0);
	parked->parked_at = DatumGetTimestampTz(djk_row_datum(row, 11, &isnull));
	parked->has_error = djk_row_bool(row, 12);
	parked->attempt = (int) djk_row_int64(row, 13, 0);
	datum = djk_row_datum(row, 14, &isnull);
	parked->due_at = isnull ? 0 : DatumGetTimestampTz(datum);
	parked->parent = row_oid(row, 15);
	parked->children = row_oid(row, 16);
	parked->constraint = djk_row_text(row, 17, CurrentMemoryContext);
	parked->missing_key = copy_json(row, 18);
	datum = djk_row_datum(row, 19, &isnull);
	parked->row_key = isnull ? NULL : DatumGetByteaPCopy(datum);
	message->source = parked;
	return parked;
}

#define SELECT_PARKED \
	"SELECT id, offset_id, \"offset\", message_time, key, value, headers, route_id, lane, key_hash, parked_at," \
	" sqlstate IS NOT NULL, attempt, due_at, parent, children, constraint_name, missing_key, row_key" \
	" FROM @.djkafka_parked p"

/* What a query of SELECT_PARKED finds, until there is enough. */
static List *
fetch_parked(Portal portal, int max_messages, Size max_bytes, MemoryContext context)
{
	List	   *list = NIL;
	Size		bytes = 0;
	uint64		fetched;

	do
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, Min(FETCH_ROWS, max_messages - list_length(list)));
		fetched = SPI_processed;
		old = MemoryContextSwitchTo(context);
		for (uint64 i = 0; i < fetched && bytes < max_bytes; i++)
		{
			DjkParked  *parked = read_parked((int) i);

			list = lappend(list, parked);
			bytes += parked->bytes;
		}
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
	} while (fetched > 0 && list_length(list) < max_messages && bytes < max_bytes);
	SPI_cursor_close(portal);
	return list;
}

List *
djk_parked_load(const int64 *ids, int n, Size max_bytes, MemoryContext context)
{
	static DjkStatement select_parked = {
		.sql = SELECT_PARKED " WHERE id = ANY ($1) ORDER BY offset_id, \"offset\"",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		values[1] = {djk_int8_array_datum(ids, n)};

	return fetch_parked(djk_catalog_open(&select_parked, values, NULL), n, max_bytes, context);
}

/*
 * What is known to wait behind what is not due is found out of the index of keys
 * that have a time, which no other can stand in for, by a sub-select for each row: a
 * plan that joins them would be made for another size.
 */
DjkParkedPlace *
djk_parked_look(int64 offset_id, int64 after, int64 before, TimestampTz now, bool omits, int max,
				MemoryContext context, int *n)
{
	static DjkStatement select_places = {
		.sql = "SELECT id, \"offset\", route_id, parked_at, sqlstate IS NOT NULL, due_at IS NOT NULL, parent, constraint_name,"
		" missing_key, CASE WHEN sqlstate IS NULL THEN (SELECT h.\"offset\" FROM @.djkafka_parked h"
		"   WHERE " SAME_KEY("h", "p") " AND h.\"offset\" < p.\"offset\" ORDER BY h.\"offset\" LIMIT 1) END"
		" FROM @.djkafka_parked p WHERE offset_id = $1 AND \"offset\" > $2 AND \"offset\" < $3"
		" AND (due_at IS NULL OR due_at <= $4)"
		" AND (NOT $5 OR key_hash IS NULL OR NOT EXISTS (SELECT FROM @.djkafka_parked h"
		"  WHERE " SAME_KEY("h", "p") " AND h.due_at > $4 AND h.\"offset\" + 0 < p.\"offset\")"
		"  AND NOT EXISTS (SELECT FROM @.djkafka_parked h WHERE " ANY_KEY("h", "p")
		"  AND h.due_at > $4 AND h.\"offset\" + 0 < p.\"offset\"))"
		" ORDER BY \"offset\" LIMIT $6",
		.nargs = 6,
		.argtypes = {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, BOOLOID, INT8OID},
		.generic = true
	};
	Datum		values[6] = {
		Int64GetDatum(offset_id), Int64GetDatum(after), Int64GetDatum(before), TimestampTzGetDatum(now),
		BoolGetDatum(omits), Int64GetDatum(max)
	};
	DjkParkedPlace *places;
	MemoryContext old;

	*n = (int) djk_catalog_execute_along_index(&select_places, values, NULL);
	old = MemoryContextSwitchTo(context);
	places = palloc(Max(*n, 1) * sizeof(DjkParkedPlace));
	for (int i = 0; i < *n; i++)
	{
		DjkParkedPlace *place = &places[i];
		bool		isnull;

		place->id = djk_row_int64(i, 1, 0);
		place->offset = djk_row_int64(i, 2, 0);
		place->route_id = djk_row_int64(i, 3, 0);
		place->parked_at = DatumGetTimestampTz(djk_row_datum(i, 4, &isnull));
		place->has_error = djk_row_bool(i, 5);
		place->is_due = djk_row_bool(i, 6);
		place->parent = row_oid(i, 7);
		place->constraint = djk_row_text(i, 8, context);
		place->missing_key = copy_json(i, 9);
		place->behind = djk_row_int64(i, 10, -1);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	return places;
}

List *
djk_parked_load_due(const int64 *offset_ids, int npartitions, TimestampTz now,
					int max_messages, Size max_bytes, MemoryContext context)
{
	static DjkStatement select_due = {
		.sql = SELECT_PARKED
		" WHERE id = ANY (ARRAY(WITH h AS MATERIALIZED (SELECT h.* FROM unnest($1) b(id) CROSS JOIN LATERAL ("
		"   SELECT h.id, h.offset_id, h.lane, h.key_hash, h.\"offset\", h.due_at FROM @.djkafka_parked h"
		"    WHERE h.offset_id = b.id AND h.due_at <= $2 ORDER BY h.due_at LIMIT $3) h ORDER BY h.due_at LIMIT $3)"
		"  SELECT h.id FROM h UNION ALL (SELECT f.id FROM h CROSS JOIN LATERAL ("
		"   SELECT f.id FROM @.djkafka_parked f WHERE " SAME_KEY("f", "h")
		"     AND f.\"offset\" > h.\"offset\" AND f.due_at IS NULL ORDER BY f.\"offset\" LIMIT $3) f LIMIT $3)))"
		" ORDER BY offset_id, \"offset\"",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[3] = {
		djk_int8_array_datum(offset_ids, npartitions), TimestampTzGetDatum(now), Int64GetDatum(Max(max_messages / 2, 1))
	};

	return fetch_parked(djk_catalog_open(&select_due, values, NULL), Max(max_messages, 2), max_bytes, context);
}

void
djk_parked_next_due(const int64 *offset_ids, int npartitions, TimestampTz after, TimestampTz *next_due)
{
	static DjkStatement select_due = {
		.sql = "SELECT (SELECT min(p.due_at) FROM @.djkafka_parked p WHERE p.offset_id = b.id AND p.due_at > $2)"
		" FROM unnest($1) WITH ORDINALITY b(id, n) ORDER BY b.n",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {djk_int8_array_datum(offset_ids, npartitions), TimestampTzGetDatum(after)};

	(void) djk_catalog_execute(&select_due, values, NULL);
	for (int p = 0; p < npartitions; p++)
	{
		bool		isnull;
		Datum		due = djk_row_datum(p, 1, &isnull);

		next_due[p] = isnull ? 0 : DatumGetTimestampTz(due);
	}
}

DjkParkedBefore *
djk_parked_before_letters(const int64 *letter_ids, int n, MemoryContext context, int *nfound)
{
	static DjkStatement select_before = {
		.sql = "WITH d AS MATERIALIZED (SELECT l.id, l.key, l.\"offset\", o.id AS offset_id FROM @.djkafka_dead_letter l"
		"  JOIN @.djkafka_offset o ON (o.consumer_id, o.topic, o.partition) = (l.consumer_id, l.topic, l.partition)"
		"  WHERE l.id = ANY ($1) AND l.key IS NOT NULL AND o.parked > 0),"
		" p AS (SELECT offset_id, key, min(\"offset\") AS first FROM @.djkafka_parked"
		"  WHERE offset_id IN (SELECT d.offset_id FROM d) AND key IN (SELECT d.key FROM d) GROUP BY 1, 2)"
		" SELECT d.id, p.first FROM d JOIN p USING (offset_id, key) WHERE p.first < d.\"offset\" ORDER BY d.id",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		values[1] = {djk_int8_array_datum(letter_ids, n)};
	DjkParkedBefore *found;

	*nfound = (int) djk_catalog_execute(&select_before, values, NULL);
	found = MemoryContextAlloc(context, Max(*nfound, 1) * sizeof(DjkParkedBefore));
	for (int i = 0; i < *nfound; i++)
	{
		found[i].letter_id = djk_row_int64(i, 1, 0);
		found[i].offset = djk_row_int64(i, 2, 0);
	}
	return found;
}

/* ---------- giving up ---------- */

/* As of before the partition counts again: they are no letters of that (applied.c). */
#define GIVE_UP(which, detail, hint) GIVE_UP_WITH("", which, "'" detail "'", "'" hint "'")
#define GIVE_UP_WITH(with, which, detail, hint) \
	"WITH " with "gone AS (DELETE FROM @.djkafka_parked p WHERE " which " RETURNING p.*)" \
	" INSERT INTO @.djkafka_dead_letter (consumer_id, consumer, route_id, topic, partition, \"offset\"," \
	" message_time, key, value, headers, sqlstate, message, detail, hint, first_failed_at, attempts, created_at)" \
	" SELECT g.consumer_id, c.name, g.route_id, g.topic, g.partition, g.\"offset\", g.message_time, g.key, g.value," \
	" g.headers, coalesce(g.sqlstate, '23503'), coalesce(g.message, '" DJK_PARKED_BEHIND "')," \
	" " detail ", " hint ", g.parked_at, greatest(g.attempt, 1), now()" \
	" FROM gone g JOIN @.djkafka_consumer c ON c.id = g.consumer_id ORDER BY g.topic, g.partition, g.\"offset\""

#define GIVE_UP_SOUGHT(which) \
	GIVE_UP(which, "Its partition was sought, or begins again, while the message waited for a row that it refers to, or for another try.", \
			"Unless it is read from Kafka again, give it once more with djkafka_replay(ARRAY[id]).")

void
djk_parked_give_up(int64 offset_id)
{
	static DjkStatement give_up = {
		.sql = GIVE_UP_SOUGHT("p.offset_id = $1"),
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(offset_id)};

	(void) djk_catalog_execute(&give_up, values, NULL);
}

void
djk_parked_give_up_topic(int64 consumer_id, const char *topic, int partition)
{
	static DjkStatement give_up = {
		.sql = GIVE_UP_SOUGHT("p.consumer_id = $1 AND p.topic = $2 AND ($3 < 0 OR p.partition = $3)"),
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, INT4OID}
	};
	Datum		values[3] = {Int64GetDatum(consumer_id), CStringGetTextDatum(topic), Int32GetDatum(partition)};

	(void) djk_catalog_execute(&give_up, values, NULL);
}

void
djk_parked_give_up_consumer(int64 consumer_id)
{
	static DjkStatement give_up = {
		.sql = GIVE_UP("p.consumer_id = $1", "Its consumer was dropped while the message waited for a row that it refers to, or for another try.",
					   "Make the consumer again in its group, which goes on behind the message, then give it once more with djkafka_replay(ARRAY[id])."),
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	(void) djk_catalog_execute(&give_up, values, NULL);
}

DjkParkedEnded *
djk_parked_give_up_lanes(const DjkParkedEnd *ends, int n, const char *detail, const char *hint,
						 MemoryContext context, int *nended)
{
	static DjkStatement count_ended = {
		.sql = "SELECT p.offset_id, count(DISTINCT p.id) FROM " ENDS "AS w(" END_COLUMNS ") JOIN @.djkafka_parked p ON " SAME_KEY("p", "w")
		" AND p.\"offset\" < w.below GROUP BY 1",
		.nargs = END_PARTS,
		.argtypes = {END_TYPES},
		.generic = true
	};
	static DjkStatement give_up = {
		.sql = GIVE_UP_WITH("which AS MATERIALIZED (SELECT DISTINCT p.id FROM " ENDS "AS w(" END_COLUMNS ") JOIN @.djkafka_parked p ON " SAME_KEY("p", "w")
							" AND p.\"offset\" < w.below), ", "p.id IN (SELECT id FROM which)", "$7", "$8"),
		.nargs = END_PARTS + 2,
		.argtypes = {END_TYPES, TEXTOID, TEXTOID},
		.generic = true
	};
	Datum		values[END_PARTS + 2];
	DjkParkedEnded *ended;

	end_parts(ends, n, values);
	values[END_PARTS] = CStringGetTextDatum(detail);
	values[END_PARTS + 1] = CStringGetTextDatum(hint);
	ended = read_ended((int) djk_catalog_execute_by_index(&count_ended, values, NULL), context, nended);
	if (*nended > 0)
		(void) djk_catalog_execute_by_index(&give_up, values, NULL);
	return ended;
}
