/*-------------------------------------------------------------------------
 *
 * route_target.c
 *	  What a route can write: the columns of its target, and the key.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/route_target.h"

#include "access/genam.h"
#include "access/relation.h"
#include "apply/naming.h"
#include "apply/numbered.h"
#include "apply/referrer.h"
#include "apply/renamed.h"
#include "apply/route_names.h"
#include "apply/row_types.h"
#include "base/column.h"
#include "base/operator.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "state/catalog.h"
#include "state/row.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* ---------- columns ---------- */

static bool
is_writable(const DjkRouteRow *route, const char *name)
{
	if (djk_route_names(name, route->key_columns, route->nkey_columns))
		return true;
	if (route->skip_column != NULL && strcmp(name, route->skip_column) == 0)
		return false;
	if (route->include != NULL && !djk_route_names(name, route->include, route->ninclude) &&
		!djk_route_names(name, route->column_names, route->ncolumns))
		return false;
	return !djk_route_names(name, route->exclude, route->nexclude);
}

static DjkSource
envelope_source(const char *name)
{
	static const struct
	{
		const char *name;
		DjkSource	source;
	}			sources[] = {
		{"topic", DJK_SOURCE_TOPIC}, {"partition", DJK_SOURCE_PARTITION},
		{"offset", DJK_SOURCE_OFFSET}, {"timestamp", DJK_SOURCE_TIMESTAMP},
		{"key", DJK_SOURCE_KEY}, {"value", DJK_SOURCE_VALUE}, {"headers", DJK_SOURCE_HEADERS}
	};

	for (int i = 0; i < lengthof(sources); i++)
	{
		if (strcmp(sources[i].name, name) == 0)
			return sources[i].source;
	}
	return DJK_SOURCE_FIELD;
}

static void
fill_column(DjkRouteState *state, DjkColumn *column, Form_pg_attribute att)
{
	DjkConvertOptions options;

	column->name = pstrdup(NameStr(att->attname));
	column->name_len = strlen(column->name);
	column->type = att->atttypid;
	column->base_type = getBaseType(att->atttypid);
	column->typmod = att->atttypmod;
	column->collation = att->attcollation;
	column->not_null = att->attnotnull;
	column->always_identity = att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
	djk_route_mapping_apply(state, column);
	if (column->mapping == NULL)
		column->source = state->codec->has_fields ? DJK_SOURCE_FIELD : envelope_source(djk_renamed_first(state, column->name));
	options = djk_route_convert_options(state, column);
	/* When a message was made is not what it says: whatever number Kafka has for it, the message log has it. */
	options.strict &= column->source != DJK_SOURCE_TIMESTAMP;
	state->values_read |= djk_reads_by_type(column->type);
	column->converter = djk_converter_create(column->type, column->typmod, &options);
}

static bool
is_skip_column(const DjkRouteRow *route, Form_pg_attribute att)
{
	return route->skip_column != NULL && strcmp(NameStr(att->attname), route->skip_column) == 0 &&
		!djk_route_names(route->skip_column, route->key_columns, route->nkey_columns);
}

static void
require_skip_column(const DjkRouteState *state, Relation rel)
{
	const char *name = state->route->skip_column;
	const char *fix = "Add the column to the table, or set skip_column of the route to null.";
	AttrNumber	attnum;

	if (name == NULL)
		return;
	djk_catalog_look_at("skip_column");
	attnum = get_attnum(RelationGetRelid(rel), name);
	if (attnum <= 0 || get_atttype(RelationGetRelid(rel), attnum) != BOOLOID ||
		TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("\"%s\" is not a boolean column of \"%s\"", name, state->target_sql),
				 errdetail("It is the skip_column of the route."),
				 errhint("%s", attnum > 0 ? fix : djk_column_hint(RelationGetDescr(rel), name, fix))));
	if (djk_route_names(name, state->route->key_columns, state->route->nkey_columns) ||
		djk_route_names(name, state->route->column_names, state->route->ncolumns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("skip_column \"%s\" is neither mapped nor part of the key", name)));
}

