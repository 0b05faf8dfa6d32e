/*-------------------------------------------------------------------------
 *
 * position_load.c
 *	  From a partition that the group gave us to an offset to read from.
 *
 * Kafka is asked with no transaction open; each answer is stored in a short
 * one.  Between the two anything may have happened, so what is stored is
 * guarded by the row's generation.
 *
 * No partition waits for another one's answer.  One without a leader is not
 * asked for; the others are asked for by leader, all at once and in threads, and
 * whoever has its answer is read while the rest is waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/position.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/start.h"
#include "base/text.h"
#include "base/transaction.h"
#include "miscadmin.h"
#include "state/event.h"
#include "state/offset.h"
#include "state/shmem.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define LOOKUP_TIMEOUT_MS	5000

/* Mostly the answers are there at once, and everything begins together. */
#define FIRST_WAIT_MS		500
#define FIRST_POLL_MS		2

/* An earlier owner commits within this time, or the worker tells what it waits for. */
#define LOCK_TIMEOUT		"10s"

#define LEADER_UNKNOWN		(-2)	/* not asked yet */

/* What is asked for together: the same wish, the same leader. */
typedef struct Question
{
	int64		number;
	char	   *wish;
	int			leader;
	DjkTopicPartition *partitions;
	int			npartitions;
	DjkStartLook *look;
} Question;

/* ---------- what is wrong ---------- */

static void
trouble(DjkPositions *positions, const char *text)
{
	djk_text_copy(positions->trouble_text, text, sizeof(positions->trouble_text));
	positions->trouble = positions->trouble_text;
}

/* Something has to be found out before it can be read. */
static bool
is_unsettled(const DjkPosition *position)
{
	return position->state == DJK_POSITION_GIVEN || position->state == DJK_POSITION_LOADED;
}

static void
note_unresolved(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	positions->unresolved = false;
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (is_unsettled(position))
			positions->unresolved = true;
	}
	if (!positions->unresolved)
		positions->trouble = NULL;
}

/* ---------- rows ---------- */

/* A row into its position; between enter and leave. */
static void
take_row(DjkPositions *positions, DjkPosition *position, DjkOffsetRow *row)
{
	bool		is_other_life = djk_offset_begin_life(row, positions->embedded);
	const char *reason = is_other_life ? NULL : djk_offset_mismatch(row, positions->embedded, positions->cluster_id);

	if (is_other_life)
		djk_positions_tell(positions, position, "reincarnation", "running",
						   "the embedded broker is a new one: its partition is read from the beginning");
	else if (reason != NULL && !row->needs_decision)
	{
		djk_offset_stop(row->id, row->generation, reason);
		djk_positions_tell(positions, position, "decision", "needs_decision", reason);
		row->needs_decision = true;
	}
	djk_offset_take(row, position);
	position->waiting_known = position->parked == 0;
	positions->waiting |= position->parked > 0;
	positions->waiting_unseen |= position->parked > 0;
}

/* A topic that was deleted and made again has another id. */
static void
take_topic_id(DjkPositions *positions, DjkPosition *position, DjkOffsetRow *row, const char *topic_id)
{
	char	   *reason;

	if (topic_id == NULL || row->topic_id == NULL || strcmp(row->topic_id, topic_id) == 0 ||
		position->state != DJK_POSITION_RESOLVED)
		return;
	reason = psprintf("the topic was deleted and made again: its id is %s, and was %s", topic_id, row->topic_id);
	if (!positions->consumer->new_topic_is_read)
	{
		djk_offset_stop(row->id, row->generation, reason);
		djk_positions_tell(positions, position, "decision", "needs_decision", reason);
		djk_position_move(position, DJK_POSITION_STOPPED);
		return;
	}
	(void) djk_offset_restart(row->id, row->generation);
	djk_positions_tell(positions, position, "new_topic", "running", reason);
	row->topic_id = NULL;
	position->generation++;
	position->next_offset = position->expected = DJK_OFFSET_UNRESOLVED;
	position->anchor.offset = position->held_offset = -1;
	position->parked = 0;
	djk_position_move(position, DJK_POSITION_LOADED);
}

/* A position that is new begins at once where its message is due by now. */
static void
hold_until_due(DjkPositions *positions, DjkPosition *position)
{
	if (position->held_until > GetCurrentTimestamp())
		djk_positions_hold(positions, position);
}

/* Somebody may hold a row for longer than the worker may go without polling. */
static void
begin_with_lock_timeout(DjkIdentity *identity)
{
	djk_worker_begin(identity);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* All positions of a topic that have no row yet; their number is returned. */
static int
find_unloaded(DjkPositions *positions, const char *topic, int **partitions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	int			n = 0;

	*partitions = palloc(djk_positions_count(positions) * sizeof(int));
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->state == DJK_POSITION_GIVEN && strcmp(position->key.topic, topic) == 0)
			(*partitions)[n++] = position->key.partition;
	}
	return n;
}

