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

/* route_id, lane, key_hash, sqlstate, message, detail, hint, attempt, due_at, parent, children, constraint_name, missing_key. */
static void
put_state(Datum *values, char *nulls, int64 route_id, int64 lane, const int64 *key_hash, const DjkError *error,
		  DjkParkedLack lack, int attempt, TimestampTz due_at)
{
	values[0] = Int64GetDatum(route_id);
	values[1] = Int64GetDatum(lane);
	nulls[2] = key_hash ? ' ' : 'n';
	values[2] = Int64GetDatum(key_hash ? *key_hash : 0);
	values[3] = djk_text_datum(error ? unpack_sql_state(error->sqlstate) : NULL, &nulls[3]);
	values[4] = djk_text_datum(error ? error->message : NULL, &nulls[4]);
	values[5] = djk_text_datum(error ? error->detail : NULL, &nulls[5]);
	values[6] = djk_text_datum(error ? error->hint : NULL, &nulls[6]);
	values[7] = Int32GetDatum(attempt);
	nulls[8] = due_at != 0 ? ' ' : 'n';
	values[8] = TimestampTzGetDatum(due_at);
	nulls[9] = OidIsValid(lack.parent) ? ' ' : 'n';
	values[9] = ObjectIdGetDatum(lack.parent);
	nulls[10] = OidIsValid(lack.children) ? ' ' : 'n';
	values[10] = ObjectIdGetDatum(lack.children);
	values[11] = djk_text_datum(lack.constraint, &nulls[11]);
	values[12] = djk_text_datum(lack.key, &nulls[12]);
}

void
djk_parked_write(int64 consumer_id, const DjkBatchPartition *partition, const DjkMessage *message,
				 Datum headers, int64 route_id, int64 lane, const int64 *key_hash, const DjkError *error,
				 DjkParkedLack lack, int attempt, TimestampTz due_at)
{
	static DjkStatement insert_parked = {
		.sql = "INSERT INTO @.djkafka_parked (consumer_id, offset_id, topic, partition, \"offset\", message_time,"
		" key, value, headers, route_id, lane, key_hash, sqlstate, message, detail, hint, attempt, due_at,"
		" parent, children, constraint_name, missing_key)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22::jsonb)",
		.nargs = 22,
		.argtypes = {INT8OID, INT8OID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID, InvalidOid,
			INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID,
			REGCLASSOID, REGCLASSOID, TEXTOID, TEXTOID}
	};
	Datum		values[22];
	char		nulls[23];

	insert_parked.argtypes[8] = get_array_type(djk_catalog_type("djkafka_header"));
	memset(nulls, ' ', sizeof(nulls));
	nulls[22] = '\0';
	values[0] = Int64GetDatum(consumer_id);
	values[1] = Int64GetDatum(partition->offset_id);
	values[2] = CStringGetTextDatum(partition->topic);
	values[3] = Int32GetDatum(partition->partition);
	values[4] = Int64GetDatum(message->offset);
	nulls[5] = message->timestamp_ms >= 0 ? ' ' : 'n';
	values[5] = TimestampTzGetDatum(djk_timestamp_from_kafka(Max(message->timestamp_ms, 0)));
	values[6] = djk_bytes_datum(message->key, message->key_len, &nulls[6]);
	values[7] = djk_bytes_datum(message->value, message->value_len, &nulls[7]);
	nulls[8] = headers != (Datum) 0 ? ' ' : 'n';
	values[8] = headers;
	put_state(values + 9, nulls + 9, route_id, lane, key_hash, error, lack, attempt, due_at);
	(void) djk_catalog_execute(&insert_parked, values, nulls);
}

void
djk_parked_update(int64 id, int64 route_id, int64 lane, const int64 *key_hash, const DjkError *error,
				  DjkParkedLack lack, int attempt, TimestampTz due_at)
{
	static DjkStatement update_parked = {
		.sql = "UPDATE @.djkafka_parked p SET route_id = $2, lane = $3, key_hash = $4, attempt = $9, due_at = $10,"
		" sqlstate = coalesce($5, p.sqlstate), message = CASE WHEN $5 IS NULL THEN p.message ELSE $6 END,"
		" detail = CASE WHEN $5 IS NULL THEN p.detail ELSE $7 END, hint = CASE WHEN $5 IS NULL THEN p.hint ELSE $8 END,"
		" parent = CASE WHEN $5 IS NULL THEN p.parent ELSE $11 END,"
		" children = CASE WHEN $5 IS NULL THEN p.children ELSE $12 END,"
		" constraint_name = CASE WHEN $5 IS NULL THEN p.constraint_name ELSE $13 END,"
		" missing_key = CASE WHEN $5 IS NULL THEN p.missing_key ELSE $14::jsonb END"
		" WHERE id = $1",
		.nargs = 14,
		.argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID,
			REGCLASSOID, REGCLASSOID, TEXTOID, TEXTOID}
	};
	Datum		values[14];
	char		nulls[15];

	memset(nulls, ' ', sizeof(nulls));
	nulls[14] = '\0';
	values[0] = Int64GetDatum(id);
	put_state(values + 1, nulls + 1, route_id, lane, key_hash, error, lack, attempt, due_at);
	(void) djk_catalog_execute(&update_parked, values, nulls);
}

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
	KEY_HASH
} KeyPart;

