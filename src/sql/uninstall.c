/*-------------------------------------------------------------------------
 *
 * uninstall.c
 *	  DROP EXTENSION takes nothing along that is still of use, unless it is told to.
 *
 * What is in djkafka's tables belongs to all applications of the database: their
 * consumers with the offsets, their publications, messages that wait for Kafka or
 * that could not be applied.  A migration of one of them that is undone would take
 * all of it.  So an event trigger refuses whatever drops the extension while there
 * is something; djkafka_uninstall() is how a person says that it may go.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "base/compat.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "state/catalog.h"
#include "state/spi.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(djkafka_uninstall);
PG_FUNCTION_INFO_V1(djkafka_drop_guard);

/* djkafka_uninstall() is dropping it. */
static bool uninstalling = false;

/* ---------- what is dropped ---------- */

static bool
names_one(List *names, const char *wanted)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		Node	   *name = lfirst(lc);

		if (IsA(name, String) && strcmp(strVal(name), wanted) == 0)
			return true;
	}
	return false;
}

/* As the extension depends on its schema, it goes with it; without CASCADE neither does. */
static bool
drops_with_schema(const DropStmt *drop, Oid schema)
{
	const char *name = get_namespace_name(schema);

	return drop->behavior == DROP_CASCADE && name != NULL && names_one(drop->objects, name) &&
		has_privs_of_role(GetUserId(), djk_schema_owner(schema));
}

static bool
drops_owned(const DropOwnedStmt *drop, Oid extension_owner, Oid schema_owner)
{
	ListCell   *lc;

	foreach(lc, drop->roles)
	{
		Oid			role = get_rolespec_oid(lfirst_node(RoleSpec, lc), true);

		if ((role == extension_owner || (role == schema_owner && drop->behavior == DROP_CASCADE)) &&
			has_privs_of_role(GetUserId(), role))
			return true;
	}
	return false;
}

/*
 * Whether the statement would take the extension along.  What its role may not
 * drop is refused by PostgreSQL, and holds up nobody here.
 */
static bool
drops_extension(Node *statement, Oid extension_owner, Oid schema)
{
	if (IsA(statement, DropOwnedStmt))
		return drops_owned((DropOwnedStmt *) statement, extension_owner, djk_schema_owner(schema));
	if (!IsA(statement, DropStmt))
		return false;
	if (((DropStmt *) statement)->removeType == OBJECT_SCHEMA)
		return drops_with_schema((DropStmt *) statement, schema);
	return ((DropStmt *) statement)->removeType == OBJECT_EXTENSION &&
		names_one(((DropStmt *) statement)->objects, DJK_EXTENSION_NAME) &&
		has_privs_of_role(GetUserId(), extension_owner);
}

/* ---------- what is of use ---------- */

#define COUNTED(table, one, many) \
	" (SELECT CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN '1 " one "' ELSE count(*) || ' " many "' END FROM @." table ")"

/* As text; NULL: nothing. */
static char *
find_contents(void)
{
	static DjkStatement select_contents = {
		.sql = "SELECT nullif(concat_ws(', ',"
		COUNTED("djkafka_consumer", "consumer", "consumers") ","
		COUNTED("djkafka_publication", "publication", "publications") ","
		" (SELECT 'messages that were not sent' WHERE EXISTS (SELECT FROM @.djkafka_outbox)),"
		COUNTED("djkafka_outbox_dead", "message that Kafka refused", "messages that Kafka refused") ","
		COUNTED("djkafka_dead_letter", "dead letter", "dead letters") "), '')"
	};

	return djk_catalog_text_latest(&select_contents, NULL, NULL);
}

/*
 * Whoever has open what would be lost is waited for, and nobody can add to it:
 * all of them hold the table that DROP EXTENSION would wait for too.
 */
static bool
lock_extension(Oid extension, Oid schema)
{
	Oid			now;
	Oid			schema_now;

	LockRelationOid(get_relname_relid("djkafka_home", schema), AccessExclusiveLock);
	/* Somebody else may have dropped it meanwhile. */
	return djk_catalog_find(&now, &schema_now) && now == extension;
}

static void
require_empty(void)
{
	char	   *contents = find_contents();

	if (contents == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("extension \"%s\" is in use", DJK_EXTENSION_NAME),
			 errdetail("All applications of this database would lose what it holds: %s.", contents),
			 errhint("To end one subscription or publication use djkafka_unsubscribe or djkafka_unpublish; SELECT djkafka_uninstall() drops the extension with all of it.")));
}

Datum
djkafka_drop_guard(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigdata = (EventTriggerData *) fcinfo->context;
	Oid			extension;
	Oid			schema;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_drop_guard must be called as an event trigger");
	if (!uninstalling && djk_catalog_find(&extension, &schema) &&
		drops_extension(trigdata->parsetree, djk_catalog_extension_owner(extension), schema) &&
		lock_extension(extension, schema))
		require_empty();
	PG_RETURN_NULL();
}

/* ---------- all of it ---------- */

/* As the caller, who has to own the extension. */
static void
drop_extension(const char *sql)
{
	uninstalling = true;
	PG_TRY();
	{
		djk_spi_connect();
		if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not execute \"%s\"", sql);
		SPI_finish();
	}
	PG_FINALLY();
	{
		uninstalling = false;
	}
	PG_END_TRY();
}

Datum
djkafka_uninstall(PG_FUNCTION_ARGS)
{
	bool		cascade = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);

	drop_extension(cascade ? "DROP EXTENSION " DJK_EXTENSION_NAME " CASCADE" : "DROP EXTENSION " DJK_EXTENSION_NAME);
	PG_RETURN_VOID();
}
