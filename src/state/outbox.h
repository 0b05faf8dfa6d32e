/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  All access to the tables of the outbox.
 *
 * Writing is a session's (djk_outbox_write), everything else the worker's.
 *
 * Where the worker stands is a snapshot and not a number: ids are given out
 * before their transactions commit, so "id > last" would skip what commits
 * late.  The messages between two snapshots are those that the later sees and
 * the earlier does not; each is in exactly one such difference, whenever its
 * transaction commits.  A difference is sent in the order of ids, in batches,
 * and the position within it is an id: nothing can join it any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_H
#define DJK_OUTBOX_H

#include "base/djk.h"

#include "access/transam.h"
#include "base/message.h"
#include "state/catalog.h"
#include "state/outbox_mark.h"

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/uuid.h"

/* What the sending library may hold, and so the largest message. */
#define DJK_OUTBOX_QUEUE_KBYTES	(64 * 1024)

/* How the names begin that outboxes have in Kafka as transactional ids, and as the groups where they commit. */
#define DJK_OUTBOX_GROUP		"djkafka-outbox-"

/* djkafka_outbox_0 and so on. */
#define DJK_OUTBOX_TABLES		3

/* --- writing, in a session's transaction --- */

typedef struct DjkOutboxMessage
{
	const char *server;			/* NULL: the settings */
	const char *topic;
	int			partition;		/* -1: by the key */
	TimestampTz message_time;
	struct varlena *key;		/* bytea, NULL: null */
	struct varlena *value;		/* bytea, NULL: null */
	Datum		headers;		/* djkafka_header[] */
	bool		has_headers;
	bool		key_is_secret;	/* whoever makes the message may not read it: no error tells it */
} DjkOutboxMessage;

/*
 * Before each message: locks the table that the transaction writes to.  From
 * then on nobody else can delete the row of a server.
 */
extern void djk_outbox_begin_writing(void);

/*
 * Writes one message and returns its id.  The caller has checked everything;
 * no privilege is asked for here.  Needs a transaction that may write.  Never
 * waits for the worker.  The caller wakes the worker at commit.
 */
extern int64 djk_outbox_write(const DjkOutboxMessage *message);

/*
 * For who takes a server's row away: waits until no other transaction is open
 * that has written, and lets none write until this one has ended.
 */
extern void djk_outbox_lock_out_writers(void);

/* And takes along its messages, all of which have been sent: without the row they would look as if they waited. */
extern void djk_outbox_remove_sent(const char *server);

/*
 * Until the transaction's end.  ExclusiveLock: makes a server's row; ShareLock:
 * writes what is not produced.  Neither sees what the other has not committed.
 */
extern void djk_outbox_lock_name(const char *server, LOCKMODE mode);

/* Forgets what is remembered of the current transaction: at its end. */
extern void djk_outbox_end_transaction(void);

/* --- sending, in the worker of one server; all between djk_catalog_enter() and leave --- */

#define DJK_CARRIED_NONE		(-1)
#define DJK_CARRIED_UNASKED		(-2)	/* Kafka is asked before the claimed batch is sent */

/*
 * What djkafka_outbox_server says of a server, as the worker knows it.  The
 * calls below change it and the other tables; djk_outbox_store() writes it
 * back, once per transaction.  If a transaction fails it is no longer true: the
 * worker ends and starts again.
 */
typedef struct DjkOutbox
{
	MemoryContext context;
	Oid			extension;		/* djk_catalog_extension() */
	int64		id;
	char	   *server;			/* NULL: the settings */
	bool		is_home;
	bool		enabled;
	int64		batch;			/* number of the last claimed batch */
	int64		confirmed;		/* number of the last acknowledged one: batch or batch - 1 */
	TimestampTz claimed_at;
	int			timeline;		/* of the claim */
	char	   *claimed_topic;	/* palloc'd: the batch is of what was held of this topic; NULL: of new messages */
	int64		claimed_id;		/* last message of the batch */
	DjkOutboxMark *done;
	DjkOutboxMark *target;		/* NULL: none */
	int64		cursor_id;		/* of the target, taken care of up to here */
	bool		target_read;	/* nothing of the target lies behind claimed_id */
	char	   *carrier_topic;	/* in whose first partition numbers are carried; NULL: none yet */
	int64		carried;		/* number last known to be in Kafka; or one of the two below */
	char	   *decision;		/* a person's about the claimed batch: "send" or "confirm"; NULL: none */
	int64		sent;			/* counters, all time */
	int64		dead;
	int64		stored_batch;	/* what the row holds */
	int64		stored_confirmed;
	ItemPointerData place;		/* of the row's last version */
	uint64		stores;
} DjkOutbox;

