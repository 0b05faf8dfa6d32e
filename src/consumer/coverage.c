/*-------------------------------------------------------------------------
 *
 * coverage.c
 *	  Whether all that a consumer subscribes to is given to its workers.
 *
 * The library reports what this worker was given, and nobody reports what was
 * given to no one.  So the brokers are asked, after each assignment and now and
 * then, who has what, and it is compared with the partitions of the topics that
 * the routes name.  Until both are the same the worker is not running.
 *
 * A difference that outlasts a rebalance is not going to pass by itself: the
 * worker with the lowest number then leaves the group and joins it again, which
 * makes the group share out everything again.  Each time in a row it waits twice
 * as long before it does.  The count is kept as the slot's attempts, for the
 * worker that joins again is another process.
 *
 * The embedded broker cannot be asked; its members are dynamic, and each join is
 * a new assignment.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/coverage.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/topic.h"
#include "kafka/pattern.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "consumer/group.h"
#include "consumer/leader.h"

#define LOOK_TIMEOUT_MS		3000
#define LOOK_SOON_MS		500 /* while the answer was not the wanted one */
#define LOOK_LATER_MS		3000	/* it may stay so for long */
#define LOOK_NOW_AND_THEN_MS 10000
#define REJOIN_AFTER_MS		10000	/* a look at the metadata and a rebalance take less */

#define UNASSIGNED_HINT		"The worker leaves the group and joins it again if this lasts."

/* ---------- comparing ---------- */

