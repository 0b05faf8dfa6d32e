/*-------------------------------------------------------------------------
 *
 * run_schema.h
 *	  Fetches a schema in this session, for messages that it has read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RUN_SCHEMA_H
#define DJK_RUN_SCHEMA_H

#include "apply/apply.h"

/*
 * For a batch of Kafka's that has come to DJK_APPLY_NO_SCHEMA: afterwards it is
 * known what becomes of messages that name the schema.  ERROR DJK_ERRCODE_REGISTRY
 * if no registry answers.
 */
extern void djk_run_fetch_schema(DjkApply *apply, const DjkSchemaKey *key);

/* The same of one that djk_writers_missing() names.  False: no registry answers, and *reason says why. */
extern bool djk_run_try_schema(DjkApply *apply, const DjkSchemaKey *key, char **reason);

#endif							/* DJK_RUN_SCHEMA_H */
