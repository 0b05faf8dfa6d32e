/*-------------------------------------------------------------------------
 *
 * adopt.c
 *	  djkafka_adopt(): a copy of a database becomes one of its own.
 *
 * What belongs to another home is made this one's, and then written once more
 * by whoever calls, with nothing changed: so the triggers check it as if it
 * were new, and ask for the same rights.  If anything is refused, all is.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/adopt_outbox.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/event.h"
#include "state/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(djkafka_adopt);

/* Of which somebody else might write one while the home changes. */
static const char *const tables[] = {"djkafka_consumer", "djkafka_route", "djkafka_publication"};

/* A row that belongs to another home. */
typedef struct Foreign
{
	int64		id;
	char	   *name;
	char	   *home;
} Foreign;

static Datum
home_datum(const DjkAdoption *adoption)
{
	return UUIDPGetDatum(&adoption->home.id);
}

/* ---------- the home ---------- */

static bool
has_foreign(void)
{
	static DjkStatement select_foreign = {
		.sql = "SELECT FROM @.djkafka_home h"
		" WHERE EXISTS (SELECT FROM @.djkafka_consumer c WHERE c.home <> h.home)"
		" OR EXISTS (SELECT FROM @.djkafka_publication p WHERE p.home <> h.home)"
		" OR EXISTS (SELECT FROM @.djkafka_outbox_server s WHERE s.home <> h.home)"
	};

	return djk_catalog_execute(&select_foreign, NULL, NULL) > 0;
}

/* A dump brings no home, so what is here is this database's; a clone has its original's. */
static void
find_home(DjkAdoption *adoption)
{
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	for (int i = 0; i < lengthof(tables); i++)
		LockRelationOid(djk_catalog_table(tables[i]), ShareRowExclusiveLock);
	djk_home_load(&adoption->home);
	if (adoption->home.is_clone || adoption->new_home)
	{
		djk_home_renew();
		djk_home_load(&adoption->home);
	}
	else if (!has_foreign())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is nothing to adopt"),
				 errdetail("All that is here belongs to this database."),
				 errhint("If this server was opened from a backup while the one that it is of goes on, use djkafka_adopt(new_home => true).")));
	djk_catalog_leave(&identity);
}

/* ---------- consumers and publications ---------- */

static void
tell_what(void *arg)
{
	errcontext("adoption of %s", (const char *) arg);
}

/* As whoever calls: an UPDATE of one row by its id, and further arguments. */
static void
write_again(DjkStatement *statement, Datum *values, char *what)
{
	ErrorContextCallback callback = {error_context_stack, tell_what, what};

	error_context_stack = &callback;
	djk_spi_connect();
	(void) djk_catalog_execute(statement, values, NULL);
	SPI_finish();
	error_context_stack = callback.previous;
}

/* Rows of id, name and home as text; in CurrentMemoryContext. */
static Foreign *
list_rows(DjkStatement *statement, Datum *values, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	Foreign    *list;

	djk_catalog_enter(&identity);
	*count = (int) djk_catalog_execute(statement, values, NULL);
	list = MemoryContextAlloc(context, Max(*count, 1) * sizeof(Foreign));
	for (int i = 0; i < *count; i++)
	{
		list[i].id = djk_row_int64(i, 1, 0);
		list[i].name = djk_row_text(i, 2, context);
		list[i].home = djk_row_text(i, 3, context);
	}
	djk_catalog_leave(&identity);
	return list;
}

/*
 * A group id that was made from the home is made from the new one, and another
 * one ends with it: in the original's group a copy would take partitions away.
 */
static void
take_consumer(DjkAdoption *adoption, const Foreign *consumer)
{
	static DjkStatement update_consumer = {
		.sql = "UPDATE @.djkafka_consumer SET home = $2, group_id = CASE"
		" WHEN $3 THEN group_id"
		" WHEN starts_with(group_id, 'djkafka-' || left(home::text, 8) || '-') THEN 'djkafka-' || left($2::text, 8) || substr(group_id, 17)"
		" WHEN right(group_id, 9) = '-' || left(home::text, 8) THEN left(group_id, -8) || left($2::text, 8)"
		" ELSE group_id || '-' || left($2::text, 8) END WHERE id = $1",
		.nargs = 3,
		.argtypes = {INT8OID, UUIDOID, BOOLOID}
	};
	Datum		values[3] = {Int64GetDatum(consumer->id), home_datum(adoption), BoolGetDatum(adoption->keep_groups)};
	DjkEvent	event = {0};
	DjkIdentity identity;

	event.kind = "adopted";
	event.consumer_id = consumer->id;
	event.consumer = consumer->name;
	event.partition = -1;
	event.reason = psprintf("it belonged to home %s", consumer->home);
	djk_catalog_enter(&identity);
	(void) djk_catalog_execute(&update_consumer, values, NULL);
	djk_event_write(&event);
	djk_catalog_leave(&identity);
}

