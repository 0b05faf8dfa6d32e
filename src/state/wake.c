/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  Waking the workers when a transaction commits.
 *
 * A flag is set by whatever changes the catalog and acted on by a callback at
 * the end of the transaction, so one of many changes wakes once, and one that
 * rolls back not at all.  A prepared transaction has forgotten its flag by the
 * time it commits: COMMIT PREPARED wakes always.
 *
 *-------------------------------------------------------------------------
 */
#include "state/wake.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "state/awaited.h"
#include "state/outbox.h"
#include "state/shmem.h"
#include "state/waiters.h"
#include "tcop/utility.h"

static bool wake_wanted = false;
static bool wake_outbox_wanted = false;

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

void
djk_wake_at_commit(void)
{
	wake_wanted = true;
}

void
djk_wake_outbox_at_commit(void)
{
	wake_outbox_wanted = true;
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (wake_wanted)
			{
				djk_wake_database(MyDatabaseId);
				djk_waiters_wake_all();
			}
			if (wake_outbox_wanted)
				djk_wake_outbox(MyDatabaseId);
			/* FALLTHROUGH */
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_wanted = false;
			wake_outbox_wanted = false;
			djk_outbox_end_transaction();
			break;
		default:
			break;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	bool		commits = IsA(pstmt->utilityStmt, TransactionStmt) &&
		((TransactionStmt *) pstmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;

	djk_awaited_note_utility(pstmt->utilityStmt);
	if (prev_process_utility)
		prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (commits)
	{
		djk_wake_database(MyDatabaseId);
		djk_waiters_wake_all();
		djk_awaited_ring_all();
	}
}

static void
access_object(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (access == OAT_DROP && classId == ExtensionRelationId &&
		objectId == get_extension_oid(DJK_EXTENSION_NAME, true))
		djk_wake_at_commit();
}

void
djk_wake_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = access_object;
}
