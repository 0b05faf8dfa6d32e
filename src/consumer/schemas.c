/*-------------------------------------------------------------------------
 *
 * schemas.c
 *	  Schemas that messages name and that nobody has fetched yet.
 *
 * A registry is asked outside of any transaction, in a thread.  Mostly it answers
 * within milliseconds, and so long the worker waits.  Then the message's partition
 * is held, as for a blocking retry, and the others go on; the registry is asked
 * again and again until it answers.  That it does not is nobody's fault, and no
 * message becomes a dead letter for it.
 *
 * A registry that answers that it has no such schema may be behind the one that
 * the message's producer has asked; after a few tries it is believed for a minute,
 * and that is what is wrong with the message.
 *
 * What the partition waits for is in its offset row, for who looks at it, with how
 * often the message was tried again already; it is found again by whoever reads the
 * partition next.  Messages that wait in djkafka_parked hold up nothing: they go on
 * waiting, and what is asked for them is forgotten when a round has not come across
 * them again.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/schemas.h"

#include "apply/retry.h"
#include "apply/writer.h"
#include "base/clock.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "registry/fetch.h"
#include "state/offset.h"
#include "state/schema.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How long everything waits for the first answer. */
#define AT_ONCE_MS			1000

/* Between looks whether an answer has come. */
#define LOOK_MS				10

/* Between tries while no registry answers, doubled with each. */
#define RETRY_MS			1000
#define RETRY_MAX_MS		30000

/* The same where it answers that it has no such schema, and how often it is asked. */
#define ABSENT_MS			500
#define ABSENT_TRIES		3

/* Requests at a time. */
#define FETCHES_MAX			4

/* Schemas that are wanted, beyond which none is for what has waited already. */
#define WANTED_MAX			64

/* A partition is looked at by itself in this time, whatever becomes of its schema. */
#define HOLD_US				(USECS_PER_DAY)

#define REGISTRY_HINT		"Check registry_url, the credentials and the registry; the worker goes on by itself."
#define NO_REGISTRY_HINT	"Set registry_url of the server (or djkafka.registry_url, without a server); the worker goes on by itself."

/* A schema that somebody waits for. */
typedef struct Wanted
{
	DjkSchemaKey key;
	bool		again;			/* also, or only, for what has waited already, */
	bool		again_seen;		/* … which the round at hand has come across */
	DjkFetch   *fetch;			/* NULL: none is under way */
	int			absent;			/* answers in a row that there is none */
	int			failed;			/* tries in a row without an answer */
	TimestampTz next_at;		/* of the next try, by the clock that nobody sets */
	TimestampTz since;			/* no registry has answered, by the time of day */
	char	   *reason;			/* NULL: it has answered, or was not asked yet */
} Wanted;

/* ---------- the list ---------- */

/* NULL: nobody waits for it. */
static Wanted *
find(const DjkConsumerWorker *worker, const DjkSchemaKey *key)
{
	ListCell   *lc;

	foreach(lc, worker->wanted)
	{
		Wanted	   *wanted = lfirst(lc);

		if (memcmp(&wanted->key, key, sizeof(*key)) == 0)
			return wanted;
	}
	return NULL;
}

static Wanted *
find_or_add(DjkConsumerWorker *worker, const DjkSchemaKey *key)
{
	Wanted	   *wanted = find(worker, key);
	MemoryContext old;

	if (wanted != NULL)
		return wanted;
	old = MemoryContextSwitchTo(worker->life);
	wanted = palloc0(sizeof(Wanted));
	wanted->key = *key;
	worker->wanted = lappend(worker->wanted, wanted);
	MemoryContextSwitchTo(old);
	return wanted;
}

static void
end_fetch(Wanted *wanted)
{
	if (wanted->fetch != NULL)
		djk_fetch_end(wanted->fetch);
	wanted->fetch = NULL;
}

static void
clear_reason(Wanted *wanted)
{
	if (wanted->reason != NULL)
		pfree(wanted->reason);
	wanted->reason = NULL;
}