static void
build_columns(DjkRouteState *state, Relation rel)
{
	const DjkRouteRow *route = state->route;
	TupleDesc	desc = RelationGetDescr(rel);
	bool		all_optional = true;
	char	  **timed;
	int			ntimed;

	djk_renamed_build(state, desc);
	state->columns = palloc0(Max(desc->natts, 1) * sizeof(DjkColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		required;

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		required = att->attnotnull && !att->atthasdef && att->attidentity == '\0';
		/* Every statement sets it. */
		if (is_skip_column(route, att))
			continue;
		if (!is_writable(route, NameStr(att->attname)))
		{
			state->excludes_columns = true;
			state->needed_excluded |= required;
			continue;
		}
		if (required || get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
			state->needed = bms_add_member(state->needed, state->ncolumns);
		fill_column(state, &state->columns[state->ncolumns], att);
		if (state->columns[state->ncolumns].mapping != NULL)
			state->mapped_columns = bms_add_member(state->mapped_columns, state->ncolumns);
		if (required && (state->columns[state->ncolumns].source == DJK_SOURCE_FIELD ||
						 state->columns[state->ncolumns].source == DJK_SOURCE_PATH))
			all_optional = false;
		state->ncolumns++;
	}
	/* A partition has bounds, constraints of its own, and may get some unseen. */
	state->has_checks = (desc->constr != NULL && desc->constr->num_check > 0) ||
		rel->rd_rel->relrowsecurity || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		rel->rd_rel->relispartition;
	state->fields_optional = all_optional && state->nexpressions > 0;

	require_skip_column(state, rel);
	djk_route_require_existing(rel, route->include, route->ninclude, "include");
	djk_route_require_existing(rel, route->exclude, route->nexclude, "exclude");
	djk_route_require_existing(rel, route->column_names, route->ncolumns, "columns");
	djk_route_require_existing(rel, route->key_columns, route->nkey_columns, "key_columns");
	ntimed = djk_route_timed_columns(route, &timed);
	djk_route_require_existing(rel, timed, ntimed, "time_unit");
	if (route->version_column != NULL)
		djk_route_require_existing(rel, (char **) &route->version_column, 1, "version_column");
	djk_route_require_columns(state, route->column_names, route->ncolumns, "columns");
	djk_route_require_columns(state, route->key_columns, route->nkey_columns, "key_columns");
}

/* ---------- rights ---------- */

/* On the table, or on some of its columns where a right may be given so. */
static bool
has_right(Oid table, AclMode mode)
{
	return pg_class_aclcheck(table, GetUserId(), mode) == ACLCHECK_OK ||
		(mode != ACL_DELETE &&
		 pg_attribute_aclcheck_all(table, GetUserId(), mode, ACLMASK_ANY) == ACLCHECK_OK);
}

/* A role can be dropped though consumers have its number, and while workers go on as it. */
static void
require_existing_role(Oid role)
{
	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the consumer's owner does not exist"),
			 errdetail("The role with OID %u was dropped.", role),
			 errhint("Let a superuser drop the consumer, or give it one that exists with djkafka_alter_consumer(name, owner => ...).")));
}

void
djk_route_target_require_rights(const DjkRouteRow *route)
{
	static const struct
	{
		AclMode		mode;
		const char *name;
		DjkOperation from;		/* operations from this one on need it */
	}			rights[] = {
		{ACL_INSERT, "INSERT", DJK_OPERATION_INSERT},
		{ACL_SELECT, "SELECT", DJK_OPERATION_INSERT_NEW},
		{ACL_UPDATE, "UPDATE", DJK_OPERATION_UPSERT},
		{ACL_DELETE, "DELETE", DJK_OPERATION_MIRROR}
	};
	const char *name = get_rel_name(route->target);

	require_existing_role(GetUserId());
	for (int i = 0; name != NULL && i < lengthof(rights); i++)
	{
		if (route->operation < rights[i].from || has_right(route->target, rights[i].mode))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", name),
				 errdetail("The route needs the right to %s.", rights[i].name),
				 errhint("GRANT %s ON %s TO %s, or choose another operation.", rights[i].name,
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(route->target)), name),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	}
}

/* ---------- the target ---------- */

/* Of the user's triggers. Taken out of the relcache, which may build its own again at any look into the catalog. */
static List *
trigger_functions(Relation rel)
{
	List	   *functions = NIL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!trigger->tgisinternal)
			functions = lappend_oid(functions, trigger->tgfoid);
	}
	return functions;
}

