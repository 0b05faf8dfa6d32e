/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  What a consumer worker says of a batch that came to nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/failure.h"

#include "utils/builtins.h"

/* The message that failed, or the one that the batch has come to; NULL: there is none. */
static const DjkMessage *
failed_message(const DjkMember *worker, const DjkApplyResult *result)
{
	int			i = result->failed_at >= 0 ? result->failed_at : result->decided;

	return i < worker->collector.batch.nmessages ? &worker->collector.batch.messages[i] : NULL;
}

char *
djk_failure_tell(const DjkMember *worker, const DjkApplyResult *result)
{
	const DjkMessage *message = failed_message(worker, result);
	const DjkBatchPartition *partition;
	bool		alone = result->failed_at >= 0 || result->status == DJK_APPLY_STOPPED;

	if (message == NULL)
		return pstrdup(result->error.message);
	partition = &worker->collector.batch.partitions[message->partition];
	return psprintf("topic \"%s\", partition %d, %soffset " INT64_FORMAT "%s: %s", partition->topic,
					partition->partition, alone ? "" : "from ", message->offset, alone ? "" : " on",
					result->error.message);
}

/* The command that goes past the message that failed; palloc'd. */
static char *
tell_seek(const DjkMember *worker, const DjkApplyResult *result)
{
	const DjkMessage *message = failed_message(worker, result);
	const DjkBatchPartition *partition;

	if (message == NULL)
		return pstrdup("djkafka_seek");
	partition = &worker->collector.batch.partitions[message->partition];
	return psprintf("SELECT djkafka_seek(%s, %s, '" INT64_FORMAT "', %d)", quote_literal_cstr(worker->row->name),
					quote_literal_cstr(partition->topic), message->offset + 1, partition->partition);
}

char *
djk_failure_remedy(const DjkMember *worker, const DjkApplyResult *result)
{
	const char *hint = result->error.hint ? result->error.hint : "";
	const char *space = result->error.hint ? " " : "";

	switch (result->status)
	{
		case DJK_APPLY_STOPPED:
			return psprintf("%s%son_error is stop: mend the cause, or go past the message with %s.",
							hint, space, tell_seek(worker, result));
		case DJK_APPLY_DOUBTFUL:
			return psprintf("%s%sIf it is the message alone: after %d more tries it becomes what on_error says, or go past it now with %s.",
							hint, space, result->tries_left, tell_seek(worker, result));
		case DJK_APPLY_TRANSIENT:
			return psprintf("%s%sIt is tried again; what alone still fails after %d more tries becomes what on_error says.",
							hint, space, result->tries_left);
		default:
			return result->error.hint ? pstrdup(hint) : NULL;
	}
}
