/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  djkafka_replay(): applies dead letters again, or sends them to a topic.
 *
 * In the caller's transaction, in the order of their places, with the message's
 * own key, value, headers and time, by the routes as they are now.  No offset moves,
 * and the partitions' counters keep what became of the messages when they were read.
 *
 * The offset rows of the letters' partitions are locked first, as a batch locks
 * them: a worker waits for the replay and the replay for a batch that is under way.
 * So neither meets rows of the other that are not committed, and what is newer than a
 * letter (apply/overtaken.c) is known.  Two replays of a letter wait for each other
 * so, and by the letter's own lock; the second one does not find it any more.
 *
 * Before that schemas that the letters name and that nobody has fetched are asked for,
 * where a registry says what values mean: no worker is to wait for a registry.
 *
 * Letters are loaded and applied in pieces, like batches of messages that a worker
 * applies: one that fails costs no other, and stays with its new error.  A message
 * that was read twice may have two letters: the second is in a later piece, where it
 * is known what became of the first.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "apply/apply.h"
#include "apply/overtaken.h"
#include "apply/work.h"
#include "apply/writer.h"
#include "base/compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/letter_filter.h"
#include "sql/letter_send.h"
#include "sql/run_apply.h"
#include "sql/run_schema.h"
#include "sql/consumer_owner.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/header.h"
#include "state/parked.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(djkafka_replay);

/* As many as a batch has, if the consumer allows. */
#define PIECE_LETTERS	1000

enum
{
	ARG_IDS,
	ARG_CONSUMER,
	ARG_TOPIC,
	ARG_SQLSTATE,
	ARG_SINCE,
	ARG_UNTIL,
	ARG_MAX_LETTERS,
	ARG_TO_TOPIC,
	ARG_FORCE
};

typedef struct Replay
{
	ReturnSetInfo *rsinfo;
	MemoryContext context;		/* reset with each piece */
	DjkLetterList letters;
	List	   *applies;		/* DjkApply, of consumers as they were before the locks: they know schemas */
	char	   *to_topic;		/* NULL: they are applied */
	bool		force;
} Replay;

/* ---------- results ---------- */

static void
put_result(const void *arg, const DjkLetterOutcome *outcome)
{
	const Replay *replay = arg;
	const DjkError *error = &outcome->error;
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = Int64GetDatum(outcome->id);
	values[1] = CStringGetTextDatum(outcome->result);
	nulls[2] = error->sqlstate == 0;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(unpack_sql_state(error->sqlstate));
	nulls[3] = error->message == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(error->message);
	nulls[4] = error->hint == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(error->hint);
	tuplestore_putvalues(replay->rsinfo->setResult, replay->rsinfo->setDesc, values, nulls);
}

static void
put_missing(const Replay *replay, int64 id)
{
	DjkLetterOutcome outcome = {0};

	outcome.id = id;
	outcome.result = "missing";
	outcome.error.sqlstate = ERRCODE_UNDEFINED_OBJECT;
	outcome.error.message = psprintf("dead letter " INT64_FORMAT " does not exist, or is not one of those that are asked for", id);
	outcome.error.hint = "SELECT id, topic, message FROM djkafka_dead_letter shows those that do.";
	put_result(replay, &outcome);
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Ids that were asked for and are none of the letters'; not where a number bounds these. */
static void
put_unknown(const Replay *replay, const DjkLetterFilter *filter)
{
	int64	   *found = palloc(Max(replay->letters.n, 1) * sizeof(int64));
	Datum	   *ids;
	int			n;

	if (filter->ids == (Datum) 0 || filter->max_letters != 0)
		return;
	memcpy(found, replay->letters.ids, replay->letters.n * sizeof(int64));
	qsort(found, replay->letters.n, sizeof(int64), compare_ids);
	deconstruct_array(DatumGetArrayTypeP(filter->ids), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		int64		id = DatumGetInt64(ids[i]);

		if (bsearch(&id, found, replay->letters.n, sizeof(int64), compare_ids) == NULL)
			put_missing(replay, id);
	}
	pfree(found);
}

/* ---------- consumers ---------- */

static DjkConsumerRow *
load_consumer(const Replay *replay, int64 consumer_id, int64 letter_id)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkConsumerRow *consumer;

	djk_catalog_enter(&identity);
	consumer = djk_consumer_row_load(consumer_id, context);
	djk_catalog_leave(&identity);
	if (consumer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the consumer of dead letter " INT64_FORMAT " does not exist any more", letter_id),
				 errhint("Make it again in its group, give the message to another consumer with djkafka_run(name, messages => ...), or discard it with djkafka_discard.")));
	if (replay->to_topic != NULL)
		djk_require_consumer_owner(consumer->owner);
	else
		djk_run_require_owner(consumer);
	/* Whoever writes a consumer of another home chooses its id. */
	if (!consumer->is_home)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer \"%s\" belongs to another database, of which this one is a copy", consumer->name),
				 errhint("Give the message to a consumer of this database with djkafka_run(name, messages => ...).")));
	return consumer;
}

