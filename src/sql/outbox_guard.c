/*-------------------------------------------------------------------------
 *
 * outbox_guard.c
 *	  Who may write into the outbox's tables with SQL: only who restores a dump.
 *
 * djkafka_produce checks what the tables cannot, above all the right to use the
 * server, and writes without triggers.  So whatever comes here was not
 * produced.  A dump brings the outbox of another home, and then no server that
 * it names belongs to this one yet; nothing of it is sent.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "sql/row.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/outbox.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(djkafka_outbox_guard);

static bool
is_own_server(const char *server)
{
	DjkIdentity identity;
	bool		own;

	djk_catalog_enter(&identity);
	own = djk_outbox_is_own_server(server);
	djk_catalog_leave(&identity);
	return own;
}

static bool
is_own_home(const DjkTriggerRow *row)
{
	DjkIdentity identity;
	DjkHome		home;
	bool		isnull;
	Datum		value = djk_trigger_row_get(row, "home", &isnull);

	djk_catalog_enter(&identity);
	djk_home_load(&home);
	djk_catalog_leave(&identity);
	return !isnull && memcmp(DatumGetUUIDP(value), &home.id, sizeof(home.id)) == 0;
}

Datum
djkafka_outbox_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	DjkTriggerRow row;
	char	   *server;
	bool		own;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_outbox_guard must be called as a trigger");
	row = djk_trigger_row(trigdata, "message");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	server = djk_trigger_row_text(&row, "server");
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
