/*-------------------------------------------------------------------------
 *
 * produce.c
 *	  What a session remembers between its messages.
 *
 * A message may be the millionth of a statement, so what was found out about a
 * server (may this role use it, how large may a message be, does it have its
 * row in djkafka_outbox_server) is kept until something that it was read from
 * changes: syscache invalidations for servers, roles and functions (those of a
 * dropped extension among them), one of the relation where rows of
 * djkafka_outbox_server are deleted, a counter for the setting.  The lock that a
 * transaction's first message takes brings the last word on that row.  One that
 * was first seen in a transaction is only believed in once that has committed.
 *
 * For djkafka_flush the session keeps its committed transactions.  Only the
 * last of each server has to be asked for: who sees that one sees those before.
 * All of them count for messages that were set aside since.
 *
 *-------------------------------------------------------------------------
 */
#include "state/produce.h"

#include <limits.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/outbox.h"
#include "state/shmem.h"
#include "state/wake.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"

/* librdkafka's default, and what it adds to key, value and headers of a message at most. */
#define MESSAGE_BYTES_DEFAULT	1000000
#define MESSAGE_OVERHEAD		36
/* So much of a key is told in an error. */
#define KEY_SHOWN				200
#define MESSAGE_BYTES_MAX		((Size) DJK_OUTBOX_QUEUE_KBYTES * 1024)

/* Committed transactions that djkafka_flush can look up; of older ones it knows that they are done. */
#define MAX_COMMITTED			4096

#define FLUSH_SLICE_MIN_MS		1
#define FLUSH_SLICE_MAX_MS		50

struct DjkProduceServer
{
	DjkProduceServer *next;
	char	   *name;			/* NULL: the settings */
	Oid			role;

	/* what was found, good while both generations are the current ones */
	uint64		generation;
	int			properties_generation;
	Size		max_bytes;
	bool		has_row;
	SubTransactionId row_subid; /* where the row was seen; invalid: in one that committed */
	bool		is_kept;		/* until the transaction's end nobody drops or renames it */
	pg_uuid_t  *home;			/* what its row is made for if it has none; NULL: this database's */

	/* the last message of this transaction, and of the last that committed */
	int64		this_id;
	int64		committed_id;
	FullTransactionId committed_txid;
};

typedef struct Committed
{
	FullTransactionId txid;
	int64		first_id;
	int64		last_id;
} Committed;

static DjkProduceServer *servers = NULL;
static uint64 generation = 1;
static Oid	server_table = InvalidOid;

/* The current transaction's; first_id 0: it has written nothing. */
static Committed current;
static bool current_saw_server = false;

static Committed *committed = NULL;
static int	ncommitted = 0;

/* ---------- the end of transactions ---------- */

static void
forget_everything(Datum arg, int cacheid, uint32 hashvalue)
{
	generation++;
}

static void
forget_rows(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == server_table)
		generation++;
}

/* Allocates nothing: an error would come after the commit. */
static void
remember_committed(void)
{
	if (ncommitted == MAX_COMMITTED)
	{
		ncommitted = MAX_COMMITTED / 2;
		memmove(committed, committed + MAX_COMMITTED - ncommitted, ncommitted * sizeof(Committed));
	}
	committed[ncommitted++] = current;
}

static void
end_transaction(XactEvent event, void *arg)
{
	bool		commits = event == XACT_EVENT_COMMIT;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (current.first_id == 0 && !current_saw_server)
		return;
	for (DjkProduceServer *server = servers; server != NULL; server = server->next)
	{
		if (commits && server->this_id != 0)
		{
			server->committed_id = server->this_id;
			server->committed_txid = current.txid;
		}
		server->this_id = 0;
		if (!commits && server->row_subid != InvalidSubTransactionId)
			server->has_row = false;
		server->row_subid = InvalidSubTransactionId;
		server->is_kept = false;
	}
	if (commits && current.first_id != 0)
		remember_committed();
	current.first_id = 0;
	current_saw_server = false;
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (!current_saw_server ||
		(event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	for (DjkProduceServer *server = servers; server != NULL; server = server->next)
	{
		/* Perhaps by a lock that has gone with it. */
		if (event == SUBXACT_EVENT_ABORT_SUB)
			server->is_kept = false;
		if (server->row_subid != subid)
			continue;
		if (event == SUBXACT_EVENT_ABORT_SUB)
			server->has_row = false;
		server->row_subid = event == SUBXACT_EVENT_ABORT_SUB ? InvalidSubTransactionId : parent;
	}
}

static void
listen_to_changes(void)
{
	static const int caches[] = {FOREIGNSERVEROID, FOREIGNDATAWRAPPEROID, USERMAPPINGOID, PROCOID, AUTHOID, AUTHMEMROLEMEM};
	static bool done = false;

	if (done)
		return;
	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], forget_everything, (Datum) 0);
	CacheRegisterRelcacheCallback(forget_rows, (Datum) 0);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
	done = true;
}

