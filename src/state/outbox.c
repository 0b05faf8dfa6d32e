/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  The position of a server's outbox worker: djkafka_outbox_server.
 *
 * Claiming and confirming are in memory first; one UPDATE a transaction writes
 * the whole position back.  It names the numbers that the row must hold, so
 * that a worker which was thought dead and is not can move nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "base/compat.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define NARRAY(n)	Max((n), 1)

/*
 * While somebody holds a snapshot, the versions of the row pile up, and the way
 * by the index leads past all of them.  Where the last one is, is remembered.
 */
#define STORES_BY_PLACE	64

/* A decision is about one batch, and goes with its number. */
#define UPDATE_ROW \
	"UPDATE @.djkafka_outbox_server SET batch = $4, confirmed = $5, claimed_at = $6," \
	" timeline = $7, claimed_topic = $8, claimed_id = $9, carrier_topic = $10," \
	" sent = $11, dead = $12, done = $13, done_next = $14, done_id = $15, done_floor = $16," \
	" done_floors = $17, target = $18, target_next = $19, target_id = $20, cursor_id = $21, carried = $22," \
	" decision = CASE WHEN $4 <> $5 AND $4 = $2 THEN decision END," \
	" updated_at = pg_catalog.clock_timestamp() WHERE "

#define UPDATE_ARGUMENTS \
	.nargs = 23, \
	.argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, TEXTOID, INT8OID, \
		TEXTOID, INT8OID, INT8OID, PG_SNAPSHOTOID, XID8OID, INT8OID, INT8OID, INT8ARRAYOID, \
		PG_SNAPSHOTOID, XID8OID, INT8OID, INT8OID, INT8OID, TIDOID}

/* ---------- loading ---------- */

static uint64
row_xid(int column)
{
	bool		isnull;

	return DatumGetUInt64(djk_row_datum(0, column, &isnull));
}

/* A mark out of three columns in a row: snapshot, next, last id; NULL if it is null. */
static DjkOutboxMark *
row_mark(DjkOutbox *outbox, int column)
{
	bool		isnull;
	Datum		snapshot = djk_row_datum(0, column, &isnull);

	if (isnull)
		return NULL;
	return djk_outbox_mark_create(outbox->context, snapshot, row_xid(column + 1),
								  djk_row_int64(0, column + 2, 0));
}

static void
load_floors(DjkOutboxMark *mark, int column)
{
	bool		isnull;
	Datum		array = djk_row_datum(0, column, &isnull);
	Datum	   *floors;
	bool	   *nulls;
	int			n;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(array), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &floors, &nulls, &n);
	for (int i = 0; i < Min(n, mark->nxip); i++)
		mark->floors[i] = nulls[i] ? 0 : DatumGetInt64(floors[i]);
}