static HTAB *
create_set(int size)
{
	HASHCTL		ctl = {0};

	ctl.keysize = ctl.entrysize = sizeof(DjkPositionKey);
	ctl.hcxt = CurrentMemoryContext;
	return hash_create("djkafka assigned partitions", Max(size, 16), &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* What the members that may be there were given. */
static HTAB *
assigned_partitions(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	HTAB	   *set = create_set(64);

	for (int i = 0; i < view->nmembers; i++)
	{
		const DjkGroupMember *member = &view->members[i];
		int			number = djk_group_number(worker, member);

		for (int j = 0; number > 0 && number <= worker->row->workers && j < member->npartitions; j++)
		{
			DjkPositionKey key;

			djk_position_make_key(&key, member->partitions[j].topic, member->partitions[j].partition);
			(void) hash_search(set, &key, HASH_ENTER, NULL);
		}
	}
	return set;
}

static bool
subscribes(const DjkConsumerWorker *worker, const char *topic)
{
	for (int i = 0; i < worker->ntopics; i++)
	{
		if (djk_pattern_subscribes(worker->topics[i], topic))
			return true;
	}
	return false;
}

/* Of what is assigned, a topic that the library would not subscribe to. */
static const char *
find_unwanted(const DjkConsumerWorker *worker, HTAB *assigned)
{
	HASH_SEQ_STATUS scan;
	DjkPositionKey *key;

	hash_seq_init(&scan, assigned);
	while ((key = hash_seq_search(&scan)) != NULL)
	{
		if (subscribes(worker, key->topic))
			continue;
		hash_seq_term(&scan);
		return key->topic;
	}
	return NULL;
}

char *
djk_coverage_difference(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	HTAB	   *assigned = assigned_partitions(worker, view);
	const char *unwanted;

	if (view->strategy != NULL && strcmp(view->strategy, worker->row->assignment) != 0)
		return psprintf("the group shares out its partitions by \"%s\", not by \"%s\"", view->strategy,
						worker->row->assignment);
	for (int i = 0; i < view->ntopics; i++)
	{
		const DjkTopicInfo *topic = &view->topics[i];

		if (topic->error.sqlstate != 0 || !djk_consumer_row_wants(worker->row, topic->name))
			continue;
		for (int p = 0; p < topic->npartitions; p++)
		{
			DjkPositionKey key;

			djk_position_make_key(&key, topic->name, p);
			if (hash_search(assigned, &key, HASH_FIND, NULL) == NULL)
				return psprintf("partition %d of topic \"%s\" is given to no worker", p, topic->name);
		}
	}
	unwanted = find_unwanted(worker, assigned);
	return unwanted ? psprintf("topic \"%s\" is still given to a worker, and no route names it", unwanted) : NULL;
}

/* ---------- what is there to read ---------- */

/* The first of what is subscribed to that is not there, and its error, if it has another one than that. */
static const char *
find_missing(const DjkConsumerWorker *worker, const DjkGroupView *view, const DjkError **error)
{
	*error = NULL;
	for (int i = 0; i < worker->ntopics; i++)
	{
		bool		found = false;

		for (int j = 0; j < view->ntopics && !found; j++)
		{
			const DjkTopicInfo *topic = &view->topics[j];

			if (!djk_topic_matches(worker->topics[i], topic->name))
				continue;
			if (topic->error.sqlstate == DJK_ERRCODE_KAFKA)
				*error = &topic->error;
			found = topic->error.sqlstate != ERRCODE_UNDEFINED_OBJECT;
		}
		if (!found || *error != NULL)
			return worker->topics[i];
	}
	return NULL;
}

/* What Kafka does not let us do. */
static void
tell_denied(DjkConsumerWorker *worker, const char *what, const char *hint)
{
	djk_member_set_state(worker, DJK_STATE_BROKEN, what, hint);
}

static void
tell_unread(DjkConsumerWorker *worker, const char *what)
{
	djk_member_set_state(worker, DJK_STATE_UNREACHABLE, what, DJK_BROKERS_HINT);
}

static void
tell_missing(DjkConsumerWorker *worker, const char *topic, const DjkError *error)
{
	if (error != NULL)
		tell_denied(worker, psprintf("topic \"%s\": %s", topic, error->message), DJK_DENIED_HINT);
	else
		djk_member_wait_for_topic(worker, topic);
}

/* Of what this worker was given, a partition that no broker leads: palloc'd, or NULL. */
static char *
find_leaderless(const DjkConsumerWorker *worker, const DjkGroupView *view)
{
	for (int i = 0; i < view->ntopics; i++)
	{
		const DjkTopicInfo *topic = &view->topics[i];

		for (int p = 0; topic->error.sqlstate == 0 && p < topic->npartitions; p++)
		{
			if (topic->leaders[p] < 0 && djk_positions_find(worker->positions, topic->name, p) != NULL)
				return psprintf("partition %d of topic \"%s\" has no leader", p, topic->name);
		}
	}
	return NULL;
}

/* Of this worker's partitions one that nobody tells the end of: palloc'd, or NULL. */
static char *
find_unread(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	char	   *leaderless = find_leaderless(worker, view);

	return leaderless != NULL ? leaderless : djk_leaders_silent(worker);
}

static bool
is_denied(DjkPosition *position, void *arg)
{
	return position->denied && position->state != DJK_POSITION_STOPPED;
}

/* Of this worker's partitions one that Kafka does not let us read: palloc'd, or NULL. */
static char *
find_denied(DjkConsumerWorker *worker)
{
	const DjkPosition *position = djk_positions_first(worker->positions, is_denied, NULL);

	return position == NULL ? NULL :
		psprintf("partition %d of topic \"%s\": %s", position->key.partition, position->key.topic, worker->fetch_denied);
}

/* ---------- acting on it ---------- */

static bool
may_tell(const DjkConsumerWorker *worker)
{
	return worker->retry_at == 0 && !worker->proving && !worker->unreachable && worker->positions->trouble == NULL;
}

static void
rest(DjkConsumerWorker *worker, int64 ms)
{
	worker->coverage.look_at = djk_clock_now() + ms * 1000;
}

/* Of those that are there the one with the lowest number acts. */
static bool
acts(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	for (int i = 0; i < view->nmembers; i++)
	{
		int			number = djk_group_number(worker, &view->members[i]);

		if (number > 0 && number < worker->args.worker)
			return false;
	}
	return true;
}

static int64
patience_ms(const DjkConsumerWorker *worker)
{
	int64		longest = Max((int64) djk_max_retry_interval_s * 1000, REJOIN_AFTER_MS);

	return Min((int64) REJOIN_AFTER_MS << Min(worker->coverage.rejoins, 16), longest);
}

/* The difference is told, and fixed when it has lasted. */
static const char *
take_difference(DjkConsumerWorker *worker, const DjkGroupView *view, const char *difference)
{
	TimestampTz now = djk_clock_now();
	TimestampTz rejoin_at;

	worker->coverage.covered = false;
	if (worker->coverage.differs_since == 0)
		worker->coverage.differs_since = now;
	rejoin_at = worker->coverage.differs_since + patience_ms(worker) * 1000;
	rest(worker, worker->coverage.rejoins == 0 ? LOOK_SOON_MS : LOOK_LATER_MS);
	if (acts(worker, view) && now >= rejoin_at)
	{
		djk_slot_set_retry(djk_slot_mine(), worker->coverage.rejoins + 1, 0);
		return difference;
	}
	if (may_tell(worker))
	{
		djk_member_set_state(worker, DJK_STATE_UNASSIGNED,
							 worker->coverage.rejoins == 0 ? difference :
							 psprintf("%s, after joining the group again %d times", difference, worker->coverage.rejoins),
							 UNASSIGNED_HINT);
		djk_slot_set_retry(djk_slot_mine(), worker->coverage.rejoins, djk_clock_to_timestamp(rejoin_at));
	}
	return NULL;
}

/* The library tells when the last broker is gone, but not when one is back. */
static void
note_answer(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	if (!view->answered || !worker->unreachable)
		return;
	worker->unreachable = false;
	if (worker->assigned_at == 0)
		djk_member_set_state(worker, DJK_STATE_STARTING, NULL, NULL);
}

/* The group tells nothing, or nobody tells of the group: what is known all the same. */
static void
take_silence(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	const DjkError *error;
	const char *missing = view->topics_known ? find_missing(worker, view, &error) : NULL;
	char	   *silent = djk_leaders_silent(worker);
	char	   *denied = find_denied(worker);

	if (silent != NULL || denied != NULL)
		worker->coverage.covered = false;
	if (!may_tell(worker))
		return;
	if (silent != NULL)
		tell_unread(worker, silent);
	else if (denied != NULL)
		tell_denied(worker, denied, worker->fetch_hint);
	/* The library joins no group before one of the topics is there. */
	else if (missing != NULL && view->nmembers == 0)
		tell_missing(worker, missing, error);
	else if (view->topics_known && view->nmembers == 0 && worker->group_denied[0] != '\0')
		tell_denied(worker, worker->group_denied, DJK_DENIED_HINT);
}

static const char *
take_view(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	char	   *foreign;
	const char *missing;
	char	   *unread;
	char	   *denied;
	char	   *difference;
	const DjkError *error;

	/* What happened since it was asked is not in the answer. */
	rest(worker, worker->coverage.doubted ? 0 : LOOK_SOON_MS);
	note_answer(worker, view);
	if (view->nmembers > 0)
		worker->group_denied[0] = '\0';
	djk_leaders_ask(worker, view);
	djk_positions_try_denied(worker->positions);
	if (worker->coverage.doubted)
		return NULL;
	if (!view->answered || !view->topics_known || !view->settled)
	{
		take_silence(worker, view);
		return NULL;
	}
	difference = djk_coverage_difference(worker, view);
	foreign = djk_group_foreign_member(worker, view);
	if (foreign != NULL)
	{
		rest(worker, LOOK_LATER_MS);
		worker->coverage.covered = false;
		djk_member_set_state(worker, DJK_STATE_FOREIGN_MEMBER,
							 psprintf("%s is a member of group \"%s\"", foreign, worker->row->group_id),
							 "Stop it; the consumer then goes on by itself. Or use another group_id.");
		return NULL;
	}
	if (difference != NULL)
		return take_difference(worker, view, difference);
	worker->coverage.differs_since = 0;
	worker->coverage.rejoins = 0;
	missing = find_missing(worker, view, &error);
	unread = find_unread(worker, view);
	denied = find_denied(worker);
	worker->coverage.covered = missing == NULL && unread == NULL && denied == NULL;
	rest(worker, worker->coverage.covered ? LOOK_NOW_AND_THEN_MS : LOOK_LATER_MS);
	if (worker->coverage.covered)
		djk_member_set_running(worker);
	else if (may_tell(worker) && missing != NULL)
		tell_missing(worker, missing, error);
	else if (may_tell(worker) && denied != NULL)
		tell_denied(worker, denied, worker->fetch_hint);
	else if (may_tell(worker))
		tell_unread(worker, unread);
	return NULL;
}

void
djk_coverage_doubt(DjkConsumerWorker *worker)
{
	worker->coverage.doubted = true;
	worker->coverage.covered = false;
	worker->coverage.look_at = 0;
}

void
djk_coverage_look_soon(DjkConsumerWorker *worker)
{
	worker->coverage.look_at = Min(worker->coverage.look_at, djk_clock_now() + LOOK_SOON_MS * INT64CONST(1000));
}

const char *
djk_coverage_turn(DjkConsumerWorker *worker)
{
	DjkGroupView *view;

	if (worker->connection.embedded)
		return NULL;
	if (djk_leaders_take_answers(worker))
		worker->coverage.look_at = 0;
	if (worker->coverage.look != NULL)
	{
		if ((view = djk_consumer_look_take(worker->coverage.look)) == NULL)
			return NULL;
		worker->coverage.look = NULL;
		return take_view(worker, view);
	}
	if (djk_clock_now() < worker->coverage.look_at)
		return NULL;
	worker->coverage.doubted = false;
	worker->coverage.look = djk_consumer_look_start(worker->kafka, worker->row->kafka_group, worker->topics, worker->ntopics,
													LOOK_TIMEOUT_MS);
	if (worker->coverage.look == NULL)
		rest(worker, LOOK_SOON_MS);
	return NULL;
}

long
djk_coverage_wait_ms(const DjkConsumerWorker *worker)
{
	/* The answer wakes by itself. */
	if (worker->connection.embedded || worker->coverage.look != NULL)
		return LOOK_NOW_AND_THEN_MS;
	return Max((worker->coverage.look_at - djk_clock_now()) / 1000, 0) + 1;
}
