/*-------------------------------------------------------------------------
 *
 * dead_letter_settle.c
 *	  What becomes of dead letters, and the log of it.
 *
 * Whatever is done with a letter leaves a row in djkafka_dead_letter_log, in the
 * same transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "state/dead_letter.h"

#include "base/settings.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/event.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* So many expire in one transaction. */
#define EXPIRE_LETTERS		5000

#define LOG_COLUMNS \
	"letter_id, consumer_id, consumer, topic, partition, \"offset\""
#define OF_LETTER \
	"d.id, d.consumer_id, d.consumer, d.topic, d.partition, d.\"offset\""

/* ---------- arrays ---------- */

/* A text[] in which NULL is null. */
static Datum
texts_datum(const char *const *values, int n)
{
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));
	int			lbs[1] = {1};

	for (int i = 0; i < n; i++)
	{
		nulls[i] = values[i] == NULL;
		elements[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(values[i]);
	}
	return PointerGetDatum(construct_md_array(elements, nulls, 1, &n, lbs, TEXTOID, -1, false, TYPALIGN_INT));
}

static const char *
state_text(const DjkError *error)
{
	return error->sqlstate != 0 ? pstrdup(unpack_sql_state(error->sqlstate)) : NULL;
}

/* ---------- a replay ---------- */

static void
log_outcomes(const char *action, const char *reason, const DjkLetterOutcome *outcomes, int n)
{
	static DjkStatement insert_log = {
		.sql = "INSERT INTO @.djkafka_dead_letter_log (action, reason, " LOG_COLUMNS ", result, sqlstate, message)"
		" SELECT $1, $2, " OF_LETTER ", o.result, coalesce(o.sqlstate, d.sqlstate), coalesce(o.message, d.message)"
		" FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS o(id, result, sqlstate, message, n)"
		" JOIN @.djkafka_dead_letter d ON d.id = o.id ORDER BY o.n",
		.nargs = 6,
		.argtypes = {TEXTOID, TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	int64	   *ids = palloc(n * sizeof(int64));
	const char **results = palloc(n * sizeof(char *));
	const char **states = palloc(n * sizeof(char *));
	const char **messages = palloc(n * sizeof(char *));
	Datum		values[6];
	char		nulls[] = {' ', ' ', ' ', ' ', ' ', ' ', '\0'};

	for (int i = 0; i < n; i++)
	{
		ids[i] = outcomes[i].id;
		results[i] = outcomes[i].result;
		states[i] = outcomes[i].failed ? state_text(&outcomes[i].error) : NULL;
		messages[i] = outcomes[i].failed ? outcomes[i].error.message : NULL;
	}
	values[0] = CStringGetTextDatum(action);
	values[1] = djk_text_datum(reason, &nulls[1]);
	values[2] = djk_int8_array_datum(ids, n);
	values[3] = texts_datum(results, n);
	values[4] = texts_datum(states, n);
	values[5] = texts_datum(messages, n);
	(void) djk_catalog_execute_by_index(&insert_log, values, nulls);
}

/* The errors of those that were tried in vain. */
static void
keep_errors(const DjkLetterOutcome *outcomes, int n)
{
	static DjkStatement update_letters = {
		.sql = "UPDATE @.djkafka_dead_letter d SET attempts = d.attempts + 1, last_failed_at = clock_timestamp(),"
		" route_id = nullif(o.route_id, 0), sqlstate = o.sqlstate, message = o.message, detail = o.detail, hint = o.hint,"
		" context = o.context"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7) AS o(id, route_id, sqlstate, message, detail, hint, context)"
		" WHERE d.id = o.id",
		.nargs = 7,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	int64	   *ids = palloc(n * sizeof(int64));
	int64	   *routes = palloc(n * sizeof(int64));
	const char **texts[5];
	Datum		values[7];
	int			count = 0;

	for (int t = 0; t < 5; t++)
		texts[t] = palloc(n * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		const DjkLetterOutcome *outcome = &outcomes[i];

		if (!outcome->failed)
			continue;
		ids[count] = outcome->id;
		routes[count] = outcome->route_id;
		texts[0][count] = state_text(&outcome->error);
		texts[1][count] = outcome->error.message ? outcome->error.message : "unknown error";
		texts[2][count] = outcome->error.detail;
		texts[3][count] = outcome->error.hint;
		texts[4][count++] = outcome->context;
	}
	if (count == 0)
		return;
	values[0] = djk_int8_array_datum(ids, count);
	values[1] = djk_int8_array_datum(routes, count);
	for (int t = 0; t < 5; t++)
		values[2 + t] = texts_datum(texts[t], count);
	(void) djk_catalog_execute_by_index(&update_letters, values, NULL);
}

static void
remove_gone(const DjkLetterOutcome *outcomes, int n)
{
	static DjkStatement delete_letters = {
		.sql = "DELETE FROM @.djkafka_dead_letter WHERE id = ANY ($1)",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	int64	   *ids = palloc(n * sizeof(int64));
	Datum		values[1];
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		if (outcomes[i].gone)
			ids[count++] = outcomes[i].id;
	}
	if (count == 0)
		return;
	values[0] = djk_int8_array_datum(ids, count);
	/* The owner's code has run since they were locked, in this very transaction. */
	if (djk_catalog_execute_by_index(&delete_letters, values, NULL) != (uint64) count)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("what was applied has deleted the dead letter that it came from"),
				 errhint("Leave dead letters alone in handlers, triggers and expressions.")));
}

