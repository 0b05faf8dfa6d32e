/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  The trigger of published tables: rows become messages.
 *
 * The statement's rows go to the outbox as the query makes them, so a statement
 * over a million rows needs no memory for them.
 *
 * What a consumer of djkafka writes is not published again, unless the
 * publication asks for it: else two databases that publish and consume a table
 * both ways would send each change round for ever.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publish.h"

#include "access/htup_details.h"
#include "apply/apply.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/topic.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "sql/produce_value.h"
#include "sql/suppress.h"
#include "state/catalog.h"
#include "tcop/dest.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(djkafka_publish_trigger);

/* Where the rows of a publication's query go. */
typedef struct PublishReceiver
{
	DestReceiver pub;
	DjkPublishState *state;
	const DjkPublishIdentity *writer;
	DjkProduceServer *server;
	MemoryContext context;		/* of one row */
	TimestampTz time;
	Oid			value_type;
	DjkPublishSkipped *skipped; /* NULL: nothing may be left out */
} PublishReceiver;

bool
djk_publish_silenced(const DjkPublishState *state, const char *topic, int64 rows)
{
	if (!djk_silenced(topic, state->owner, state->row->writers_silence,
					  psprintf("changes of table \"%s\"", get_rel_name(state->relation)),
					  "Its owner may let whoever writes to it do so: UPDATE djkafka_publication SET silence = 'writers'."))
		return false;
	djk_silenced_count(rows);
	return true;
}

bool
djk_publish_is_kept_out(const DjkPublishState *state)
{
	DjkIdentity identity;
	bool		would_be_sent;

	if (!state->is_foreign)
		return false;
	djk_catalog_enter(&identity);
	would_be_sent = djk_outbox_is_own_server(state->row->server);
	djk_catalog_leave(&identity);
	return would_be_sent;
}

/* ---------- a row ---------- */

/* Text in Kafka is UTF-8; what is bytea is sent as it stands. */
static struct varlena *
payload(TupleTableSlot *slot, int column, Oid type)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, column, &isnull);
	struct varlena *bytes;
	char	   *converted;

	if (isnull)
		return NULL;
	bytes = PG_DETOAST_DATUM(datum);
	if (type == BYTEAOID || GetDatabaseEncoding() == PG_UTF8)
		return bytes;
	converted = pg_server_to_any(VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ, PG_UTF8);
	return converted == VARDATA(bytes) ? bytes : (struct varlena *) cstring_to_text(converted);
}

static char *
text_of(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(datum);
}

/* One header of a row, whose value may be null; returns the most it takes on the wire. */
static Size
make_header(TupleDesc desc, const char *name, TupleTableSlot *slot, int column, Datum *header)
{
	Oid			type = TupleDescAttr(slot->tts_tupleDescriptor, column - 1)->atttypid;
	struct varlena *value = payload(slot, column, type);
	bool		nulls[2] = {false, value == NULL};
	Datum		values[2] = {CStringGetTextDatum(name), PointerGetDatum(value)};

	*header = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	return strlen(name) + (value != NULL ? VARSIZE_ANY_EXHDR(value) : 0) + 10;
}

/* The headers id and eventType, what the publication names, and the origin if it wants that. */
static void
set_event_headers(PublishReceiver *receiver, TupleTableSlot *slot, DjkOutboxMessage *message, Size *bytes)
{
	static const char *const names[] = {"id", "eventType"};
	const DjkPublishState *state = receiver->state;
	Oid			type = djk_catalog_type("djkafka_header");
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	Datum	   *headers = palloc((lengthof(names) + state->row->nheaders + 1) * sizeof(Datum));
	int			n = 0;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	for (int i = 0; i < lengthof(names); i++)
		*bytes += make_header(desc, names[i], slot, DJK_PUBLISH_EVENT_ID + i, &headers[n++]);
	for (int i = 0; i < state->row->nheaders; i++)
		*bytes += make_header(desc, state->row->headers[i], slot, DJK_PUBLISH_EVENT_HEADERS + i, &headers[n++]);
	ReleaseTupleDesc(desc);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	if (state->row->origin)
		headers[n++] = state->origin_header;
	message->headers = PointerGetDatum(construct_array(headers, n, type, typlen, typbyval, typalign));
	message->has_headers = true;
	*bytes += state->origin_bytes;
}

