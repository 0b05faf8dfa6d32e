/*-------------------------------------------------------------------------
 *
 * member.c
 *	  A consumer worker as a member of its group: what is shown of it.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/member.h"

void
djk_member_set_state(DjkConsumerWorker *worker, DjkState state, const char *reason, const char *hint)
{
	djk_worker_set_state(state, reason, hint, worker->row->id, worker->row->name);
}

void
djk_member_set_running(DjkConsumerWorker *worker)
{
	if (worker->coverage.covered && worker->retry_at == 0 && worker->positions->trouble == NULL && !worker->proving)
	{
		worker->unreachable = false;
		if (worker->registry_trouble[0] == '\0')
			djk_member_set_state(worker, DJK_STATE_RUNNING, NULL, NULL);
		else
			djk_member_set_state(worker, DJK_STATE_REGISTRY_UNREACHABLE, worker->registry_trouble, worker->registry_hint);
	}
}

void
djk_member_note_success(DjkConsumerWorker *worker)
{
	/* What has failed may not have been in it. */
	if (djk_positions_in_vain(worker->positions))
		return;
	worker->attempt = 0;
	worker->proving = false;
	djk_member_set_running(worker);
}

/* A pattern comes without what follows its first colon. */
void
djk_member_wait_for_topic(DjkConsumerWorker *worker, const char *topic)
{
	const char *pattern = topic;

	if (topic[0] != '^')
	{
		djk_member_set_state(worker, DJK_STATE_WAITING_FOR_TOPIC,
							 psprintf("topic \"%s\" does not exist", topic),
							 "Create it; it is picked up within seconds.");
		return;
	}
	for (int i = 0; i < worker->row->nroutes; i++)
	{
		if (strncmp(worker->row->routes[i].topic, topic, strlen(topic)) == 0)
			pattern = worker->row->routes[i].topic;
	}
	djk_member_set_state(worker, DJK_STATE_WAITING_FOR_TOPIC,
						 psprintf("no topic matches the pattern \"%s\"", pattern),
						 "A topic that matches is picked up within seconds of its creation.");
}
