/*-------------------------------------------------------------------------
 *
 * schema.h
 *	  Rows of djkafka_schema: what registries have said.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STATE_SCHEMA_H
#define DJK_STATE_SCHEMA_H

#include "base/djk.h"
#include "base/registry.h"

/* Whose word a schema is. */
typedef struct DjkSchemaSource
{
	const char *server;			/* NULL: the settings */
	const char *registry;		/* URLs, as they are written */
} DjkSchemaSource;

/* Both between djk_catalog_enter() and leave. */

/* NULL: it was not fetched yet. */
extern DjkSchemaText *djk_schema_load(const DjkSchemaSource *source, const DjkSchemaKey *key, MemoryContext context);

/*
 * What was fetched.  Of two who have fetched it the first is believed.  False: somebody
 * else is just storing it, and may for long: nothing is stored, and nobody is waited for.
 */
extern bool djk_schema_store(const DjkSchemaSource *source, const DjkSchemaKey *key, const DjkSchemaText *text);

/* What came from the registries of a server that goes; enters and leaves by itself. */
extern void djk_schema_remove_server(const char *server);

#endif							/* DJK_STATE_SCHEMA_H */
