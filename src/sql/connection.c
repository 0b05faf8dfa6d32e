/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  Checks the options of servers and user mappings of the wrapper djkafka.
 *
 * The wrapper has no tables: it exists so that PostgreSQL's own objects, with
 * their privileges and their dump, say where Kafka is and with which secrets.
 * Options are properties of librdkafka; since a dot in an option's name needs
 * double quotes, underscores are taken for dots.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "base/property.h"
#include "base/settings.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kafka/conf.h"
#include "state/connection.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(djkafka_fdw_validator);
PG_FUNCTION_INFO_V1(djkafka_unclassified_properties);
PG_FUNCTION_INFO_V1(djkafka_library_version);

/* "bootstrap.servers" and "metadata.broker.list" are one property. */
static void
require_once(List *options, DefElem *option)
{
	const DjkPropertySpec *spec = djk_property_find(option->defname);
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *other = lfirst(cell);

		if (other == option)
			return;
		if (djk_property_find(other->defname) == spec)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("options \"%s\" and \"%s\" are the same property",
							other->defname, option->defname)));
	}
}

/* Ours, and not the library's: what the outbox promises. */
static void
require_delivery(const char *value, DjkPropertyPlace place)
{
	if (place != DJK_PLACE_SERVER)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" is not allowed here", DJK_OPTION_DELIVERY),
				 errhint("Set it on the server.")));
	if (strcmp(value, DJK_DELIVERY_AT_LEAST_ONCE) != 0 && strcmp(value, DJK_DELIVERY_EXACTLY_ONCE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("invalid value for option \"%s\": \"%s\"", DJK_OPTION_DELIVERY, value),
				 errhint("It is %s or %s.", DJK_DELIVERY_AT_LEAST_ONCE, DJK_DELIVERY_EXACTLY_ONCE)));
}

static void
require_options(List *options, DjkPropertyPlace place)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);
		char	   *value = defGetString(option);

		if (strcmp(option->defname, DJK_OPTION_DELIVERY) == 0)
		{
			require_delivery(value, place);
			continue;
		}
		djk_property_require(option->defname, value, place);
		djk_conf_require(option->defname, value);
		require_once(options, option);
	}
}

Datum
djkafka_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);

	if (catalog == ForeignServerRelationId)
		require_options(options, DJK_PLACE_SERVER);
	else if (catalog == UserMappingRelationId)
		require_options(options, DJK_PLACE_USER_MAPPING);
	else if (catalog == ForeignTableRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the foreign-data wrapper djkafka has no foreign tables"),
				 errhint("Use djkafka_subscribe() to write a topic into a table, or djkafka_peek() to look at it.")));
	else if (options != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("the foreign-data wrapper djkafka has no options"),
				 errhint("Options belong to servers and user mappings.")));
	PG_RETURN_VOID();
}

/* Properties of the linked library that no rule covers: there should be none. */
Datum
djkafka_unclassified_properties(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	  **names;
	int			count;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	names = djk_conf_known_names(&count);
	for (int i = 0; i < count; i++)
	{
		Datum		value;
		bool		isnull = false;

		if (djk_property_find(names[i]) != NULL)
			continue;
		value = CStringGetTextDatum(names[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

Datum
djkafka_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(djk_kafka_library_version_text()));
}
