/*-------------------------------------------------------------------------
 *
 * event.c
 *	  SQL on djkafka_event, and NOTIFY djkafka.
 *
 * A payload of NOTIFY is limited to 8,000 bytes; ours stay below by dropping
 * the keys of a batch when they do not fit, which a listener tells by the
 * missing field.
 *
 *-------------------------------------------------------------------------
 */
#include "state/event.h"

#include "base/settings.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* NOTIFY_PAYLOAD_MAX_LENGTH of async.c, less its terminator. */
#define PAYLOAD_MAX		7999

static void
append_field(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(buf, "%s\"%s\": ", buf->len > 1 ? ", " : "", name);
	escape_json(buf, value);
}

/* Whoever can connect can LISTEN: the reason, which may quote what was in a message, is for readers of the table. */
static void
notify_event(const DjkEvent *event)
{
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfoChar(&payload, '{');
	append_field(&payload, "event", event->kind);
	append_field(&payload, "consumer", event->consumer);
	append_field(&payload, "topic", event->topic);
	if (event->partition >= 0)
		appendStringInfo(&payload, ", \"partition\": %d", event->partition);
	append_field(&payload, "state", event->state);
	appendStringInfoChar(&payload, '}');
	if (payload.len <= PAYLOAD_MAX)
		Async_Notify(DJK_CHANNEL, payload.data);
}

void
djk_event_write(const DjkEvent *event)
{
	static DjkStatement insert_event = {
		.sql = "INSERT INTO @.djkafka_event (kind, consumer_id, consumer, topic, partition, state, reason, detail)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb)",
		.nargs = 8,
		.argtypes = {TEXTOID, INT8OID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID}
	};
	const char *texts[8] = {event->kind, NULL, event->consumer, event->topic, NULL,
	event->state, event->reason, event->detail};
	Datum		values[8];
	char		nulls[9];

	for (int i = 0; i < 8; i++)
		values[i] = djk_text_datum(texts[i], &nulls[i]);
	nulls[1] = event->consumer_id != 0 ? ' ' : 'n';
	values[1] = Int64GetDatum(event->consumer_id);
	nulls[4] = event->partition >= 0 ? ' ' : 'n';
	values[4] = Int32GetDatum(event->partition);
	nulls[8] = '\0';

	(void) djk_catalog_execute(&insert_event, values, nulls);
	notify_event(event);
}

/* Rows may be deleted by whoever has the right: one that somebody holds is left for the next time. */
int
djk_event_trim(void)
{
	static DjkStatement delete_events = {
		.sql = "DELETE FROM @.djkafka_event WHERE id IN (SELECT id FROM @.djkafka_event"
		"  WHERE created_at < now() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED)",
		.nargs = 1,
		.argtypes = {FLOAT8OID}
	};
	Datum		values[1] = {Float8GetDatum((double) djk_event_retention_s)};

	return (int) djk_catalog_execute(&delete_events, values, NULL);
}

void
djk_event_notify_rows(const char *consumer, const char *topic, int64 rows, char *const *keys, int nkeys)
{
	StringInfoData payload;
	int			without_keys;

	initStringInfo(&payload);
	appendStringInfoChar(&payload, '{');
	append_field(&payload, "consumer", consumer);
	append_field(&payload, "topic", topic);
	appendStringInfo(&payload, ", \"rows\": " INT64_FORMAT, rows);
	without_keys = payload.len;

	if (keys != NULL)
	{
		appendStringInfoString(&payload, ", \"keys\": [");
		for (int i = 0; i < nkeys && payload.len <= PAYLOAD_MAX; i++)
			appendStringInfo(&payload, "%s%s", i > 0 ? ", " : "", keys[i]);
		appendStringInfoChar(&payload, ']');
		if (payload.len + 1 > PAYLOAD_MAX)
		{
			payload.len = without_keys;
			payload.data[without_keys] = '\0';
		}
	}
	appendStringInfoChar(&payload, '}');
	Async_Notify(DJK_CHANNEL, payload.data);
}
