/*-------------------------------------------------------------------------
 *
 * route_state.c
 *	  What a worker derives from a route: columns, key, how to write.
 *
 * Building is also how a route is validated when it is created: whatever is
 * wrong with it raises an error that says what to do.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_state.h"

#include "apply/message_type.h"
#include "apply/plan.h"
#include "apply/root.h"
#include "apply/route_target.h"
#include "apply/row_types.h"
#include "apply/unchanged.h"
#include "base/compat.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "state/catalog.h"
#include "state/row.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* States of this process, so that invalidations reach them. */
static List *live_states = NIL;

static void
invalidate_relation(Datum arg, Oid relid)
{
	ListCell   *lc;

	foreach(lc, live_states)
	{
		DjkRouteState *state = lfirst(lc);

		if (!OidIsValid(relid) || list_member_oid(state->tables, relid) || djk_row_types_have(state->row_types, relid))
			state->valid = false;
	}
}

/* A schema that is renamed touches none of its tables, and its name may be another's now. */
static void
invalidate_names(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate_relation(arg, InvalidOid);
}

void
djk_route_state_init(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_names, (Datum) 0);
	}
	registered = true;
}

/* ---------- a handler ---------- */

/* The function of a signature as regprocedure writes it; InvalidOid if it is gone. */
static Oid
find_handler(const char *signature)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		function;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(function);
}

static void
build_handler(DjkRouteState *state)
{
	Oid			function = find_handler(state->route->handler);
	Oid		   *argtypes;
	int			nargs;
	Oid			message_type = djk_catalog_type("djkafka_message");
	bool		known_argument = true;

	djk_catalog_look_at("handler");
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler %s does not exist", state->route->handler),
				 errhint("Create the function, or name another with djkafka_alter_route(consumer, topic, new_handler => ...).")));

	(void) get_func_signature(function, &argtypes, &nargs);
	if (nargs != 1)
		known_argument = false;
	else if (argtypes[0] == JSONBOID)
		state->handler_kind = DJK_HANDLER_JSONB;
	else if (argtypes[0] == message_type)
		state->handler_kind = DJK_HANDLER_MESSAGE;
	else if (argtypes[0] == get_array_type(message_type))
		state->handler_kind = DJK_HANDLER_MESSAGES;
	else
		known_argument = false;

	if (!known_argument || get_func_prokind(function) != PROKIND_FUNCTION || get_func_retset(function))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be a handler", state->route->handler),
				 errdetail("A handler is a function of one argument of type jsonb, djkafka_message or djkafka_message[] that does not return a set.")));
	if (state->handler_kind == DJK_HANDLER_JSONB && state->codec->value_type != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a handler of jsonb needs format \"json\""),
				 errhint("Use format => 'json', or a handler of djkafka_message.")));
	djk_catalog_look_at("skip_column");
	if (state->route->skip_column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a handler has no skip_column"),
				 errhint("Leave skip_column null, or name a target.")));
	djk_catalog_look_at("partial_deletes");
	if (state->route->partial_deletes)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a handler has no partial_deletes"),
				 errhint("Leave partial_deletes false, or name a target.")));
	djk_catalog_look_at("version_column");
	if (state->route->version_column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a handler has no version_column"),
				 errhint("Leave version_column null, or name a target.")));
	djk_catalog_look_at("deleted_when");
	if (state->route->deleted_when != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a handler has no deleted_when"),
				 errhint("Leave deleted_when null, or name a target.")));
	djk_catalog_look_at("columns");
	if (state->route->ncolumns > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns cannot be mapped for a handler"),
				 errhint("Leave columns null, or name a target.")));

	state->handler_sql = quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
													get_func_name(function));
	switch (state->handler_kind)
	{
		case DJK_HANDLER_JSONB:
			state->input_used[DJK_INPUT_VALUE] = true;
			state->uses.whole = true;
			break;
		case DJK_HANDLER_MESSAGE:
		case DJK_HANDLER_MESSAGES:
			state->input_used[DJK_INPUT_MESSAGE] = true;
			break;
	}
}

/* ---------- the input relation ---------- */

static const char *const input_names[DJK_INPUT_COLUMNS] = {
	"djk_ord", "value", "key", "topic", "partition", "msg_offset", "msg_time", "headers", "djk_message", "djk_delete", "djk_tombstone",
	"djk_given"
};

static void
build_input(DjkRouteState *state)
{
	Oid			message_type = djk_catalog_type("djkafka_message");
	Oid			types[DJK_INPUT_COLUMNS] = {
		INT4OID, state->codec->value_type, JSONBOID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID,
		InvalidOid, message_type, BOOLOID, BOOLOID, BOOLARRAYOID
	};

	state->header_type = djk_catalog_type("djkafka_header");
	types[DJK_INPUT_HEADERS] = get_array_type(state->header_type);
	state->input_desc = CreateTemplateTupleDesc(DJK_INPUT_COLUMNS);
	for (int i = 0; i < DJK_INPUT_COLUMNS; i++)
	{
		TupleDescInitEntry(state->input_desc, i + 1, input_names[i], types[i], -1, 0);
		TupleDescInitEntryCollation(state->input_desc, i + 1, get_typcollation(types[i]));
	}
	state->message_desc = lookup_rowtype_tupdesc_copy(message_type, -1);
	state->jsonb_converter = djk_converter_create(JSONBOID, -1, &djk_convert_lenient);

	state->input_used[DJK_INPUT_ORD] = true;
	state->has_expressions = state->route->filter != NULL || state->route->deleted_when != NULL || state->nexpressions > 0;
}

