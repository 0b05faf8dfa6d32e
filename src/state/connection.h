/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  How to reach Kafka: settings, servers, user mappings, own options.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONNECTION_H
#define DJK_CONNECTION_H

#include "base/djk.h"
#include "base/property.h"

/* The option of a server that is not a property of the library. */
#define DJK_OPTION_DELIVERY		"delivery"

/* The wrapper whose servers say where Kafka is. */
#define DJK_WRAPPER_NAME		"djkafka"

typedef struct DjkConnection
{
	DjkProperty *properties;	/* each name once, by its own name */
	int			nproperties;
	bool		embedded;		/* bootstrap.servers was "embedded" */
	bool		exactly_once;	/* what the outbox promises: the server's option, else djkafka.delivery */
} DjkConnection;

/*
 * What 'role' connects with: settings < server < its user mapping < 'options'.
 * server NULL: the settings alone, for which the role needs EXECUTE on
 * djkafka_use_settings(); else USAGE on that server, and of the settings only
 * what does not say where and as whom to connect.
 *
 * Needs a transaction.  Result in CurrentMemoryContext.  ERRORs: 42501,
 * undefined_object, DJK_ERRCODE_PROPERTY if no broker is configured,
 * DJK_ERRCODE_UNREACHABLE if the embedded broker does not run.
 */
extern void djk_connection_load(const char *server, Oid role,
								const DjkProperty *options, int noptions,
								DjkConnection *connection);

/* The same of a registry alone: no broker need be named, or run. */
extern void djk_connection_load_registry(const char *server, Oid role, DjkConnection *connection);

/*
 * The same checks where a message names a server; it need not be complete yet.
 */
extern void djk_connection_require_usage(const char *server, Oid role);

/*
 * The same for who writes a row that names a server: until the transaction's
 * end nobody drops or renames that, and then djkafka_server_guard() sees the row.
 */
extern void djk_connection_require_kept(const char *server, Oid role);

/*
 * The same checks, and what 'role' would connect with says of one property:
 * palloc'd, NULL if nothing.
 */
extern char *djk_connection_property(const char *server, Oid role, const char *property);

/*
 * Text of the database as the library takes it, in UTF-8; itself where it is that,
 * else in CurrentMemoryContext.  Needs a transaction.
 */
extern const char *djk_connection_text(const char *text);

/* What a connection that was loaded says of one property; NULL if nothing. */
extern const char *djk_connection_value(const DjkConnection *connection, const char *name);

#endif							/* DJK_CONNECTION_H */