static void
drop(DjkConsumerWorker *worker, Wanted *wanted)
{
	end_fetch(wanted);
	worker->wanted = list_delete_ptr(worker->wanted, wanted);
	clear_reason(wanted);
	pfree(wanted);
}

static int
count_fetches(const DjkConsumerWorker *worker)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, worker->wanted)
		n += ((Wanted *) lfirst(lc))->fetch != NULL;
	return n;
}

/* ---------- what is told ---------- */

/* The one that has waited longest without an answer. */
static const Wanted *
find_trouble(const DjkConsumerWorker *worker)
{
	const Wanted *trouble = NULL;
	ListCell   *lc;

	foreach(lc, worker->wanted)
	{
		const Wanted *wanted = lfirst(lc);

		if (wanted->reason != NULL && (trouble == NULL || wanted->since < trouble->since))
			trouble = wanted;
	}
	return trouble;
}

static void
tell(DjkConsumerWorker *worker)
{
	const Wanted *trouble = find_trouble(worker);
	bool		was_told = worker->registry_trouble[0] != '\0';

	if (trouble != NULL)
	{
		snprintf(worker->registry_trouble, sizeof(worker->registry_trouble), "%s cannot be fetched: %s",
				 djk_schema_describe(&trouble->key), trouble->reason);
		worker->registry_hint = worker->registry == NULL ? NO_REGISTRY_HINT : REGISTRY_HINT;
		djk_slot_set_error(djk_slot_mine(), worker->registry_trouble);
		djk_member_set_running(worker);
	}
	else if (was_told)
	{
		worker->registry_trouble[0] = '\0';
		djk_member_set_running(worker);
	}
}

/* ---------- partitions that wait ---------- */

static bool
lacks(DjkPosition *position, void *arg)
{
	const Wanted *wanted = arg;

	return position->state == DJK_POSITION_HELD && position->lacks_schema &&
		memcmp(&position->schema, &wanted->key, sizeof(DjkSchemaKey)) == 0;
}

/* A list, for no scan of the table may be open when a transaction ends. */
static List *
list_lacking(const DjkConsumerWorker *worker, Wanted *wanted)
{
	List	   *found = NIL;
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (lacks(position, wanted))
			found = lappend(found, position);
	}
	return found;
}

/* Messages that name the schema are read again; djk_held_end() has it done. */
static void
release(DjkConsumerWorker *worker, Wanted *wanted)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	worker->waiting.schemas |= wanted->again;
	foreach(lc, list_lacking(worker, wanted))
	{
		DjkPosition *position = lfirst(lc);

		position->lacks_schema = false;
		position->held_until = now;
		worker->positions->held_until = now;
	}
}

/* How often a message was tried again already, which still counts. */
static int
attempt_of(const DjkPosition *position, int64 offset)
{
	return position->held_offset == offset ? position->held_attempt : 0;
}

/*
 * What the row says for who looks at it: a retry that is none, by its SQLSTATE.
 * Whoever reads the partition next begins with the message at once.
 */
static bool
write_down(const DjkPosition *position, int64 offset, const Wanted *wanted)
{
	DjkError	error = {.sqlstate = DJK_ERRCODE_REGISTRY};
	DjkIdentity identity;
	bool		is_ours;

	error.message = psprintf("%s cannot be fetched: %s", djk_schema_describe(&wanted->key),
							 wanted->reason ? wanted->reason : "the registry has not answered yet");
	djk_worker_begin(&identity);
	is_ours = djk_offset_hold(position->offset_id, position->generation, position->next_offset, offset,
							  attempt_of(position, offset), wanted->reason ? wanted->since : GetCurrentTimestamp(), &error);
	djk_worker_commit(&identity);
	return is_ours;
}

