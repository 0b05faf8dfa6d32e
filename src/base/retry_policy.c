/*-------------------------------------------------------------------------
 *
 * retry_policy.c
 *	  When a message that failed is tried again, as people write it.
 *
 * The words are django-kafka's.
 *
 *-------------------------------------------------------------------------
 */
#include "base/retry_policy.h"

#include <jansson.h>
#include <math.h>

#include "base/condition.h"
#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define DELAY_MS			1000
#define BACKOFF				2.0
#define BACKOFF_MAX			1000.0
#define BACKED_OFF_MS		(60 * 60 * 1000)	/* what backoff makes of a delay, where max_delay says nothing */
#define DELAY_MAX_S			1e9
#define RETRIES_MAX			1000000000
#define CONDITIONS_MAX		1000

#define HINT \
	"Keys are max_retries, delay, backoff, max_delay, jitter, include, exclude, log_every, blocking and through: {\"max_retries\": 3, \"delay\": \"10 s\", \"backoff\": true}."

typedef struct Reader
{
	DjkRetryPolicy *policy;
	const json_t *object;
	DjkError   *error;
} Reader;

void
djk_retry_policy_init(DjkRetryPolicy *policy)
{
	memset(policy, 0, sizeof(*policy));
	policy->delay_ms = DELAY_MS;
	policy->backoff = 1;
}

/* ---------- errors ---------- */

static bool
fail(DjkError *error, char *message, const char *hint)
{
	memset(error, 0, sizeof(*error));
	error->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
	error->message = message;
	error->hint = pstrdup(hint);
	return false;
}

static bool
refuse(Reader *reader, const char *key, const char *why, const char *hint)
{
	return fail(reader->error, psprintf("invalid \"%s\" of a retry policy: %s", key, why), hint);
}

/* ---------- values ---------- */

static bool
read_integer(Reader *reader, const char *key, int min, int *value)
{
	const json_t *given = json_object_get(reader->object, key);

	double		number = json_number_value(given);

	if (!json_is_number(given) || floor(number) != number)
		return refuse(reader, key, "it is not an integer", HINT);
	if (number < min || number > RETRIES_MAX)
		return refuse(reader, key, psprintf("it must be between %d and %d", min, RETRIES_MAX),
					  min < 0 ? "-1 is for ever, and 0 at once what on_error says." : HINT);
	*value = (int) number;
	return true;
}

static bool
read_boolean(Reader *reader, const char *key, bool *value)
{
	const json_t *given = json_object_get(reader->object, key);

	if (!json_is_boolean(given))
		return refuse(reader, key, "it is neither true nor false", HINT);
	*value = json_is_true(given);
	return true;
}

/* Seconds of an interval's text, without what may throw: a setting is checked outside of any transaction too. */
static bool
parse_interval(const char *text, double *seconds)
{
	char		buffer[MAXDATELEN + 1];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nfields;
	int			dtype;
	struct pg_itm_in itm_in = {0};
	Interval	interval;
	int			failed = ParseDateTime(text, buffer, sizeof(buffer), field, ftype, MAXDATEFIELDS, &nfields);

	if (failed == 0)
		failed = DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE, &dtype, &itm_in);
	if (failed == DTERR_BAD_FORMAT)
		failed = DecodeISO8601Interval(unconstify(char *, text), &dtype, &itm_in);
	if (failed != 0 || dtype != DTK_DELTA || itmin2interval(&itm_in, &interval) != 0)
		return false;
	*seconds = interval.time / (double) USECS_PER_SEC +
		((double) interval.month * DAYS_PER_MONTH + interval.day) * SECS_PER_DAY;
	return true;
}

static bool
read_delay(Reader *reader, const char *key, int64 *ms)
{
	const json_t *given = json_object_get(reader->object, key);
	double		seconds;

	if (json_is_number(given))
		seconds = json_number_value(given);
	else if (!json_is_string(given) || !parse_interval(json_string_value(given), &seconds))
		return refuse(reader, key, "it is neither a number of seconds nor an interval",
					  "Write 1.5, \"90 s\", \"10 min\" or \"PT10M\".");
	if (!(seconds > 0))
		return refuse(reader, key, "it must be greater than zero", "Leave it out for the default.");
	if (seconds > DELAY_MAX_S)
		return refuse(reader, key, "it is longer than 1000000000 seconds", "Name a shorter time.");
	*ms = (int64) ceil(seconds * 1000);
	return true;
}

