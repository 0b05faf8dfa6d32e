/*-------------------------------------------------------------------------
 *
 * slot_name.c
 *	  The words of SQL for states and kinds of processes.
 *
 *-------------------------------------------------------------------------
 */
#include "state/shmem.h"

static const char *const state_names[] = {
	"starting", "running", "waiting_for_topic", "backoff", "unreachable", "broken",
	"foreign_member", "no_worker_slot", "stopped", "needs_decision",
	"waiting_for_lock", "unassigned", "unseen", "registry_unreachable"
};

static const char *const kind_names[] = {
	"launcher", "supervisor", "consumer", "embedded_broker", "outbox"
};

const char *
djk_state_name(DjkState state)
{
	Assert(state < lengthof(state_names));
	return state_names[state];
}

const char *
djk_kind_name(DjkWorkerKind kind)
{
	Assert(kind < lengthof(kind_names));
	return kind_names[kind];
}