/* Of each, before anything is done. */
static List *
load_consumers(const Replay *replay)
{
	const DjkLetterList *letters = &replay->letters;
	List	   *consumers = NIL;

	for (int i = 0; i < letters->n; i++)
	{
		if (i == 0 || letters->consumer_ids[i] != letters->consumer_ids[i - 1])
			consumers = lappend(consumers, load_consumer(replay, letters->consumer_ids[i], letters->ids[i]));
	}
	return consumers;
}

/* ---------- letters as a batch ---------- */

typedef struct Source
{
	const DjkDeadLetter *letter;
	DjkHeader  *headers;
	int			nheaders;
} Source;

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	const Source *source = message->source;

	*headers = source->headers;
	return source->nheaders;
}

static const char *
bytes_of(Datum bytea_datum, int *len)
{
	*len = 0;
	if (bytea_datum == (Datum) 0)
		return NULL;
	*len = VARSIZE_ANY_EXHDR(DatumGetPointer(bytea_datum));
	return VARDATA_ANY(DatumGetPointer(bytea_datum));
}

/* Letters come in the order of their places. */
static int
partition_of(DjkBatch *batch, const DjkDeadLetter *letter)
{
	DjkBatchPartition *last = batch->npartitions > 0 ? &batch->partitions[batch->npartitions - 1] : NULL;

	if (last == NULL || last->partition != letter->partition || strcmp(last->topic, letter->topic) != 0)
	{
		last = &batch->partitions[batch->npartitions++];
		last->topic = letter->topic;
		last->partition = letter->partition;
		last->high_watermark = -1;
	}
	return batch->npartitions - 1;
}

static void
add_message(DjkBatch *batch, const DjkDeadLetter *letter)
{
	DjkMessage *message = &batch->messages[batch->nmessages++];
	Source	   *source = palloc0(sizeof(Source));

	source->letter = letter;
	source->nheaders = djk_headers_read(letter->headers, &source->headers);
	message->partition = partition_of(batch, letter);
	message->offset = letter->offset;
	message->timestamp_ms = letter->timestamp_ms;
	message->key = bytes_of(letter->key, &message->key_len);
	message->value = bytes_of(letter->value, &message->value_len);
	message->source = source;
}

static DjkBatch *
make_batch(List *letters)
{
	DjkBatch   *batch = palloc0(sizeof(DjkBatch));
	ListCell   *lc;

	batch->messages = palloc0(Max(list_length(letters), 1) * sizeof(DjkMessage));
	batch->partitions = palloc0(Max(list_length(letters), 1) * sizeof(DjkBatchPartition));
	batch->load_headers = load_headers;
	batch->detached = batch->replayed = true;
	foreach(lc, letters)
		add_message(batch, lfirst(lc));
	return batch;
}

/* ---------- applying ---------- */

static const char *
result_of(DjkFate fate)
{
	switch (fate)
	{
		case DJK_FATE_APPLIED:
			return "applied";
		case DJK_FATE_FILTERED:
			return "filtered";
		case DJK_FATE_DUPLICATE:
			return "duplicate";
		case DJK_FATE_STALE:
			return "stale";
		case DJK_FATE_DEAD:
			return "failed";
		default:
			elog(ERROR, "a dead letter was left without a fate");
	}
}

static DjkLetterOutcome
outcome_of(const DjkApply *apply, int message)
{
	const DjkWork *work = &apply->work[message];
	const Source *source = apply->batch->messages[message].source;
	DjkLetterOutcome outcome = {0};

	outcome.id = source->letter->id;
	outcome.result = result_of(work->fate);
	outcome.failed = work->fate == DJK_FATE_DEAD;
	outcome.gone = !outcome.failed;
	if (outcome.failed)
	{
		outcome.route_id = work->route >= 0 ? apply->consumer->routes[work->route].id : 0;
		outcome.error = work->error;
		outcome.context = work->context;
	}
	return outcome;
}