/* Loads the rows of a topic's positions, and makes those that are missing. */
static void
load_rows(DjkPositions *positions, const char *topic, int in_kafka, const char *topic_id)
{
	DjkIdentity identity;
	DjkOffsetRow *rows;
	int			nrows;
	int		   *partitions;
	int			npartitions = find_unloaded(positions, topic, &partitions);

	if (npartitions == 0)
		return;
	for (int i = 0; i < npartitions; i++)
		in_kafka = Max(in_kafka, partitions[i] + 1);

	begin_with_lock_timeout(&identity);
	djk_offset_create(positions->consumer->id, topic, in_kafka, positions->consumer->start_from);
	rows = djk_offset_load(positions->consumer->id, topic, partitions, npartitions, false,
						   CurrentMemoryContext, &nrows);
	for (int i = 0; i < nrows; i++)
	{
		DjkPosition *position = djk_positions_find(positions, topic, rows[i].partition);

		/* Whether the offsets are those of this cluster cannot be told yet. */
		if (rows[i].cluster_id != NULL && positions->cluster_id == NULL && !positions->embedded)
		{
			trouble(positions, "could not look up the id of the Kafka cluster");
			continue;
		}
		take_row(positions, position, &rows[i]);
		take_topic_id(positions, position, &rows[i], topic_id);
		hold_until_due(positions, position);
	}
	if (topic_id != NULL)
		djk_offset_note_topic(rows, nrows, topic_id);
	djk_worker_commit(&identity);
}

/* False if no broker answers, which others need not be asked for then. */
static bool
load_topic(DjkPositions *positions, const char *topic)
{
	DjkTopicInfo *info;
	int			ninfo;
	DjkError	error = {0};
	HASH_SEQ_STATUS scan;
	DjkPosition *position;

	if (!djk_consumer_topics(positions->kafka, topic, &info, &ninfo, LOOKUP_TIMEOUT_MS, &error))
	{
		trouble(positions, psprintf("could not look up topic \"%s\": %s", topic, error.message));
		return false;
	}
	if (ninfo == 0 || info[0].error.sqlstate != 0)
	{
		trouble(positions, psprintf("could not look up topic \"%s\"%s%s", topic, ninfo ? ": " : "",
									ninfo ? info[0].error.message : ""));
		return true;
	}
	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (strcmp(position->key.topic, topic) == 0)
			position->leader = position->key.partition < info[0].npartitions ? info[0].leaders[position->key.partition] : -1;
	}
	load_rows(positions, topic, info[0].npartitions,
			  positions->embedded ? NULL : djk_consumer_topic_id(positions->kafka, topic, LOOKUP_TIMEOUT_MS));
	return true;
}

/* Of each topic that has something to look up, once. */
static void
load_topics(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	List	   *topics = NIL;
	ListCell   *lc;
	bool		answers = true;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		bool		known = false;

		if (position->question != 0 || !is_unsettled(position))
			continue;
		position->leader = LEADER_UNKNOWN;
		foreach(lc, topics)
			known = known || strcmp(lfirst(lc), position->key.topic) == 0;
		if (!known)
			topics = lappend(topics, pstrdup(position->key.topic));
	}
	foreach(lc, topics)
	{
		CHECK_FOR_INTERRUPTS();
		djk_slot_note_work(0);
		answers = answers && load_topic(positions, lfirst(lc));
	}
}

/* ---------- asking ---------- */

/* The wish of a row as it stands now; NULL if it has none. */
static char *
load_wish(DjkPositions *positions, DjkPosition *position)
{
	DjkIdentity identity;
	MemoryContext context = CurrentMemoryContext;
	DjkOffsetRow *rows;
	int			nrows;
	char	   *wish = NULL;

	begin_with_lock_timeout(&identity);
	rows = djk_offset_load(positions->consumer->id, position->key.topic, &position->key.partition, 1,
						   false, context, &nrows);
	if (nrows == 1)
	{
		position->generation = rows[0].generation;
		wish = rows[0].start_at;
	}
	djk_worker_commit(&identity);
	return wish;
}

static DjkStart
parse_wish(const char *wish)
{
	MemoryContext context = CurrentMemoryContext;
	DjkStart	start;

	/* Reading a time may look into the catalogs, and "today" at the clock. */
	djk_transaction_start();
	start = djk_start_parse(wish);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return start;
}

static Question *
question_for(DjkPositions *positions, List **questions, const char *wish, int leader)
{
	ListCell   *lc;
	Question   *question;

	foreach(lc, *questions)
	{
		question = lfirst(lc);
		if (question->leader == leader && strcmp(question->wish, wish) == 0)
			return question;
	}
	question = palloc0(sizeof(Question));
	question->number = ++positions->nquestions;
	question->wish = pstrdup(wish);
	question->leader = leader;
	question->partitions = palloc0(djk_positions_count(positions) * sizeof(DjkTopicPartition));
	*questions = lappend(*questions, question);
	return question;
}

