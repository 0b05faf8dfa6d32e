/*-------------------------------------------------------------------------
 *
 * skip.c
 *	  djkafka_skip(): passes by one message, unseen.
 *
 * The wish is stored in the partition's row, where the next transaction that
 * comes to the message finds it.  A message that waits, for a row that it refers
 * to or for another try, is behind that, and goes at once.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "base/message.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/consumer_control.h"
#include "sql/consumer_owner.h"
#include "state/awaited.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "state/skip.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(djkafka_skip);

typedef struct Skip
{
	char	   *consumer;
	int64		consumer_id;
	char	   *topic;
	int			partition;
	int64		offset;			/* -1: none any more */
	DjkSkipRow	row;
} Skip;

static void
read_arguments(FunctionCallInfo fcinfo, Skip *skip)
{
	skip->consumer = djk_require_text_arg(fcinfo, 0, "consumer");
	skip->topic = djk_require_text_arg(fcinfo, 1, "topic");
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"partition\" must not be null")));
	skip->partition = PG_GETARG_INT32(2);
	skip->offset = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT64(3);
	if (skip->partition < 0 || (skip->offset < 0 && !PG_ARGISNULL(3)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", skip->partition < 0 ? "partition" : "offset")));
}

/* Nothing may be skipped of a partition that stands nowhere. */
static void
require_position(const Skip *skip)
{
	if (skip->row.id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer \"%s\" knows no partition %d of topic \"%s\"", skip->consumer, skip->partition, skip->topic),
				 errdetail("Partitions are known from when a worker, or a djkafka_run that was committed, has first come to them."),
				 errhint("SELECT consumer, topic, partition FROM djkafka_partition_status shows those that are.")));
	if (skip->row.needs_decision)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition %d of topic \"%s\" needs a decision", skip->partition, skip->topic),
				 errhint("Decide with djkafka_seek(consumer, topic, start_at, partition).")));
	if (skip->row.next_offset == DJK_OFFSET_UNRESOLVED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known yet where partition %d of topic \"%s\" starts", skip->partition, skip->topic),
				 errhint("Try again when djkafka_partition_status shows its next_offset.")));
}

static void
tell(const Skip *skip, int64 offset, DjkSkipNews news, int64 before)
{
	DjkEvent	event = {0};

	event.consumer_id = skip->consumer_id;
	event.consumer = skip->consumer;
	event.topic = skip->topic;
	event.partition = skip->partition;
	djk_skip_tell(&event, offset, news, before);
}

static void
skip_passed(const Skip *skip)
{
	if (djk_skip_parked(skip->row.id, skip->offset))
	{
		tell(skip, skip->offset, DJK_SKIP_DONE_WAITING, -1);
		/* What waited behind it may have nothing to wait for. */
		djk_awaited_note_any();
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer \"%s\" is past offset " INT64_FORMAT " of topic \"%s\", partition %d",
						skip->consumer, skip->offset, skip->topic, skip->partition),
				 errdetail("The next message is that of offset " INT64_FORMAT ", and this one does not wait in djkafka_parked.",
						   skip->row.next_offset)));
}

static void
note_replaced(const Skip *skip)
{
	ereport(NOTICE,
			(errmsg("offset " INT64_FORMAT " of topic \"%s\", partition %d, is not to be skipped any more",
					skip->row.skip_offset, skip->topic, skip->partition),
			 errdetail("Of a partition one message at a time can be: that of offset " INT64_FORMAT " now.", skip->offset)));
}

static void
skip_later(const Skip *skip)
{
	if (skip->offset == skip->row.skip_offset)
		return;
	djk_skip_set(skip->row.id, skip->offset);
	tell(skip, skip->offset, DJK_SKIP_ASKED, skip->row.skip_offset);
	if (skip->row.skip_offset >= 0)
		note_replaced(skip);
}

static void
take_back(const Skip *skip)
{
	if (skip->row.skip_offset < 0)
		return;
	djk_skip_set(skip->row.id, -1);
	tell(skip, skip->row.skip_offset, DJK_SKIP_TAKEN_BACK, -1);
}

Datum
djkafka_skip(PG_FUNCTION_ARGS)
{
	Skip		skip = {0};
	DjkIdentity identity;

	read_arguments(fcinfo, &skip);
	PreventCommandIfReadOnly("djkafka_skip()");
	skip.consumer_id = djk_find_owned_consumer(skip.consumer);
	djk_catalog_enter(&identity);
	(void) djk_skip_lock(skip.consumer_id, skip.topic, skip.partition, &skip.row);
	require_position(&skip);
	if (skip.offset < 0)
		take_back(&skip);
	else if (skip.offset < skip.row.next_offset)
		skip_passed(&skip);
	else
		skip_later(&skip);
	djk_catalog_leave(&identity);
	/* Whoever waits, or has failed, at the message goes on at once. */
	if (skip.offset >= 0)
		(void) djk_consumer_row_raise_revision(skip.consumer_id);
	PG_RETURN_VOID();
}