static void
set_event_partition(TupleTableSlot *slot, DjkOutboxMessage *message)
{
	bool		isnull;
	Datum		partition = slot_getattr(slot, DJK_PUBLISH_EVENT_PARTITION, &isnull);

	if (isnull)
		return;
	if (DatumGetInt32(partition) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative: %d", DatumGetInt32(partition)),
				 errhint("Null has the partition chosen by the key.")));
	message->partition = DatumGetInt32(partition);
}

/* Returns false if the message is suppressed. */
static bool
fill_event(PublishReceiver *receiver, TupleTableSlot *slot, DjkOutboxMessage *message, Size *bytes)
{
	bool		isnull;
	Datum		time;

	message->topic = text_of(slot, DJK_PUBLISH_TOPIC);
	if (message->topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("aggregatetype of an outbox must not be null"),
				 errdetail("It makes the name of the topic.")));
	djk_topic_require_writable(message->topic);
	if (djk_publish_silenced(receiver->state, message->topic, 1))
		return false;
	time = slot_getattr(slot, DJK_PUBLISH_EVENT_TIME, &isnull);
	if (!isnull && !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(time)) &&
		DatumGetTimestampTz(time) > SetEpochTimestamp() + 1000)
		message->message_time = DatumGetTimestampTz(time);
	set_event_partition(slot, message);
	set_event_headers(receiver, slot, message, bytes);
	return true;
}

/* As PostgreSQL asks before it tells of a key in an error. */
static bool
may_read(Oid user, Oid relation)
{
	int			rls = check_enable_rls(relation, user, true);

	return rls != RLS_ENABLED && pg_class_aclcheck(relation, user, ACL_SELECT) == ACLCHECK_OK;
}

/* Whether the caller goes on past a message that is too large. */
static bool
is_skipped(PublishReceiver *receiver, DjkOutboxMessage *message, Size header_bytes)
{
	DjkPublishSkipped *skipped = receiver->skipped;

	if (djk_produce_fits(receiver->server, message, header_bytes))
		return false;
	message->key_is_secret = !may_read(receiver->writer->userid, receiver->state->relation);
	if (skipped == NULL)
		return false;
	if (skipped->count++ < DJK_PUBLISH_SKIPPED_SHOWN)
		appendStringInfo(&skipped->keys, "%s%s", skipped->count > 1 ? "\n" : "", djk_produce_key_shown(message));
	return true;
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	PublishReceiver *receiver = (PublishReceiver *) self;
	const DjkPublishState *state = receiver->state;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	DjkOutboxMessage message = {0};
	Size		header_bytes = state->origin_bytes;
	bool		wanted = true;

	message.topic = state->row->topic;
	message.partition = -1;
	message.message_time = receiver->time;
	message.key = payload(slot, DJK_PUBLISH_KEY, TEXTOID);
	message.value = payload(slot, DJK_PUBLISH_VALUE, receiver->value_type);
	if (state->row->is_outbox)
	{
		header_bytes = 0;
		wanted = fill_event(receiver, slot, &message, &header_bytes);
	}
	else if (state->row->origin)
	{
		message.headers = state->origin;
		message.has_headers = true;
	}
	if (wanted && !is_skipped(receiver, &message, header_bytes))
		(void) djk_produce_write(receiver->server, &message, header_bytes);
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
	return true;
}

/*
 * Each time, for the plan may be made of other names than those that were there
 * when the publication was checked: with them the text of an expression may be
 * another statement, whose columns are of whatever type.
 */
static void
require_messages(const DjkPublishState *state, TupleDesc desc)
{
	/* Of an outbox, columns and headers are names and not SQL. */
	if (state->row->is_outbox)
		return;
	for (int i = 0; i < desc->natts; i++)
	{
		if (desc->natts != DJK_PUBLISH_VALUE || TupleDescAttr(desc, i)->atttypid != TEXTOID)
			djk_publish_refuse_expressions();
	}
}

static void
start_rows(DestReceiver *self, int operation, TupleDesc desc)
{
	PublishReceiver *receiver = (PublishReceiver *) self;

	require_messages(receiver->state, desc);
	receiver->value_type = TupleDescAttr(desc, DJK_PUBLISH_VALUE - 1)->atttypid;
}

static void
ignore_receiver(DestReceiver *self)
{
}

/* ---------- a statement ---------- */

