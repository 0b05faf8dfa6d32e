/*-------------------------------------------------------------------------
 *
 * outbox_session.c
 *	  What a session asks of the outbox's tables.
 *
 * What has been sent is another transaction's news: it is asked with a
 * snapshot of its own, or a session in REPEATABLE READ would never learn of it.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* ---------- the server's row ---------- */

/* 'is_news': the row came with a copy, and nothing was produced here so far. */
static bool
has_server(const char *server, bool *is_news)
{
	static DjkStatement select_server = {
		.sql = "SELECT s.copied_id IS NULL AND (h.home <> s.home OR h.database <> $2)"
		" FROM @.djkafka_outbox_server s CROSS JOIN @.djkafka_home h WHERE s.server IS NOT DISTINCT FROM $1",
		.nargs = 2,
		.argtypes = {TEXTOID, OIDOID}
	};
	char		nulls[] = "  ";
	Datum		values[2];

	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	*is_news = false;
	if (djk_catalog_query_latest(&select_server, values, nulls) == 0)
		return false;
	*is_news = djk_row_bool(0, 1);
	return true;
}

/*
 * The position in such a row is the original's, and tells nothing of what is
 * produced here, under numbers of transactions that may be lower ones.  Whoever
 * comes second waits for the first, and draws higher ids.
 */
static void
mark_copied(const char *server)
{
	static DjkStatement update_copied = {
		.sql = "UPDATE @.djkafka_outbox_server SET copied_id = $2"
		" WHERE server IS NOT DISTINCT FROM $1 AND copied_id IS NULL",
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	char		nulls[] = "  ";
	Datum		values[2];

	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = Int64GetDatum(djk_outbox_last_id());
	(void) djk_catalog_execute(&update_copied, values, nulls);
}

/*
 * Two servers whose names have one hash only wait for each other.  A lock on
 * the table would keep its worker from the row.
 */
void
djk_outbox_lock_name(const char *server, LOCKMODE mode)
{
	uint32		hash = server == NULL ? 0 : hash_bytes((const unsigned char *) server, strlen(server));

	LockDatabaseObject(djk_catalog_table("djkafka_outbox_server"), hash, 0, mode);
}

/*
 * Nothing that was committed before can be for this server (no row that was
 * here before may be deleted while messages wait for it, and those that were
 * sent go with it), so its position is now; but only what has ended is behind
 * it.  A snapshot does not count its own transaction as running, and would tell
 * of its messages that they were sent: only its xmin is taken.  The id is read
 * first: the transactions that are not in sight yet when done_next is read draw
 * theirs later.  In a clone, and for another home, all that follows was produced
 * in the copy.
 */
static bool
insert_server(const char *server, const pg_uuid_t *of_home, uint64 *oldest)
{
	static DjkStatement insert = {
		.sql = "INSERT INTO @.djkafka_outbox_server (server, home, copied_id, done, done_next, done_id, done_floor)"
		" SELECT $1, coalesce($6, home), CASE WHEN database <> $5 OR $6 <> home THEN $4 END,"
		" ($2 || ':' || $2 || ':')::pg_snapshot, $3, $4, 0 FROM @.djkafka_home ON CONFLICT DO NOTHING",
		.nargs = 6,
		.argtypes = {TEXTOID, TEXTOID, XID8OID, INT8OID, OIDOID, UUIDOID}
	};
	Datum		values[6];
	char		nulls[] = "      ";
	Datum		xmin;

	djk_home_renew_if_empty();
	values[0] = djk_text_datum(server, &nulls[0]);
	values[3] = Int64GetDatum(djk_outbox_last_id());
	PushActiveSnapshot(GetLatestSnapshot());
	xmin = OidFunctionCall1(F_PG_SNAPSHOT_XMIN, OidFunctionCall0(F_PG_CURRENT_SNAPSHOT));
	PopActiveSnapshot();
	*oldest = DatumGetUInt64(xmin);
	values[1] = CStringGetTextDatum(psprintf(UINT64_FORMAT, *oldest));
	values[2] = UInt64GetDatum(U64FromFullTransactionId(ReadNextFullTransactionId()));
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	values[5] = UUIDPGetDatum(of_home);
	nulls[5] = of_home != NULL ? ' ' : 'n';
	return djk_catalog_execute(&insert, values, nulls) > 0;
}

/*
 * What waits for a server that has no row was not produced here: it is what a
 * dump brought, or somebody who may restore one wrote.  With the row it would be
 * sent, whether they may use the server or not: what is held, and what says to be
 * of a transaction that has not ended, or is still to come.  All else is behind
 * the row's position.  The lock on the name has waited for what is not committed.
 */
static void
require_nothing_waits(const char *server, uint64 oldest)
{
	static DjkStatement select_waiting = {
		.sql = "SELECT FROM @.djkafka_outbox_held WHERE server IS NOT DISTINCT FROM $1"
		" UNION ALL SELECT FROM @.djkafka_outbox_message m"
		" WHERE m.server IS NOT DISTINCT FROM $1 AND m.txid >= $2 LIMIT 1",
		.nargs = 2,
		.argtypes = {TEXTOID, XID8OID}
	};
	char		nulls[] = "  ";
	Datum		values[2];

	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = UInt64GetDatum(oldest);
	if (djk_catalog_query_latest(&select_waiting, values, nulls) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the outbox has messages for %s that were not produced in this database",
					server ? quote_identifier(server) : "the settings' server"),
			 errdetail("They would be sent with the first message that is."),
			 errhint("Let a superuser delete them from djkafka_outbox_held, djkafka_outbox_0, djkafka_outbox_1 and djkafka_outbox_2.")));
}