/* What is newer is noted at the letters that are left. */
static void
settle(const Replay *replay, DjkApply *apply)
{
	int			n = apply->batch->nmessages;
	DjkLetterOutcome *outcomes = palloc(Max(n, 1) * sizeof(DjkLetterOutcome));
	DjkIdentity identity;

	for (int i = 0; i < n; i++)
	{
		outcomes[i] = outcome_of(apply, i);
		put_result(replay, &outcomes[i]);
	}
	djk_catalog_enter(&identity);
	djk_dead_letter_settle("replay", NULL, outcomes, n);
	djk_overtaken_note(apply, 0, n);
	djk_catalog_leave(&identity);
}

/* Letters of whose keys an earlier message waits (apply/park.c), by id. */
typedef struct Waiting
{
	DjkParkedBefore *before;
	int			n;
} Waiting;

static void
find_waiting(const Replay *replay, const List *letters, Waiting *waiting)
{
	int64	   *ids = palloc(Max(list_length(letters), 1) * sizeof(int64));
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	ListCell   *lc;
	int			n = 0;

	memset(waiting, 0, sizeof(*waiting));
	foreach(lc, letters)
		ids[n++] = ((DjkDeadLetter *) lfirst(lc))->id;
	if (n == 0 || replay->force)
		return;
	djk_catalog_enter(&identity);
	waiting->before = djk_parked_before_letters(ids, n, context, &waiting->n);
	djk_catalog_leave(&identity);
}

/* The offset of the message that a letter would overtake; -1: none. */
static int64
waits_before(const Waiting *waiting, const DjkDeadLetter *letter)
{
	const DjkParkedBefore *found = waiting->n == 0 ? NULL :
		/* The ids come first in what is compared. */
		bsearch(&letter->id, waiting->before, waiting->n, sizeof(DjkParkedBefore), compare_ids);

	return found ? found->offset : -1;
}

/* Why its key has gone on without it, or not come to it yet; NULL: neither. */
static char *
why_out_of_order(const DjkDeadLetter *letter, const Waiting *waiting)
{
	int64		before = waits_before(waiting, letter);

	if (before >= 0)
		return psprintf("an earlier message of its key, at offset " INT64_FORMAT ", waits in djkafka_parked", before);
	if (!letter->is_overtaken)
		return NULL;
	if (letter->newer_offset == DJK_NEWER_UNKNOWN)
		return psprintf("its topic was made again, and what has been applied of its key since is newer");
	if (letter->newer_offset == letter->offset)
		return psprintf("the message itself has been applied since: its partition was read again");
	return psprintf("a newer message of its key has been applied, at offset " INT64_FORMAT, letter->newer_offset);
}

/* A letter that no route of its consumer has a look at would be gone for nothing.  False: nothing is against it. */
static bool
is_refused(const Replay *replay, DjkApply *apply, const DjkDeadLetter *letter, const Waiting *waiting, DjkError *error)
{
	error->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	if (bms_is_empty(djk_work_routes(apply, letter->topic)))
	{
		error->message = psprintf("consumer \"%s\" has no route for topic \"%s\"", apply->consumer->name, letter->topic);
		error->hint = "Make one with djkafka_subscribe, or discard the letter with djkafka_discard.";
		return true;
	}
	error->message = replay->force ? NULL : why_out_of_order(letter, waiting);
	error->hint = "With force => true it is applied all the same; djkafka_discard removes it.";
	return error->message != NULL;
}

/* Takes those out of the list that are not to be applied. */
static List *
refuse_some(const Replay *replay, DjkApply *apply, List *letters)
{
	DjkLetterOutcome *refused = palloc0(Max(list_length(letters), 1) * sizeof(DjkLetterOutcome));
	List	   *left = NIL;
	Waiting		waiting;
	DjkIdentity identity;
	ListCell   *lc;
	int			n = 0;

	find_waiting(replay, letters, &waiting);
	foreach(lc, letters)
	{
		const DjkDeadLetter *letter = lfirst(lc);

		if (!is_refused(replay, apply, letter, &waiting, &refused[n].error))
		{
			left = lappend(left, lfirst(lc));
			continue;
		}
		refused[n].id = letter->id;
		refused[n].result = "refused";
		put_result(replay, &refused[n++]);
	}
	djk_catalog_enter(&identity);
	djk_dead_letter_settle("replay", NULL, refused, n);
	djk_catalog_leave(&identity);
	return left;
}

