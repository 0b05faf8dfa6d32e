/*-------------------------------------------------------------------------
 *
 * letter_filter.c
 *	  Which dead letters a function is called for.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/letter_filter.h"

#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool
is_given(FunctionCallInfo fcinfo, int argument)
{
	return argument >= 0 && !PG_ARGISNULL(argument);
}

static char *
text_of(FunctionCallInfo fcinfo, int argument)
{
	return is_given(fcinfo, argument) ? text_to_cstring(PG_GETARG_TEXT_PP(argument)) : NULL;
}

static Datum
read_ids(FunctionCallInfo fcinfo, int argument)
{
	ArrayType  *ids;

	if (!is_given(fcinfo, argument))
		return (Datum) 0;
	ids = PG_GETARG_ARRAYTYPE_P(argument);
	if (array_contains_nulls(ids))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("ids must not contain nulls")));
	return PointerGetDatum(ids);
}

/* A code, or its first two characters, which are its class. */
static char *
read_sqlstate(FunctionCallInfo fcinfo, int argument)
{
	char	   *code = text_of(fcinfo, argument);
	size_t		len = code ? strlen(code) : 0;

	if (code == NULL)
		return NULL;
	if ((len != 5 && len != 2) || strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid sqlstate: \"%s\"", code),
				 errhint("It is the five characters of an error's code, or the two of its class: '23503', '23'.")));
	return code;
}

/* 0 stands for none; the time that it is, is one microsecond later. */
static TimestampTz
read_time(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz time;

	if (!is_given(fcinfo, argument))
		return 0;
	time = PG_GETARG_TIMESTAMPTZ(argument);
	return time != 0 ? time : 1;
}

static int64
read_max_letters(FunctionCallInfo fcinfo, int argument)
{
	if (!is_given(fcinfo, argument))
		return 0;
	if (PG_GETARG_INT32(argument) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_letters must be greater than zero")));
	return PG_GETARG_INT32(argument);
}

void
djk_letter_filter_read(FunctionCallInfo fcinfo, const DjkLetterArguments *arguments, bool gone_too,
					   DjkLetterFilter *filter)
{
	char	   *consumer = text_of(fcinfo, arguments->consumer);
	Oid			owner;

	memset(filter, 0, sizeof(*filter));
	filter->ids = read_ids(fcinfo, arguments->ids);
	filter->topic = text_of(fcinfo, arguments->topic);
	filter->sqlstate = read_sqlstate(fcinfo, arguments->sqlstate);
	filter->since = read_time(fcinfo, arguments->since);
	filter->until = read_time(fcinfo, arguments->until);
	filter->max_letters = read_max_letters(fcinfo, arguments->max_letters);
	if (consumer != NULL)
	{
		if (djk_consumer_row_find(consumer, &filter->consumer_id, &owner))
			filter->consumer = NULL;
		else if (gone_too)
			filter->consumer = consumer;
		else
			djk_consumer_row_throw_missing(consumer);
	}
	if (filter->ids == (Datum) 0 && consumer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("neither ids nor a consumer are named"),
				 errhint("Name dead letters by ids => ARRAY[...], or all of a consumer by consumer => 'name'.")));
}
