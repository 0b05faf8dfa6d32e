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
	nulls[7] = message->key ? ' ' : 'n';
	values[7] = message->key ? djk_bytea_datum(message->key, message->key_len) : (Datum) 0;
	nulls[8] = message->value ? ' ' : 'n';
	values[8] = message->value ? djk_bytea_datum(message->value, message->value_len) : (Datum) 0;
	nulls[9] = headers != (Datum) 0 ? ' ' : 'n';
	values[9] = headers;
	values[10] = CStringGetTextDatum(unpack_sql_state(error->sqlstate));
	values[11] = CStringGetTextDatum(error->message ? error->message : "unknown error");
	values[12] = djk_text_datum(error->detail, &nulls[12]);
	values[13] = djk_text_datum(error->hint, &nulls[13]);
	values[14] = djk_text_datum(context, &nulls[14]);

	(void) djk_catalog_execute(&insert_letter, values, nulls);
}
