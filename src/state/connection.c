/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  How to reach Kafka: settings, servers, user mappings, own options.
 *
 * Layers lie one above the other, and the last that names a property wins.
 * With a server named, where and as whom to connect comes from the server and
 * the user mapping alone: credentials of the settings are never sent to a
 * broker that somebody else chose.
 *
 *-------------------------------------------------------------------------
 */
#include "state/connection.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "base/broker.h"
#include "base/compat.h"
#include "base/settings.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "state/catalog.h"
#include "state/shmem.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define USE_SETTINGS_FUNCTION	"djkafka_use_settings"

/* Adds a property, or replaces the one of that name. */
static void
put_property(DjkConnection *connection, const char *name, const char *value)
{
	const DjkPropertySpec *spec = djk_property_find(name);

	if (spec == NULL)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_PROPERTY),
				 errmsg("unknown property \"%s\"", name)));
	for (int i = 0; i < connection->nproperties; i++)
		if (strcmp(connection->properties[i].name, spec->name) == 0)
		{
			connection->properties[i].value = pstrdup(value);
			return;
		}
	connection->properties = connection->properties == NULL
		? palloc(sizeof(DjkProperty))
		: repalloc(connection->properties, (connection->nproperties + 1) * sizeof(DjkProperty));
	connection->properties[connection->nproperties].name = spec->name;
	connection->properties[connection->nproperties].value = pstrdup(value);
	connection->nproperties++;
}

const char *
djk_connection_text(const char *text)
{
	/* Where the database knows bytes alone, they are what they are. */
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return text;
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

const char *
djk_connection_value(const DjkConnection *connection, const char *name)
{
	for (int i = 0; i < connection->nproperties; i++)
		if (strcmp(connection->properties[i].name, name) == 0)
			return connection->properties[i].value;
	return NULL;
}

/* Does it say where to connect, or as whom? */
static bool
is_identity(const char *name)
{
	const DjkPropertySpec *spec = djk_property_find(name);

	return spec == NULL || spec->rule == DJK_PROPERTY_NETWORK ||
		spec->rule == DJK_PROPERTY_SECRET || spec->rule == DJK_PROPERTY_SERVER_FILE ||
		spec->rule == DJK_PROPERTY_SUPERUSER ||
		strncmp(spec->name, "sasl.", 5) == 0 || strncmp(spec->name, "ssl.", 4) == 0;
}

static void
put_settings(DjkConnection *connection, bool all)
{
	int			count;
	DjkProperty *properties = djk_settings_properties(&count);

	for (int i = 0; i < count; i++)
		if (all || !is_identity(properties[i].name))
			put_property(connection, properties[i].name, properties[i].value);
}

static void
put_options(DjkConnection *connection, List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, DJK_OPTION_DELIVERY) == 0)
			connection->exactly_once = strcmp(defGetString(option), DJK_DELIVERY_EXACTLY_ONCE) == 0;
		else
			put_property(connection, option->defname, djk_connection_text(defGetString(option)));
	}
}

/* The role's own mapping, else the public one; NIL without any. */
static List *
load_mapping(Oid role, Oid server)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
										ObjectIdGetDatum(role), ObjectIdGetDatum(server));
	Datum		options;
	bool		isnull;
	List	   *list = NIL;

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	options = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		list = untransformRelOptions(options);
	ReleaseSysCache(tuple);
	return list;
}

/* Raises the error that the privilege system has for it. */
static void
require_settings(Oid role)
{
	Oid			no_arguments[1] = {InvalidOid};
	List	   *name;
	Oid			function;
	Oid			extension;
	Oid			schema;

	if (!djk_catalog_find(&extension, &schema))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" is not installed in this database", DJK_EXTENSION_NAME),
				 errhint("Run CREATE EXTENSION %s.", DJK_EXTENSION_NAME)));
	name = list_make2(makeString(get_namespace_name(schema)), makeString(USE_SETTINGS_FUNCTION));
	function = LookupFuncName(name, 0, no_arguments, false);
	if (djk_aclcheck_function(function, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the connection of djkafka's settings"),
				 errdetail("Role \"%s\" lacks EXECUTE on function %s().",
						   GetUserNameFromId(role, false), USE_SETTINGS_FUNCTION),
				 errhint("Name a server that the role may use, or GRANT EXECUTE ON FUNCTION %s() TO %s.",
						 USE_SETTINGS_FUNCTION, quote_identifier(GetUserNameFromId(role, false)))));
}

