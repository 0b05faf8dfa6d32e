/*-------------------------------------------------------------------------
 *
 * skip.c
 *	  The message of a partition that is to be passed by, unseen.
 *
 *-------------------------------------------------------------------------
 */
#include "state/skip.h"

#include "base/message.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/waiters.h"
#include "utils/builtins.h"

bool
djk_skip_lock(int64 consumer_id, const char *topic, int partition, DjkSkipRow *row)
{
	static DjkStatement select_row = {
		.sql = "SELECT id, next_offset, skip_offset, state = 'needs_decision' FROM @.djkafka_offset"
		" WHERE consumer_id = $1 AND topic = $2 AND partition = $3 FOR NO KEY UPDATE",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, INT4OID}
	};
	Datum		values[3] = {Int64GetDatum(consumer_id), CStringGetTextDatum(topic), Int32GetDatum(partition)};

	memset(row, 0, sizeof(*row));
	if (djk_catalog_execute(&select_row, values, NULL) == 0)
		return false;
	row->id = djk_row_int64(0, 1, 0);
	row->next_offset = djk_row_int64(0, 2, DJK_OFFSET_UNRESOLVED);
	row->skip_offset = djk_row_int64(0, 3, -1);
	row->needs_decision = djk_row_bool(0, 4);
	return true;
}

/* A partition that waits until the message is tried again waits no longer. */
void
djk_skip_set(int64 id, int64 offset)
{
	static DjkStatement update_skip = {
		.sql = "UPDATE @.djkafka_offset SET skip_offset = $2, retry_due_at = CASE WHEN retry_offset = $2"
		"  THEN least(retry_due_at, clock_timestamp()) ELSE retry_due_at END WHERE id = $1",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(id), Int64GetDatum(offset)};
	char		nulls[] = {' ', offset >= 0 ? ' ' : 'n', '\0'};

	(void) djk_catalog_execute(&update_skip, values, nulls);
}

bool
djk_skip_parked(int64 id, int64 offset)
{
	static DjkStatement delete_parked = {
		.sql = "WITH gone AS (DELETE FROM @.djkafka_parked WHERE offset_id = $1 AND \"offset\" = $2 RETURNING offset_id)"
		" UPDATE @.djkafka_offset o SET parked = o.parked - 1, skipped = o.skipped + 1, updated_at = clock_timestamp()"
		" FROM gone WHERE o.id = gone.offset_id",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(id), Int64GetDatum(offset)};

	djk_waiters_note(id);
	return djk_catalog_execute(&delete_parked, values, NULL) == 1;
}

/* ---------- telling ---------- */

static char *
describe(int64 offset, DjkSkipNews news, int64 before)
{
	switch (news)
	{
		case DJK_SKIP_ASKED:
			return before >= 0 ?
				psprintf("offset " INT64_FORMAT " is to be skipped, and not " INT64_FORMAT " any more", offset, before) :
				psprintf("offset " INT64_FORMAT " is to be skipped", offset);
		case DJK_SKIP_TAKEN_BACK:
			return psprintf("offset " INT64_FORMAT " is not to be skipped any more", offset);
		case DJK_SKIP_DONE:
			return psprintf("offset " INT64_FORMAT " was skipped", offset);
		case DJK_SKIP_DONE_WAITING:
			return psprintf("offset " INT64_FORMAT " was skipped while it waited", offset);
		case DJK_SKIP_IS_GAP:
			return psprintf("offset " INT64_FORMAT " was to be skipped, and holds no message", offset);
	}
	pg_unreachable();
}

void
djk_skip_tell(DjkEvent *event, int64 offset, DjkSkipNews news, int64 before)
{
	event->kind = news == DJK_SKIP_DONE || news == DJK_SKIP_DONE_WAITING ? "skipped" : "skip";
	event->reason = describe(offset, news, before);
	event->detail = psprintf("{\"offset\": " INT64_FORMAT "}", offset);
	djk_event_write(event);
}

char *
djk_skip_command(const char *consumer, const char *topic, int partition, int64 offset)
{
	return psprintf("SELECT djkafka_skip(%s, %s, %d, " INT64_FORMAT ")", quote_literal_cstr(consumer),
					quote_literal_cstr(topic), partition, offset);
}