void
djk_dead_letter_settle(const char *action, const char *reason, const DjkLetterOutcome *outcomes, int n)
{
	if (n == 0)
		return;
	log_outcomes(action, reason, outcomes, n);
	keep_errors(outcomes, n);
	remove_gone(outcomes, n);
}

/* ---------- by a person ---------- */

int
djk_dead_letter_discard(const int64 *ids, int n, const char *reason)
{
	static DjkStatement lock_letters = {
		.sql = "SELECT FROM @.djkafka_dead_letter WHERE id = ANY ($1) ORDER BY id FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	static DjkStatement delete_letters = {
		.sql = "WITH d AS (DELETE FROM @.djkafka_dead_letter WHERE id = ANY ($1) RETURNING *)"
		" INSERT INTO @.djkafka_dead_letter_log (action, reason, " LOG_COLUMNS ", sqlstate, message)"
		" SELECT 'discard', $2, " OF_LETTER ", d.sqlstate, d.message FROM d ORDER BY d.id",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TEXTOID}
	};
	Datum		values[2] = {djk_int8_array_datum(ids, n), CStringGetTextDatum(reason)};

	(void) djk_catalog_execute_by_index(&lock_letters, values, NULL);
	return (int) djk_catalog_execute_by_index(&delete_letters, values, NULL);
}

void
djk_dead_letter_log_change(const char *action, int64 id, bool with_bytes)
{
	static DjkStatement insert_log = {
		.sql = "INSERT INTO @.djkafka_dead_letter_log (action, " LOG_COLUMNS ", sqlstate, message, old_key, old_value, old_headers)"
		" SELECT $1, " OF_LETTER ", d.sqlstate, d.message, CASE WHEN $3 THEN d.key END, CASE WHEN $3 THEN d.value END,"
		" CASE WHEN $3 THEN d.headers END FROM @.djkafka_dead_letter d WHERE d.id = $2",
		.nargs = 3,
		.argtypes = {TEXTOID, INT8OID, BOOLOID}
	};
	Datum		values[3] = {CStringGetTextDatum(action), Int64GetDatum(id), BoolGetDatum(with_bytes)};

	(void) djk_catalog_execute(&insert_log, values, NULL);
}

/* ---------- by age and number ---------- */

/*
 * Those that are locked are in somebody's hands.  As many as may go at once are counted
 * behind them, or a session that holds so many would keep all others' from it.
 */