/* ---------- the whole ---------- */

/*
 * However the state goes, by an abort too: invalidations must not reach it, and
 * its plans live in the server's own context.
 */
static void
release_state(void *arg)
{
	DjkRouteState *state = arg;

	live_states = list_delete_ptr(live_states, state);
	djk_plans_free(state);
}

static void
register_state(DjkRouteState *state)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	live_states = lappend(live_states, state);
	MemoryContextSwitchTo(old);
	callback->func = release_state;
	callback->arg = state;
	MemoryContextRegisterResetCallback(state->context, callback);
}

/*
 * What a message waits for, it waits for in a lane: routes to one table or
 * handler share theirs as long as they tell rows apart in the same way, which
 * is another one where some of them delete by a part of the key.
 */
static int64
lane_of(const DjkRouteState *state, bool parts)
{
	const DjkRouteRow *route = state->route;
	StringInfoData text;
	int64		lane;

	initStringInfo(&text);
	appendStringInfo(&text, "%d %u %s %d", DJK_SERVER_MAJOR, route->target, route->handler ? route->handler : "",
					 parts);
	for (int i = 0; i < state->nkeys; i++)
	{
		const DjkColumn *key = &state->columns[state->keys[i]];

		appendStringInfo(&text, " %d:%s %u %u", key->name_len, key->name, key->type, key->collation);
	}
	lane = (int64) hash_bytes_extended((const unsigned char *) text.data, text.len, 0);
	pfree(text.data);
	return lane != 0 && lane != -1 ? lane : 1;
}

/* What the table has to do with what becomes of a message; the route does not change while its worker lives. */
static uint64
form_of(const DjkRouteState *state)
{
	StringInfoData text;
	uint64		form;

	initStringInfo(&text);
	for (int c = 0; c < state->ncolumns; c++)
	{
		const DjkColumn *column = &state->columns[c];

		appendStringInfo(&text, "%d:%s %u %d %u %d ", column->name_len, column->name, column->type, column->typmod,
						 column->collation, column->is_key);
	}
	/* With its foreign keys. */
	form = hash_bytes_extended((const unsigned char *) text.data, text.len, state->form);
	pfree(text.data);
	return form != 0 ? form : 1;
}

DjkRouteState *
djk_route_state_create(const DjkRouteRow *route, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "djkafka route", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkRouteState *state = palloc0(sizeof(DjkRouteState));
	static uint64 shapes = 0;
	int			guc_level;

	state->route = route;
	state->context = context;
	state->shape = ++shapes;
	state->tables = list_make1_oid(route->target);
	state->valid = true;
	/* Before anything is derived: some of what is altered needs no lock that the target's would keep away. */
	register_state(state);
	state->deleted_field_len = route->deleted_field ? (int) strlen(route->deleted_field) : -1;
	djk_catalog_look_at("format");
	state->codec = djk_codec_find(route->format);
	if (state->codec == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown format \"%s\"", route->format),
				 errhint("Valid formats are \"json\", \"json_schema\", \"avro\", \"debezium\", \"debezium_flat\", \"logpipe\", \"cloudevents\", \"text\" and \"raw\".")));
	state->schemas = djk_connect_cache_create(context);

	guc_level = djk_route_state_enter(state);
	djk_catalog_look_at("columns");
	djk_route_mappings_build(state);
	build_input(state);
	djk_catalog_look_at("root");
	djk_root_build(state);
	djk_catalog_look_at("message_types");
	djk_message_types_build(state);
	djk_catalog_look_at("unchanged_value");
	state->unchanged = djk_unchanged_create(route);
	/* A handler counts by whatever it likes. */
	state->counters.anything = route->handler != NULL;
	if (route->handler != NULL)
		build_handler(state);
	else
		djk_route_target_build(state);
	state->lane = lane_of(state, false);
	state->lane_of_parts = lane_of(state, true);
	state->form = form_of(state);
	djk_route_state_leave(guc_level);

	/* Row types were not known to be the state's while they were looked up. */
	state->valid = state->valid && djk_row_types_are_current(state->row_types);
	MemoryContextSwitchTo(old);
	return state;
}

void
djk_route_state_destroy(DjkRouteState *state)
{
	MemoryContextDelete(state->context);
}

bool
djk_route_state_same_shape(const DjkRouteState *a, const DjkRouteState *b)
{
	if (a->ncolumns != b->ncolumns || a->nkeys != b->nkeys || !djk_row_types_equal(a->row_types, b->row_types))
		return false;
	for (int c = 0; c < a->ncolumns; c++)
	{
		const DjkColumn *x = &a->columns[c];
		const DjkColumn *y = &b->columns[c];

		if (strcmp(x->name, y->name) != 0 || x->type != y->type || x->typmod != y->typmod ||
			x->collation != y->collation || x->is_key != y->is_key)
			return false;
	}
	for (int i = 0; i < a->nkeys; i++)
	{
		if (a->keys[i] != b->keys[i])
			return false;
	}
	return true;
}

int
djk_route_state_enter(const DjkRouteState *state)
{
	int			guc_level = NewGUCNestLevel();

	(void) set_config_option("search_path", state->route->search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("TimeZone",
							 strcmp(state->route->time_zone, DJK_TIME_ZONE_ERROR) == 0 ? "UTC" : state->route->time_zone,
							 PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

void
djk_route_state_leave(int guc_level)
{
	AtEOXact_GUC(false, guc_level);
}
