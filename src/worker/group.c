/*-------------------------------------------------------------------------
 *
 * group.c
 *	  Who is in a consumer worker's group.
 *
 * Workers are static members, named after their home and their number.  The
 * brokers' answer tells a member's id alone: the broker made it of that name,
 * or of the client's name for a dynamic member, and a random tail.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/group.h"

#include "utils/builtins.h"
#include "utils/uuid.h"

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

char *
djk_group_instance(DjkMember *worker)
{
	return worker->connection.embedded ? NULL : psprintf("%s%d", instance_prefix(worker), worker->args.worker);
}

static bool
begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
djk_group_holds(DjkMember *worker, int timeout_ms)
{
	char	   *instance = djk_group_instance(worker);
	DjkGroupMember *members;
	int			nmembers;
	DjkError	error = {0};

	if (instance == NULL ||
		!djk_consumer_group_members(worker->kafka, worker->row->group_id, &members, &nmembers,
									timeout_ms, &error))
		return false;
	for (int i = 0; i < nmembers; i++)
	{
		if (begins_with(members[i].member_id, psprintf("%s-", instance)))
			return true;
	}
	return false;
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
djk_group_foreign_member(DjkMember *worker, int timeout_ms, bool *answered)
{
	DjkGroupMember *members;
	int			nmembers;
	DjkError	error = {0};

	*answered = djk_consumer_group_members(worker->kafka, worker->row->group_id, &members, &nmembers,
										   timeout_ms, &error);
	for (int i = 0; *answered && i < nmembers; i++)
	{
		if (!is_ours(worker, &members[i]))
			return psprintf("client \"%s\" at %s", members[i].client_id ? members[i].client_id : "",
							members[i].host ? members[i].host : "an unknown host");
	}
	return NULL;
}
