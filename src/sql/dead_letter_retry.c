/*-------------------------------------------------------------------------
 *
 * dead_letter_retry.c
 *	  djkafka_dead_letter_retry(): applies a dead letter again.
 *
 * In the caller's transaction, by the routes as they are now, with the
 * message's own key, value, headers, time and place.  No offset moves, and the
 * partition's counters keep what became of the message when it was read.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "base/error.h"
#include "apply/apply.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/run_apply.h"
#include "state/catalog.h"
#include "state/dead_letter.h"
#include "state/header.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(djkafka_dead_letter_retry);

typedef struct LetterHeaders
{
	DjkHeader  *headers;
	int			nheaders;
} LetterHeaders;

static int
load_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	const LetterHeaders *given = message->source;

	*headers = given->headers;
	return given->nheaders;
}

static const char *
bytes_of(Datum bytea_datum, int *len)
{
	*len = 0;
	if (bytea_datum == (Datum) 0)
		return NULL;
	*len = VARSIZE_ANY_EXHDR(DatumGetPointer(bytea_datum));
	return VARDATA_ANY(DatumGetPointer(bytea_datum));
}

/* The letter as a batch of one, in CurrentMemoryContext. */
static DjkBatch *
batch_of(const DjkDeadLetter *letter)
{
	DjkBatch   *batch = palloc0(sizeof(DjkBatch));
	LetterHeaders *given = palloc0(sizeof(LetterHeaders));

	given->nheaders = djk_headers_read(letter->headers, &given->headers);
	batch->messages = palloc0(sizeof(DjkMessage));
	batch->nmessages = 1;
	batch->messages->offset = letter->offset;
	batch->messages->timestamp_ms = letter->timestamp_ms;
	batch->messages->key = bytes_of(letter->key, &batch->messages->key_len);
	batch->messages->value = bytes_of(letter->value, &batch->messages->value_len);
	batch->messages->source = given;
	batch->partitions = palloc0(sizeof(DjkBatchPartition));
	batch->npartitions = 1;
	batch->partitions->topic = letter->topic;
	batch->partitions->partition = letter->partition;
	batch->partitions->high_watermark = -1;
	batch->load_headers = load_headers;
	batch->detached = true;
	return batch;
}

static DjkConsumerRow *
load_consumer(const DjkDeadLetter *letter)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	DjkConsumerRow *consumer;

	djk_catalog_enter(&identity);
	consumer = djk_consumer_row_load(letter->consumer_id, context);
	djk_catalog_leave(&identity);
	if (consumer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer \"%s\" of dead letter " INT64_FORMAT " does not exist any more", letter->consumer,
						letter->id),
				 errhint("Give the message to another consumer with djkafka_run(name, messages => ...), or delete the letter.")));
	djk_run_require_owner(consumer);
	/* Whoever writes a consumer of another home chooses its id. */
	if (!consumer->is_home)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer \"%s\" belongs to another database, of which this one is a copy", consumer->name),
				 errhint("Give the message to a consumer of this database with djkafka_run(name, messages => ...).")));
	return consumer;
}

static void
lock_letter(int64 id, DjkDeadLetter *letter)
{
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	bool		found;

	djk_catalog_enter(&identity);
	found = djk_dead_letter_lock(id, letter, context);
	djk_catalog_leave(&identity);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dead letter " INT64_FORMAT " does not exist", id),
				 errhint("SELECT id, topic, message FROM djkafka_dead_letter shows those that do.")));
}

/* One that is skipped is not applied, and stays. */
static void
settle(const DjkDeadLetter *letter, const DjkApplyResult *result)
{
	DjkIdentity identity;

	if (result->skipped > 0)
		return;
	djk_catalog_enter(&identity);
	djk_dead_letter_delete(letter->id);
	if (result->dead > 0)
		djk_dead_letter_replace(letter);
	djk_catalog_leave(&identity);
}

static const char *
describe(const DjkApplyResult *result)
{
	if (result->dead > 0)
		return "dead";
	if (result->skipped > 0)
		return "skipped";
	if (result->filtered > 0)
		return "filtered";
	if (result->stale > 0)
		return "stale";
	return result->duplicates > 0 ? "duplicate" : "applied";
}

/* (id) -> what became of it */
Datum
djkafka_dead_letter_retry(PG_FUNCTION_ARGS)
{
	DjkDeadLetter letter;
	DjkConsumerRow *consumer;
	DjkApply   *apply;
	DjkApplyResult result;

	PreventCommandIfReadOnly("djkafka_dead_letter_retry()");
	lock_letter(PG_GETARG_INT64(0), &letter);
	consumer = load_consumer(&letter);
	apply = djk_apply_create(consumer, CurrentMemoryContext, 0);
	djk_apply_inside(apply, batch_of(&letter), &result);
	if (result.status == DJK_APPLY_STOPPED)
		djk_error_throw(&result.error);
	settle(&letter, &result);
	djk_apply_destroy(apply);
	PG_RETURN_TEXT_P(cstring_to_text(describe(&result)));
}
