/*-------------------------------------------------------------------------
 *
 * run_schema.c
 *	  Fetches a schema in this session, for messages that it has read.
 *
 * As such a session waits for Kafka in the caller's transaction, so it does for the
 * registry, but not for one that does not answer.  What it fetches is kept if the
 * caller commits.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_schema.h"

#include "apply/writer.h"
#include "base/clock.h"
#include "registry/fetch.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/schema.h"

/* As long as some schemas that name each other may take, each from a registry that is slow. */
#define TIMEOUT_MS		20000

/* The messages at hand name schemas of the registry that was named when they were begun with. */
static void
require_source(const DjkApply *apply, const DjkConnection *connection)
{
	const char *was = djk_writers_source(apply)->registry;
	const char *is = djk_connection_value(connection, "registry.url");

	if (was == is || (was != NULL && is != NULL && strcmp(was, is) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the schema registry of consumer \"%s\" was changed while messages were applied", apply->consumer->name),
			 errhint("Call it again.")));
}

static void
store(DjkApply *apply, const DjkSchemaKey *key, const DjkSchemaText *text)
{
	DjkIdentity identity;
	bool		is_stored;

	djk_catalog_enter(&identity);
	is_stored = djk_schema_store(djk_writers_source(apply), key, text);
	djk_catalog_leave(&identity);
	if (!is_stored)
		djk_writers_keep(apply, key, text);
}

bool
djk_run_try_schema(DjkApply *apply, const DjkSchemaKey *key, char **reason)
{
	DjkConnection connection;
	DjkHttpAccess *access;
	DjkFetch   *fetch;
	bool		is_known = true;

	djk_connection_load_registry(apply->consumer->server, apply->consumer->owner, &connection);
	require_source(apply, &connection);
	*reason = pstrdup("no schema registry is configured");
	access = djk_http_access(connection.properties, connection.nproperties);
	if (access == NULL)
		return false;
	fetch = djk_fetch_begin(access, key, CurrentMemoryContext);
	switch (djk_fetch_finish(fetch, djk_clock_ms() + TIMEOUT_MS))
	{
		case DJK_FETCH_FOUND:
			store(apply, key, djk_fetch_text(fetch));
			break;
		case DJK_FETCH_ABSENT:
			djk_writers_note_absent(apply, key, djk_fetch_reason(fetch));
			break;
		case DJK_FETCH_PENDING:
		case DJK_FETCH_FAILED:
			*reason = pstrdup(djk_fetch_reason(fetch));
			is_known = false;
	}
	djk_fetch_end(fetch);
	return is_known;
}

void
djk_run_fetch_schema(DjkApply *apply, const DjkSchemaKey *key)
{
	char	   *reason;

	if (!djk_run_try_schema(apply, key, &reason))
		ereport(ERROR,
				(errcode(DJK_ERRCODE_REGISTRY),
				 errmsg("%s cannot be fetched: %s", djk_schema_describe(key), reason),
				 errhint("Check registry_url, the credentials and the registry.")));
}
