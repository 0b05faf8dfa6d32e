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

pg_noreturn static void
throw_unreachable(const DjkSchemaKey *key, const char *reason)
{
	ereport(ERROR,
			(errcode(DJK_ERRCODE_REGISTRY),
			 errmsg("%s cannot be fetched: %s", djk_schema_describe(key), reason),
			 errhint("Check registry_url, the credentials and the registry.")));
}

static void
store(const DjkApply *apply, const DjkSchemaKey *key, const DjkSchemaText *text)
{
	DjkIdentity identity;

	djk_catalog_enter(&identity);
	djk_schema_store(djk_writers_source(apply), key, text);
	djk_catalog_leave(&identity);
}

void
djk_run_fetch_schema(DjkApply *apply, const DjkSchemaKey *key)
{
	DjkConnection connection;
	DjkHttpAccess *access;
	DjkFetch   *fetch;

	djk_connection_load(apply->consumer->server, apply->consumer->owner, NULL, 0, &connection);
	access = djk_http_access(connection.properties, connection.nproperties);
	if (access == NULL)
		throw_unreachable(key, "no schema registry is configured");
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
			throw_unreachable(key, djk_fetch_reason(fetch));
	}
	djk_fetch_end(fetch);
}
