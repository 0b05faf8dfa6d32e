/*-------------------------------------------------------------------------
 *
 * leader.c
 *	  Whether the brokers that lead a worker's partitions answer.
 *
 * The library fetches from each leader and says nothing where none of them can
 * be reached but for a line about a connection: other brokers answer, so a
 * partition would seem to have been read to its end.  What comes from a leader,
 * be it of another partition, speaks for it.  One that has been quiet since the
 * last look at the group (coverage.c), as each is that has nothing new, is asked
 * for the ends of its partitions: through the connection that they are fetched
 * by, in a thread, so that nobody waits.  One that lets several questions in a
 * row go unanswered is silent.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/leader.h"

#include "utils/memutils.h"

#define ANSWER_MS			5000
#define SILENT_AFTER		2	/* questions */

struct DjkLeader
{
	int			broker;
	char	   *address;		/* NULL: nobody has told it */
	bool		heard;			/* since the last look */
	int			vain;			/* questions in a row that were not answered */
	int			npartitions;	/* of ours that it leads */
	DjkTopicPartition *partitions;	/* these, in the worker's cycle, if it is to be asked for them now */
	DjkStartLook *look;			/* that waits for an answer; NULL: none */
};

/* ---------- who leads what ---------- */

static DjkLeader *
find_leader(DjkConsumerWorker *worker, int broker)
{
	ListCell   *lc;

	foreach(lc, worker->leaders)
	{
		DjkLeader  *leader = lfirst(lc);

		if (leader->broker == broker)
			return leader;
	}
	return NULL;
}

static DjkLeader *
get_leader(DjkConsumerWorker *worker, int broker)
{
	DjkLeader  *leader = find_leader(worker, broker);
	MemoryContext old;

	if (leader != NULL)
		return leader;
	old = MemoryContextSwitchTo(worker->life);
	leader = palloc0(sizeof(DjkLeader));
	leader->broker = broker;
	worker->leaders = lappend(worker->leaders, leader);
	MemoryContextSwitchTo(old);
	return leader;
}

static void
note_address(DjkConsumerWorker *worker, const DjkBrokerInfo *broker)
{
	DjkLeader  *leader = find_leader(worker, broker->id);

	if (leader == NULL || (leader->address != NULL && strcmp(leader->address, broker->address) == 0))
		return;
	if (leader->address != NULL)
		pfree(leader->address);
	leader->address = MemoryContextStrdup(worker->life, broker->address);
}

static void
note_view(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	for (int i = 0; i < view->ntopics; i++)
	{
		const DjkTopicInfo *topic = &view->topics[i];

		for (int p = 0; topic->error.sqlstate == 0 && p < topic->npartitions; p++)
		{
			DjkPosition *position = djk_positions_find(worker->positions, topic->name, p);

			if (position == NULL || topic->leaders[p] < 0)
				continue;
			position->leader = topic->leaders[p];
			(void) get_leader(worker, position->leader);
		}
	}
	for (int i = 0; i < view->nbrokers; i++)
		note_address(worker, &view->brokers[i]);
}

/* What has no leader, or is not read for another reason, is told of elsewhere. */
static DjkLeader *
leader_of(DjkConsumerWorker *worker, const DjkPosition *position)
{
	if (!djk_position_is_ready(position))
		return NULL;
	return position->leader >= 0 ? find_leader(worker, position->leader) : NULL;
}

/* ---------- asking ---------- */

/* How many of our partitions each leader leads, and whether something came of one of them. */
static void
count(DjkConsumerWorker *worker)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	ListCell   *lc;

	foreach(lc, worker->leaders)
	{
		DjkLeader  *leader = lfirst(lc);

		leader->heard = false;
		leader->npartitions = 0;
	}
	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		DjkLeader  *leader = leader_of(worker, position);

		if (leader != NULL)
		{
			leader->heard |= position->heard;
			leader->npartitions++;
		}
		position->heard = false;
	}
}