bool
djk_outbox_has_row(const char *server)
{
	bool		is_news;

	return has_server(server, &is_news);
}

bool
djk_outbox_is_known(const char *server)
{
	DjkIdentity identity;
	bool		is_news;
	bool		known;

	djk_catalog_enter(&identity);
	known = has_server(server, &is_news) && !is_news;
	djk_catalog_leave(&identity);
	return known;
}

bool
djk_outbox_require_server(const char *server, const pg_uuid_t *home)
{
	DjkIdentity identity;
	uint64		oldest = 0;
	bool		made = false;
	bool		is_news;

	djk_catalog_enter(&identity);
	if (!has_server(server, &is_news))
	{
		djk_outbox_lock_name(server, ExclusiveLock);
		made = insert_server(server, home, &oldest);
	}
	/* Another's row is there, or what is written now would never be sent. */
	if (!made && !has_server(server, &is_news))
		ereport(ERROR,
				(errcode(IsolationUsesXactSnapshot() ? ERRCODE_T_R_SERIALIZATION_FAILURE :
						 ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the outbox does not know its database"),
				 errdetail("Table djkafka_home is empty, or the extension is younger than the transaction.")));
	if (made)
		require_nothing_waits(server, oldest);
	else if (is_news)
		mark_copied(server);
	djk_catalog_leave(&identity);
	return made;
}

bool
djk_outbox_has_unsent(const char *server)
{
	static DjkStatement select_unsent = {
		.sql = "SELECT FROM @.djkafka_outbox WHERE server IS NOT DISTINCT FROM $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	char		null;
	Datum		value = djk_text_datum(server, &null);

	return djk_catalog_has_latest(&select_unsent, &value, &null);
}

void
djk_outbox_remove_sent(const char *server)
{
	static DjkStatement delete_sent[DJK_OUTBOX_TABLES] = {
		{.sql = "DELETE FROM @.djkafka_outbox_0 WHERE server IS NOT DISTINCT FROM $1", .nargs = 1, .argtypes = {TEXTOID}},
		{.sql = "DELETE FROM @.djkafka_outbox_1 WHERE server IS NOT DISTINCT FROM $1", .nargs = 1, .argtypes = {TEXTOID}},
		{.sql = "DELETE FROM @.djkafka_outbox_2 WHERE server IS NOT DISTINCT FROM $1", .nargs = 1, .argtypes = {TEXTOID}}
	};
	DjkIdentity identity;
	char		null[2] = " ";
	Datum		value;

	djk_catalog_enter(&identity);
	value = djk_text_datum(server, &null[0]);
	for (int i = 0; i < DJK_OUTBOX_TABLES; i++)
		(void) djk_catalog_execute(&delete_sent[i], &value, null);
	djk_catalog_leave(&identity);
}

void
djk_outbox_remove_server(const char *server)
{
	static DjkStatement delete_server = {
		.sql = "DELETE FROM @.djkafka_outbox_server WHERE server IS NOT DISTINCT FROM $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	DjkIdentity identity;
	char		null[2] = " ";
	Datum		value;

	djk_catalog_enter(&identity);
	value = djk_text_datum(server, &null[0]);
	(void) djk_catalog_execute(&delete_server, &value, null);
	djk_catalog_leave(&identity);
}

/* ---------- what became of messages ---------- */

bool
djk_outbox_is_done(const char *server, FullTransactionId txid, int64 last_id)
{
	static DjkStatement select_done = {
		.sql = "SELECT FROM @.djkafka_outbox_server WHERE server IS NOT DISTINCT FROM $1"
		" AND @.djkafka_outbox_is_sent($3, $2, done, target, cursor_id, copied_id)",
		.nargs = 3,
		.argtypes = {TEXTOID, XID8OID, INT8OID}
	};
	Datum		values[3];
	char		nulls[] = "   ";

	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = UInt64GetDatum(U64FromFullTransactionId(txid));
	values[2] = Int64GetDatum(last_id);
	return djk_catalog_has_latest(&select_done, values, nulls);
}

static int64
count_of(DjkStatement *statement, Datum txids, int64 first_id, int64 last_id)
{
	Datum		values[3] = {txids, Int64GetDatum(first_id), Int64GetDatum(last_id)};
	DjkIdentity identity;
	int64		count;

	djk_catalog_enter(&identity);
	(void) djk_catalog_query_latest(statement, values, NULL);
	count = djk_row_int64(0, 1, 0);
	djk_catalog_leave(&identity);
	return count;
}

bool
djk_outbox_is_held(Datum txids, int64 first_id, int64 last_id)
{
	static DjkStatement select_held = {
		.sql = "SELECT count(*) FROM (SELECT FROM @.djkafka_outbox_held"
		" WHERE id BETWEEN $2 AND $3 AND txid = ANY ($1) LIMIT 1) h",
		.nargs = 3,
		.argtypes = {XID8ARRAYOID, INT8OID, INT8OID}
	};

	return count_of(&select_held, txids, first_id, last_id) > 0;
}

int64
djk_outbox_count_dead(Datum txids, int64 first_id, int64 last_id)
{
	static DjkStatement select_dead = {
		.sql = "SELECT count(*) FROM @.djkafka_outbox_dead WHERE id BETWEEN $2 AND $3 AND txid = ANY ($1)",
		.nargs = 3,
		.argtypes = {XID8ARRAYOID, INT8OID, INT8OID}
	};

	return count_of(&select_dead, txids, first_id, last_id);
}

bool
djk_outbox_has_own(int64 first_id)
{
	static DjkStatement select_own = {
		.sql = "SELECT FROM @.djkafka_outbox_message WHERE id >= $1 AND txid = $2 LIMIT 1",
		.nargs = 2,
		.argtypes = {INT8OID, XID8OID}
	};
	Datum		values[2];

	values[0] = Int64GetDatum(first_id);
	values[1] = UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId()));
	return djk_catalog_has_latest(&select_own, values, NULL);
}

bool
djk_outbox_has_committed(const char *server, FullTransactionId txid, int64 first_id, int64 last_id)
{
	static DjkStatement select_committed = {
		.sql = "SELECT FROM @.djkafka_outbox_message"
		" WHERE id BETWEEN $3 AND $4 AND txid = $2 AND server IS NOT DISTINCT FROM $1 LIMIT 1",
		.nargs = 4,
		.argtypes = {TEXTOID, XID8OID, INT8OID, INT8OID}
	};
	Datum		values[4];
	char		nulls[] = "    ";

	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = UInt64GetDatum(U64FromFullTransactionId(txid));
	values[2] = Int64GetDatum(first_id);
	values[3] = Int64GetDatum(last_id);
	return djk_catalog_has_latest(&select_committed, values, nulls);
}

/* ---------- dead messages ---------- */

static struct varlena *
copy_bytes(int row, int column)
{
	bool		isnull;
	Datum		value = djk_row_datum(row, column, &isnull);

	return isnull ? NULL : PG_DETOAST_DATUM_COPY(value);
}

void
djk_outbox_copy_message(int row, MemoryContext context, DjkOutboxMessage *message)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	bool		isnull;

	memset(message, 0, sizeof(*message));
	message->server = djk_row_text(row, 1, context);
	message->topic = djk_row_text(row, 2, context);
	message->partition = (int) djk_row_int64(row, 3, -1);
	message->message_time = DatumGetTimestampTz(djk_row_datum(row, 4, &isnull));
	message->key = copy_bytes(row, 5);
	message->value = copy_bytes(row, 6);
	message->headers = PointerGetDatum(copy_bytes(row, 7));
	message->has_headers = DatumGetPointer(message->headers) != NULL;
	MemoryContextSwitchTo(old);
}