/* ---------- servers ---------- */

static bool
is_name(const DjkProduceServer *server, const char *name)
{
	if (name == NULL || server->name == NULL)
		return name == server->name;
	return strcmp(server->name, name) == 0;
}

static DjkProduceServer *
find_server(const char *name, Oid role)
{
	for (DjkProduceServer *server = servers; server != NULL; server = server->next)
		if (server->role == role && is_name(server, name))
			return server;
	return NULL;
}

static DjkProduceServer *
make_server(const char *name, Oid role)
{
	DjkProduceServer *server;

	listen_to_changes();
	server = MemoryContextAllocZero(TopMemoryContext, sizeof(DjkProduceServer));
	if (name != NULL)
		server->name = MemoryContextStrdup(TopMemoryContext, name);
	server->role = role;
	server->next = servers;
	servers = server;
	return server;
}

static Size
max_message_bytes(const char *name, Oid role)
{
	char	   *value = djk_connection_property(name, role, "message.max.bytes");

	return value == NULL ? MESSAGE_BYTES_DEFAULT : Min(strtoul(value, NULL, 10), MESSAGE_BYTES_MAX);
}

static void
look_up(DjkProduceServer *server)
{
	uint64		now = generation;

	server->generation = 0;
	server->has_row = false;
	server->max_bytes = max_message_bytes(server->name, server->role);
	server->properties_generation = djk_properties_generation;
	server->generation = now;
}

/*
 * Who drops or renames the server waits for us, and for nobody who produces for
 * another one; so does nobody for him.
 */
static void
keep_name(DjkProduceServer *server)
{
	if (server->name == NULL || server->is_kept)
		return;
	djk_connection_require_kept(server->name, server->role);
	server->is_kept = current_saw_server = true;
}

static void
require_row(DjkProduceServer *server)
{
	server_table = djk_catalog_table("djkafka_outbox_server");
	if (server->home == NULL)
		djk_produce_make_row(server->name);
	if (djk_outbox_require_server(server->name, server->home))
		djk_wake_at_commit();
	server->has_row = true;
	server->row_subid = GetCurrentSubTransactionId();
	current_saw_server = true;
}

/* Finds out what is not known, or no longer. */
static void
refresh(DjkProduceServer *server)
{
	if (server->generation != generation || server->properties_generation != djk_properties_generation)
		look_up(server);
	if (!server->has_row)
		require_row(server);
}

static void
warn_not_preloaded(void)
{
	static bool warned = false;

	if (warned || djk_shmem_available())
		return;
	warned = true;
	ereport(WARNING,
			(errcode(DJK_ERRCODE_NOT_PRELOADED),
			 errmsg("djkafka is not in shared_preload_libraries"),
			 errdetail("Messages are kept in the outbox, but nothing sends them."),
			 errhint("Add djkafka to shared_preload_libraries and restart the server.")));
}

DjkProduceServer *
djk_produce_server(const char *name, Oid role)
{
	return djk_produce_server_of(name, role, NULL);
}

static void
set_home(DjkProduceServer *server, const pg_uuid_t *home)
{
	if (server->home != NULL)
		pfree(server->home);
	server->home = NULL;
	if (home != NULL)
		server->home = memcpy(MemoryContextAlloc(TopMemoryContext, sizeof(pg_uuid_t)), home, sizeof(pg_uuid_t));
}