/* One part of all keys. */
static Datum
key_parts(const DjkParkedKey *keys, int n, KeyPart part)
{
	int64	   *parts = palloc(Max(n, 1) * sizeof(int64));

	for (int i = 0; i < n; i++)
		parts[i] = part == KEY_OFFSET_ID ? keys[i].offset_id : part == KEY_LANE ? keys[i].lane : keys[i].hash;
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
		" UNION ALL SELECT w.offset_id, w.lane, w.key_hash, k.\"offset\" FROM (SELECT DISTINCT *"
		"   FROM unnest($4, $5, $6) AS w(offset_id, lane, key_hash)) w CROSS JOIN LATERAL (SELECT p.\"offset\""
		"   FROM @.djkafka_parked p WHERE " SAME_KEY("p", "w")
		"   AND p.\"offset\" < (SELECT b.below FROM b WHERE b.id = w.offset_id) AND p.id <> ALL ($7)"
		"   ORDER BY p.\"offset\" LIMIT 1) k",
		.nargs = 7,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID},
		.generic = true
	};
	Datum		values[7] = {
		djk_int8_array_datum(offset_ids, npartitions), djk_int8_array_datum(below, npartitions),
		djk_int8_array_datum(lanes, nlanes), key_parts(wanted, nwanted, KEY_OFFSET_ID),
		key_parts(wanted, nwanted, KEY_LANE), key_parts(wanted, nwanted, KEY_HASH), djk_int8_array_datum(but, nbut)
	};
	int			n = (int) djk_catalog_execute_by_index(&select_keys, values, NULL);
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
	datum = djk_row_datum(row, 15, &isnull);
	parked->parent = isnull ? InvalidOid : DatumGetObjectId(datum);
	datum = djk_row_datum(row, 16, &isnull);
	parked->children = isnull ? InvalidOid : DatumGetObjectId(datum);
	parked->constraint = djk_row_text(row, 17, CurrentMemoryContext);
	message->source = parked;
	return parked;
}

#define SELECT_PARKED \
	"SELECT id, offset_id, \"offset\", message_time, key, value, headers, route_id, lane, key_hash, parked_at," \
	" sqlstate IS NOT NULL, attempt, due_at, parent, children, constraint_name FROM @.djkafka_parked p"

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

/*
 * What is known to wait behind what is not due is found out of the index of keys
 * that have a time, which no other can stand in for, by a sub-select for each row: a
 * plan that joins them would be made for another size.
 */
List *
djk_parked_load(const int64 *offset_ids, int npartitions, int64 after_id, int64 after_offset,
				TimestampTz now, int max_messages, Size max_bytes, MemoryContext context)
{
	static DjkStatement select_parked = {
		.sql = SELECT_PARKED
		" WHERE offset_id = ANY ($1) AND (offset_id, \"offset\") > ($2, $3) AND (due_at IS NULL OR due_at <= $5)"
		" AND (key_hash IS NULL OR NOT EXISTS (SELECT FROM @.djkafka_parked h"
		"  WHERE " SAME_KEY("h", "p") " AND h.due_at > $5 AND h.\"offset\" + 0 < p.\"offset\")"
		"  AND NOT EXISTS (SELECT FROM @.djkafka_parked h WHERE " ANY_KEY("h", "p")
		"  AND h.due_at > $5 AND h.\"offset\" + 0 < p.\"offset\"))"
		" ORDER BY offset_id, \"offset\" LIMIT $4",
		.nargs = 5,
		.argtypes = {INT8ARRAYOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[5] = {
		djk_int8_array_datum(offset_ids, npartitions), Int64GetDatum(after_id), Int64GetDatum(after_offset),
		Int64GetDatum(max_messages), TimestampTzGetDatum(now)
	};

	return fetch_parked(djk_catalog_open(&select_parked, values, NULL), max_messages, max_bytes, context);
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
#define GIVE_UP(which, detail, hint) \
	"WITH gone AS (DELETE FROM @.djkafka_parked p WHERE " which " RETURNING p.*)" \
	" INSERT INTO @.djkafka_dead_letter (consumer_id, consumer, route_id, topic, partition, \"offset\"," \
	" message_time, key, value, headers, sqlstate, message, detail, hint, first_failed_at, attempts, created_at)" \
	" SELECT g.consumer_id, c.name, g.route_id, g.topic, g.partition, g.\"offset\", g.message_time, g.key, g.value," \
	" g.headers, coalesce(g.sqlstate, '23503'), coalesce(g.message, 'the message waited behind an earlier one of its key')," \
	" '" detail "', '" hint "', g.parked_at, greatest(g.attempt, 1), now()" \
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
