/*-------------------------------------------------------------------------
 *
 * group.c
 *	  Who is in a consumer worker's group.
 *
 * Workers are static members, named after their home and their number.  The
 * brokers' answer tells a member's id alone: the broker made it of that name,
 * or of the client's name for a dynamic member, and a random tail.
 *
 * A static member that comes back is given what it had, without a rebalance,
 * whatever it subscribes to now.  So a worker whose definition changes leaves
 * the group for good.  One that crashed could not: what it left behind is found
 * by its successor, who joins in its name once more only to leave.  (The request
 * that removes a member which is somebody else's is not in the library.)
 *
 *-------------------------------------------------------------------------
 */
#include "worker/group.h"

#include "base/clock.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "worker/coverage.h"

#define EVICT_JOIN_MS		10000
#define LEAVE_MS			5000
#define LEAVE_POLL_MS		20
#define HOLDS_SLICE_MS		1000
#define CLOSE_MS			3000
#define GHOSTS_MAX			16		/* at once */

/*
 * A group belongs to one consumer of its home, so the consumer's id need not be
 * part of its members' names: one that is dropped and made again takes over
 * what its predecessor held, not after its session has ended.
 */
static char *
instance_prefix(DjkMember *worker)
{
	return psprintf("djkafka-%s-", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&worker->home.id))));
}

static char *
instance_of(DjkMember *worker, int number)
{
	return psprintf("%s%d", instance_prefix(worker), number);
}

char *
djk_group_instance(DjkMember *worker)
{
	return worker->connection.embedded ? NULL : instance_of(worker, worker->args.worker);
}

static bool
begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

int
djk_group_number(DjkMember *worker, const DjkGroupMember *member)
{
	char	   *prefix = instance_prefix(worker);
	char	   *end;
	long		number;

	if (!begins_with(member->member_id, prefix))
		return 0;
	number = strtol(member->member_id + strlen(prefix), &end, 10);
	return *end == '-' && number > 0 && number <= PG_INT16_MAX ? (int) number : 0;
}

/* Also if nobody says it does not. */
static bool
holds(DjkMember *worker, DjkConsumer *kafka, int number, int timeout_ms)
{
	DjkGroupView *view = djk_consumer_look(kafka, worker->row->group_id, NULL, 0, timeout_ms);
	bool		found = !view->answered;

	for (int i = 0; i < view->nmembers && !found; i++)
		found = djk_group_number(worker, &view->members[i]) == number;
	return found;
}

/*
 * As long as the group counts a static member its partitions go to nobody else;
 * and the library would end before its goodbye has been sent.  'asker' may be
 * another consumer than the one that leaves.
 */
static void
leave_as(DjkMember *worker, DjkConsumer *kafka, DjkConsumer *asker, int number)
{
	TimestampTz started = djk_clock_now();
	bool		gone = false;

	djk_consumer_unsubscribe(kafka);
	while (!gone && !TimestampDifferenceExceeds(started, djk_clock_now(), LEAVE_MS))
	{
		gone = djk_consumer_decline_all(kafka) &&
			(worker->connection.embedded || !holds(worker, asker, number, HOLDS_SLICE_MS));
		if (!gone)
			djk_worker_wait(-1, LEAVE_POLL_MS, "DjkafkaLeave");
	}
}

void
djk_group_leave(DjkMember *worker)
{
	leave_as(worker, worker->kafka, worker->kafka, worker->args.worker);
}

/* Brokers that know no static members see ours as dynamic ones. */
static bool
is_ours(DjkMember *worker, const DjkGroupMember *member)
{
	const char *client = member->client_id ? member->client_id : "";

	if (begins_with(member->member_id, instance_prefix(worker)))
		return true;
	return begins_with(member->member_id, psprintf("%s-", client)) &&
		begins_with(client, psprintf("djkafka-%s-", worker->row->name));
}

