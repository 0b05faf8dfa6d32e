/*-------------------------------------------------------------------------
 *
 * run_apply.c
 *	  Messages applied in the caller's transaction, by whom it may be.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_apply.h"

#include "apply/work.h"
#include "base/error.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "sql/consumer_owner.h"
#include "sql/run_schema.h"
#include "state/catalog.h"
#include "state/skip.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

/*
 * SET ROLE and SET SESSION AUTHORIZATION are no walls: the owner's code could
 * undo either, so what counts is who logged in.
 */
void
djk_run_require_owner(const DjkConsumerRow *consumer)
{
	Oid			login = OidIsValid(MyProc->roleId) ? MyProc->roleId : BOOTSTRAP_SUPERUSERID;
	bool		is_gain = superuser_arg(login) && !superuser_arg(consumer->owner);
	char	   *owner;

	djk_require_existing_owner(consumer->owner);
	owner = GetUserNameFromId(consumer->owner, false);
	if (consumer->owner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be the owner of consumer \"%s\"", consumer->name),
				 errdetail("Its routes run with the rights of its owner, which are not the caller's."),
				 is_gain ? errhint("Connect as role \"%s\".", owner) : errhint("SET ROLE %s first.", quote_identifier(owner))));
	if (is_gain)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a superuser's session cannot run consumer \"%s\"", consumer->name),
				 errdetail("Code of its owner could RESET ROLE, and so become the superuser that is logged in."),
				 errhint("Connect as role \"%s\".", owner)));
}

/* One that reads from Kafka would be given the very message whose handler calls it, and so on without end. */
static void
require_session(const char *function)
{
	if (!djk_apply_is_running())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("%s cannot read from Kafka while messages are applied", function),
			 errhint("Call it in a session, and not in a handler, a trigger or an expression.")));
}

/* Nobody has checked its options, by which Kafka would be asked with the secrets of its connection. */
static void
require_home(const char *function, const DjkConsumerRow *consumer)
{
	if (!consumer->is_home)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer \"%s\" belongs to another database, of which this one is a copy", consumer->name),
				 errhint("Give it messages with %s(name, messages => ...), or make what came with the copy this database's with djkafka_adopt.", function)));
}

DjkConsumerRow *
djk_run_consumer(const char *function, const char *name, bool reads)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkConsumerRow *consumer;

	PreventCommandIfReadOnly(psprintf("%s()", function));
	if (reads)
		require_session(function);
	djk_catalog_enter(&identity);
	consumer = djk_consumer_row_load_by_name(name, context);
	djk_catalog_leave(&identity);
	if (consumer == NULL)
		djk_consumer_row_throw_missing(name);
	djk_run_require_owner(consumer);
	if (reads)
		require_home(function, consumer);
	return consumer;
}

/* Of Kafka's messages the caller is told how the one that stops it is skipped. */
pg_noreturn static void
throw_stopped(const DjkApply *apply, const DjkBatch *batch, const DjkApplyResult *result)
{
	const DjkMessage *message = &batch->messages[result->decided];
	const DjkBatchPartition *partition = &batch->partitions[message->partition];
	DjkError	error = result->error;

	if (!batch->detached)
		error.hint = psprintf("%s%sFix the cause, or skip this one message: %s",
							  error.hint ? error.hint : "", error.hint ? " " : "",
							  djk_skip_command(apply->consumer->name, partition->topic, partition->partition, message->offset));
	djk_error_throw(&error);
}

void
djk_run_apply(DjkApply *apply, DjkBatch *batch, DjkApplyResult *total)
{
	DjkBatch	rest = *batch;
	DjkApplyResult result;

	for (;;)
	{
		djk_apply_inside(apply, &rest, &result);
		djk_apply_add_counts(total, &result);
		if (result.status != DJK_APPLY_NO_SCHEMA)
			break;
		djk_run_fetch_schema(apply, result.schema);
		rest.messages += result.decided;
		rest.nmessages -= result.decided;
	}
	if (result.status == DJK_APPLY_STOPPED)
		throw_stopped(apply, &rest, &result);
}