static bool
read_through(Reader *reader)
{
	const char *word = json_string_value(json_object_get(reader->object, "through"));

	if (word == NULL || (strcmp(word, "table") != 0 && strcmp(word, "topics") != 0))
		return refuse(reader, "through", "it is neither \"table\" nor \"topics\"",
					  "With \"table\" messages wait in djkafka_parked, with \"topics\" in topics of Kafka.");
	reader->policy->through_topics = strcmp(word, "topics") == 0;
	return true;
}

static bool
read_backoff(Reader *reader)
{
	const json_t *given = json_object_get(reader->object, "backoff");

	if (json_is_boolean(given))
	{
		reader->policy->backoff = json_is_true(given) ? BACKOFF : 1;
		return true;
	}
	if (!json_is_number(given))
		return refuse(reader, "backoff", "it is neither a boolean nor a number",
					  "With true each delay is twice as long as the one before; a number says how many times.");
	if (!(json_number_value(given) >= 1 && json_number_value(given) <= BACKOFF_MAX))
		return refuse(reader, "backoff", "it must be between 1 and 1000", "With true each delay is twice as long as the one before.");
	reader->policy->backoff = json_number_value(given);
	return true;
}

/* ---------- errors that are tried again ---------- */

static bool
read_condition(Reader *reader, const char *key, const json_t *given)
{
	DjkRetryPolicy *policy = reader->policy;
	int			n;

	if (!json_is_string(given))
		return refuse(reader, key, "it is not an array of strings", "Write [\"23505\", \"40\", \"lock_not_available\"].");
	n = djk_condition_find(json_string_value(given), policy->conditions + policy->nconditions);
	if (n == 0)
		return refuse(reader, key, psprintf("there is no error \"%s\"", json_string_value(given)),
					  "Name codes (23505), classes (23) or conditions (unique_violation) of \"PostgreSQL Error Codes\".");
	policy->nconditions += n;
	return true;
}

static bool
read_conditions(Reader *reader, const char *key, DjkRetryErrors errors)
{
	const json_t *given = json_object_get(reader->object, key);
	DjkRetryPolicy *policy = reader->policy;
	size_t		i;
	json_t	   *element;

	if (!json_is_array(given))
		return refuse(reader, key, "it is not an array of strings", "Write [\"23505\", \"40\", \"lock_not_available\"].");
	if (json_array_size(given) > CONDITIONS_MAX)
		return refuse(reader, key, psprintf("it names more than %d errors", CONDITIONS_MAX), "Name their classes.");
	policy->errors = errors;
	policy->conditions = palloc(DJK_CONDITION_CODES * (json_array_size(given) + 1) * sizeof(int));
	policy->nconditions = 0;
	json_array_foreach(unconstify(json_t *, given), i, element)
	{
		if (!read_condition(reader, key, element))
			return false;
	}
	return true;
}

/* ---------- the object ---------- */

/* What is null is as if nobody had said it. */
static bool
set_default(Reader *reader, const char *key)
{
	DjkRetryPolicy *policy = reader->policy;
	DjkRetryPolicy defaults;

	djk_retry_policy_init(&defaults);
	if (strcmp(key, "max_retries") == 0)
		policy->max_retries = defaults.max_retries;
	else if (strcmp(key, "delay") == 0)
		policy->delay_ms = defaults.delay_ms;
	else if (strcmp(key, "backoff") == 0)
		policy->backoff = defaults.backoff;
	else if (strcmp(key, "max_delay") == 0)
		policy->max_delay_ms = defaults.max_delay_ms;
	else if (strcmp(key, "jitter") == 0)
		policy->jitter = defaults.jitter;
	else if (strcmp(key, "log_every") == 0)
		policy->log_every = defaults.log_every;
	else if (strcmp(key, "blocking") == 0)
		policy->blocking = defaults.blocking;
	else if (strcmp(key, "through") == 0)
		policy->through_topics = defaults.through_topics;
	else if (strcmp(key, "include") == 0 || strcmp(key, "exclude") == 0)
		policy->errors = defaults.errors;
	else
		return fail(reader->error, psprintf("a retry policy has no \"%s\"", key), HINT);
	return true;
}

