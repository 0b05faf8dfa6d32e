/*-------------------------------------------------------------------------
 *
 * route_status.c
 *	  How a worker would evaluate a route, for the view djkafka_route_status.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/htup_details.h"
#include "apply/statement.h"
#include "base/subtransaction.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/route_look.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(djkafka_route_evaluation);

typedef struct Evaluation
{
	const char *way;
	const char *reason;			/* of a route that is broken */
	List	   *reads;			/* names of tables */
} Evaluation;

static int64
consumer_of(int64 route_id)
{
	static DjkStatement select_consumer = {
		.sql = "SELECT consumer_id FROM @.djkafka_route WHERE id = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(route_id)};

	return djk_catalog_execute(&select_consumer, values, NULL) == 1 ? djk_row_int64(0, 1, 0) : 0;
}

/* The consumer of a route, or NULL. */
static DjkConsumerRow *
load_consumer(int64 route_id)
{
	MemoryContext context = CurrentMemoryContext;
	DjkConsumerRow *consumer = NULL;
	DjkIdentity identity;
	int64		id;

	djk_catalog_enter(&identity);
	id = consumer_of(route_id);
	if (id != 0)
		consumer = djk_consumer_row_load(id, context);
	djk_catalog_leave(&identity);
	return consumer;
}

static void
describe(DjkRouteState *state, void *arg)
{
	Evaluation *evaluation = arg;
	const DjkReads *reads = djk_route_sql_reads(state);
	ListCell   *lc;

	evaluation->way = reads->tables == NIL ? "set" : "stretches";
	if (reads->anything || list_member_oid(reads->tables, state->route->target))
		evaluation->way = "single";
	foreach(lc, reads->tables)
	{
		Oid			table = lfirst_oid(lc);
		char	   *name = get_rel_name(table);

		if (name != NULL)
			evaluation->reads = lappend(evaluation->reads,
										quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), name));
	}
}

typedef struct Look
{
	const DjkRouteRow *route;
	Oid			owner;
	Evaluation *evaluation;
} Look;

static bool
look(void *arg)
{
	Look	   *look = arg;

	djk_route_look(look->route, look->owner, describe, look->evaluation);
	return true;
}

/* A route that does not fit its table hides no other one. */
static void
look_carefully(const DjkRouteRow *route, Oid owner, Evaluation *evaluation)
{
	Look		one = {route, owner, evaluation};
	ErrorData  *edata = djk_subtransaction_try(look, &one, CurrentMemoryContext);

	if (edata == NULL)
		return;
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED || edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		ReThrowError(edata);
	evaluation->way = "broken";
	evaluation->reason = edata->message;
}

static Datum
names_array(List *names)
{
	Datum	   *elements = palloc(Max(list_length(names), 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		elements[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* (id) -> (evaluation, reads, reason); nulls for what is not the caller's, and for what is gone */
Datum
djkafka_route_evaluation(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	DjkConsumerRow *consumer = load_consumer(id);
	Evaluation	evaluation = {0};
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; consumer != NULL && consumer->is_home && i < consumer->nroutes; i++)
	{
		if (consumer->routes[i].id == id && has_privs_of_role(GetUserId(), consumer->owner))
			look_carefully(&consumer->routes[i], consumer->owner, &evaluation);
	}
	if (evaluation.way != NULL)
	{
		values[0] = CStringGetTextDatum(evaluation.way);
		values[1] = names_array(evaluation.reads);
		nulls[0] = nulls[1] = false;
		nulls[2] = evaluation.reason == NULL;
		if (!nulls[2])
			values[2] = CStringGetTextDatum(evaluation.reason);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
