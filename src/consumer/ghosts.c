/*-------------------------------------------------------------------------
 *
 * ghosts.c
 *	  What workers that crashed left behind in the group.
 *
 * A static member keeps what it was given, whatever its successor subscribes to.
 * A worker that leaves takes its member with it, one that crashed cannot: it is
 * found by its successor, who joins in its name once more only to leave.  (The
 * request that removes a member which is somebody else's is not in the library.)
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/ghosts.h"

#include "base/clock.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "consumer/coverage.h"
#include "consumer/group.h"

#define JOIN_MS				10000
#define POLL_MS				20
#define CLOSE_MS			3000
#define GHOSTS_MAX			16	/* at once */

/* Whether the process of that number runs, which leaves by itself. */
static bool
is_alive(const DjkConsumerWorker *worker, int number)
{
	int			n;
	DjkSlotStatus *slots = djk_slot_list(MyDatabaseId, &n);
	bool		alive = false;

	for (int i = 0; i < n; i++)
	{
		if (slots[i].key.kind == DJK_KIND_CONSUMER && slots[i].key.object_id == worker->args.object_id &&
			slots[i].key.worker == number)
			alive = slots[i].pid != 0;
	}
	pfree(slots);
	return alive;
}

/* A topic that exists, for one must subscribe to something to join; NULL if none is known. */
static char *
any_topic(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	for (int i = 0; i < view->ntopics; i++)
	{
		if (view->topics[i].error.sqlstate == 0 && djk_consumer_row_wants(worker->row, view->topics[i].name))
			return view->topics[i].name;
	}
	return NULL;
}

static void
wait_for_assignment(DjkConsumer *kafka)
{
	TimestampTz started = djk_clock_now();
	DjkConsumerEvent event;

	while (!TimestampDifferenceExceeds(started, djk_clock_now(), JOIN_MS))
	{
		djk_consumer_drain_fd(kafka);
		while (djk_consumer_poll(kafka, &event))
		{
			if (event.kind == DJK_CONSUMER_ASSIGN)
			{
				if (djk_consumer_is_cooperative(kafka))
					djk_consumer_assign_more(kafka, NULL, 0);
				else
					djk_consumer_assign(kafka, NULL, 0);
				return;
			}
		}
		djk_worker_wait(djk_consumer_fd(kafka), POLL_MS, "DjkafkaLeave");
	}
}

/* Joins in the name of a static member that is gone; the group gives it what it had, without a rebalance. */
static DjkConsumer *
join_as(DjkConsumerWorker *worker, int number, const char *strategy, const char *topic)
{
	DjkConsumerConfig config = {0};
	DjkConsumer *kafka;

	config.properties = worker->connection.properties;
	config.nproperties = worker->connection.nproperties;
	config.group_id = worker->row->kafka_group;
	config.group_instance_id = djk_group_instance_of(worker, number);
	config.client_id = psprintf("djkafka-%s-%d", worker->row->kafka_name, number);
	config.assignment_strategy = djk_group_strategies(strategy);
	config.queue_kbytes = djk_queue_size_kb;
	kafka = djk_consumer_create(worker->cycle, &config);
	djk_consumer_subscribe(kafka, &topic, 1);
	wait_for_assignment(kafka);
	return kafka;
}

static bool
is_strategy(const char *name)
{
	return name != NULL && (strcmp(name, "range") == 0 || strcmp(name, "roundrobin") == 0 ||
							strcmp(name, "cooperative-sticky") == 0);
}

/* Why a member must not keep its place in the group; NULL if it may. */
static const char *
misfit(DjkConsumerWorker *worker, const DjkGroupView *view, int number)
{
	if (number > worker->row->workers)
		return worker->args.worker == 1 && !is_alive(worker, number) ? "there are fewer workers now" : NULL;
	return number == worker->args.worker ? djk_coverage_difference(worker, view) : NULL;
}

bool
djk_ghosts_clear(DjkConsumerWorker *worker, const DjkGroupView *view)
{
	char	   *topic = view->topics_known ? any_topic(worker, view) : NULL;
	int			numbers[GHOSTS_MAX];
	DjkConsumer *ghosts[GHOSTS_MAX];
	int			n = 0;

	if (topic == NULL || !view->settled || !is_strategy(view->strategy))
		return false;
	for (int i = 0; i < view->nmembers && n < GHOSTS_MAX; i++)
	{
		int			number = djk_group_number(worker, &view->members[i]);
		const char *reason = number > 0 ? misfit(worker, view, number) : NULL;

		if (reason == NULL)
			continue;
		ereport(LOG,
				(errmsg("djkafka consumer \"%s\" leaves group \"%s\" in the name of its worker %d: %s",
						worker->row->name, worker->row->group_id, number, reason)));
		numbers[n++] = number;
	}
	/* All join before the first leaves: a group that has lost a member gives nothing before the others are back. */
	for (int i = 0; i < n; i++)
		ghosts[i] = join_as(worker, numbers[i], view->strategy, topic);
	for (int i = 0; i < n; i++)
		djk_group_leave_as(worker, ghosts[i], worker->kafka, numbers[i]);
	for (int i = 0; i < n; i++)
		djk_consumer_destroy(ghosts[i], CLOSE_MS);
	return n > 0;
}