static void
hold(DjkConsumerWorker *worker, const DjkApplyResult *result, const Wanted *wanted)
{
	const DjkMessage *message = &worker->collector.batch.messages[result->decided];
	DjkPosition *position = worker->collector.positions[message->partition];

	if (write_down(position, message->offset, wanted))
	{
		position->held_attempt = attempt_of(position, message->offset);
		position->held_offset = message->offset;
		position->held_until = GetCurrentTimestamp() + HOLD_US;
		position->lacks_schema = true;
		position->schema = wanted->key;
		djk_positions_hold(worker->positions, position);
	}
	else
		djk_positions_reload(worker->positions, position);
	djk_collect_drop(&worker->collector, result->decided, message->partition);
}

/* Why no registry answers is another reason than before. */
static void
tell_partitions(DjkConsumerWorker *worker, Wanted *wanted)
{
	ListCell   *lc;

	foreach(lc, list_lacking(worker, wanted))
	{
		DjkPosition *position = lfirst(lc);

		if (!write_down(position, position->held_offset, wanted))
			djk_positions_reload(worker->positions, position);
	}
}

/* ---------- asking ---------- */

void
djk_schemas_open(DjkConsumerWorker *worker)
{
	MemoryContext old = MemoryContextSwitchTo(worker->life);

	worker->registry = djk_http_access(worker->connection.properties, worker->connection.nproperties);
	MemoryContextSwitchTo(old);
}

static void
set_reason(DjkConsumerWorker *worker, Wanted *wanted, const char *reason)
{
	if (wanted->reason == NULL)
		wanted->since = GetCurrentTimestamp();
	else if (strcmp(wanted->reason, reason) == 0)
		return;
	clear_reason(wanted);
	wanted->reason = MemoryContextStrdup(worker->life, reason);
	tell_partitions(worker, wanted);
}

static void
store(DjkConsumerWorker *worker, const Wanted *wanted)
{
	DjkIdentity identity;

	bool		is_stored;

	djk_worker_begin(&identity);
	is_stored = djk_schema_store(djk_writers_source(worker->apply), &wanted->key, djk_fetch_text(wanted->fetch));
	djk_worker_commit(&identity);
	if (!is_stored)
		djk_writers_keep(worker->apply, &wanted->key, djk_fetch_text(wanted->fetch));
}

static void
note_failed(DjkConsumerWorker *worker, Wanted *wanted, const char *reason)
{
	int64		delay = djk_retry_delay_ms(++wanted->failed, RETRY_MS, RETRY_MAX_MS, pg_prng_double(&pg_global_prng_state));

	if (wanted->reason == NULL)
		ereport(LOG,
				(errmsg("djkafka consumer \"%s\" waits for %s: %s", worker->row->name, djk_schema_describe(&wanted->key), reason)));
	set_reason(worker, wanted, reason);
	wanted->next_at = djk_clock_now() + delay * 1000;
}

/* A registry answers: the others are not to wait for their time. */
static void
hurry(DjkConsumerWorker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->wanted)
	{
		Wanted	   *wanted = lfirst(lc);

		if (wanted->reason != NULL)
			wanted->next_at = 0;
	}
}

/* True if it is known now what becomes of messages that name the schema; 'wanted' is gone then. */
static bool
settle(DjkConsumerWorker *worker, Wanted *wanted)
{
	DjkFetchStatus status = djk_fetch_wait(wanted->fetch, 0);

	switch (status)
	{
		case DJK_FETCH_PENDING:
			return false;
		case DJK_FETCH_FOUND:
			store(worker, wanted);
			break;
		case DJK_FETCH_FAILED:
			note_failed(worker, wanted, djk_fetch_reason(wanted->fetch));
			end_fetch(wanted);
			return false;
		case DJK_FETCH_ABSENT:
			clear_reason(wanted);
			if (++wanted->absent < ABSENT_TRIES)
			{
				wanted->next_at = djk_clock_now() + ABSENT_MS * 1000;
				end_fetch(wanted);
				return false;
			}
			djk_writers_note_absent(worker->apply, &wanted->key, djk_fetch_reason(wanted->fetch));
			break;
	}
	release(worker, wanted);
	hurry(worker);
	drop(worker, wanted);
	return true;
}