static void
put_question(DjkPositions *positions, DjkPosition *position, List **questions)
{
	char	   *wish = load_wish(positions, position);
	MemoryContext old;
	Question   *question;

	if (wish == NULL)
	{
		djk_positions_reload(positions, position);
		return;
	}
	if (position->leader < 0)
	{
		if (position->leader != LEADER_UNKNOWN)
			trouble(positions, psprintf("partition %d of topic \"%s\" has no leader", position->key.partition,
										position->key.topic));
		return;
	}
	old = MemoryContextSwitchTo(positions->context);
	question = question_for(positions, questions, wish, position->leader);
	question->partitions[question->npartitions].topic = position->key.topic;
	question->partitions[question->npartitions++].partition = position->key.partition;
	position->question = question->number;
	MemoryContextSwitchTo(old);
}

static void
forget_question(DjkPositions *positions, Question *question)
{
	for (int i = 0; i < question->npartitions; i++)
	{
		DjkPosition *position = djk_positions_find(positions, question->partitions[i].topic,
												   question->partitions[i].partition);

		if (position != NULL && position->question == question->number)
			position->question = 0;
	}
}

static void
ask(DjkPositions *positions)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	List	   *all = NIL;
	List	   *questions = NIL;
	ListCell   *lc;

	hash_seq_init(&scan, positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		if (position->state == DJK_POSITION_LOADED && position->question == 0)
			all = lappend(all, position);
	}
	foreach(lc, all)
	{
		CHECK_FOR_INTERRUPTS();
		djk_slot_note_work(0);
		put_question(positions, lfirst(lc), &questions);
	}
	foreach(lc, questions)
	{
		Question   *question = lfirst(lc);
		DjkStart	start = parse_wish(question->wish);
		MemoryContext old = MemoryContextSwitchTo(positions->context);

		question->look = djk_consumer_start_look(positions->kafka, question->partitions, question->npartitions,
												 &start, LOOKUP_TIMEOUT_MS);
		if (question->look != NULL)
			positions->questions = lappend(positions->questions, question);
		else
			forget_question(positions, question);
		MemoryContextSwitchTo(old);
	}
}

/* ---------- answers ---------- */

static void
store(DjkPositions *positions, DjkPosition *position, const char *wish, int64 offset)
{
	DjkIdentity identity;
	pg_uuid_t	incarnation;
	bool		stored;

	djk_worker_begin(&identity);
	stored = djk_offset_resolve(position->offset_id, position->generation, offset, positions->cluster_id,
								positions->embedded && djk_embedded_incarnation(&incarnation) ? &incarnation : NULL);
	if (stored)
		djk_positions_tell(positions, position, "start", "running",
						   psprintf("starts at offset " INT64_FORMAT " (%s)", offset, wish));
	djk_worker_commit(&identity);
	if (stored)
	{
		position->next_offset = position->expected = offset;
		djk_position_move(position, DJK_POSITION_RESOLVED);
	}
	else
		djk_positions_reload(positions, position);
}

static void
take_answer(DjkPositions *positions, const Question *question, const DjkTopicPartition *answer)
{
	DjkPosition *position = djk_positions_find(positions, answer->topic, answer->partition);

	/* Taken away, or asked for again, meanwhile. */
	if (position == NULL || position->question != question->number)
		return;
	position->question = 0;
	if (answer->error.sqlstate != 0)
		trouble(positions, psprintf("could not look up \"%s\" of topic \"%s\", partition %d: %s", question->wish,
									answer->topic, answer->partition, answer->error.message));
	else
		store(positions, position, question->wish, answer->offset);
}

bool
djk_positions_take_answers(DjkPositions *positions)
{
	ListCell   *lc;
	bool		taken = false;

	foreach(lc, positions->questions)
	{
		Question   *question = lfirst(lc);
		int			n;
		DjkTopicPartition *answers = djk_consumer_start_take(question->look, &n);

		if (answers == NULL)
			continue;
		positions->questions = foreach_delete_current(positions->questions, lc);
		for (int i = 0; i < n; i++)
		{
			djk_slot_note_work(0);
			take_answer(positions, question, &answers[i]);
		}
		pfree(question->partitions);
		pfree(question->wish);
		pfree(question);
		taken = true;
	}
	if (taken)
		note_unresolved(positions);
	return taken;
}

static void
wait_for_answers(DjkPositions *positions)
{
	TimestampTz started = djk_clock_now();

	while (positions->questions != NIL && !TimestampDifferenceExceeds(started, djk_clock_now(), FIRST_WAIT_MS))
	{
		djk_worker_wait(-1, FIRST_POLL_MS, "DjkafkaPositions");
		(void) djk_positions_take_answers(positions);
	}
	/* What woke us may have been meant for somebody else. */
	SetLatch(MyLatch);
}

void
djk_positions_load(DjkPositions *positions)
{
	positions->trouble = NULL;
	if (positions->cluster_id == NULL && !positions->embedded)
	{
		char	   *id = djk_consumer_cluster_id(positions->kafka, LOOKUP_TIMEOUT_MS);

		if (id != NULL)
			positions->cluster_id = MemoryContextStrdup(positions->context, id);
	}
	load_topics(positions);
	ask(positions);
	/* Whoever reads already does not stop for it. */
	if (positions->questions != NIL && positions->unanswered)
		wait_for_answers(positions);
	if (positions->questions != NIL && positions->trouble == NULL)
		trouble(positions, "Kafka has not answered yet where partitions begin");
	note_unresolved(positions);
}
