/*-------------------------------------------------------------------------
 *
 * suppress.c
 *	  Silence: messages that are not wanted, by djkafka_suppress() and by the
 *	  setting djkafka.suppress.
 *
 * A token of djkafka_suppress() is in force until it is given back, or the
 * savepoint that it was taken in ends, in whichever way; so a block of a program
 * silences itself and nothing behind it.  One that was given back in a savepoint
 * that is rolled back is in force again.  The setting lives as settings do.
 *
 * A message is its producer's, and what a published table has to tell its
 * owner's.  Nobody else silences them: who did so is kept with the token and
 * with the setting's value, for a function that runs with other rights, or a
 * cascade, would not know it any more.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/suppress.h"

#include "access/xact.h"
#include "base/settings.h"
#include "base/topic.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "state/shmem.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(djkafka_suppress);
PG_FUNCTION_INFO_V1(djkafka_unsuppress);
PG_FUNCTION_INFO_V1(djkafka_suppressed);

typedef struct Token
{
	struct Token *next;
	int64		id;
	SubTransactionId subid;		/* that it ends with */
	SubTransactionId back_subid;	/* that it was given back in; invalid: it was not */
	Oid			role;
	char	  **topics;			/* NULL: all */
	int			ntopics;
} Token;

/* Of the transaction, in its memory. */
static Token *tokens = NULL;
static int64 last_token = 0;

/* ---------- tokens ---------- */

/* Memory goes with the transaction. */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		tokens = NULL;
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	Token	  **link = &tokens;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (*link != NULL)
	{
		Token	   *token = *link;

		if (token->back_subid == subid)
			token->back_subid = event == SUBXACT_EVENT_ABORT_SUB ? InvalidSubTransactionId : parent;
		if (token->subid == subid || token->subid == token->back_subid)
			*link = token->next;
		else
			link = &token->next;
	}
}

static void
listen_to_ends(void)
{
	static bool done = false;

	if (done)
		return;
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
	done = true;
}

static void
read_topics(Token *token, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &token->ntopics);
	token->topics = palloc((token->ntopics + 1) * sizeof(char *));
	for (int i = 0; i < token->ntopics; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("topics must not contain null"),
					 errhint("Leave topics out to silence all.")));
		token->topics[i] = TextDatumGetCString(elements[i]);
		djk_topic_name_require(token->topics[i], NULL);
	}
}

/* As SET LOCAL says it; in a function or a DO block there may be more to come. */
static void
warn_without_transaction(void)
{
	if (!IsTransactionBlock())
		ereport(WARNING,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("djkafka_suppress() is in force until its transaction ends, which is that of this one statement"),
				 errhint("Call it within transaction.atomic(), or between BEGIN and COMMIT.")));
}

Datum
djkafka_suppress(PG_FUNCTION_ARGS)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Token	   *token = palloc0(sizeof(Token));

	if (!PG_ARGISNULL(0))
		read_topics(token, PG_GETARG_ARRAYTYPE_P(0));
	MemoryContextSwitchTo(old);
	warn_without_transaction();
	listen_to_ends();
	token->id = ++last_token;
	token->subid = GetCurrentSubTransactionId();
	token->role = GetUserId();
	token->next = tokens;
	tokens = token;
	PG_RETURN_INT64(token->id);
}

Datum
djkafka_unsuppress(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);

	for (Token **link = &tokens; *link != NULL; link = &(*link)->next)
	{
		Token	   *token = *link;

		if (token->id != id || token->back_subid != InvalidSubTransactionId)
			continue;
		token->back_subid = GetCurrentSubTransactionId();
		if (token->back_subid == token->subid)
			*link = token->next;
		PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}

static const Token *
find_token(const char *topic)
{
	for (const Token *token = tokens; token != NULL; token = token->next)
	{
		if (token->back_subid != InvalidSubTransactionId)
			continue;
		if (token->topics == NULL)
			return token;
		for (int i = 0; i < token->ntopics; i++)
		{
			if (strcmp(token->topics[i], topic) == 0)
				return token;
		}
	}
	return NULL;
}

/* ---------- who ---------- */

/*
 * A pooler may give the session to somebody else, who would not know: so each
 * transaction is told, and the log once for each time that it is set.
 */
static void
warn_of_session(const DjkSilencer *silencer)
{
	static TimestampTz told = -1;
	static TimestampTz logged = -1;
	TimestampTz transaction = GetCurrentTransactionStartTimestamp();
	int			level = silencer->transaction == logged ? WARNING_CLIENT_ONLY : WARNING;

	if (silencer->transaction == transaction || told == transaction)
		return;
	told = transaction;
	logged = silencer->transaction;
	ereport(level,
			(errmsg("the session's setting djkafka.suppress silences messages"),
			 errdetail("It was set before this transaction, and holds for whoever uses the session."),
			 errhint("Use djkafka_suppress() or SET LOCAL for one transaction.")));
}

static void
require_silencer(Oid role, Oid owner, const char *what, const char *hint)
{
	if (!OidIsValid(role))
		role = GetSessionUserId();
	if (has_privs_of_role(role, owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not silence %s", GetUserNameFromId(role, false), what),
			 errdetail("They are of role \"%s\".", GetUserNameFromId(owner, false)),
			 errhint("%s", hint)));
}

bool
djk_silenced(const char *topic, Oid owner, bool any, const char *what, const char *hint)
{
	const Token *token = find_token(topic);
	const DjkSilencer *silencer = token == NULL ? djk_suppressed(topic) : NULL;

	if (token == NULL && silencer == NULL)
		return false;
	if (!any)
		require_silencer(token != NULL ? token->role : silencer->role, owner, what, hint);
	if (silencer != NULL)
		warn_of_session(silencer);
	return true;
}

/* ---------- how many ---------- */

void
djk_silenced_count(int64 messages)
{
	if (djk_shmem_available())
		djk_suppressed_add(MyDatabaseId, messages);
}

Datum
djkafka_suppressed(PG_FUNCTION_ARGS)
{
	if (!djk_shmem_available())
		PG_RETURN_NULL();
	PG_RETURN_INT64(djk_suppressed_get(MyDatabaseId));
}