static void
ask(DjkConsumerWorker *worker, Wanted *wanted)
{
	if (wanted->fetch != NULL || wanted->next_at > djk_clock_now() || count_fetches(worker) >= FETCHES_MAX)
		return;
	if (worker->registry != NULL)
		wanted->fetch = djk_fetch_begin(worker->registry, &wanted->key, worker->life);
	else
		note_failed(worker, wanted, "no schema registry is configured");
}

/*
 * True if its answer has come within the time for that; 'wanted' is gone then.
 * Nothing waits for a second schema while one is not answered.
 */
static bool
ask_at_once(DjkConsumerWorker *worker, Wanted *wanted)
{
	double		until = djk_clock_ms() + AT_ONCE_MS;
	bool		is_first = wanted->failed == 0 && wanted->absent == 0 && count_fetches(worker) == 0 &&
		find_trouble(worker) == NULL;

	ask(worker, wanted);
	while (is_first && wanted->fetch != NULL && djk_fetch_wait(wanted->fetch, until) == DJK_FETCH_PENDING &&
		   djk_clock_ms() < until)
		CHECK_FOR_INTERRUPTS();
	return wanted->fetch != NULL && settle(worker, wanted);
}

void
djk_schemas_want(DjkConsumerWorker *worker, const DjkApplyResult *result)
{
	Wanted	   *wanted = find_or_add(worker, result->schema);

	if (ask_at_once(worker, wanted))
		djk_collect_drop_decided(&worker->collector, result->decided);
	else
		hold(worker, result, wanted);
	tell(worker);
}

bool
djk_schemas_want_again(DjkConsumerWorker *worker)
{
	int			n;
	const DjkSchemaKey *keys = djk_writers_wanted(worker->apply, &n);

	for (int i = 0; i < n; i++)
	{
		Wanted	   *wanted = find(worker, &keys[i]);

		if (wanted == NULL && list_length(worker->wanted) < WANTED_MAX)
			wanted = find_or_add(worker, &keys[i]);
		if (wanted != NULL)
			wanted->again = wanted->again_seen = true;
	}
	return n > 0;
}

void
djk_schemas_end_round(DjkConsumerWorker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->wanted)
	{
		Wanted	   *wanted = lfirst(lc);

		wanted->again = wanted->again_seen;
		wanted->again_seen = false;
	}
}

/* ---------- turns ---------- */

/* Whether its partitions are another's by now, or were sought elsewhere, and nothing that waits needs it. */
static bool
is_forsaken(DjkConsumerWorker *worker, Wanted *wanted)
{
	return !(wanted->again && worker->positions->waiting) && djk_positions_first(worker->positions, lacks, wanted) == NULL;
}

void
djk_schemas_turn(DjkConsumerWorker *worker)
{
	List	   *all;
	ListCell   *lc;

	if (worker->wanted == NIL)
		return;
	all = list_copy(worker->wanted);
	foreach(lc, all)
	{
		Wanted	   *wanted = lfirst(lc);

		if (is_forsaken(worker, wanted))
		{
			drop(worker, wanted);
			continue;
		}
		ask(worker, wanted);
		if (wanted->fetch != NULL)
			(void) settle(worker, wanted);
	}
	list_free(all);
	tell(worker);
}

long
djk_schemas_ms(const DjkConsumerWorker *worker, long limit_ms)
{
	TimestampTz now = djk_clock_now();
	ListCell   *lc;

	foreach(lc, worker->wanted)
	{
		const Wanted *wanted = lfirst(lc);

		if (wanted->fetch != NULL)
			return Min(limit_ms, LOOK_MS);
		limit_ms = Min(limit_ms, Max(wanted->next_at - now, 0) / 1000 + 1);
	}
	return limit_ms;
}