/* A batch that is claimed; its memory is the context's. */
typedef struct DjkOutboxBatch
{
	MemoryContext context;
	DjkOutgoing *messages;
	int			nmessages;
	int			allocated;
	Size		bytes;
	int64		after_id;		/* read ahead: of what lies behind this message, */
	int64		last_id;		/* up to this one, */
	bool		ends_target;	/* which is the last of the target */
} DjkOutboxBatch;

typedef struct DjkOutboxLimits
{
	int			messages;
	Size		bytes;
	int64		rows;			/* looked at, whatever they are; 0: any number */
} DjkOutboxLimits;

/* In 'context'; NULL if the row is gone. */
extern DjkOutbox *djk_outbox_load(int64 id, MemoryContext context);

/*
 * Claims the next new messages: those of topics that 'is_held' names are set
 * aside, the others are the batch.  True if something was found, though the
 * batch may be empty then.  The transaction must be stored, and committed
 * durably before the batch is sent: what it has read is durable with it.
 */
extern bool djk_outbox_claim(DjkOutbox *outbox, const DjkOutboxLimits *limits,
							 bool (*is_held) (const char *topic, void *arg), void *arg,
							 DjkOutboxBatch *batch);

/* Whether new messages are known to lie behind the claimed batch. */
extern bool djk_outbox_has_more(const DjkOutbox *outbox);

/*
 * Reads the messages that lie behind the claimed batch, to be claimed when that
 * is confirmed.  Only if djk_outbox_has_more(), and not while a topic is held.
 * Takes no lock that it would have to wait for: it reads nothing then.  Changes
 * nothing in the database.
 */
extern void djk_outbox_read_ahead(DjkOutbox *outbox, const DjkOutboxLimits *limits, DjkOutboxBatch *batch);

/*
 * Claims them, as djk_outbox_claim() does.  False if they do not come next, or
 * there are none.
 */
extern bool djk_outbox_claim_ahead(DjkOutbox *outbox, const DjkOutboxBatch *batch);

/* Claims the next of what is held of a topic. */
extern bool djk_outbox_claim_held(DjkOutbox *outbox, const char *topic, const DjkOutboxLimits *limits,
								  DjkOutboxBatch *batch);

/* Reads a batch again that was claimed and not confirmed. */
extern void djk_outbox_read_claimed(DjkOutbox *outbox, DjkOutboxBatch *batch);

/*
 * Takes out of the claimed batch what was REFUSED (it becomes dead) or BLOCKED
 * (it is held); these messages need no answer any more.
 */
extern void djk_outbox_set_aside(DjkOutbox *outbox, const DjkOutboxBatch *batch);

/*
 * Confirms the claimed batch: its messages are DONE or were set aside.  Keeps
 * where they went if 'keep_delivery'.
 */
extern void djk_outbox_confirm(DjkOutbox *outbox, const DjkOutboxBatch *batch, bool keep_delivery);

/*
 * Writes the position, and learns whether the server is still enabled.  ERROR
 * object_in_use if another worker has moved it.
 */
extern void djk_outbox_store(DjkOutbox *outbox);

/* Topics of which something is held, of this server: palloc'd in CurrentMemoryContext. */
extern char **djk_outbox_held_topics(const DjkOutbox *outbox, int *count);

/* Forgets where messages went longer ago than that. */
extern void djk_outbox_trim_delivery(int retention_s);

/*
 * Takes care that sent messages do not stay: truncates tables that hold
 * nothing else, and goes on to an empty one if the current is of that size.
 * Never waits.  In a transaction of its own.
 */
extern void djk_outbox_rotate(int at_least_kb);

/* Whether the server has a row, as of now; or one of this home. */
extern bool djk_outbox_has_row(const char *server);
extern bool djk_outbox_is_own_server(const char *server);

/* Writes what a person says of the claimed batch; the id of its row, 0 if none is claimed. */
extern int64 djk_outbox_decide(const char *server, const char *decision);

/* Whether that has happened. */
extern bool djk_outbox_is_decided(int64 id);

/* What a supervisor needs of each server. */
typedef struct DjkOutboxSummary
{
	int64		id;
	char	   *server;
	bool		wanted;			/* enabled, and of this home */
} DjkOutboxSummary;

