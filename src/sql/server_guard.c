/*-------------------------------------------------------------------------
 *
 * server_guard.c
 *	  The event trigger that keeps the servers that something here names.
 *
 * Consumers, publications and the messages of the outbox name their server,
 * and a name is free again once its server is dropped or renamed.  Whoever may
 * create servers could then have what waits sent to a broker of their own, or
 * have their own messages written into the tables of a consumer's owner.  So a
 * server keeps its name as long as it is in use.  Its owner may say otherwise
 * where it leads to, as ever.
 *
 * The row of djkafka_outbox_server goes with its server: it would hold the
 * position in a stranger's cluster.  So does what its schema registry has said.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "state/catalog.h"
#include "state/outbox.h"
#include "state/schema.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(djkafka_server_guard);

/* Of another home, too: it may be adopted. */
#define OF_SERVER	" WHERE u.server = $1 LIMIT 1"

static void
require_no_user(const char *server)
{
	static DjkStatement select_consumer = {
		.sql = "SELECT pg_catalog.format('consumer \"%s\"', u.name) FROM @.djkafka_consumer u" OF_SERVER,
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static DjkStatement select_publication = {
		.sql = "SELECT pg_catalog.format('the publication of %s to topic \"%s\"', u.relation, u.topic)"
		" FROM @.djkafka_publication u" OF_SERVER,
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(server);
	char	   *user = djk_catalog_text_latest(&select_consumer, &value, NULL);

	if (user == NULL)
		user = djk_catalog_text_latest(&select_publication, &value, NULL);
	if (user != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("server \"%s\" is used by %s", server, user),
				 errdetail("The next server of that name might be anybody's."),
				 errhint("Use ALTER SERVER ... OPTIONS to connect elsewhere, or let djkafka_consumer and djkafka_publication name another server first.")));
}

static bool
has_dead(const char *server)
{
	static DjkStatement select_dead = {
		.sql = "SELECT FROM @.djkafka_outbox_dead WHERE server = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(server);

	return djk_catalog_has_latest(&select_dead, &value, NULL);
}

static void
require_no_messages(const char *server)
{
	if (djk_outbox_has_unsent(server))
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("the outbox has messages for server \"%s\" that were not sent", server),
				 errdetail("They would go to the next server of that name, which might be anybody's."),
				 errhint("Wait until they are sent; use ALTER SERVER ... OPTIONS to send them elsewhere. Or let a superuser delete them from djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2 and djkafka_outbox_held first.")));
	if (has_dead(server))
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("djkafka_outbox_dead has messages for server \"%s\"", server),
				 errdetail("Sent again, they would go to the next server of that name, which might be anybody's."),
				 errhint("Decide with djkafka_outbox_resend or djkafka_outbox_discard.")));
}

/*
 * Whoever has produced for the server in an open transaction was waited for by
 * DROP and ALTER, which lock it; here it is one who restores a message.
 */
static void
remove_outbox(const char *server)
{
	DjkIdentity identity;
	bool		exists;

	djk_catalog_enter(&identity);
	djk_outbox_lock_name(server, ExclusiveLock);
	exists = djk_outbox_has_row(server);
	djk_catalog_leave(&identity);
	if (!exists)
		return;
	require_no_messages(server);
	djk_outbox_remove_server(server);
}

static void
require_unused(const char *server)
{
	require_no_user(server);
	remove_outbox(server);
	djk_schema_remove_server(server);
}

static void
require_dropped_unused(void)
{
	static DjkStatement select_dropped = {
		.sql = "SELECT address_names[1] FROM pg_catalog.pg_event_trigger_dropped_objects()"
		" WHERE classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass"
	};
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	char	  **servers;
	int			n;

	djk_catalog_enter(&identity);
	n = (int) djk_catalog_execute(&select_dropped, NULL, NULL);
	servers = MemoryContextAlloc(context, (n + 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		servers[i] = djk_row_text(i, 1, context);
	djk_catalog_leave(&identity);
	for (int i = 0; i < n; i++)
		require_unused(servers[i]);
}

Datum
djkafka_server_guard(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigdata = (EventTriggerData *) fcinfo->context;
	RenameStmt *statement;
	Oid			extension;
	Oid			schema;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_server_guard must be called as an event trigger");
	if (!djk_catalog_find(&extension, &schema) || !OidIsValid(djk_catalog_table("djkafka_outbox_server")))
		PG_RETURN_NULL();
	statement = (RenameStmt *) trigdata->parsetree;
	if (strcmp(trigdata->event, "sql_drop") == 0)
		require_dropped_unused();
	else if (IsA(statement, RenameStmt) && statement->renameType == OBJECT_FOREIGN_SERVER)
		require_unused(strVal(statement->object));
	PG_RETURN_NULL();
}