bool
djk_outbox_take_dead(int64 id, DjkOutboxMessage *message)
{
	/* Not of a batch that is being sent: that this row is there tells that the message is not in it. */
	static DjkStatement delete_dead = {
		.sql = "DELETE FROM @.djkafka_outbox_dead d WHERE id = $1 AND NOT EXISTS (SELECT FROM @.djkafka_outbox_server s"
		"  WHERE s.server IS NOT DISTINCT FROM d.server AND s.batch <> s.confirmed AND s.claimed_topic IS NULL"
		"  AND d.id > s.cursor_id AND d.id <= s.claimed_id"
		"  AND pg_visible_in_snapshot(d.txid, s.target) AND NOT pg_visible_in_snapshot(d.txid, s.done))"
		" RETURNING " MESSAGE_COLUMNS,
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[1] = {Int64GetDatum(id)};
	DjkIdentity identity;
	bool		found;

	memset(message, 0, sizeof(*message));
	djk_catalog_enter(&identity);
	found = djk_catalog_execute(&delete_dead, values, NULL) > 0;
	if (found)
		djk_outbox_copy_message(0, context, message);
	djk_catalog_leave(&identity);
	return found;
}

/* ---------- the fate of one message ---------- */

/*
 * Newest news first: a message that was held or dead has left the tables of
 * new ones, or lies there as sent until its table is truncated.
 */
void
djk_outbox_find_fate(int64 id, DjkOutboxFate *fate)
{
	static DjkStatement select_fate = {
		.sql = "SELECT state, partition, \"offset\", error FROM ("
		"SELECT 1 AS rank, 'delivered' AS state,"
		"  partitions[array_position(ids, $1)] AS partition, offsets[array_position(ids, $1)] AS \"offset\", NULL AS error"
		"  FROM @.djkafka_outbox_delivery WHERE first_id <= $1 AND last_id >= $1 AND $1 = ANY (ids)"
		" UNION ALL SELECT 2, 'dead', NULL, NULL, error || ': ' || message FROM @.djkafka_outbox_dead WHERE id = $1"
		" UNION ALL SELECT 3, 'held', NULL, NULL, NULL FROM @.djkafka_outbox_held WHERE id = $1"
		" UNION ALL SELECT 4, CASE WHEN EXISTS (SELECT FROM @.djkafka_outbox_server s"
		"   WHERE s.server IS NOT DISTINCT FROM m.server"
		"   AND @.djkafka_outbox_is_sent(m.id, m.txid, s.done, s.target, s.cursor_id, s.copied_id))"
		"  THEN 'sent' ELSE 'pending' END, NULL, NULL, NULL FROM @.djkafka_outbox_message m WHERE m.id = $1"
		") f ORDER BY rank LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[1] = {Int64GetDatum(id)};
	DjkIdentity identity;

	fate->state = "unknown";
	fate->partition = -1;
	fate->offset = -1;
	fate->error = NULL;
	djk_catalog_enter(&identity);
	if (djk_catalog_query_latest(&select_fate, values, NULL) > 0)
	{
		fate->state = djk_row_text(0, 1, context);
		fate->partition = (int) djk_row_int64(0, 2, -1);
		fate->offset = djk_row_int64(0, 3, -1);
		fate->error = djk_row_text(0, 4, context);
	}
	djk_catalog_leave(&identity);
}

/* ---------- what waits ---------- */

/*
 * Looks from where the worker stands at the next 10000 rows of the outbox, by
 * the index: what waits beyond is estimated, so that the status is as cheap
 * while a broker is down for a day.  (What a transaction drew ids for before
 * the worker's position and committed after it is missed until the worker
 * looks again.)
 */
#define WAITING_LIMIT	"10000"
#define SET_ASIDE_LIMIT	"100000"

static DjkStatement select_waiting = {
	.sql = "WITH s AS MATERIALIZED (SELECT *, CASE WHEN target IS NULL THEN done_id ELSE coalesce(cursor_id, done_floor) END AS from_id"
	"   FROM @.djkafka_outbox_server WHERE id = $1),"
	" m AS MATERIALIZED (SELECT id, txid, message_time, server FROM @.djkafka_outbox_message"
	"  WHERE id > (SELECT from_id FROM s) ORDER BY id LIMIT " WAITING_LIMIT "),"
	" w AS MATERIALIZED (SELECT m.id, m.message_time FROM m, s WHERE m.server IS NOT DISTINCT FROM s.server"
	"   AND NOT @.djkafka_outbox_is_sent(m.id, m.txid, s.done, s.target, s.cursor_id, s.copied_id)),"
	" n AS (SELECT (SELECT count(*) FROM m) AS scanned, (SELECT max(id) FROM m) AS last_id, (SELECT count(*) FROM w) AS waiting)"
	" SELECT CASE WHEN n.scanned < " WAITING_LIMIT " THEN n.waiting"
	"   ELSE n.waiting + round((q.last_value - n.last_id)::numeric * n.waiting / greatest(n.last_id - s.from_id, 1))::bigint END,"
	"  n.scanned >= " WAITING_LIMIT ", (SELECT message_time FROM w ORDER BY id LIMIT 1), h.held, h.since, d.dead"
	" FROM s, n, @.djkafka_outbox_id_seq q,"
	" LATERAL (SELECT count(*) AS held, min(held_at) AS since FROM"
	"   (SELECT held_at FROM @.djkafka_outbox_held WHERE server IS NOT DISTINCT FROM s.server LIMIT " SET_ASIDE_LIMIT ") x) h,"
	" LATERAL (SELECT count(*) AS dead FROM"
	"   (SELECT FROM @.djkafka_outbox_dead WHERE server IS NOT DISTINCT FROM s.server LIMIT " SET_ASIDE_LIMIT ") x) d",
	.nargs = 1,
	.argtypes = {INT8OID}
};

static TimestampTz
row_time(int column)
{
	bool		isnull;
	Datum		time = djk_row_datum(0, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(time);
}

bool
djk_outbox_find_waiting(int64 server_id, DjkOutboxWaiting *waiting)
{
	Datum		values[1] = {Int64GetDatum(server_id)};
	DjkIdentity identity;
	bool		found;

	memset(waiting, 0, sizeof(*waiting));
	djk_catalog_enter(&identity);
	found = djk_catalog_query_latest(&select_waiting, values, NULL) > 0;
	if (found)
	{
		waiting->depth = djk_row_int64(0, 1, 0);
		waiting->is_estimate = djk_row_bool(0, 2);
		waiting->oldest_at = row_time(3);
		waiting->held = djk_row_int64(0, 4, 0);
		waiting->held_since = row_time(5);
		waiting->dead = djk_row_int64(0, 6, 0);
	}
	djk_catalog_leave(&identity);
	return found;
}
