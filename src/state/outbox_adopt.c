/*-------------------------------------------------------------------------
 *
 * outbox_adopt.c
 *	  The outbox that came with a copy of another database.
 *
 * Its rows are a position in numbers of transactions, and messages with such
 * numbers.  They agree with each other, so they tell what the original had not
 * sent; with those that this server gives out they may have nothing to do.  So
 * nothing of them stays: what is to be sent is written again.
 *
 *-------------------------------------------------------------------------
 */
#include "state/outbox_internal.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"

/* What waits.  While its batch is not confirmed, a message may have been refused and wait. */
#define FOREIGN_MESSAGES \
	" FROM @.djkafka_outbox o JOIN @.djkafka_outbox_server s ON s.server IS NOT DISTINCT FROM o.server" \
	" JOIN @.djkafka_home h ON h.home <> s.home" \
	" WHERE NOT EXISTS (SELECT FROM @.djkafka_outbox_dead d WHERE d.id = o.id)"

DjkOutboxForeign *
djk_outbox_list_foreign(int *count)
{
	static DjkStatement select_foreign = {
		.sql = "SELECT s.server, s.enabled FROM @.djkafka_outbox_server s JOIN @.djkafka_home h ON h.home <> s.home"
		" ORDER BY s.id"
	};
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkOutboxForeign *list;

	djk_catalog_enter(&identity);
	*count = (int) djk_catalog_execute(&select_foreign, NULL, NULL);
	list = MemoryContextAlloc(context, Max(*count, 1) * sizeof(DjkOutboxForeign));
	for (int i = 0; i < *count; i++)
	{
		list[i].server = djk_row_text(i, 1, context);
		list[i].enabled = djk_row_bool(i, 2);
	}
	djk_catalog_leave(&identity);
	return list;
}

/*
 * A worker moves messages before it stores where it stands: so the tables that
 * it moves them to are locked before the row of its server is touched.
 */
void
djk_outbox_lock_messages(void)
{
	djk_outbox_lock_out_writers();
	LockRelationOid(djk_catalog_table("djkafka_outbox_held"), ShareRowExclusiveLock);
	LockRelationOid(djk_catalog_table("djkafka_outbox_dead"), ShareRowExclusiveLock);
}

int64
djk_outbox_count_foreign(void)
{
	static DjkStatement count_messages = {
		.sql = "SELECT count(DISTINCT o.id)" FOREIGN_MESSAGES
	};
	DjkIdentity identity;
	int64		count;

	djk_catalog_enter(&identity);
	(void) djk_catalog_execute(&count_messages, NULL, NULL);
	count = djk_row_int64(0, 1, 0);
	djk_catalog_leave(&identity);
	return count;
}

/* What is deleted after this is still read: it is as of now. */
Portal
djk_outbox_open_foreign(bool copied)
{
	static DjkStatement select_messages = {
		.sql = "SELECT " MESSAGE_COLUMNS " FROM (SELECT DISTINCT ON (o.id) o.*" FOREIGN_MESSAGES
		"  AND ($1 OR o.id > s.copied_id) ORDER BY o.id) m ORDER BY id",
		.nargs = 1,
		.argtypes = {BOOLOID}
	};
	Datum		value = BoolGetDatum(copied);
	DjkIdentity identity;
	Portal		portal;

	djk_catalog_enter(&identity);
	portal = djk_catalog_open(&select_messages, &value, NULL);
	djk_catalog_leave(&identity);
	return portal;
}

int
djk_outbox_fetch_foreign(Portal portal, DjkOutboxMessage *messages, int max)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	int			count;

	djk_catalog_enter(&identity);
	SPI_cursor_fetch(portal, true, max);
	count = (int) SPI_processed;
	for (int i = 0; i < count; i++)
		djk_outbox_copy_message(i, context, &messages[i]);
	SPI_freetuptable(SPI_tuptable);
	if (count == 0)
		SPI_cursor_close(portal);
	djk_catalog_leave(&identity);
	return count;
}

int64
djk_outbox_clear(const char *server, bool with_dead)
{
	static DjkStatement delete_held = {
		.sql = "DELETE FROM @.djkafka_outbox_held WHERE server IS NOT DISTINCT FROM $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static DjkStatement delete_dead = {
		.sql = "DELETE FROM @.djkafka_outbox_dead WHERE server IS NOT DISTINCT FROM $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	char		null[2] = " ";
	Datum		value;
	DjkIdentity identity;
	int64		dead = 0;

	djk_outbox_remove_sent(server);
	djk_catalog_enter(&identity);
	value = djk_text_datum(server, &null[0]);
	(void) djk_catalog_execute(&delete_held, &value, null);
	if (with_dead)
		dead = (int64) djk_catalog_execute(&delete_dead, &value, null);
	djk_catalog_leave(&identity);
	djk_outbox_remove_server(server);
	return dead;
}

void
djk_outbox_enable(const char *server, bool enabled)
{
	static DjkStatement update_enabled = {
		.sql = "UPDATE @.djkafka_outbox_server SET enabled = $2 WHERE server IS NOT DISTINCT FROM $1 AND enabled <> $2",
		.nargs = 2,
		.argtypes = {TEXTOID, BOOLOID}
	};
	char		nulls[] = "  ";
	Datum		values[2];
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	values[0] = djk_text_datum(server, &nulls[0]);
	values[1] = BoolGetDatum(enabled);
	(void) djk_catalog_execute(&update_enabled, values, nulls);
	djk_catalog_leave(&identity);
}