char *
djk_group_foreign_member(DjkMember *worker, const DjkGroupView *view)
{
	for (int i = 0; i < view->nmembers; i++)
	{
		const DjkGroupMember *member = &view->members[i];

		if (!is_ours(worker, member))
			return psprintf("client \"%s\" at %s", member->client_id ? member->client_id : "",
							member->host ? member->host : "an unknown host");
	}
	return NULL;
}

/* ---------- what was joined with ---------- */

static bool
names_all_topics_of(const DjkConsumerRow *a, const DjkConsumerRow *b)
{
	for (int i = 0; i < b->nroutes; i++)
	{
		bool		found = false;

		for (int j = 0; j < a->nroutes && !found; j++)
			found = strcmp(a->routes[j].topic, b->routes[i].topic) == 0;
		if (!found)
			return false;
	}
	return true;
}

bool
djk_group_same_membership(const DjkConsumerRow *a, const DjkConsumerRow *b)
{
	const char *server = a->server ? a->server : "";

	return a->workers == b->workers && strcmp(a->assignment, b->assignment) == 0 &&
		strcmp(a->group_id, b->group_id) == 0 && strcmp(server, b->server ? b->server : "") == 0 &&
		names_all_topics_of(a, b) && names_all_topics_of(b, a);
}

/* ---------- what was left behind ---------- */

/* Whether the process of that number runs, which leaves by itself. */
static bool
is_alive(const DjkMember *worker, int number)
{
	int			n;
	DjkSlotStatus *slots = djk_slot_list(MyDatabaseId, &n);
	bool		alive = false;

	for (int i = 0; i < n; i++)
	{
		if (slots[i].key.kind == DJK_KIND_CONSUMER && slots[i].key.consumer_id == worker->args.consumer_id &&
			slots[i].key.worker == number)
			alive = slots[i].pid != 0;
	}
	pfree(slots);
	return alive;
}

/* A topic that exists, for one must subscribe to something to join; NULL if none is known. */
static char *
any_topic(DjkMember *worker, const DjkGroupView *view)
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

	while (!TimestampDifferenceExceeds(started, djk_clock_now(), EVICT_JOIN_MS))
	{
		djk_consumer_drain_fd(kafka);
		while (djk_consumer_poll(kafka, &event))
		{
			if (event.kind == DJK_EVENT_ASSIGN)
			{
				if (djk_consumer_is_cooperative(kafka))
					djk_consumer_assign_more(kafka, NULL, 0);
				else
					djk_consumer_assign(kafka, NULL, 0);
				return;
			}
		}
		djk_worker_wait(djk_consumer_fd(kafka), LEAVE_POLL_MS, "DjkafkaLeave");
	}
}

const char *
djk_group_strategies(const char *assignment)
{
	if (strcmp(assignment, "range") == 0)
		return "range,roundrobin";
	if (strcmp(assignment, "roundrobin") == 0)
		return "roundrobin,range";
	return assignment;
}

/* Joins in the name of a static member that is gone; the group gives it what it had, without a rebalance. */
static DjkConsumer *
join_as(DjkMember *worker, int number, const char *strategy, const char *topic)
{
	DjkConsumerConfig config = {0};
	DjkConsumer *kafka;

	config.properties = worker->connection.properties;
	config.nproperties = worker->connection.nproperties;
	config.group_id = worker->row->group_id;
	config.group_instance_id = instance_of(worker, number);
	config.client_id = psprintf("djkafka-%s-%d", worker->row->name, number);
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
misfit(DjkMember *worker, const DjkGroupView *view, int number)
{
	if (number > worker->row->workers)
		return worker->args.worker == 1 && !is_alive(worker, number) ? "there are fewer workers now" : NULL;
	return number == worker->args.worker ? djk_coverage_difference(worker, view) : NULL;
}

bool
djk_group_clear(DjkMember *worker, const DjkGroupView *view)
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
		leave_as(worker, ghosts[i], worker->kafka, numbers[i]);
	for (int i = 0; i < n; i++)
		djk_consumer_destroy(ghosts[i], CLOSE_MS);
	return n > 0;
}
