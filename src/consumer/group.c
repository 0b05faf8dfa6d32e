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
 * the group for good.  One that crashed could not: ghosts.c.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/group.h"

#include "base/clock.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define LEAVE_MS			5000
#define LEAVE_POLL_MS		20
#define HOLDS_SLICE_MS		1000

/*
 * A group belongs to one consumer of its home, so the consumer's id need not be
 * part of its members' names: one that is dropped and made again takes over
 * what its predecessor held, not after its session has ended.
 */
static char *
instance_prefix(DjkConsumerWorker *worker)
{
	return psprintf("djkafka-%s-", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&worker->home.id))));
}

char *
djk_group_instance_of(DjkConsumerWorker *worker, int number)
{
	return psprintf("%s%d", instance_prefix(worker), number);
}

char *
djk_group_instance(DjkConsumerWorker *worker)
{
	return worker->connection.embedded ? NULL : djk_group_instance_of(worker, worker->args.worker);
}

static bool
begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

int
djk_group_number(DjkConsumerWorker *worker, const DjkGroupMember *member)
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
holds(DjkConsumerWorker *worker, DjkConsumer *kafka, int number, int timeout_ms)
{
	DjkGroupView *view = djk_consumer_look(kafka, worker->row->kafka_group, NULL, 0, timeout_ms);
	bool		found = !view->answered;

	for (int i = 0; i < view->nmembers && !found; i++)
		found = djk_group_number(worker, &view->members[i]) == number;
	return found;
}

/*
 * As long as the group counts a static member its partitions go to nobody else;
 * and the library would end before its goodbye has been sent.
 */
void
djk_group_leave_as(DjkConsumerWorker *worker, DjkConsumer *kafka, DjkConsumer *asker, int number)
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
djk_group_leave(DjkConsumerWorker *worker)
{
	djk_group_leave_as(worker, worker->kafka, worker->kafka, worker->args.worker);
}

/* Brokers that know no static members see ours as dynamic ones. */
static bool
is_ours(DjkConsumerWorker *worker, const DjkGroupMember *member)
{
	const char *client = member->client_id ? member->client_id : "";

	if (begins_with(member->member_id, instance_prefix(worker)))
		return true;
	return begins_with(member->member_id, psprintf("%s-", client)) &&
		begins_with(client, psprintf("djkafka-%s-", worker->row->name));
}

char *
djk_group_foreign_member(DjkConsumerWorker *worker, const DjkGroupView *view)
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

const char *
djk_group_strategies(const char *assignment)
{
	if (strcmp(assignment, "range") == 0)
		return "range,roundrobin";
	if (strcmp(assignment, "roundrobin") == 0)
		return "roundrobin,range";
	return assignment;
}