extern DjkOutboxSummary *djk_outbox_list(int *count, MemoryContext context);

/* --- what a session asks; each enters the catalog itself --- */

/* What the process is told that makes a server's row. */
typedef struct DjkOutboxRowArgs
{
	Oid			database;
	bool		is_settings;
	char		server[NAMEDATALEN];
} DjkOutboxRowArgs;

/* Whether the server has a row, as of now, and one that came with a copy knows that. */
extern bool djk_outbox_is_known(const char *server);

/*
 * Makes sure that the server has its row in djkafka_outbox_server; true if
 * this transaction made it.  Waits for another transaction that is making it.
 * A row that is made belongs to 'home'; NULL: to this database's.
 */
extern bool djk_outbox_require_server(const char *server, const pg_uuid_t *home);

/* Deletes that row, as DELETE does: ERROR if messages wait for the server. */
extern void djk_outbox_remove_server(const char *server);

/* Whether messages for the server are in the outbox, held ones included, that were not sent. */
extern bool djk_outbox_has_unsent(const char *server);

/*
 * Whether the worker has taken care of the messages up to last_id of a
 * transaction of ours that has committed, as of now.
 */
extern bool djk_outbox_is_done(const char *server, FullTransactionId txid, int64 last_id);

/* Which of these transactions' messages wait for their topic, or were refused: as of now. */
extern bool djk_outbox_is_held(Datum txids, int64 first_id, int64 last_id);
extern int64 djk_outbox_count_dead(Datum txids, int64 first_id, int64 last_id);

/* Whether the current transaction has written messages that no savepoint took back. */
extern bool djk_outbox_has_own(int64 first_id);

/*
 * Whether a committed transaction's messages for a server are in the outbox,
 * sent or not; false if savepoints took them back, or their table is truncated.
 */
extern bool djk_outbox_has_committed(const char *server, FullTransactionId txid, int64 first_id, int64 last_id);

/*
 * Takes a message out of the dead ones, in CurrentMemoryContext; false if it is
 * not there, or the batch that it was taken out of is being sent.
 */
extern bool djk_outbox_take_dead(int64 id, DjkOutboxMessage *message);

/* What waits in the outbox for a server. */
typedef struct DjkOutboxWaiting
{
	int64		depth;
	bool		is_estimate;
	TimestampTz oldest_at;		/* 0: nothing waits, or it is not known */
	int64		held;
	TimestampTz held_since;		/* 0: nothing is held */
	int64		dead;
} DjkOutboxWaiting;

/* By the id of its row; false if there is none.  Looks at a bounded number of rows. */
extern bool djk_outbox_find_waiting(int64 server_id, DjkOutboxWaiting *waiting);

/* What became of a message. */
typedef struct DjkOutboxFate
{
	const char *state;			/* pending, held, dead, sent, delivered, unknown */
	int			partition;
	int64		offset;			/* -1: not known */
	const char *error;			/* dead: what Kafka said; else NULL */
} DjkOutboxFate;

/* Strings in CurrentMemoryContext. */
extern void djk_outbox_find_fate(int64 id, DjkOutboxFate *fate);

/* --- what a copy of a database takes over; each enters the catalog itself --- */

/* A row of djkafka_outbox_server that another home has left here. */
typedef struct DjkOutboxForeign
{
	char	   *server;			/* NULL: the settings */
	bool		enabled;
} DjkOutboxForeign;

/* In CurrentMemoryContext. */
extern DjkOutboxForeign *djk_outbox_list_foreign(int *count);

/*
 * Waits until no other transaction is open that has written messages, or moves
 * them; none does until this one has ended.
 */
extern void djk_outbox_lock_messages(void);

/* Messages for these servers that were not sent, as of now. */
extern int64 djk_outbox_count_foreign(void);

/* Those of them that were produced here, or all if 'copied', in the order of their ids. */
extern Portal djk_outbox_open_foreign(bool copied);

/* The next of them, in CurrentMemoryContext; 0: that was all, and the portal is closed. */
extern int	djk_outbox_fetch_foreign(Portal portal, DjkOutboxMessage *messages, int max);

/* Deletes all messages for a server, sent or not, and its row; the dead ones if 'with_dead', and returns how many. */
extern int64 djk_outbox_clear(const char *server, bool with_dead);

/* Holds back what waits for a server, or no longer. */
extern void djk_outbox_enable(const char *server, bool enabled);

#endif							/* DJK_OUTBOX_H */
