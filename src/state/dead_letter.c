/*-------------------------------------------------------------------------
 *
 * dead_letter.c
 *	  SQL on djkafka_dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#include "state/dead_letter.h"

#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

void
djk_dead_letter_write(int64 consumer_id, const char *consumer, int64 route_id,
					  const DjkBatchPartition *partition, const DjkMessage *message,
					  Datum headers, const DjkError *error, const char *context)
{
	static DjkStatement insert_letter = {
		.sql = "INSERT INTO @.djkafka_dead_letter (consumer_id, consumer, route_id, topic, partition,"
		" \"offset\", message_time, key, value, headers, sqlstate, message, detail, hint, context)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
		.nargs = 15,
		.argtypes = {INT8OID, TEXTOID, INT8OID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID,
			InvalidOid, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[15];
	char		nulls[16];

	insert_letter.argtypes[9] = get_array_type(djk_catalog_type("djkafka_header"));

	memset(nulls, ' ', sizeof(nulls));
	nulls[15] = '\0';
	values[0] = Int64GetDatum(consumer_id);
	values[1] = CStringGetTextDatum(consumer);
	values[2] = Int64GetDatum(route_id);
	nulls[2] = route_id != 0 ? ' ' : 'n';
	values[3] = CStringGetTextDatum(partition->topic);
	values[4] = Int32GetDatum(partition->partition);
	values[5] = Int64GetDatum(message->offset);
	nulls[6] = message->timestamp_ms >= 0 ? ' ' : 'n';
	values[6] = TimestampTzGetDatum(djk_timestamp_from_kafka(Max(message->timestamp_ms, 0)));
	values[7] = djk_bytes_datum(message->key, message->key_len, &nulls[7]);
	values[8] = djk_bytes_datum(message->value, message->value_len, &nulls[8]);
	nulls[9] = headers != (Datum) 0 ? ' ' : 'n';
	values[9] = headers;
	values[10] = CStringGetTextDatum(unpack_sql_state(error->sqlstate));
	values[11] = CStringGetTextDatum(error->message ? error->message : "unknown error");
	values[12] = djk_text_datum(error->detail, &nulls[12]);
	values[13] = djk_text_datum(error->hint, &nulls[13]);
	values[14] = djk_text_datum(context, &nulls[14]);

	(void) djk_catalog_execute(&insert_letter, values, nulls);
}

/* A column of the row that was read, copied; 0 if it is null. */
static Datum
copy_column(int column, MemoryContext context)
{
	bool		isnull;
	Datum		datum = djk_row_datum(0, column, &isnull);
	MemoryContext old;

	if (isnull)
		return (Datum) 0;
	old = MemoryContextSwitchTo(context);
	datum = PointerGetDatum(PG_DETOAST_DATUM_COPY(datum));
	MemoryContextSwitchTo(old);
	return datum;
}

bool
djk_dead_letter_lock(int64 id, DjkDeadLetter *letter, MemoryContext context)
{
	static DjkStatement select_letter = {
		.sql = "SELECT consumer_id, consumer, topic, partition, \"offset\", message_time, key, value, headers"
		" FROM @.djkafka_dead_letter WHERE id = $1 FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(id)};
	Datum		time;
	bool		isnull;

	memset(letter, 0, sizeof(*letter));
	if (djk_catalog_execute(&select_letter, values, NULL) == 0)
		return false;
	letter->id = id;
	letter->consumer_id = djk_row_int64(0, 1, 0);
	letter->consumer = djk_row_text(0, 2, context);
	letter->topic = djk_row_text(0, 3, context);
	letter->partition = (int) djk_row_int64(0, 4, 0);
	letter->offset = djk_row_int64(0, 5, 0);
	time = djk_row_datum(0, 6, &isnull);
	letter->timestamp_ms = isnull ? DJK_TIMESTAMP_NONE : djk_timestamp_to_kafka(DatumGetTimestampTz(time));
	letter->key = copy_column(7, context);
	letter->value = copy_column(8, context);
	letter->headers = copy_column(9, context);
	return true;
}

void
djk_dead_letter_delete(int64 id)
{
	static DjkStatement delete_letter = {
		.sql = "DELETE FROM @.djkafka_dead_letter WHERE id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(id)};

	(void) djk_catalog_execute(&delete_letter, values, NULL);
}

void
djk_dead_letter_replace(const DjkDeadLetter *letter)
{
	static DjkStatement update_letter = {
		.sql = "UPDATE @.djkafka_dead_letter SET id = $1 WHERE id = (SELECT max(id) FROM @.djkafka_dead_letter"
		" WHERE consumer_id = $2 AND topic = $3 AND partition = $4 AND \"offset\" = $5)",
		.nargs = 5,
		.argtypes = {INT8OID, INT8OID, TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[5];

	values[0] = Int64GetDatum(letter->id);
	values[1] = Int64GetDatum(letter->consumer_id);
	values[2] = CStringGetTextDatum(letter->topic);
	values[3] = Int32GetDatum(letter->partition);
	values[4] = Int64GetDatum(letter->offset);
	(void) djk_catalog_execute(&update_letter, values, NULL);
}

bool
djk_dead_letter_is_left(int64 consumer_id)
{
	static DjkStatement select_any = {
		.sql = "SELECT FROM @.djkafka_dead_letter WHERE consumer_id = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	return djk_catalog_query_latest(&select_any, values, NULL) > 0;
}