void
djk_publish_run(DjkPublishState *state, const DjkPublishIdentity *writer, SPIPlanPtr plan, DjkPublishSkipped *skipped)
{
	PublishReceiver receiver = {0};
	SPIExecuteOptions options = {0};
	int			result;

	receiver.pub.receiveSlot = receive_row;
	receiver.pub.rStartup = start_rows;
	receiver.pub.rShutdown = ignore_receiver;
	receiver.pub.rDestroy = ignore_receiver;
	/* Only a word for SPI, which wants to know that rows are asked for. */
	receiver.pub.mydest = DestTuplestore;
	receiver.state = state;
	receiver.writer = writer;
	receiver.skipped = skipped;
	receiver.server = djk_produce_server_of(state->row->server, state->owner, state->is_foreign ? &state->row->home : NULL);
	receiver.context = AllocSetContextCreate(CurrentMemoryContext, "djkafka row", ALLOCSET_DEFAULT_SIZES);
	receiver.time = GetCurrentTimestamp();

	options.dest = &receiver.pub;
	result = SPI_execute_plan_extended(plan, &options);
	if (result < 0)
		elog(ERROR, "could not execute a statement of a publication: %s", SPI_result_code_string(result));
	MemoryContextDelete(receiver.context);
}

static void
delete_rows(DjkPublishState *state)
{
	SPIExecuteOptions options = {0};
	int			result = SPI_execute_plan_extended(state->delete_plan, &options);

	if (result < 0)
		elog(ERROR, "could not delete the rows of an outbox: %s", SPI_result_code_string(result));
}

static void
error_context(void *arg)
{
	errcontext("%s", ((DjkPublishState *) arg)->label);
}

static void
publish_statement(DjkPublishState *state, DjkPublishEvent event, TriggerData *trigdata)
{
	ErrorContextCallback callback = {error_context_stack, error_context, state};
	DjkPublishIdentity identity;
	bool		outdated = djk_publish_note_command(state);

	error_context_stack = &callback;
	djk_publish_enter(state, &identity);
	djk_publish_register(state, trigdata->tg_oldtable, trigdata->tg_newtable);
	djk_publish_run(state, &identity, djk_publish_plan(state, trigdata->tg_relation, event, outdated), NULL);
	if (state->delete_plan != NULL)
		delete_rows(state);
	djk_publish_leave(&identity);
	error_context_stack = callback.previous;
}

/* ---------- the trigger ---------- */

static bool
is_empty(Tuplestorestate *table)
{
	return table == NULL || tuplestore_tuple_count(table) == 0;
}

/* Statement triggers fire for statements that changed nothing, too. */
static bool
changed_nothing(const TriggerData *trigdata)
{
	return !TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event) &&
		is_empty(trigdata->tg_oldtable) && is_empty(trigdata->tg_newtable);
}

/* Of an UPDATE both tables have as many. */
static int64
count_rows(const TriggerData *trigdata)
{
	int64		old = trigdata->tg_oldtable != NULL ? tuplestore_tuple_count(trigdata->tg_oldtable) : 0;
	int64		new = trigdata->tg_newtable != NULL ? tuplestore_tuple_count(trigdata->tg_newtable) : 0;

	return Max(Max(old, new), 1);
}

static bool
is_wanted(const DjkPublishState *state, const TriggerData *trigdata)
{
	if (!state->row->enabled || (djk_apply_is_running() && !state->row->republish) || djk_publish_is_kept_out(state))
		return false;
	/* Of an outbox each row has its own topic. */
	return state->row->is_outbox || !djk_publish_silenced(state, state->row->topic, count_rows(trigdata));
}

Datum
djkafka_publish_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkPublishState *state;
	DjkPublishEvent event;
	int64		id;

	if (!CALLED_AS_TRIGGER(fcinfo) || !djk_publish_trigger_identify(trigdata->tg_trigger, &id, &event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("djkafka_publish_trigger() is for the triggers that djkafka_publish() makes"),
				 errdetail("They are told by their names and definitions."),
				 errhint("Drop the trigger; UPDATE djkafka_publication SET enabled = enabled makes those of publications again.")));
	if (changed_nothing(trigdata))
		return PointerGetDatum(NULL);
	state = djk_publish_acquire(id, trigdata->tg_relation);
	if (state == NULL)
		return PointerGetDatum(NULL);
	PG_TRY();
	{
		if (is_wanted(state, trigdata) && (event == DJK_PUBLISH_INSERT || !state->row->is_outbox))
			publish_statement(state, event, trigdata);
	}
	PG_FINALLY();
	{
		djk_publish_release(state);
	}
	PG_END_TRY();
	return PointerGetDatum(NULL);
}