/* User triggers, partitions and children: order can be seen, or we cannot tell. */
static bool
may_see_order(Relation rel)
{
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relhassubclass)
		return true;
	foreach(lc, trigger_functions(rel))
	{
		if (!djk_route_constraints_publishes(lfirst_oid(lc)))
			return true;
	}
	return false;
}

static void
require_view_operation(DjkRouteState *state, Relation rel)
{
	int			events = relation_is_updatable(RelationGetRelid(rel), NIL, true, NULL);
	int			wanted = 1 << CMD_INSERT;

	if (state->route->operation == DJK_OPERATION_INSERT_NEW)
		wanted = 0;
	if (state->route->operation >= DJK_OPERATION_UPSERT)
		wanted |= 1 << CMD_UPDATE;
	if (state->route->operation == DJK_OPERATION_MIRROR)
		wanted |= 1 << CMD_DELETE;
	if (wanted == 0 || (events & wanted) != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be written by this operation", state->target_sql),
				 errdetail("Not every statement that the operation needs is possible on it."),
				 errhint("Create INSTEAD OF triggers for INSERT, UPDATE and DELETE, or choose another operation.")));
}

static void
require_relkind(DjkRouteState *state, Relation rel)
{
	Oid			extension;
	Oid			schema;

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
		case RELKIND_FOREIGN_TABLE:
			state->is_view = true;
			require_view_operation(state, rel);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is not a table or view", state->target_sql),
					 errhint("The target of a route is a table, a partitioned table, a foreign table or a view.")));
	}
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("\"%s\" is a temporary table", state->target_sql),
				 errdetail("The worker is another session and cannot see it.")));
	if (IsCatalogRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" is a system catalog", state->target_sql)));
	/* What says how messages are written is not written by messages. */
	if (djk_catalog_find(&extension, &schema) &&
		getExtensionOfObject(RelationRelationId, RelationGetRelid(rel)) == extension)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" belongs to djkafka itself", state->target_sql),
				 errhint("Name a table of your own.")));
}

static void
build_rows_desc(DjkRouteState *state)
{
	state->rows_desc = CreateTemplateTupleDesc(state->ncolumns);
	for (int i = 0; i < state->ncolumns; i++)
	{
		char		name[NAMEDATALEN];

		snprintf(name, sizeof(name), "djk_%d", i + 1);
		TupleDescInitEntry(state->rows_desc, i + 1, name, state->columns[i].type,
						   state->columns[i].typmod, 0);
		TupleDescInitEntryCollation(state->rows_desc, i + 1, state->columns[i].collation);
	}
}

void
djk_route_target_build(DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;
	Relation	rel = OidIsValid(route->target) ? try_relation_open(route->target, AccessShareLock) : NULL;

	djk_catalog_look_at("target");
	if (rel == NULL)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_BROKEN),
				 errmsg("the target %s of route " INT64_FORMAT " no longer exists",
						route->target_name ? route->target_name : "table", route->id),
				 errhint("Name another with djkafka_alter_route(consumer, topic, new_target => ...), or drop the route with djkafka_drop_route(" INT64_FORMAT ").",
						 route->id)));

	state->target_sql = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												   RelationGetRelationName(rel));
	require_relkind(state, rel);
	djk_route_target_require_rights(route);
	state->ordered = state->meets = state->counters.anything = may_see_order(rel);
	state->has_policies = rel->rd_rel->relrowsecurity;
	state->row_types = djk_row_types_of(RelationGetDescr(rel));
	build_columns(state, rel);
	djk_catalog_look_at("naming");
	djk_naming_build(state);
	djk_catalog_look_at("target");
	state->supersedes = route->operation == DJK_OPERATION_MIRROR && !state->is_view && !state->has_policies;
	djk_route_constraints_build(state, rel);
	djk_referrers_build(state, rel);
	djk_catalog_look_at("target");
	djk_route_key_build(state, rel);
	djk_catalog_look_at("version_column");
	djk_route_version_build(state);
	djk_catalog_look_at("target");
	state->supersedes &= state->version < 0;
	djk_numbered_build(state, rel);
	build_rows_desc(state);
	relation_close(rel, AccessShareLock);
}
