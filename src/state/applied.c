/*-------------------------------------------------------------------------
 *
 * applied.c
 *	  Whether a consumer has applied the message of an offset.
 *
 * A partition that begins elsewhere keeps its dead letters and its events: what
 * is older than its count says nothing of it.  All of them are written under the
 * lock of its row, with the time of then and not of their transaction's begin.
 *
 *-------------------------------------------------------------------------
 */
#include "state/applied.h"

#include "base/message.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "utils/builtins.h"

/* As a worker finds the routes of a topic. */
#define ROUTE_TAKES_TOPIC \
	"CASE WHEN NOT starts_with(r.topic, '^') THEN r.topic = $2" \
	" ELSE (starts_with(r.topic, '^__') OR NOT starts_with($2, '__')) AND $2 ~ r.topic END"

void
djk_applied_look(int64 consumer_id, const char *topic, int partition, int64 offset, DjkApplied *applied)
{
	static DjkStatement select_applied = {
		.sql = "SELECT EXISTS (SELECT FROM @.djkafka_route_topic r WHERE r.consumer_id = c.id AND " ROUTE_TAKES_TOPIC "),"
		" o.id, o.first_offset, o.next_offset,"
		" EXISTS (SELECT FROM @.djkafka_parked p WHERE p.offset_id = o.id AND p.\"offset\" = $4),"
		" (SELECT max(d.id) FROM @.djkafka_dead_letter d WHERE d.consumer_id = c.id AND d.topic = $2 AND d.partition = $3"
		"  AND d.\"offset\" = $4 AND d.created_at >= o.counted_since),"
		" EXISTS (SELECT FROM @.djkafka_event e WHERE e.kind = 'skipped' AND e.consumer_id = c.id AND e.topic = $2"
		"  AND e.partition = $3 AND e.detail->'offset' = to_jsonb($4) AND e.created_at >= o.counted_since)"
		" FROM @.djkafka_consumer c LEFT JOIN @.djkafka_offset o"
		"  ON o.consumer_id = c.id AND o.topic = $2 AND o.partition = $3 WHERE c.id = $1",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[4] = {
		Int64GetDatum(consumer_id), CStringGetTextDatum(topic), Int32GetDatum(partition), Int64GetDatum(offset)
	};
	DjkIdentity identity;

	memset(applied, 0, sizeof(*applied));
	djk_catalog_enter(&identity);
	if (djk_catalog_query_latest(&select_applied, values, NULL) > 0)
	{
		applied->has_consumer = true;
		applied->has_route = djk_row_bool(0, 1);
		applied->offset_id = djk_row_int64(0, 2, 0);
		applied->first_offset = djk_row_int64(0, 3, DJK_OFFSET_UNRESOLVED);
		applied->next_offset = djk_row_int64(0, 4, DJK_OFFSET_UNRESOLVED);
		applied->is_parked = djk_row_bool(0, 5);
		applied->dead_letter = djk_row_int64(0, 6, 0);
		applied->is_skipped = djk_row_bool(0, 7);
	}
	djk_catalog_leave(&identity);
}
