/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  Which schemas messages were written with, in formats that need to know.
 *
 * A message names its schema in a header, else before its value, by a number or a
 * GUID.  The text of that is in the catalog, if somebody has fetched it: nobody
 * waits for a registry within a transaction.  What was read of it is kept from
 * batch to batch.
 *
 * A schema never changes, but what is known of it may: a registry that lacks it now
 * may have it later, and who deletes its row has it fetched again.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/writer.h"

#include "base/clock.h"
#include "codec/avro.h"
#include "codec/framing.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/schema.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#define VALUE_HEADER	"__value_schema_id"
#define KEY_HEADER		"__key_schema_id"

/* What is kept; beyond that all is read again. */
#define WRITERS_MAX		5000
#define BYTES_MAX		(64 * 1024 * 1024)

/* Schemas that are told of what waited; more are when these are known. */
#define WANTED_MAX		16

/* How long a registry that lacks a schema is believed. */
#define ABSENT_US		(60 * USECS_PER_SEC)

/* The same of one that nobody has fetched, where nobody waits for it. */
#define UNFETCHED_US	USECS_PER_SEC

/* What is known of one schema. */
typedef struct Writer
{
	DjkSchemaKey key;
	DjkError	refused;
	TimestampTz until;			/* 0: it stays so */
	DjkWriter	before_value;	/* it is named before the value, */
	DjkWriter	in_header;		/* … or in a header */
} Writer;

typedef struct DjkWriters
{
	bool	   *of_values;		/* by route: its values need one, */
	bool	   *of_keys;		/* … its keys do */
	DjkSchemaSource source;
	bool		is_known;		/* the source is */
	MemoryContext parent;
	MemoryContext context;		/* of what is kept; NULL: nothing is */
	HTAB	   *table;
	Size		bytes;
	uint64		forgotten;		/* as of when it was made */
	DjkSchemaKey wanted[WANTED_MAX];	/* that messages of the batch lack, if they have waited */
	int			nwanted;
} DjkWriters;

/* ---------- what is kept ---------- */

static Oid	schemas_table = InvalidOid;
static uint64 schemas_forgotten = 0;

static void
note_forgotten(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == schemas_table)
		schemas_forgotten++;
}

static void
listen_to_deletions(void)
{
	static bool done = false;

	schemas_table = djk_catalog_table("djkafka_schema");
	if (!done)
		CacheRegisterRelcacheCallback(note_forgotten, (Datum) 0);
	done = true;
}

struct DjkWriters *
djk_writers_create(const DjkConsumerRow *consumer, MemoryContext context)
{
	DjkWriters *writers = MemoryContextAllocZero(context, sizeof(DjkWriters));
	bool		any = false;

	writers->parent = context;
	writers->of_values = MemoryContextAllocZero(context, Max(consumer->nroutes, 1) * sizeof(bool));
	writers->of_keys = MemoryContextAllocZero(context, Max(consumer->nroutes, 1) * sizeof(bool));
	for (int r = 0; r < consumer->nroutes; r++)
	{
		const DjkCodec *value = djk_codec_find(consumer->routes[r].format);
		const DjkCodec *key = djk_codec_find(consumer->routes[r].key_format);

		writers->of_values[r] = value != NULL && value->registered;
		writers->of_keys[r] = key != NULL && key->registered;
		any |= writers->of_values[r] || writers->of_keys[r];
	}
	return any ? writers : NULL;
}

static void
forget(DjkWriters *writers)
{
	if (writers->context != NULL)
		MemoryContextDelete(writers->context);
	writers->context = NULL;
	writers->table = NULL;
	writers->bytes = 0;
}