#define EXPIRE(which, setting) \
	"WITH old AS (" which " LIMIT $2 FOR UPDATE OF e SKIP LOCKED)," \
	" d AS (DELETE FROM @.djkafka_dead_letter WHERE id IN (SELECT id FROM old) RETURNING *)," \
	" logged AS (INSERT INTO @.djkafka_dead_letter_log (action, reason, " LOG_COLUMNS ", sqlstate, message)" \
	"  SELECT 'expire', '" setting "', " OF_LETTER ", d.sqlstate, d.message FROM d ORDER BY d.id)" \
	" SELECT consumer_id, consumer, count(*) FROM d GROUP BY 1, 2 ORDER BY 1, 2"

typedef struct Expired
{
	int64		consumer_id;
	char	   *consumer;
	int64		letters;
} Expired;

/* Tells what a statement has removed; returns how many. */
static int64
tell_expired(DjkStatement *statement, Datum *values, const char *setting)
{
	MemoryContext context = CurrentMemoryContext;
	int			n = (int) djk_catalog_execute(statement, values, NULL);
	Expired    *expired = palloc(Max(n, 1) * sizeof(Expired));
	int64		all = 0;

	for (int i = 0; i < n; i++)
	{
		expired[i].consumer_id = djk_row_int64(i, 1, 0);
		expired[i].consumer = djk_row_text(i, 2, context);
		expired[i].letters = djk_row_int64(i, 3, 0);
	}
	for (int i = 0; i < n; i++)
	{
		DjkEvent	event = {0};

		event.kind = "expired";
		event.consumer_id = expired[i].consumer_id;
		event.consumer = expired[i].consumer;
		event.partition = -1;
		event.reason = psprintf(INT64_FORMAT " dead letters were removed by %s", expired[i].letters, setting);
		djk_event_write(&event);
		all += expired[i].letters;
	}
	return all;
}

static int64
expire_old(void)
{
	static DjkStatement delete_old = {
		.sql = EXPIRE("SELECT e.id FROM @.djkafka_dead_letter e WHERE e.last_failed_at < now() - make_interval(secs => $1)"
					  " ORDER BY e.last_failed_at", "djkafka.dead_letter_retention"),
		.nargs = 2,
		.argtypes = {FLOAT8OID, INT4OID}
	};
	Datum		values[2] = {Float8GetDatum((double) djk_dead_letter_retention_s), Int32GetDatum(EXPIRE_LETTERS)};

	return djk_dead_letter_retention_s > 0 ? tell_expired(&delete_old, values, "djkafka.dead_letter_retention") : 0;
}

static int64
expire_many(void)
{
	static DjkStatement delete_many = {
		.sql = EXPIRE("SELECT e.id FROM (SELECT consumer_id, count(*) - $1 AS excess FROM @.djkafka_dead_letter"
					  " GROUP BY 1 HAVING count(*) > $1) c CROSS JOIN LATERAL (SELECT o.id FROM @.djkafka_dead_letter o"
					  " WHERE o.consumer_id = c.consumer_id ORDER BY o.id LIMIT c.excess) o"
					  " JOIN @.djkafka_dead_letter e ON e.id = o.id", "djkafka.max_dead_letters"),
		.nargs = 2,
		.argtypes = {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(djk_max_dead_letters), Int32GetDatum(EXPIRE_LETTERS)};

	return djk_max_dead_letters > 0 ? tell_expired(&delete_many, values, "djkafka.max_dead_letters") : 0;
}

bool
djk_dead_letter_expire(void)
{
	int64		old = expire_old();
	int64		many = expire_many();

	return old >= EXPIRE_LETTERS || many >= EXPIRE_LETTERS;
}

void
djk_dead_letter_trim_log(void)
{
	static DjkStatement delete_log = {
		.sql = "DELETE FROM @.djkafka_dead_letter_log WHERE done_at < now() - make_interval(secs => $1)",
		.nargs = 1,
		.argtypes = {FLOAT8OID}
	};
	Datum		values[1] = {Float8GetDatum((double) djk_event_retention_s)};

	(void) djk_catalog_execute(&delete_log, values, NULL);
}