DjkProduceServer *
djk_produce_server_of(const char *name, Oid role, const pg_uuid_t *home)
{
	DjkProduceServer *server;

	PreventCommandIfReadOnly("djkafka_produce()");
	PreventCommandIfParallelMode("djkafka_produce()");
	PreventCommandDuringRecovery("djkafka_produce()");
	server = find_server(name, role);
	if (server == NULL)
	{
		/* Only of those that may be used: names are the caller's to make up. */
		djk_connection_require_usage(name, role);
		warn_not_preloaded();
		server = make_server(name, role);
	}
	set_home(server, home);
	/* Before its row, as who drops it. */
	keep_name(server);
	refresh(server);
	return server;
}

void
djk_produce_require_execute(Oid role)
{
	static const Oid arguments[] = {TEXTOID, TEXTOID, TEXTOID, JSONBOID, INT4OID, TIMESTAMPTZOID, TEXTOID};
	List	   *name;
	Oid			extension;
	Oid			schema;

	if (!djk_catalog_find(&extension, &schema))
		elog(ERROR, "extension \"%s\" is gone", DJK_EXTENSION_NAME);
	name = list_make2(makeString(get_namespace_name(schema)), makeString("djkafka_produce"));
	if (djk_aclcheck_function(LookupFuncName(name, lengthof(arguments), arguments, false), role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not produce messages", GetUserNameFromId(role, false)),
				 errdetail("It lacks EXECUTE on function djkafka_produce()."),
				 errhint("GRANT EXECUTE ON FUNCTION djkafka_produce(text, text, text, jsonb, integer, timestamptz, text) TO %s.",
						 quote_identifier(GetUserNameFromId(role, false)))));
}

/* ---------- messages ---------- */

static Size
message_bytes(const DjkOutboxMessage *message, Size header_bytes)
{
	Size		bytes = MESSAGE_OVERHEAD + header_bytes;

	if (message->key != NULL)
		bytes += VARSIZE_ANY_EXHDR(message->key);
	if (message->value != NULL)
		bytes += VARSIZE_ANY_EXHDR(message->value);
	return bytes;
}

bool
djk_produce_fits(const DjkProduceServer *server, const DjkOutboxMessage *message, Size header_bytes)
{
	return message_bytes(message, header_bytes) <= Min(server->max_bytes, MESSAGE_BYTES_MAX);
}

static bool
is_text(const char *bytes, int len)
{
	return GetDatabaseEncoding() == PG_UTF8 && memchr(bytes, 0, len) == NULL &&
		pg_verify_mbstr(PG_UTF8, bytes, len, true);
}

/* Bytes that are no text are shown in hex. */
char *
djk_produce_key_shown(const DjkOutboxMessage *message)
{
	const char *key;
	char	   *shown;
	int			len;
	int			n;

	if (message->key == NULL)
		return "It has no key.";
	if (message->key_is_secret)
		return "Its key is not yours to read.";
	key = VARDATA_ANY(message->key);
	len = VARSIZE_ANY_EXHDR(message->key);
	if (is_text(key, len))
	{
		n = pg_mbcliplen(key, len, KEY_SHOWN);
		shown = pnstrdup(key, n);
	}
	else
	{
		n = Min(len, KEY_SHOWN / 2);
		shown = palloc0(2 * n + 3);
		strcpy(shown, "\\x");
		(void) hex_encode(key, n, shown + 2);
	}
	return psprintf(n < len ? "Its key begins with %s." : "Its key is %s.", shown);
}

static void
check_size(const DjkProduceServer *server, const DjkOutboxMessage *message, Size header_bytes)
{
	Size		bytes = message_bytes(message, header_bytes);

	if (bytes > MESSAGE_BYTES_MAX)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_TOO_LARGE),
				 errmsg("message for topic \"%s\" is too large", message->topic),
				 errdetail("It takes up to %zu bytes; the outbox sends none above %zu. %s", bytes, MESSAGE_BYTES_MAX,
						   djk_produce_key_shown(message))));
	if (bytes > server->max_bytes)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_TOO_LARGE),
				 errmsg("message for topic \"%s\" is too large", message->topic),
				 errdetail("It takes up to %zu bytes, and message.max.bytes is %zu. %s", bytes, server->max_bytes,
						   djk_produce_key_shown(message)),
				 server->name == NULL
				 ? errhint("Raise message.max.bytes in djkafka.properties, and max.message.bytes of the topic in Kafka.")
				 : errhint("Raise the option message_max_bytes of server \"%s\", and max.message.bytes of the topic in Kafka.",
						   server->name)));
}

