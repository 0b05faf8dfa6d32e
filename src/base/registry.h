/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Schema registries: how their addresses are written, and what they are
 *	  asked for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_BASE_REGISTRY_H
#define DJK_BASE_REGISTRY_H

#include "base/djk.h"

/* Bytes of the list of addresses. */
#define DJK_REGISTRY_LIST_MAX	1000

/* Bytes of a GUID, as messages and requests have it. */
#define DJK_GUID_LEN			16

/* What names a schema in its registry; all of its bytes are set, for it is a key of hash tables. */
typedef struct DjkSchemaKey
{
	uint32		id;				/* unless by_guid */
	uint32		by_guid;		/* 0 or 1 */
	unsigned char guid[DJK_GUID_LEN];
} DjkSchemaKey;

/* A schema as a registry has it.  Texts are UTF-8, and hold no NUL. */
typedef struct DjkSchemaText
{
	char	   *type;			/* AVRO, PROTOBUF, JSON, or what else it says */
	char	   *text;
	char	  **references;		/* texts of schemas that it names: each before those that name it */
	int			nreferences;
	bool		is_encrypted;	/* its rules have fields encrypted */
} DjkSchemaText;

/*
 * Whether 'list' is what registry.url takes: URLs of http or https with commas
 * between them, each with the path that its requests begin with, if any.  Else
 * false, with what is wrong in *detail and what to write in *hint, as
 * djk_broker_list_is_valid().
 */
extern bool djk_registry_list_is_valid(const char *list, char **detail, const char **hint);

/* The URLs of a list that is valid, in their order, without a slash at the end; palloc'd. */
extern char **djk_registry_urls(const char *list, int *count);

/* "schema 7", or "schema 01020304-…" of a GUID; palloc'd. */
extern char *djk_schema_describe(const DjkSchemaKey *key);

/* The GUID as registries and uuid write it; palloc'd. */
extern char *djk_schema_guid_text(const DjkSchemaKey *key);

#endif							/* DJK_BASE_REGISTRY_H */