/* What waits goes with the offsets. */
static void
forget_offsets(DjkAdoption *adoption, int64 consumer_id)
{
	static DjkStatement count_parked = {
		.sql = "SELECT count(*) FROM @.djkafka_parked p JOIN @.djkafka_offset o ON o.id = p.offset_id WHERE o.consumer_id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement delete_offsets = {
		.sql = "DELETE FROM @.djkafka_offset WHERE consumer_id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	(void) djk_catalog_execute(&count_parked, values, NULL);
	adoption->parked_deleted += djk_row_int64(0, 1, 0);
	adoption->offsets_deleted += (int64) djk_catalog_execute(&delete_offsets, values, NULL);
	djk_catalog_leave(&identity);
}

static void
check_routes(const Foreign *consumer)
{
	static DjkStatement select_routes = {
		.sql = "SELECT id, topic, NULL FROM @.djkafka_route WHERE consumer_id = $1 ORDER BY route_order, id",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement update_route = {
		.sql = "UPDATE @.djkafka_route SET topic = topic WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(consumer->id);
	int			count;
	Foreign    *routes = list_rows(&select_routes, &value, &count);

	for (int i = 0; i < count; i++)
	{
		value = Int64GetDatum(routes[i].id);
		write_again(&update_route, &value,
					psprintf("route " INT64_FORMAT " (topic \"%s\") of consumer \"%s\"",
							 routes[i].id, routes[i].name, consumer->name));
	}
}

static void
adopt_consumers(DjkAdoption *adoption)
{
	static DjkStatement select_foreign = {
		/* Whoever reads the retries of another one has what that has by then. */
		.sql = "SELECT id, name, home FROM @.djkafka_consumer WHERE home <> $1 ORDER BY retries_of IS NOT NULL, id",
		.nargs = 1,
		.argtypes = {UUIDOID}
	};
	static DjkStatement update_consumer = {
		.sql = "UPDATE @.djkafka_consumer SET enabled = enabled WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = home_datum(adoption);
	int			count;
	Foreign    *consumers = list_rows(&select_foreign, &value, &count);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		take_consumer(adoption, &consumers[i]);
		if (!adoption->keep_offsets)
			forget_offsets(adoption, consumers[i].id);
		value = Int64GetDatum(consumers[i].id);
		write_again(&update_consumer, &value, psprintf("consumer \"%s\"", consumers[i].name));
		check_routes(&consumers[i]);
	}
	adoption->consumers = count;
}

static void
adopt_publications(DjkAdoption *adoption)
{
	static DjkStatement select_foreign = {
		.sql = "SELECT id, relation, home FROM @.djkafka_publication WHERE home <> $1 ORDER BY id",
		.nargs = 1,
		.argtypes = {UUIDOID}
	};
	static DjkStatement update_publication = {
		.sql = "UPDATE @.djkafka_publication SET home = $2 WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 2,
		.argtypes = {INT8OID, UUIDOID}
	};
	Datum		values[2] = {home_datum(adoption), home_datum(adoption)};
	int			count;
	Foreign    *publications = list_rows(&select_foreign, values, &count);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		values[0] = Int64GetDatum(publications[i].id);
		write_again(&update_publication, values, psprintf("the publication of %s", publications[i].name));
	}
	adoption->publications = count;
}

/* ---------- the function ---------- */

static bool
get_bool(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return PG_GETARG_BOOL(n);
}

/* What was committed after the transaction's snapshot would stay as it is, and be lost. */
static void
require_read_committed(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("djkafka_adopt() cannot run in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errhint("Call it in a READ COMMITTED one.")));
}

static Datum
result(FunctionCallInfo fcinfo, const DjkAdoption *adoption)
{
	Datum		values[] = {
		home_datum(adoption),
		Int64GetDatum(adoption->consumers), Int64GetDatum(adoption->publications), Int64GetDatum(adoption->outboxes),
		Int64GetDatum(adoption->offsets_deleted), Int64GetDatum(adoption->parked_deleted),
		Int64GetDatum(adoption->messages_kept), Int64GetDatum(adoption->messages_deleted),
		Int64GetDatum(adoption->dead_deleted)
	};
	bool		nulls[lengthof(values)] = {false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
djkafka_adopt(PG_FUNCTION_ARGS)
{
	DjkAdoption adoption = {0};

	adoption.keep_offsets = get_bool(fcinfo, 0, "keep_offsets");
	adoption.keep_outbox = get_bool(fcinfo, 1, "keep_outbox");
	adoption.keep_groups = get_bool(fcinfo, 2, "keep_groups");
	adoption.new_home = get_bool(fcinfo, 3, "new_home");
	PreventCommandIfReadOnly("djkafka_adopt()");
	require_read_committed();
	find_home(&adoption);
	adopt_consumers(&adoption);
	adopt_publications(&adoption);
	djk_adopt_outboxes(&adoption);
	PG_RETURN_DATUM(result(fcinfo, &adoption));
}
