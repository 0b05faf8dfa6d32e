/*-------------------------------------------------------------------------
 *
 * retry_topic.c
 *	  Topics from which messages that failed are tried again.
 *
 * GROUP.TOPIC.retry.N holds what waits for retry number N, named and marked as
 * django-kafka does it.  The consumer that reads them has the routes of the one
 * whose retries they are.  A message says itself when it is due; until then its
 * partition waits, and behind it is nothing that is due much earlier, since a
 * topic has messages of one number only.
 *
 * Its header is anybody's words: what is no time of this era makes a message due
 * at once.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/retry_topic.h"

#include "codec/codec.h"
#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The end of the year 9999, in seconds since 1970. */
#define LAST_SECOND		INT64CONST(253402300799)
#define EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/* ---------- names ---------- */

static const char *
topic_of(const DjkApply *apply, int message)
{
	return apply->batch->partitions[apply->batch->messages[message].partition].topic;
}

/*
 * Takes the name of a retry topic apart.  False if it is none of the consumer's, and
 * for one that does not read such: a name that only looks so is a name like others.
 */
static bool
parse(const DjkConsumerRow *consumer, const char *name, char **origin, int *attempt)
{
	const char *number = strrchr(name, '.');
	int64		n = 0;
	int			begin;
	int			end;

	if (consumer->retries_of == 0 || consumer->retry_suffix == NULL || number == NULL || number[1] == '\0')
		return false;
	for (const char *c = number + 1; *c != '\0'; c++)
	{
		if (*c < '0' || *c > '9')
			return false;
		n = Min(n * 10 + (*c - '0'), PG_INT32_MAX);
	}
	begin = strlen(consumer->main_group) + 1;
	end = (int) (number - name) - (int) strlen(consumer->retry_suffix) - 1;
	if (end <= begin || strncmp(name, consumer->main_group, begin - 1) != 0 || name[begin - 1] != '.' ||
		name[end] != '.' || strncmp(name + end + 1, consumer->retry_suffix, number - name - end - 1) != 0)
		return false;
	*origin = pnstrdup(name + begin, end - begin);
	*attempt = (int) n;
	return true;
}

const char *
djk_retry_topic_origin(const DjkApply *apply, int message)
{
	char	   *origin;
	int			attempt;

	return parse(apply->consumer, topic_of(apply, message), &origin, &attempt) ? origin : topic_of(apply, message);
}

int
djk_retry_topic_attempt(const DjkApply *apply, int message)
{
	char	   *origin;
	int			attempt;

	if (!parse(apply->consumer, topic_of(apply, message), &origin, &attempt))
		return 0;
	pfree(origin);
	return attempt;
}

char *
djk_retry_topic_next(const DjkApply *apply, int message)
{
	return psprintf("%s.%s.%s.%d", apply->consumer->main_group, djk_retry_topic_origin(apply, message),
					apply->consumer->retry_suffix, apply->work[message].attempt);
}

/* ---------- when it is due ---------- */

char *
djk_retry_topic_format(TimestampTz due_at)
{
	int64		us = due_at + (int64) EPOCH_DAYS * USECS_PER_DAY;

	return psprintf(INT64_FORMAT ".%06d", us / USECS_PER_SEC, (int) (us % USECS_PER_SEC));
}

/* Seconds since 1970, with a fraction perhaps; 0 if it is nothing of the kind. */
static TimestampTz
parse_time(const char *text, int len)
{
	int64		seconds = 0;
	int64		us = 0;
	int64		unit = USECS_PER_SEC;
	int			i = 0;

	for (; i < len && text[i] >= '0' && text[i] <= '9' && seconds <= LAST_SECOND; i++)
		seconds = seconds * 10 + (text[i] - '0');
	if (i == 0 || seconds > LAST_SECOND || (i < len && text[i] != '.'))
		return 0;
	for (i++; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return 0;
		unit /= 10;
		us += unit * (text[i] - '0');
	}
	return (seconds - (int64) EPOCH_DAYS * SECS_PER_DAY) * USECS_PER_SEC + us;
}

/* The first of its name, as django-kafka takes it. */
static const DjkHeader *
find_header(const DjkHeader *headers, int n, const char *name)
{
	for (int i = 0; i < n; i++)
	{
		if (headers[i].value != NULL && djk_header_is(&headers[i], name))
			return &headers[i];
	}
	return NULL;
}

static void
hold(DjkApply *apply, int message, TimestampTz due_at, const DjkHeader *reason)
{
	DjkWork    *work = &apply->work[message];
	MemoryContext old = MemoryContextSwitchTo(apply->batch_context);

	memset(&work->error, 0, sizeof(work->error));
	work->error.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	work->attempt = djk_retry_topic_attempt(apply, message);
	work->error.message = psprintf("retry number %d of the message is not due before %s", work->attempt, timestamptz_to_str(due_at));
	if (reason != NULL)
		work->error.message = psprintf("%s: %s", work->error.message,
									   text_to_cstring(djk_codec_escaped_text(reason->value, Min(reason->value_len, 1000))));
	work->error.hint = pstrdup("A worker waits for that; djkafka_run does not.");
	work->due_at = due_at;
	work->fate = DJK_FATE_STOP;
	MemoryContextSwitchTo(old);
}

void
djk_retry_topic_mark(DjkApply *apply, int from, int to)
{
	DjkBatch   *batch = apply->batch;
	TimestampTz now;

	if (apply->consumer->retries_of == 0 || batch->detached || batch->again || batch->load_headers == NULL)
		return;
	now = GetCurrentTimestamp();
	for (int i = from; i < to; i++)
	{
		DjkHeader  *headers;
		int			n;
		const DjkHeader *time;
		TimestampTz due_at;

		if (apply->work[i].fate != DJK_FATE_PENDING)
			continue;
		n = batch->load_headers(batch, &batch->messages[i], &headers);
		time = find_header(headers, n, DJK_RETRY_TIMESTAMP);
		due_at = time != NULL ? parse_time(time->value, time->value_len) : 0;
		if (due_at > now)
			hold(apply, i, due_at, find_header(headers, n, DJK_RETRY_MESSAGE));
	}
}