DjkOutbox *
djk_outbox_load(int64 id, MemoryContext context)
{
	static DjkStatement select_row = {
		.sql = "SELECT s.server, h.home IS NOT NULL, s.enabled, s.batch, s.confirmed, s.claimed_at, s.timeline,"
		" s.claimed_topic, s.claimed_id, s.cursor_id, s.carrier_topic, s.sent, s.dead,"
		" s.done, s.done_next, s.done_id, s.done_floor, s.done_floors, s.target, s.target_next, s.target_id, s.carried, s.decision"
		" FROM @.djkafka_outbox_server s LEFT JOIN @.djkafka_home h ON h.home = s.home AND h.database = $2"
		" WHERE s.id = $1",
		.nargs = 2,
		.argtypes = {INT8OID, OIDOID}
	};
	Datum		values[2] = {Int64GetDatum(id), ObjectIdGetDatum(MyDatabaseId)};
	DjkOutbox  *outbox;
	bool		isnull;

	if (djk_catalog_execute(&select_row, values, NULL) != 1)
		return NULL;
	outbox = MemoryContextAllocZero(context, sizeof(DjkOutbox));
	outbox->context = context;
	outbox->extension = djk_catalog_extension();
	outbox->id = id;
	outbox->server = djk_row_text(0, 1, context);
	outbox->is_home = djk_row_bool(0, 2);
	outbox->enabled = djk_row_bool(0, 3);
	outbox->batch = outbox->stored_batch = djk_row_int64(0, 4, 0);
	outbox->confirmed = outbox->stored_confirmed = djk_row_int64(0, 5, 0);
	outbox->claimed_at = DatumGetTimestampTz(djk_row_datum(0, 6, &isnull));
	outbox->timeline = (int) djk_row_int64(0, 7, 0);
	outbox->claimed_topic = djk_row_text(0, 8, context);
	outbox->claimed_id = djk_row_int64(0, 9, 0);
	outbox->cursor_id = djk_row_int64(0, 10, 0);
	outbox->carrier_topic = djk_row_text(0, 11, context);
	outbox->sent = djk_row_int64(0, 12, 0);
	outbox->dead = djk_row_int64(0, 13, 0);
	outbox->done = row_mark(outbox, 14);
	outbox->done->floor = djk_row_int64(0, 17, 0);
	load_floors(outbox->done, 18);
	outbox->target = row_mark(outbox, 19);
	outbox->carried = djk_row_int64(0, 22, DJK_CARRIED_NONE);
	outbox->decision = djk_row_text(0, 23, context);
	return outbox;
}

