/*-------------------------------------------------------------------------
 *
 * run_messages.c
 *	  Messages that are given to djkafka_run as JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_messages.h"

#include "base/clock.h"
#include "base/compat.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/* The next one must be a number too. */
#define OFFSET_MAX		(PG_INT64_MAX - 1)

/* Where the messages of a partition that this session was given have ended. */
typedef struct GivenKey
{
	Oid			extension;
	int32		partition;
	int64		consumer_id;
	char		topic[DJK_TOPIC_MAX + 1];
} GivenKey;

typedef struct GivenEnd
{
	GivenKey	key;
	int64		next_offset;
} GivenEnd;

typedef struct GivenHeaders
{
	DjkHeader  *headers;
	int			nheaders;
} GivenHeaders;

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	const GivenHeaders *given = message->source;

	*headers = given->headers;
	return given->nheaders;
}

pg_noreturn static void
throw_invalid(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("messages is not an array of messages"),
			 errdetail("%s", detail),
			 errhint("Give it as '[{\"topic\": \"orders\", \"key\": \"1\", \"value\": {\"id\": 1}}]'.")));
}

static JsonbValue *
field(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

/* A misspelt member would be a message of other content. */
static void
require_known_members(JsonbContainer *object)
{
	static const char *const known[] = {"topic", "partition", "offset", "timestamp", "key", "value", "headers"};
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	element;

	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		bool		found = token != WJB_KEY;

		for (int i = 0; i < lengthof(known) && !found; i++)
			found = element.val.string.len == (int) strlen(known[i]) &&
				memcmp(element.val.string.val, known[i], element.val.string.len) == 0;
		if (!found)
			throw_invalid(psprintf("A message has no member \"%.*s\".",
								   element.val.string.len, element.val.string.val));
	}
}

/* As it would come from Kafka, in UTF-8.  Where the server has no idea of encodings, so have we none. */
static const char *
utf8_of(char *text, int *len)
{
	char	   *utf8 = text;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		utf8 = pg_server_to_any(text, *len, PG_UTF8);
	if (utf8 != text)
		*len = strlen(utf8);
	return utf8;
}

/* {"base64": "AAE="} is bytes that no text can hold; NULL if it is something else. */
static const char *
base64_of(JsonbValue *value, int *len)
{
	JsonbValue *text;
	bytea	   *bytes;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) != 1)
		return NULL;
	text = field(value->val.binary.data, "base64");
	if (text == NULL)
		return NULL;
	if (text->type != jbvString)
		throw_invalid("A member \"base64\" alone must be a string.");
	bytes = DatumGetByteaPP(DirectFunctionCall2(binary_decode,
												PointerGetDatum(cstring_to_text_with_len(text->val.string.val, text->val.string.len)),
												CStringGetTextDatum("base64")));
	*len = VARSIZE_ANY_EXHDR(bytes);
	return VARDATA_ANY(bytes);
}

/* A string is its own characters, null is null, all else but base64 is its JSON text. */
static const char *
bytes_of(JsonbValue *value, int *len)
{
	const char *bytes;
	char	   *text;

	*len = 0;
	if (value == NULL || value->type == jbvNull)
		return NULL;
	if ((bytes = base64_of(value, len)) != NULL)
		return bytes;
	if (value->type == jbvString)
	{
		*len = value->val.string.len;
		return utf8_of(pnstrdup(value->val.string.val, *len), len);
	}
	if (value->type == jbvBinary)
		text = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	else
	{
		Jsonb	   *jsonb = JsonbValueToJsonb(value);

		text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	}
	*len = strlen(text);
	return utf8_of(text, len);
}

static int64
integer_of(JsonbValue *value, int64 if_missing, int64 max)
{
	int64		number;

	if (value == NULL || value->type == jbvNull)
		return if_missing;
	if (value->type != jbvNumeric)
		throw_invalid("A partition or offset must be a number.");
	number = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
	if (number < 0 || number > max)
		throw_invalid(psprintf("A partition or offset must be from 0 to " INT64_FORMAT ", not " INT64_FORMAT ".", max, number));
	return number;
}

static int64
time_of(JsonbValue *value)
{
	char	   *text;
	Datum		time;

	if (value == NULL || value->type == jbvNull)
		return djk_timestamp_to_kafka(GetCurrentTimestamp());
	if (value->type == jbvNumeric)
		return integer_of(value, 0, PG_INT64_MAX);
	if (value->type != jbvString)
		throw_invalid("A timestamp must be a string, or a number of milliseconds since 1970.");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	time = DirectFunctionCall3(timestamptz_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return djk_timestamp_to_kafka(DatumGetTimestampTz(time));
}

static void
read_headers(JsonbValue *value, GivenHeaders *given)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	const char *name = NULL;
	int			name_len = 0;

	given->nheaders = 0;
	if (value == NULL || value->type == jbvNull)
		return;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		throw_invalid("Headers must be an object.");
	given->headers = palloc0(JsonContainerSize(value->val.binary.data) * sizeof(DjkHeader));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			name_len = element.val.string.len;
			name = utf8_of(pnstrdup(element.val.string.val, name_len), &name_len);
		}
		else if (token == WJB_VALUE)
		{
			DjkHeader  *header = &given->headers[given->nheaders++];

			header->name = name;
			header->name_len = name_len;
			header->value = bytes_of(&element, &header->value_len);
		}
	}
}