/* The partitions of those that are to be asked for them. */
static void
collect(DjkConsumerWorker *worker)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	ListCell   *lc;

	foreach(lc, worker->leaders)
	{
		DjkLeader  *leader = lfirst(lc);

		leader->partitions = NULL;
		if (leader->heard || leader->look != NULL || leader->npartitions == 0)
			continue;
		leader->partitions = palloc0(leader->npartitions * sizeof(DjkTopicPartition));
		leader->npartitions = 0;
	}
	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
	{
		DjkLeader  *leader = leader_of(worker, position);

		if (leader == NULL || leader->partitions == NULL)
			continue;
		leader->partitions[leader->npartitions].topic = position->key.topic;
		leader->partitions[leader->npartitions++].partition = position->key.partition;
	}
}

static void
forget(DjkConsumerWorker *worker, DjkLeader *leader)
{
	worker->leaders = list_delete_ptr(worker->leaders, leader);
	if (leader->address != NULL)
		pfree(leader->address);
	pfree(leader);
}

void
djk_leaders_ask(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	static const DjkStart end = {DJK_START_LATEST, 0};
	List	   *all;
	ListCell   *lc;

	if (view->topics_known)
		note_view(worker, view);
	count(worker);
	collect(worker);
	all = list_copy(worker->leaders);
	foreach(lc, all)
	{
		DjkLeader  *leader = lfirst(lc);

		if (leader->heard)
			leader->vain = 0;
		if (leader->npartitions == 0 && leader->look == NULL)
			forget(worker, leader);
		else if (leader->partitions != NULL)
			leader->look = djk_consumer_start_look(worker->kafka, leader->partitions, leader->npartitions, &end,
												   ANSWER_MS);
	}
}

/* ---------- answers ---------- */

/*
 * Also that it does not lead a partition any more.  But what the library says by
 * itself, whose names begin with "_", is nobody's answer: it does so where it has
 * no connection.
 */
static bool
answers(const DjkTopicPartition *partitions, int n)
{
	for (int i = 0; i < n; i++)
	{
		const DjkError *error = &partitions[i].error;

		if (error->sqlstate == 0 || (error->name != NULL && error->name[0] != '_'))
			return true;
	}
	return false;
}

/* Whether something has come of its partitions since it was asked. */
static bool
was_heard(DjkConsumerWorker *worker, const DjkLeader *leader)
{
	HASH_SEQ_STATUS scan;
	DjkPosition *position;
	bool		heard = false;

	hash_seq_init(&scan, worker->positions->table);
	while ((position = hash_seq_search(&scan)) != NULL)
		heard |= position->heard && position->leader == leader->broker;
	return heard;
}

bool
djk_leaders_take_answers(DjkConsumerWorker *worker)
{
	ListCell   *lc;
	bool		news = false;

	foreach(lc, worker->leaders)
	{
		DjkLeader  *leader = lfirst(lc);
		int			n;
		DjkTopicPartition *partitions = leader->look != NULL ? djk_consumer_start_take(leader->look, &n) : NULL;

		if (partitions == NULL)
			continue;
		leader->look = NULL;
		if (answers(partitions, n) || was_heard(worker, leader))
		{
			news |= leader->vain >= SILENT_AFTER;
			leader->vain = 0;
		}
		else
		{
			leader->vain++;
			news |= leader->vain <= SILENT_AFTER;
		}
	}
	return news;
}

void
djk_leaders_lost(DjkConsumerWorker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->leaders)
		((DjkLeader *) lfirst(lc))->vain = SILENT_AFTER;
}

/* ---------- telling ---------- */

static bool
is_silent(DjkPosition *position, void *worker)
{
	const DjkLeader *leader = leader_of(worker, position);

	return leader != NULL && leader->vain >= SILENT_AFTER;
}

char *
djk_leaders_silent(DjkConsumerWorker *worker)
{
	DjkPosition *first = djk_positions_first(worker->positions, is_silent, worker);
	const DjkLeader *leader;

	if (first == NULL)
		return NULL;
	leader = leader_of(worker, first);
	return psprintf("partition %d of topic \"%s\": its leader, broker %d at %s, does not answer",
					first->key.partition, first->key.topic, leader->broker,
					leader->address ? leader->address : "an unknown address");
}
