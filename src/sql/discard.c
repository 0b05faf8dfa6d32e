/*-------------------------------------------------------------------------
 *
 * discard.c
 *	  djkafka_discard(): removes dead letters for a reason, which is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "sql/letter_filter.h"
#include "sql/consumer_owner.h"
#include "state/catalog.h"
#include "state/offset_left.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(djkafka_discard);

#define PIECE_LETTERS	1000

enum
{
	ARG_IDS,
	ARG_REASON,
	ARG_CONSUMER,
	ARG_TOPIC,
	ARG_SQLSTATE,
	ARG_SINCE,
	ARG_UNTIL
};

static char *
require_reason(FunctionCallInfo fcinfo)
{
	char	   *reason = PG_ARGISNULL(ARG_REASON) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_REASON));

	if (reason == NULL || reason[strspn(reason, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reason is needed to discard dead letters"),
				 errhint("It is kept in djkafka_dead_letter_log: reason => '...'.")));
	return reason;
}

/* Who may delete any letter of the table needs to own none of them. */
static bool
may_delete_any(void)
{
	return pg_class_aclcheck(djk_catalog_table("djkafka_dead_letter"), GetUserId(), ACL_DELETE) == ACLCHECK_OK;
}

static void
require_owners(const DjkLetterList *list)
{
	int64		known = 0;

	if (may_delete_any())
		return;
	for (int i = 0; i < list->n; i++)
	{
		Oid			owner;

		if (i > 0 && list->consumer_ids[i] == known)
			continue;
		known = list->consumer_ids[i];
		owner = djk_offset_left_consumer_owner(known);
		if (!OidIsValid(owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("dead letter " INT64_FORMAT " is of a consumer that is gone", list->ids[i]),
					 errhint("Who may delete from djkafka_dead_letter may discard it.")));
		djk_require_consumer_owner(owner);
	}
}

Datum
djkafka_discard(PG_FUNCTION_ARGS)
{
	static const DjkLetterArguments arguments = {ARG_IDS, ARG_CONSUMER, ARG_TOPIC, ARG_SQLSTATE, ARG_SINCE, ARG_UNTIL, -1};
	MemoryContext context = CurrentMemoryContext;
	DjkLetterFilter filter;
	DjkLetterList list;
	DjkIdentity identity;
	int64		discarded = 0;
	char	   *reason;

	PreventCommandIfReadOnly("djkafka_discard()");
	reason = require_reason(fcinfo);
	djk_letter_filter_read(fcinfo, &arguments, true, &filter);
	djk_catalog_enter(&identity);
	djk_dead_letter_find(&filter, &list, context);
	djk_catalog_leave(&identity);
	require_owners(&list);
	for (int from = 0; from < list.n; from += PIECE_LETTERS)
	{
		CHECK_FOR_INTERRUPTS();
		djk_catalog_enter(&identity);
		discarded += djk_dead_letter_discard(list.ids + from, Min(PIECE_LETTERS, list.n - from), reason);
		djk_catalog_leave(&identity);
	}
	PG_RETURN_INT64(discarded);
}