static void
open_table(DjkWriters *writers)
{
	HASHCTL		ctl = {0};

	writers->context = AllocSetContextCreate(writers->parent, "djkafka schemas", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(DjkSchemaKey);
	ctl.entrysize = sizeof(Writer);
	ctl.hcxt = writers->context;
	writers->table = hash_create("djkafka schemas", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	writers->forgotten = schemas_forgotten;
}

void
djk_writers_begin(DjkApply *apply)
{
	DjkWriters *writers = apply->writers;

	if (writers == NULL)
		return;
	writers->nwanted = 0;
	if (writers->table == NULL)
		return;
	if (writers->forgotten != schemas_forgotten || writers->bytes > BYTES_MAX ||
		hash_get_num_entries(writers->table) > WRITERS_MAX)
		forget(writers);
}

/* ---------- one schema ---------- */

static char *
keep_text(DjkWriters *writers, const char *text)
{
	if (text == NULL)
		return NULL;
	writers->bytes += strlen(text) + 1;
	return MemoryContextStrdup(writers->context, text);
}

/*
 * What is known of the key from now on: its schema, or why there is none.  What was
 * known before stays where it is until all is read again.
 */
static Writer *
keep(DjkWriters *writers, const DjkSchemaKey *key, const DjkAvroSchema *avro, const DjkError *refused)
{
	Writer	   *writer = hash_search(writers->table, key, HASH_ENTER, NULL);

	memset(&writer->refused, 0, sizeof(writer->refused));
	writer->until = 0;
	if (refused != NULL)
	{
		writer->refused = *refused;
		writer->refused.message = keep_text(writers, refused->message);
		writer->refused.detail = keep_text(writers, refused->detail);
		writer->refused.hint = keep_text(writers, refused->hint);
	}
	writer->in_header = (DjkWriter) {avro, &writer->refused, 0};
	writer->before_value = writer->in_header;
	writer->before_value.skip = 1 + (key->by_guid ? DJK_GUID_LEN : (int) sizeof(uint32));
	return writer;
}

static Writer *
refuse(DjkWriters *writers, const DjkSchemaKey *key, char *message, char *detail, char *hint)
{
	DjkError	error = {.sqlstate = DJK_ERRCODE_MALFORMED, .message = message, .detail = detail, .hint = hint};

	return keep(writers, key, NULL, &error);
}

static const DjkAvroReference *
list_references(const DjkSchemaText *text)
{
	DjkAvroReference *references = palloc(Max(text->nreferences, 1) * sizeof(DjkAvroReference));

	for (int i = 0; i < text->nreferences; i++)
	{
		references[i].text = text->references[i];
		references[i].len = strlen(text->references[i]);
	}
	return references;
}

/* Reads what was fetched. */
static Writer *
compile(DjkWriters *writers, const DjkSchemaKey *key, const DjkSchemaText *text)
{
	char	   *name = djk_schema_describe(key);
	DjkError	error = {0};
	DjkAvroSchema *avro;

	if (strcmp(text->type, "AVRO") != 0)
		return refuse(writers, key, psprintf("message was written with %s, which is not of Avro", name),
					  psprintf("The registry says that it is of %s.", text->type),
					  pstrdup("Set the route's format, or key_format, to what the messages are in."));
	if (text->is_encrypted)
		return refuse(writers, key, psprintf("message was written with %s, by whose rules fields are encrypted", name),
					  pstrdup("What was encrypted would be stored as it is."),
					  pstrdup("Let the producer write without such rules, or read the bytes with format \"raw\"."));
	avro = djk_avro_compile(text->text, strlen(text->text), list_references(text), text->nreferences, writers->context, &error);
	if (avro == NULL)
		return refuse(writers, key, psprintf("message was written with %s, which cannot be read: %s", name, error.message),
					  error.detail, error.hint);
	writers->bytes += djk_avro_size(avro);
	return keep(writers, key, avro, NULL);
}

void
djk_writers_use(DjkApply *apply, const char *registry)
{
	DjkWriters *writers = apply->writers;

	if (writers == NULL)
		return;
	/* Which looks into the catalog: an absence is noted outside of transactions. */
	listen_to_deletions();
	writers->source.server = apply->consumer->server;
	writers->source.registry = registry == NULL ? NULL : MemoryContextStrdup(writers->parent, registry);
	writers->is_known = true;
}

/* Where no registry is named any more, what was fetched from one does not count either. */
static void
find_source(DjkApply *apply)
{
	djk_writers_use(apply, djk_connection_property(apply->consumer->server, apply->consumer->owner, "registry.url"));
}

const DjkSchemaSource *
djk_writers_source(const DjkApply *apply)
{
	return &apply->writers->source;
}

static DjkSchemaText *
load(const DjkWriters *writers, const DjkSchemaKey *key)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkSchemaText *text;

	if (writers->source.registry == NULL)
		return NULL;
	djk_catalog_enter(&identity);
	text = djk_schema_load(&writers->source, key, context);
	djk_catalog_leave(&identity);
	return text;
}

/* NULL: it was not fetched yet. */
static Writer *
find(DjkApply *apply, const DjkSchemaKey *key)
{
	DjkWriters *writers = apply->writers;
	Writer	   *writer;
	DjkSchemaText *text;
	MemoryContext scratch;
	MemoryContext old;

	if (writers->table == NULL)
		open_table(writers);
	writer = hash_search(writers->table, key, HASH_FIND, NULL);
	if (writer != NULL && (writer->until == 0 || djk_clock_now() < writer->until))
		return writer;
	if (!writers->is_known)
		find_source(apply);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "djkafka text of a schema", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	text = load(writers, key);
	writer = text == NULL ? NULL : compile(writers, key, text);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return writer;
}

void
djk_writers_note_absent(DjkApply *apply, const DjkSchemaKey *key, const char *reason)
{
	Writer	   *writer;

	if (apply->writers->table == NULL)
		open_table(apply->writers);
	writer = refuse(apply->writers, key, psprintf("message was written with an unknown schema: %s", reason), NULL,
					pstrdup("Look whether registry_url names the registry that its producer uses, and whether the schema was deleted there."));
	writer->until = djk_clock_now() + ABSENT_US;
}

void
djk_writers_note_unreachable(DjkApply *apply, const DjkSchemaKey *key, const char *reason)
{
	Writer	   *writer;

	if (apply->writers->table == NULL)
		open_table(apply->writers);
	writer = refuse(apply->writers, key, psprintf("message was written with %s, which cannot be fetched: %s", djk_schema_describe(key), reason),
					NULL, pstrdup("Check registry_url, the credentials and the registry, and replay it again."));
	writer->refused.sqlstate = DJK_ERRCODE_REGISTRY;
	writer->until = djk_clock_now() + ABSENT_US;
}

void
djk_writers_keep(DjkApply *apply, const DjkSchemaKey *key, const DjkSchemaText *text)
{
	if (apply->writers->table == NULL)
		open_table(apply->writers);
	(void) compile(apply->writers, key, text);
}

/* ---------- messages ---------- */

static void
set_key(DjkSchemaKey *key, const DjkFraming *framing)
{
	memset(key, 0, sizeof(*key));
	key->by_guid = framing->kind == DJK_FRAMING_GUID;
	if (key->by_guid)
		memcpy(key->guid, framing->guid, DJK_GUID_LEN);
	else
		key->id = framing->id;
}

/* What a header says; of several the last counts, as Java's deserializers take it. */
static bool
read_header(const DjkHeader *headers, int n, const char *name, DjkSchemaKey *key)
{
	DjkFraming	framing;

	for (int i = n - 1; i >= 0; i--)
	{
		if (headers[i].value == NULL || !djk_header_is(&headers[i], name))
			continue;
		djk_framing_read(headers[i].value, headers[i].value_len, &framing);
		if (framing.len == 0 || framing.len != headers[i].value_len)
			return false;
		set_key(key, &framing);
		return true;
	}
	return false;
}

/* A message as it is looked at; its headers are read once. */
typedef struct Looked
{
	DjkApply   *apply;
	const DjkBatch *batch;
	DjkMessage *message;
	DjkHeader  *headers;
	int			nheaders;		/* -1: not read yet */
} Looked;

/* Which schema the value, or the key, names; false: none. */
static bool
read_name(Looked *looked, bool of_key, DjkSchemaKey *key, bool *in_header)
{
	const DjkMessage *message = looked->message;
	const DjkBatch *batch = looked->batch;
	DjkFraming	framing;

	if (looked->nheaders < 0)
		looked->nheaders = batch->load_headers == NULL ? 0 : batch->load_headers(batch, message, &looked->headers);
	*in_header = read_header(looked->headers, looked->nheaders, of_key ? KEY_HEADER : VALUE_HEADER, key);
	if (*in_header)
		return true;
	djk_framing_read(of_key ? message->key : message->value, of_key ? message->key_len : message->value_len, &framing);
	if (framing.len == 0)
		return false;
	set_key(key, &framing);
	return true;
}

/* Nobody fetches it for given messages and dead letters. */
static Writer *
refuse_unfetched(DjkApply *apply, const DjkSchemaKey *key)
{
	Writer	   *writer = refuse(apply->writers, key,
								psprintf("message was written with %s, which was not fetched from the registry", djk_schema_describe(key)),
								NULL, pstrdup("A worker fetches what the messages of its topics name; so does djkafka_run when it reads from Kafka, and djkafka_replay."));

	writer->until = djk_clock_now() + UNFETCHED_US;
	return writer;
}

static void
stop(DjkApply *apply, int at, const DjkSchemaKey *key)
{
	DjkWork    *work = &apply->work[at];
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);

	work->schema = palloc(sizeof(DjkSchemaKey));
	*work->schema = *key;
	memset(&work->error, 0, sizeof(work->error));
	work->error.sqlstate = DJK_ERRCODE_REGISTRY;
	work->error.message = psprintf("message was written with %s, which was not fetched yet", djk_schema_describe(key));
	work->fate = DJK_FATE_STOP;
	MemoryContextSwitchTo(old);
}