static bool
read_member(Reader *reader, const char *key)
{
	DjkRetryPolicy *policy = reader->policy;

	if (strcmp(key, "max_retries") == 0)
		return read_integer(reader, key, DJK_RETRY_FOR_EVER, &policy->max_retries);
	if (strcmp(key, "delay") == 0)
		return read_delay(reader, key, &policy->delay_ms);
	if (strcmp(key, "backoff") == 0)
		return read_backoff(reader);
	if (strcmp(key, "max_delay") == 0)
		return read_delay(reader, key, &policy->max_delay_ms);
	if (strcmp(key, "jitter") == 0)
		return read_boolean(reader, key, &policy->jitter);
	if (strcmp(key, "include") == 0)
		return read_conditions(reader, key, DJK_RETRY_INCLUDED);
	if (strcmp(key, "exclude") == 0)
		return read_conditions(reader, key, DJK_RETRY_NOT_EXCLUDED);
	if (strcmp(key, "log_every") == 0)
		return read_integer(reader, key, 1, &policy->log_every);
	if (strcmp(key, "blocking") == 0)
		return read_boolean(reader, key, &policy->blocking);
	if (strcmp(key, "through") == 0)
		return read_through(reader);
	return fail(reader->error, psprintf("a retry policy has no \"%s\"", key), HINT);
}

static bool
is_given(const Reader *reader, const char *key)
{
	const json_t *given = json_object_get(reader->object, key);

	return given != NULL && !json_is_null(given);
}

/* What one object says must fit together; of two that overlay each other the cap holds. */
static bool
check_together(Reader *reader)
{
	const DjkRetryPolicy *policy = reader->policy;

	if (is_given(reader, "include") && is_given(reader, "exclude"))
		return fail(reader->error, pstrdup("a retry policy has either \"include\" or \"exclude\""),
					"With include these errors alone are tried again, with exclude all but these.");
	if (is_given(reader, "delay") && is_given(reader, "max_delay") && policy->max_delay_ms < policy->delay_ms)
		return refuse(reader, "max_delay", "it is shorter than \"delay\"", "Make it longer, or leave it out.");
	if (is_given(reader, "blocking") && policy->blocking && is_given(reader, "through") && policy->through_topics)
		return refuse(reader, "through", "a partition that waits sends nothing", "Leave out \"blocking\", or \"through\".");
	return true;
}

static bool
read_object(Reader *reader)
{
	const char *key;
	json_t	   *value;

	if (!json_is_object(reader->object))
		return fail(reader->error, pstrdup("a retry policy is not a JSON object"), HINT);
	/* What is null first: include takes back what exclude has said, and JSON has no order. */
	json_object_foreach(unconstify(json_t *, reader->object), key, value)
	{
		if (json_is_null(value) && !set_default(reader, key))
			return false;
	}
	json_object_foreach(unconstify(json_t *, reader->object), key, value)
	{
		if (!json_is_null(value) && !read_member(reader, key))
			return false;
	}
	return check_together(reader);
}

bool
djk_retry_policy_overlay(DjkRetryPolicy *policy, const char *json, DjkError *error)
{
	Reader		reader = {policy, NULL, error};
	json_error_t reason;
	json_t	   *object;
	bool		ok;

	if (json == NULL || json[strspn(json, " \t\r\n")] == '\0')
		return true;
	object = json_loads(json, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &reason);
	if (object == NULL)
		return fail(error, psprintf("a retry policy is not valid JSON, see line %d, column %d", reason.line, reason.column), HINT);
	reader.object = object;
	ok = read_object(&reader);
	json_decref(object);
	return ok;
}

/* ---------- what it means ---------- */

int64
djk_retry_policy_delay_ms(const DjkRetryPolicy *policy, int attempt, double random)
{
	int64		cap = policy->max_delay_ms > 0 ? policy->max_delay_ms : Max(policy->delay_ms, BACKED_OFF_MS);
	double		delay = Min(policy->delay_ms * pow(policy->backoff, attempt - 1), (double) cap);

	if (policy->jitter)
		delay -= delay / 2 * random;
	return Max((int64) delay, 1);
}

bool
djk_retry_policy_names(const DjkRetryPolicy *policy, int sqlstate)
{
	bool		found = false;

	if (policy->errors == DJK_RETRY_HELPFUL)
		return false;
	for (int i = 0; i < policy->nconditions && !found; i++)
		found = djk_condition_matches(policy->conditions[i], sqlstate);
	return found == (policy->errors == DJK_RETRY_INCLUDED);
}
