/*-------------------------------------------------------------------------
 *
 * vacate.c
 *	  Leaving databases that are about to be dropped, renamed, moved or cloned.
 *
 * These commands want a database without sessions, and workers are sessions.
 * So whoever runs one that he may run bars the database to djkafka's processes
 * and ends those that are there, before the command looks.  When its transaction
 * is over, however it went, the bar is lifted, and the launcher starts again what
 * is still wanted.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/vacate.h"

#include "base/djk.h"

#include <signal.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "state/bar.h"
#include "state/shmem.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* An outbox takes the first signal for a wish, and ends with its batch; see outbox/leave.c. */
#define SIGNAL_EVERY_US		INT64CONST(250000)

/* What is there then has the 5 s that the command itself waits. */
#define PATIENCE_US			INT64CONST(3000000)
#define LOOK_EVERY_MS		5

#define DEFAULT_TEMPLATE	"template1"

static ProcessUtility_hook_type prev_process_utility = NULL;

/* By this transaction. */
static bool bars_placed = false;

/* ---------- which database ---------- */

/* The option's value; NULL: it is not given, or DEFAULT. */
static char *
option_value(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0)
			return option->arg != NULL ? defGetString(option) : NULL;
	}
	return NULL;
}

/* The database that a command wants to be empty; NULL: none. */
static const char *
wanted_empty(Node *command)
{
	char	   *template;

	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE ? ((RenameStmt *) command)->subname : NULL;
		case T_AlterDatabaseStmt:
			return option_value(((AlterDatabaseStmt *) command)->options, "tablespace") != NULL
				? ((AlterDatabaseStmt *) command)->dbname : NULL;
		case T_CreatedbStmt:
			template = option_value(((CreatedbStmt *) command)->options, "template");
			return template != NULL ? template : DEFAULT_TEMPLATE;
		default:
			return NULL;
	}
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may = superuser() ||
		(HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		found = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return found;
}

/* Nobody's workers are ended by a command that will be refused to him. */
static bool
may_run(Node *command, Oid database)
{
	bool		owns = djk_ownercheck_database(database, GetUserId());

	switch (nodeTag(command))
	{
		case T_CreatedbStmt:
			return may_create_databases() && (owns || is_template(database));
		case T_RenameStmt:
			return owns && may_create_databases();
		default:
			return owns;
	}
}

/* Of the commands that have to stand alone, those that do not are refused. */
static bool
may_stand_here(Node *command, ProcessUtilityContext context)
{
	return IsA(command, RenameStmt) || !IsInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL);
}

/* The database to leave; InvalidOid: none. */
static Oid
database_to_leave(Node *command, ProcessUtilityContext context)
{
	const char *name = wanted_empty(command);
	Oid			database;

	if (name == NULL || !may_stand_here(command, context))
		return InvalidOid;
	database = get_database_oid(name, true);
	if (!OidIsValid(database) || database == MyDatabaseId || !may_run(command, database))
		return InvalidOid;
	return database;
}

/* ---------- leaving it ---------- */

/* Returns how many of djkafka's processes are in the database. */
static int
count_processes(Oid database, bool end_them)
{
	int			count;
	int			running = 0;
	DjkSlotStatus *slots = djk_slot_list(database, &count);

	for (int i = 0; i < count; i++)
	{
		if (slots[i].pid == 0)
			continue;
		running++;
		if (end_them && kill(slots[i].pid, SIGTERM) != 0)
			ereport(DEBUG1, (errmsg("could not signal process %d: %m", slots[i].pid)));
	}
	pfree(slots);
	return running;
}

static void
end_processes(Oid database)
{
	static uint32 event = 0;
	TimestampTz began = djk_clock_now();
	TimestampTz signalled = 0;

	if (event == 0)
		event = djk_wait_event_new("DjkafkaVacate");
	for (;;)
	{
		TimestampTz now = djk_clock_now();
		bool		due = now - signalled >= SIGNAL_EVERY_US;

		if (count_processes(database, due) == 0 || now - began >= PATIENCE_US)
			return;
		if (due)
			signalled = now;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_EVERY_MS, event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The list goes by names, and who renames may not have seen that. */
static void
tell_renamed(Node *command)
{
	RenameStmt *rename = (RenameStmt *) command;

	if (IsA(command, RenameStmt) && djk_settings_list_database(rename->subname) &&
		!djk_settings_list_database(rename->newname))
		ereport(WARNING,
				(errmsg("djkafka does not run in database \"%s\"", rename->newname),
				 errdetail("djkafka.databases has its old name \"%s\".", rename->subname),
				 errhint("Change the name in djkafka.databases, with ALTER SYSTEM or in postgresql.conf, and reload.")));
}

/* ---------- the hook ---------- */

static void
lift_all(int code, Datum arg)
{
	bars_placed = false;
	if (djk_bar_lift(InvalidOid))
		djk_wake_database(InvalidOid);
}

/* The launcher has to see what the command did: so not before its transaction is over. */
static void
end_transaction(XactEvent event, void *arg)
{
	if ((event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) &&
		bars_placed)
		lift_all(0, (Datum) 0);
}

static bool
place_bar(Oid database)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		before_shmem_exit(lift_all, (Datum) 0);
		registered = true;
	}
	bars_placed = true;
	return djk_bar_place(database);
}

static void
run_command(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *command = pstmt->utilityStmt;
	Oid			database = database_to_leave(command, context);

	if (!OidIsValid(database) || !place_bar(database))
	{
		run_command(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	end_processes(database);
	run_command(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	tell_renamed(command);
}

void
djk_vacate_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