int64
djk_produce_write(DjkProduceServer *server, DjkOutboxMessage *message, Size header_bytes)
{
	int64		id;

	check_size(server, message, header_bytes);
	if (committed == NULL)
		committed = MemoryContextAlloc(TopMemoryContext, MAX_COMMITTED * sizeof(Committed));
	message->server = server->name;
	djk_outbox_begin_writing();
	/* Its row may have been deleted while we had no lock. */
	refresh(server);
	id = djk_outbox_write(message);
	if (current.first_id == 0)
	{
		current.first_id = id;
		current.txid = GetTopFullTransactionId();
	}
	current.last_id = id;
	server->this_id = id;
	djk_wake_outbox_at_commit();
	return id;
}

/* ---------- flush ---------- */

static bool
is_done(const DjkProduceServer *server)
{
	return server->committed_id == 0 ||
		djk_outbox_is_done(server->name, server->committed_txid, server->committed_id);
}

/*
 * Of a transaction whose messages were all taken back by savepoints the worker
 * has nothing to tell: the last that left some is waited for instead.
 */
static void
skip_taken_back(DjkProduceServer *server)
{
	int			i = ncommitted - 1;

	while (i >= 0 && !djk_outbox_has_committed(server->name, committed[i].txid,
											   committed[i].first_id, committed[i].last_id))
		i--;
	if (i < 0)
		server->committed_id = 0;
	else if (!FullTransactionIdEquals(committed[i].txid, server->committed_txid))
	{
		server->committed_txid = committed[i].txid;
		server->committed_id = committed[i].last_id;
	}
}

static bool
all_done(void)
{
	for (DjkProduceServer *server = servers; server != NULL; server = server->next)
		if (!is_done(server))
			return false;
	return true;
}

static Datum
committed_txids(void)
{
	Datum	   *txids = palloc(ncommitted * sizeof(Datum));

	for (int i = 0; i < ncommitted; i++)
		txids[i] = UInt64GetDatum(U64FromFullTransactionId(committed[i].txid));
	return PointerGetDatum(construct_array(txids, ncommitted, XID8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
wait_a_little(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 djk_wait_event_new("DjkafkaFlush"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

bool
djk_produce_flush(int64 timeout_ms, int64 *dead)
{
	TimestampTz until = TimestampTzPlusMilliseconds(djk_clock_now(), timeout_ms);
	int			slice = FLUSH_SLICE_MIN_MS;
	int64		first_id;
	int64		last_id;
	Datum		txids;

	*dead = 0;
	/* Also those of the very statement that calls. */
	CommandCounterIncrement();
	if (current.first_id != 0 && djk_outbox_has_own(current.first_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the current transaction has messages that are not committed"),
				 errdetail("A message is sent when its transaction has committed."),
				 errhint("Call djkafka_flush() after COMMIT, outside of transaction.atomic().")));
	if (ncommitted == 0)
		return true;
	for (DjkProduceServer *server = servers; server != NULL; server = server->next)
		if (!is_done(server))
			skip_taken_back(server);
	first_id = committed[0].first_id;
	last_id = committed[ncommitted - 1].last_id;
	txids = committed_txids();
	while (!all_done() || djk_outbox_is_held(txids, first_id, last_id))
	{
		TimestampTz now = djk_clock_now();

		if (now >= until)
			return false;
		wait_a_little(Min(slice, TimestampDifferenceMilliseconds(now, until) + 1));
		slice = Min(slice * 2, FLUSH_SLICE_MAX_MS);
	}
	*dead = djk_outbox_count_dead(txids, first_id, last_id);
	ncommitted = 0;
	for (DjkProduceServer *server = servers; server != NULL; server = server->next)
		server->committed_id = 0;
	return *dead == 0;
}