static void
apply_letters(const Replay *replay, DjkApply *apply, List *letters)
{
	DjkApplyResult result;

	letters = refuse_some(replay, apply, letters);
	if (letters == NIL)
		return;
	djk_apply_inside(apply, make_batch(letters), &result);
	Assert(result.status == DJK_APPLY_DONE);
	settle(replay, apply);
}

/* ---------- pieces ---------- */

/* Letters that somebody has taken away since they were found. */
static void
put_taken(const Replay *replay, const int64 *ids, int n, const List *letters)
{
	ListCell   *lc = list_head(letters);

	for (int i = 0; i < n; i++)
	{
		if (lc != NULL && ((DjkDeadLetter *) lfirst(lc))->id == ids[i])
			lc = lnext(letters, lc);
		else
			put_missing(replay, ids[i]);
	}
}

/* The end of the piece that begins at 'from', of 'most' letters at most and with no message twice. */
static int
piece_end(const DjkLetterList *letters, int from, int to, int most)
{
	int			end = from;

	while (end < to && end - from < most && letters->copies[end] == letters->copies[from])
		end++;
	return end;
}

/* The letters [from, to) are of one consumer; 'apply' or 'send' is what is done with them. */
static void
replay_consumer(const Replay *replay, const DjkConsumerRow *consumer, int from, int to,
				DjkApply *apply, DjkLetterSender *send)
{
	while (from < to)
	{
		MemoryContext old = MemoryContextSwitchTo(replay->context);
		const int64 *ids = replay->letters.ids + from;
		int			end = piece_end(&replay->letters, from, to, Min(PIECE_LETTERS, consumer->batch_messages));
		DjkIdentity identity;
		List	   *letters;
		int			nread;

		CHECK_FOR_INTERRUPTS();
		djk_catalog_enter(&identity);
		letters = djk_dead_letter_load(ids, end - from, consumer->batch_bytes, true, replay->context, &nread);
		djk_catalog_leave(&identity);
		put_taken(replay, ids, nread, letters);
		if (apply != NULL)
			apply_letters(replay, apply, letters);
		else
			djk_letter_send(send, letters, put_result, replay);
		from += nread;
		MemoryContextSwitchTo(old);
		MemoryContextReset(replay->context);
	}
}

/* Behind the letters of a consumer that begin at 'from'. */
static int
consumer_end(const Replay *replay, const DjkConsumerRow *consumer, int from)
{
	while (from < replay->letters.n && replay->letters.consumer_ids[from] == consumer->id)
		from++;
	return from;
}

/* The one that knows the schemas already, unless the consumer has changed meanwhile. */
static DjkApply *
find_apply(const Replay *replay, const DjkConsumerRow *consumer)
{
	ListCell   *lc;

	foreach(lc, replay->applies)
	{
		DjkApply   *apply = lfirst(lc);

		if (apply->consumer->id == consumer->id && apply->consumer->revision == consumer->revision)
			return apply;
	}
	return djk_apply_create(consumer, CurrentMemoryContext, 0);
}

static void
replay_all(Replay *replay, List *consumers)
{
	ListCell   *lc;
	int			from = 0;

	foreach(lc, consumers)
	{
		const DjkConsumerRow *consumer = lfirst(lc);
		DjkApply   *apply = NULL;
		DjkLetterSender *send = NULL;
		int			to = consumer_end(replay, consumer, from);

		if (replay->to_topic != NULL)
			send = djk_letter_sender(consumer, replay->to_topic);
		else
			apply = find_apply(replay, consumer);
		replay_consumer(replay, consumer, from, to, apply, send);
		if (apply != NULL)
			djk_apply_destroy(apply);
		from = to;
	}
}

/* ---------- schemas ---------- */