static void
note_wanted(DjkWriters *writers, const DjkSchemaKey *key)
{
	for (int i = 0; i < writers->nwanted; i++)
	{
		if (memcmp(&writers->wanted[i], key, sizeof(*key)) == 0)
			return;
	}
	if (writers->nwanted < WANTED_MAX)
		writers->wanted[writers->nwanted++] = *key;
}

/*
 * It goes on waiting as it does, and so do those behind it by its key: its row is one
 * that the batch leaves out.
 */
static void
leave_waiting(DjkApply *apply, int at, const DjkSchemaKey *key)
{
	DjkBatchPartition *partition = &apply->batch->partitions[apply->batch->messages[at].partition];

	apply->work[at].fate = DJK_FATE_LOST;
	partition->again_omits = partition->lacking = true;
	note_wanted(apply->writers, key);
}

const DjkSchemaKey *
djk_writers_wanted(const DjkApply *apply, int *n)
{
	*n = apply->writers == NULL ? 0 : apply->writers->nwanted;
	return *n == 0 ? NULL : apply->writers->wanted;
}

/* False: what it names was not fetched, so it stops, or goes on waiting. */
static bool
find_writer(Looked *looked, int at, bool of_key)
{
	const DjkWriter **found = of_key ? &looked->message->key_writer : &looked->message->value_writer;
	DjkSchemaKey key;
	bool		in_header;
	Writer	   *writer;

	*found = NULL;
	if ((of_key ? looked->message->key : looked->message->value) == NULL || !read_name(looked, of_key, &key, &in_header))
		return true;
	writer = find(looked->apply, &key);
	if (writer == NULL && looked->apply->batch->detached)
		writer = refuse_unfetched(looked->apply, &key);
	if (writer == NULL)
	{
		/* A session fetches it, and takes the message again. */
		if (looked->apply->batch->again && !looked->apply->inside)
			leave_waiting(looked->apply, at, &key);
		else
			stop(looked->apply, at, &key);
		return false;
	}
	*found = in_header ? &writer->in_header : &writer->before_value;
	return true;
}