DjkOutboxSummary *
djk_outbox_list(int *count, MemoryContext context)
{
	static DjkStatement select_rows = {
		.sql = "SELECT s.id, s.server, s.enabled AND h.home IS NOT NULL FROM @.djkafka_outbox_server s"
		" LEFT JOIN @.djkafka_home h ON h.home = s.home AND h.database = $1 ORDER BY s.id",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(MyDatabaseId);
	DjkOutboxSummary *list;

	*count = (int) djk_catalog_execute(&select_rows, &value, NULL);
	list = MemoryContextAllocZero(context, NARRAY(*count) * sizeof(DjkOutboxSummary));
	for (int i = 0; i < *count; i++)
	{
		list[i].id = djk_row_int64(i, 1, 0);
		list[i].server = djk_row_text(i, 2, context);
		list[i].wanted = djk_row_bool(i, 3);
	}
	return list;
}

int64
djk_outbox_last_id(void)
{
	static DjkStatement select_last = {
		.sql = "SELECT pg_catalog.pg_sequence_last_value($1)",
		.nargs = 1,
		.argtypes = {REGCLASSOID}
	};
	Datum		value = ObjectIdGetDatum(djk_catalog_table("djkafka_outbox_id_seq"));

	(void) djk_catalog_execute(&select_last, &value, NULL);
	return djk_row_int64(0, 1, 0);
}

/* ---------- storing ---------- */

static Datum
floors_datum(const DjkOutboxMark *mark)
{
	Datum	   *elements = palloc(NARRAY(mark->nxip) * sizeof(Datum));

	for (int i = 0; i < mark->nxip; i++)
		elements[i] = Int64GetDatum(mark->floors[i]);
	return PointerGetDatum(construct_array(elements, mark->nxip, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Three columns in a row: snapshot, next, last id. */
static void
set_mark(Datum *values, char *nulls, const DjkOutboxMark *mark)
{
	memset(nulls, mark != NULL ? ' ' : 'n', 3);
	if (mark == NULL)
		return;
	values[0] = PointerGetDatum(mark->snapshot);
	values[1] = UInt64GetDatum(mark->next);
	values[2] = Int64GetDatum(mark->last_id);
}

void
djk_outbox_store(DjkOutbox *outbox)
{
	static DjkStatement by_key = {
		.sql = UPDATE_ROW "id = $1 AND batch = $2 AND confirmed = $3 AND $23 IS NOT NULL RETURNING ctid, enabled",
		UPDATE_ARGUMENTS
	};
	static DjkStatement by_place = {
		.sql = UPDATE_ROW "ctid = $23 AND id = $1 AND batch = $2 AND confirmed = $3 RETURNING ctid, enabled",
		UPDATE_ARGUMENTS
	};
	bool		claimed = outbox->batch != outbox->confirmed;
	Datum		values[23] = {0};
	char		nulls[24];
	bool		found;
	bool		isnull;

	memset(nulls, ' ', sizeof(nulls));
	nulls[23] = '\0';
	values[0] = Int64GetDatum(outbox->id);
	values[1] = Int64GetDatum(outbox->stored_batch);
	values[2] = Int64GetDatum(outbox->stored_confirmed);
	values[3] = Int64GetDatum(outbox->batch);
	values[4] = Int64GetDatum(outbox->confirmed);
	values[5] = TimestampTzGetDatum(outbox->claimed_at);
	values[6] = Int32GetDatum(outbox->timeline);
	values[7] = djk_text_datum(claimed ? outbox->claimed_topic : NULL, &nulls[7]);
	values[8] = Int64GetDatum(outbox->claimed_id);
	nulls[8] = claimed ? ' ' : 'n';
	values[9] = djk_text_datum(outbox->carrier_topic, &nulls[9]);
	values[10] = Int64GetDatum(outbox->sent);
	values[11] = Int64GetDatum(outbox->dead);
	set_mark(&values[12], &nulls[12], outbox->done);
	values[15] = Int64GetDatum(outbox->done->floor);
	values[16] = floors_datum(outbox->done);
	set_mark(&values[17], &nulls[17], outbox->target);
	values[20] = Int64GetDatum(outbox->cursor_id);
	nulls[20] = outbox->target != NULL ? ' ' : 'n';
	values[21] = Int64GetDatum(outbox->carried);
	nulls[21] = outbox->carried != DJK_CARRIED_NONE ? ' ' : 'n';

	values[22] = PointerGetDatum(&outbox->place);

	/* By the key now and then, which prunes the page. */
	found = (outbox->stores++ % STORES_BY_PLACE != 0 && djk_catalog_execute(&by_place, values, nulls) == 1) ||
		djk_catalog_execute(&by_key, values, nulls) == 1;
	/* Asked last: by now the lock on its table keeps the extension from being dropped. */
	if (!found || outbox->extension != djk_catalog_extension())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the outbox of %s was moved by somebody else",
						outbox->server ? quote_identifier(outbox->server) : "the settings' server"),
				 errdetail("The row of djkafka_outbox_server is gone, or does not hold batch " INT64_FORMAT ".",
						   outbox->stored_batch)));
	outbox->place = *(ItemPointer) DatumGetPointer(djk_row_datum(0, 1, &isnull));
	outbox->enabled = djk_row_bool(0, 2);
	outbox->stored_batch = outbox->batch;
	outbox->stored_confirmed = outbox->confirmed;
}

bool
djk_outbox_is_own_server(const char *server)
{
	static DjkStatement select_own = {
		.sql = "SELECT FROM @.djkafka_outbox_server s JOIN @.djkafka_home h ON h.home = s.home"
		" WHERE s.server IS NOT DISTINCT FROM $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value;
	char		null[2] = " ";

	value = djk_text_datum(server, &null[0]);
	return djk_catalog_query_latest(&select_own, &value, null) > 0;
}

/* ---------- a person's decision ---------- */

int64
djk_outbox_decide(const char *server, const char *decision)
{
	static DjkStatement update_decision = {
		.sql = "UPDATE @.djkafka_outbox_server SET decision = $2"
		" WHERE server IS NOT DISTINCT FROM $1 AND batch <> confirmed RETURNING id",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2];
	char		nulls[3] = "  ";

	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = CStringGetTextDatum(decision);
	return djk_catalog_execute(&update_decision, values, nulls) == 1 ? djk_row_int64(0, 1, 0) : 0;
}

bool
djk_outbox_is_decided(int64 id)
{
	static DjkStatement select_decision = {
		.sql = "SELECT FROM @.djkafka_outbox_server WHERE id = $1 AND decision IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(id);

	return djk_catalog_execute(&select_decision, &value, NULL) == 1;
}
