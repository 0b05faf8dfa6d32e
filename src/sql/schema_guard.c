/*-------------------------------------------------------------------------
 *
 * schema_guard.c
 *	  The event trigger that keeps the name of djkafka's schema.
 *
 * Statements on djkafka's tables name them, and run as their owner, who is a
 * superuser.  Whoever owns the schema could give its name to another one, with
 * tables and triggers of their own, just when a statement is planned.  DROP
 * EXTENSION is held up by the lock that catalog.c takes; nothing is locked by
 * ALTER SCHEMA.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "catalog/namespace.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "state/catalog.h"

PG_FUNCTION_INFO_V1(djkafka_schema_renamed);

Datum
djkafka_schema_renamed(PG_FUNCTION_ARGS)
{
	RenameStmt *statement;
	Oid			extension;
	Oid			schema;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_schema_renamed must be called as an event trigger");
	statement = (RenameStmt *) ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!IsA(statement, RenameStmt) || statement->renameType != OBJECT_SCHEMA || superuser() ||
		!djk_catalog_find(&extension, &schema) || get_namespace_oid(statement->newname, true) != schema)
		PG_RETURN_NULL();
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to rename schema \"%s\"", statement->subname),
			 errdetail("It is the schema of extension %s, whose statements find their tables by its name.", DJK_EXTENSION_NAME),
			 errhint("Let a superuser rename it.")));
}