static ForeignServer *
require_server(const char *server_name, Oid role)
{
	ForeignServer *server = GetForeignServerByName(server_name, true);
	ForeignDataWrapper *wrapper;

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", server_name),
				 errhint("Use CREATE SERVER ... FOREIGN DATA WRAPPER %s.", DJK_WRAPPER_NAME)));
	wrapper = GetForeignDataWrapper(server->fdwid);
	if (strcmp(wrapper->fdwname, DJK_WRAPPER_NAME) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a Kafka server", server_name),
				 errdetail("It belongs to the foreign-data wrapper \"%s\".", wrapper->fdwname),
				 errhint("Use CREATE SERVER ... FOREIGN DATA WRAPPER %s.", DJK_WRAPPER_NAME)));
	if (djk_aclcheck_server(server->serverid, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", server_name),
				 errdetail("Role \"%s\" lacks USAGE.", GetUserNameFromId(role, false))));
	return server;
}

void
djk_connection_require_usage(const char *server, Oid role)
{
	if (server == NULL)
		require_settings(role);
	else
		require_server(server, role);
}

/* Its name may have become another's while we waited. */
static void
lock_server(const char *name)
{
	Oid			server;

	while (OidIsValid(server = get_foreign_server_oid(name, true)))
	{
		LockDatabaseObject(ForeignServerRelationId, server, 0, AccessShareLock);
		if (get_foreign_server_oid(name, true) == server)
			return;
		UnlockDatabaseObject(ForeignServerRelationId, server, 0, AccessShareLock);
	}
}

void
djk_connection_require_kept(const char *server, Oid role)
{
	if (server != NULL)
		lock_server(server);
	djk_connection_require_usage(server, role);
}

/* Replaces "embedded" by where that broker listens now. */
static void
resolve_embedded(DjkConnection *connection)
{
	char	   *address;

	if (strcmp(djk_connection_value(connection, "bootstrap.servers"), DJK_BROKER_EMBEDDED) != 0)
		return;
	address = djk_embedded_bootstrap();
	if (address == NULL)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_UNREACHABLE),
				 errmsg("the embedded broker is not running"),
				 errhint("Set djkafka.embedded_broker to on in postgresql.conf and restart the server.")));
	put_property(connection, "bootstrap.servers", address);
	connection->embedded = true;
}

/* What postgresql.conf holds was not refused when the server started: it is here. */
static void
require_addresses(const char *list)
{
	char	   *detail;
	const char *hint;

	if (!djk_broker_list_is_valid(list, &detail, &hint))
		ereport(ERROR,
				(errcode(DJK_ERRCODE_PROPERTY),
				 errmsg("no broker can be asked: %s", detail),
				 errdetail("The property is \"bootstrap.servers\"."),
				 errhint("%s", hint)));
}

static void
require_bootstrap(const DjkConnection *connection, const char *server)
{
	const char *list = djk_connection_value(connection, "bootstrap.servers");

	if (list != NULL)
	{
		require_addresses(list);
		return;
	}
	if (server != NULL)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_PROPERTY),
				 errmsg("server \"%s\" names no Kafka broker", server),
				 errhint("Use ALTER SERVER %s OPTIONS (ADD bootstrap_servers 'host:port').", quote_identifier(server))));
	ereport(ERROR,
			(errcode(DJK_ERRCODE_PROPERTY),
			 errmsg("no Kafka broker is configured"),
			 errhint("Set djkafka.bootstrap_servers, or name a server of the wrapper %s.", DJK_WRAPPER_NAME)));
}

/* The layers below a consumer's own options. */
static void
put_layers(DjkConnection *connection, const char *server_name, Oid role)
{
	memset(connection, 0, sizeof(*connection));
	connection->exactly_once = djk_delivery == DJK_EXACTLY_ONCE;
	if (server_name == NULL)
	{
		require_settings(role);
		put_settings(connection, true);
	}
	else
	{
		ForeignServer *server = require_server(server_name, role);

		put_settings(connection, false);
		put_options(connection, server->options);
		put_options(connection, load_mapping(role, server->serverid));
	}
}

char *
djk_connection_property(const char *server_name, Oid role, const char *property)
{
	DjkConnection connection;
	const char *value;

	put_layers(&connection, server_name, role);
	value = djk_connection_value(&connection, property);
	return value == NULL ? NULL : pstrdup(value);
}

void
djk_connection_load_registry(const char *server_name, Oid role, DjkConnection *connection)
{
	put_layers(connection, server_name, role);
}

void
djk_connection_load(const char *server_name, Oid role,
					const DjkProperty *options, int noptions,
					DjkConnection *connection)
{
	put_layers(connection, server_name, role);
	for (int i = 0; i < noptions; i++)
		put_property(connection, options[i].name, djk_connection_text(options[i].value));
	require_bootstrap(connection, server_name);
	resolve_embedded(connection);
}