/* Once no registry has answered it is not asked for the others: that is what is wrong with them too. */
static void
fetch_of_piece(DjkApply *apply, List *letters, char **unreachable)
{
	DjkBatch   *batch = make_batch(letters);
	DjkSchemaKey key;
	int			at = 0;

	while (djk_writers_missing(apply, batch, &at, &key))
	{
		char	   *reason;

		CHECK_FOR_INTERRUPTS();
		if (*unreachable == NULL && !djk_run_try_schema(apply, &key, &reason))
			*unreachable = MemoryContextStrdup(apply->context, reason);
		if (*unreachable != NULL)
			djk_writers_note_unreachable(apply, &key, *unreachable);
	}
}

static void
fetch_of_consumer(const Replay *replay, DjkApply *apply, int from, int to)
{
	char	   *unreachable = NULL;

	while (from < to)
	{
		MemoryContext old = MemoryContextSwitchTo(replay->context);
		DjkIdentity identity;
		List	   *letters;
		int			nread;

		djk_catalog_enter(&identity);
		letters = djk_dead_letter_load(replay->letters.ids + from, Min(PIECE_LETTERS, to - from), apply->consumer->batch_bytes, false,
									   replay->context, &nread);
		djk_catalog_leave(&identity);
		fetch_of_piece(apply, letters, &unreachable);
		from += nread;
		MemoryContextSwitchTo(old);
		MemoryContextReset(replay->context);
	}
}

/* While nobody waits for us.  Consumers whose formats need no schemas have nothing to be looked at for. */
static void
fetch_schemas(Replay *replay, const List *consumers)
{
	ListCell   *lc;
	int			from = 0;

	foreach(lc, consumers)
	{
		const DjkConsumerRow *consumer = lfirst(lc);
		int			to = consumer_end(replay, consumer, from);
		DjkApply   *apply = djk_apply_create(consumer, CurrentMemoryContext, 0);

		replay->applies = lappend(replay->applies, apply);
		if (apply->writers != NULL)
			fetch_of_consumer(replay, apply, from, to);
		from = to;
	}
}

/* ---------- the function ---------- */

static void
read_arguments(FunctionCallInfo fcinfo, Replay *replay, DjkLetterFilter *filter)
{
	static const DjkLetterArguments arguments = {ARG_IDS, ARG_CONSUMER, ARG_TOPIC, ARG_SQLSTATE, ARG_SINCE, ARG_UNTIL, ARG_MAX_LETTERS};

	if (PG_ARGISNULL(ARG_FORCE))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("force must not be null")));
	replay->force = PG_GETARG_BOOL(ARG_FORCE);
	if (!PG_ARGISNULL(ARG_TO_TOPIC))
		replay->to_topic = text_to_cstring(PG_GETARG_TEXT_PP(ARG_TO_TOPIC));
	if (replay->to_topic != NULL)
		djk_letter_require_topic(replay->to_topic);
	PreventCommandIfReadOnly("djkafka_replay()");
	/* It would be given the very letter whose handler calls it, and so on without end. */
	if (djk_apply_is_running())
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("djkafka_replay cannot be called while messages are applied"),
				 errhint("Call it in a session, and not in a handler, a trigger or an expression.")));
	djk_letter_filter_read(fcinfo, &arguments, false, filter);
}

static void
lock_partitions(const Replay *replay)
{
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	djk_dead_letter_lock_offsets(replay->letters.ids, replay->letters.n);
	djk_catalog_leave(&identity);
}

/* (ids, consumer, topic, sqlstate, since, until, max_letters, to_topic, force) -> what became of each */
Datum
djkafka_replay(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Replay		replay = {0};
	DjkLetterFilter filter;
	DjkIdentity identity;
	List	   *consumers;

	read_arguments(fcinfo, &replay, &filter);
	InitMaterializedSRF(fcinfo, 0);
	replay.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	replay.context = AllocSetContextCreate(context, "djkafka replay", ALLOCSET_DEFAULT_SIZES);
	djk_catalog_enter(&identity);
	djk_dead_letter_find(&filter, &replay.letters, context);
	djk_catalog_leave(&identity);
	put_unknown(&replay, &filter);
	consumers = load_consumers(&replay);
	if (replay.to_topic == NULL)
		fetch_schemas(&replay, consumers);
	if (replay.letters.n > 0)
	{
		lock_partitions(&replay);
		/* Who drops one takes these locks too: what is here now stays. */
		consumers = load_consumers(&replay);
	}
	replay_all(&replay, consumers);
	return (Datum) 0;
}
