/*-------------------------------------------------------------------------
 *
 * outbox_guard.c
 *	  Who may write into the outbox's tables with SQL: only who restores a dump.
 *
 * djkafka_produce checks what the tables cannot, above all the right to use the
 * server, and writes without triggers.  So whatever comes here was not
 * produced; nor was it refused by Kafka, and whoever sends what was refused again
 * would lend their rights to it.  A dump brings the outbox of another home, and
 * then no server that it names belongs to this one yet; nothing of it is sent.
 * One that is to belong to it waits until the dump is in.
 *
 * Nor may a server's row be deleted while messages wait for it, those of open
 * transactions included: the position of the row that the next message makes is
 * behind them, and they would never be sent.  What is held would be, but no
 * sooner than there is such a message.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "state/row.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/outbox.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(djkafka_outbox_guard);
PG_FUNCTION_INFO_V1(djkafka_outbox_server_guard);

static bool
is_own_server(const char *server)
{
	DjkIdentity identity;
	bool		own;

	djk_catalog_enter(&identity);
	djk_outbox_lock_name(server, ShareLock);
	own = djk_outbox_is_own_server(server);
	djk_catalog_leave(&identity);
	return own;
}

static bool
is_own_home(const DjkCatalogRow *row)
{
	DjkIdentity identity;
	DjkHome		home;
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, "home", &isnull);

	djk_catalog_enter(&identity);
	djk_home_load(&home);
	djk_catalog_leave(&identity);
	return !isnull && memcmp(DatumGetUUIDP(value), &home.id, sizeof(home.id)) == 0;
}

Datum
djkafka_outbox_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkCatalogRow row;
	char	   *server;
	bool		own;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_outbox_guard must be called as a trigger");
	row = djk_catalog_row_new(trigdata, "message");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	server = djk_catalog_row_text(&row, "server");
	own = SPI_fnumber(row.desc, "home") > 0 ? is_own_home(&row) : is_own_server(server);
	if (own)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the outbox is written by djkafka_produce only"),
				 errhint("Use djkafka_produce(topic, value, key).")));
	/* What is not there cannot be used. */
	if (server == NULL || GetForeignServerByName(server, true) != NULL)
		djk_connection_require_usage(server, GetUserId());
	return PointerGetDatum(row.tuple);
}

static void
require_sent(const char *server)
{
	if (!djk_outbox_has_unsent(server))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the outbox has messages for %s that were not sent",
					server ? quote_identifier(server) : "the settings' server"),
			 errdetail("Without its row in djkafka_outbox_server they never would be."),
			 errhint("Wait until they are sent, or delete them from djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2 and djkafka_outbox_held first.")));
}

/* Before a statement that deletes, then before each row; TRUNCATE would leave out the rows. */
Datum
djkafka_outbox_server_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkCatalogRow row;
	char	   *server;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_outbox_server_guard must be called as a trigger");
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be truncated", RelationGetRelationName(trigdata->tg_relation)),
				 errhint("Use DELETE, which sees whether messages wait for a server.")));
	if (TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
	{
		/* With a server that is dropped none can be written. */
		if (!djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
			djk_outbox_lock_out_writers();
		return PointerGetDatum(NULL);
	}
	row = djk_catalog_row_new(trigdata, "server");
	server = djk_catalog_row_text(&row, "server");
	require_sent(server);
	/* What lies in tables that were not truncated yet goes with the row. */
	djk_outbox_remove_sent(server);
	return PointerGetDatum(row.tuple);
}