static GivenEnd *
given_end(const DjkConsumerRow *consumer, const char *topic, int partition)
{
	static HTAB *ends = NULL;
	GivenKey	key;
	GivenEnd   *end;
	Oid			schema;
	bool		found;

	if (ends == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(GivenKey);
		ctl.entrysize = sizeof(GivenEnd);
		ends = hash_create("djkafka given messages", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	memset(&key, 0, sizeof(key));
	(void) djk_catalog_find(&key.extension, &schema);
	key.consumer_id = consumer->id;
	key.partition = partition;
	strlcpy(key.topic, topic, sizeof(key.topic));
	end = hash_search(ends, &key, HASH_ENTER, &found);
	if (!found)
		end->next_offset = 0;
	return end;
}

/* Of the messages at hand. */
typedef struct GivenPlace
{
	int32		partition;
	char		topic[DJK_TOPIC_MAX + 1];
} GivenPlace;

typedef struct GivenPartition
{
	GivenPlace	key;
	int			number;			/* in the batch */
} GivenPartition;

static HTAB *
create_partitions(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(GivenPlace);
	ctl.entrysize = sizeof(GivenPartition);
	ctl.hcxt = CurrentMemoryContext;
	return hash_create("djkafka given partitions", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static int
enter_partition(DjkBatch *batch, HTAB *partitions, const DjkConsumerRow *consumer, const char *topic, int number)
{
	GivenPlace	key;
	GivenPartition *entry;
	DjkBatchPartition *partition;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.partition = number;
	strlcpy(key.topic, topic, sizeof(key.topic));
	entry = hash_search(partitions, &key, HASH_ENTER, &found);
	if (found)
		return entry->number;
	entry->number = batch->npartitions++;
	partition = &batch->partitions[entry->number];
	memset(partition, 0, sizeof(*partition));
	partition->topic = topic;
	partition->partition = number;
	partition->high_watermark = -1;
	partition->end_offset = given_end(consumer, topic, number)->next_offset;
	return entry->number;
}

static const char *
topic_of(JsonbValue *value, const DjkConsumerRow *consumer)
{
	if (value != NULL && value->type == jbvString && value->val.string.len <= DJK_TOPIC_MAX)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value != NULL && value->type != jbvNull)
		throw_invalid(psprintf("A topic must be a string of at most %d bytes.", DJK_TOPIC_MAX));
	for (int i = 0; i < consumer->nroutes; i++)
	{
		if (consumer->routes[i].topic[0] == '^' ||
			strcmp(consumer->routes[i].topic, consumer->routes[0].topic) != 0)
			throw_invalid("The consumer has several topics, so each message must name its own.");
	}
	if (consumer->nroutes == 0)
		throw_invalid("The consumer has no routes.");
	return consumer->routes[0].topic;
}

/* Its own, or that behind the one before it. */
static int64
offset_of(JsonbValue *value, const DjkBatchPartition *partition)
{
	if (partition->end_offset > OFFSET_MAX && (value == NULL || value->type == jbvNull))
		throw_invalid(psprintf("No offset follows the last one of topic \"%s\", partition %d: give the message one.",
							   partition->topic, partition->partition));
	return integer_of(value, partition->end_offset, OFFSET_MAX);
}

static void
read_message(DjkBatch *batch, HTAB *partitions, JsonbContainer *object, const DjkConsumerRow *consumer)
{
	DjkMessage *message = &batch->messages[batch->nmessages++];
	GivenHeaders *given = palloc0(sizeof(GivenHeaders));
	DjkBatchPartition *partition;

	require_known_members(object);
	message->partition = enter_partition(batch, partitions, consumer, topic_of(field(object, "topic"), consumer),
										 (int) integer_of(field(object, "partition"), 0, PG_INT32_MAX));
	partition = &batch->partitions[message->partition];
	message->offset = offset_of(field(object, "offset"), partition);
	partition->end_offset = message->offset + 1;
	message->timestamp_ms = time_of(field(object, "timestamp"));
	message->key = bytes_of(field(object, "key"), &message->key_len);
	message->value = bytes_of(field(object, "value"), &message->value_len);
	read_headers(field(object, "headers"), given);
	message->source = given;
	batch->bytes += message->key_len + message->value_len;
}

DjkBatch *
djk_run_messages_parse(Jsonb *messages, const DjkConsumerRow *consumer)
{
	DjkBatch   *batch = palloc0(sizeof(DjkBatch));
	HTAB	   *partitions;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	int			n;

	if (!JB_ROOT_IS_ARRAY(messages) || JB_ROOT_IS_SCALAR(messages))
		throw_invalid("It must be a JSON array.");
	n = JB_ROOT_COUNT(messages);
	batch->messages = palloc0(Max(n, 1) * sizeof(DjkMessage));
	batch->partitions = palloc0(Max(n, 1) * sizeof(DjkBatchPartition));
	batch->load_headers = load_headers;
	batch->detached = true;
	partitions = create_partitions();

	it = JsonbIteratorInit(&messages->root);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data))
			throw_invalid("Each message must be an object.");
		read_message(batch, partitions, element.val.binary.data, consumer);
	}
	for (int i = 0; i < batch->npartitions; i++)
		given_end(consumer, batch->partitions[i].topic, batch->partitions[i].partition)->next_offset = batch->partitions[i].end_offset;
	return batch;
}