/* Whether a route that may take messages of the topic needs to know, of values or of keys. */
static bool
is_needed(DjkApply *apply, const char *topic, const bool *of_routes)
{
	Bitmapset  *routes = djk_work_routes(apply, topic);
	int			r = -1;

	while ((r = bms_next_member(routes, r)) >= 0)
	{
		if (of_routes[r])
			return true;
	}
	return false;
}

void
djk_writers_mark(DjkApply *apply, int from, int to)
{
	DjkBatch   *batch = apply->batch;
	int			p = -1;
	bool		of_value = false;
	bool		of_key = false;

	if (apply->writers == NULL)
		return;
	for (int i = from; i < to; i++)
	{
		Looked		looked = {apply, batch, &batch->messages[i], NULL, -1};

		if (apply->work[i].fate != DJK_FATE_PENDING)
			continue;
		CHECK_FOR_INTERRUPTS();
		apply->work[i].schema = NULL;
		if (batch->messages[i].partition != p)
		{
			p = batch->messages[i].partition;
			of_value = is_needed(apply, batch->partitions[p].topic, apply->writers->of_values);
			of_key = is_needed(apply, batch->partitions[p].topic, apply->writers->of_keys);
		}
		if ((!of_value || find_writer(&looked, i, false)) && of_key)
			(void) find_writer(&looked, i, true);
		if (apply->work[i].fate == DJK_FATE_STOP)
			return;
	}
}

/* ---------- before messages are applied ---------- */

/* Of values or keys of one message. */
static bool
is_missing(Looked *looked, bool of_key, DjkSchemaKey *key)
{
	bool		in_header;

	return (of_key ? looked->message->key : looked->message->value) != NULL && read_name(looked, of_key, key, &in_header) &&
		find(looked->apply, key) == NULL;
}

bool
djk_writers_missing(DjkApply *apply, const DjkBatch *batch, int *at, DjkSchemaKey *key)
{
	while (apply->writers != NULL && *at < 2 * batch->nmessages)
	{
		Looked		looked = {apply, batch, &batch->messages[*at / 2], NULL, -1};
		bool		of_key = (*at)++ % 2 == 1;
		const char *topic = batch->partitions[looked.message->partition].topic;

		CHECK_FOR_INTERRUPTS();
		if (is_needed(apply, topic, of_key ? apply->writers->of_keys : apply->writers->of_values) && is_missing(&looked, of_key, key))
			return true;
	}
	return false;
}
