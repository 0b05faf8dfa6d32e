/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  Rows of djkafka_schema: what registries have said.
 *
 * A schema is known by who said it: the server, which decides about certificates
 * and where it leads, and the URLs.  Of an id alone another registry says something
 * else, and what one server's owner has a registry say must not be believed for
 * another's messages.
 *
 * Where the database is not UTF-8, what is not ASCII is kept as the \u escapes of
 * JSON, of which schemas of Avro and JSON are made.
 *
 *-------------------------------------------------------------------------
 */
#include "state/schema.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#define KEY_ARGS	4

/* Which have an index: IS NOT DISTINCT FROM finds nothing in one. */
#define SELECT_SCHEMA(is_key) { \
	.sql = "SELECT type, schema, \"references\", is_encrypted FROM @.djkafka_schema" \
	" WHERE registry = $2 AND " is_key " AND server IS NOT DISTINCT FROM $1", \
	.nargs = KEY_ARGS, \
	.argtypes = {TEXTOID, TEXTOID, INT8OID, UUIDOID} \
}

static void
fill_key(const DjkSchemaSource *source, const DjkSchemaKey *key, Datum *values, char *nulls)
{
	memset(nulls, ' ', KEY_ARGS);
	values[0] = djk_text_datum(source->server, &nulls[0]);
	values[1] = djk_text_datum(source->registry, &nulls[1]);
	values[2] = Int64GetDatum((int64) key->id);
	values[3] = UUIDPGetDatum((const pg_uuid_t *) key->guid);
	nulls[key->by_guid ? 2 : 3] = 'n';
}

DjkSchemaText *
djk_schema_load(const DjkSchemaSource *source, const DjkSchemaKey *key, MemoryContext context)
{
	static DjkStatement by_id = SELECT_SCHEMA("schema_id = $3 AND guid IS NULL");
	static DjkStatement by_guid = SELECT_SCHEMA("schema_id IS NULL AND guid = $4");
	Datum		values[KEY_ARGS];
	char		nulls[KEY_ARGS + 1] = "";
	DjkSchemaText *text;

	fill_key(source, key, values, nulls);
	if (djk_catalog_query_latest(key->by_guid ? &by_guid : &by_id, values, nulls) == 0)
		return NULL;
	text = MemoryContextAllocZero(context, sizeof(DjkSchemaText));
	text->type = djk_row_text(0, 1, context);
	text->text = djk_row_text(0, 2, context);
	text->nreferences = djk_row_text_array(0, 3, context, &text->references);
	text->is_encrypted = djk_row_bool(0, 4);
	return text;
}

/* ---------- writing ---------- */

static void
append_escape(StringInfo buf, pg_wchar c)
{
	if (c >= 0x10000)
		appendStringInfo(buf, "\\u%04x\\u%04x", (unsigned) (0xD800 + ((c - 0x10000) >> 10)),
						 (unsigned) (0xDC00 + ((c - 0x10000) & 0x3FF)));
	else
		appendStringInfo(buf, "\\u%04x", (unsigned) c);
}

/* UTF-8 that was checked, as the database holds it. */
static char *
text_to_keep(const char *utf8)
{
	StringInfoData buf;

	if (GetDatabaseEncoding() == PG_UTF8)
		return unconstify(char *, utf8);
	initStringInfo(&buf);
	for (const char *c = utf8; *c != '\0'; c += pg_utf_mblen((const unsigned char *) c))
	{
		if (IS_HIGHBIT_SET(*c))
			append_escape(&buf, utf8_to_unicode((const unsigned char *) c));
		else
			appendStringInfoChar(&buf, *c);
	}
	return buf.data;
}

/*
 * Until the transaction's end.  A session that has stored a schema, in djkafka_run say,
 * may go on for hours: a worker that inserted the same row would wait for it.
 */
static bool
lock_row(const DjkSchemaSource *source, const DjkSchemaKey *key)
{
	LOCKTAG		tag;
	uint32		hash = hash_bytes((const unsigned char *) key, sizeof(*key));

	hash = hash_combine(hash, hash_bytes((const unsigned char *) source->registry, strlen(source->registry)));
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, djk_catalog_table("djkafka_schema"), hash, 0);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

bool
djk_schema_store(const DjkSchemaSource *source, const DjkSchemaKey *key, const DjkSchemaText *text)
{
	static DjkStatement insert_schema = {
		.sql = "INSERT INTO @.djkafka_schema (server, registry, schema_id, guid, type, schema, \"references\", is_encrypted)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
		.nargs = 8,
		.argtypes = {TEXTOID, TEXTOID, INT8OID, UUIDOID, TEXTOID, TEXTOID, TEXTARRAYOID, BOOLOID}
	};
	Datum		values[8];
	char		nulls[9] = "        ";
	char	  **references = palloc(Max(text->nreferences, 1) * sizeof(char *));

	if (!lock_row(source, key))
		return false;
	for (int i = 0; i < text->nreferences; i++)
		references[i] = text_to_keep(text->references[i]);
	fill_key(source, key, values, nulls);
	values[4] = CStringGetTextDatum(text->type);
	values[5] = CStringGetTextDatum(text_to_keep(text->text));
	values[6] = djk_text_array_datum(references, text->nreferences);
	values[7] = BoolGetDatum(text->is_encrypted);
	(void) djk_catalog_execute(&insert_schema, values, nulls);
	return true;
}

void
djk_schema_remove_server(const char *server)
{
	static DjkStatement delete_server = {
		.sql = "DELETE FROM @.djkafka_schema WHERE server = $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(server);

	(void) djk_catalog_has(&delete_server, &value, NULL);
}
