/*-------------------------------------------------------------------------
 *
 * referrer_sql.c
 *	  The text of the statement that deletes rows with what refers to them.
 *
 * It is one statement, so that foreign keys are checked when all of it is gone,
 * whichever refers to which: those that are checked at once are so at the end of a
 * statement.  What refers to the rows is looked for from those that have been deleted
 * in fact, which policies and triggers may keep, and by their places in their
 * tables: a CTE has all of them, each once, which ends circles.
 *
 * What somebody else writes meanwhile is not seen by it: then the foreign key refuses
 * the deletion, as it does without.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/referrer.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

/* Whether rows of a referrer go by this statement, and what refers to them with them. */
static bool
is_followed(const DjkRouteState *state, const DjkReferrer *referrer)
{
	return referrer->goes_by_itself || state->route->on_referenced == DJK_REFERENCED_CASCADE;
}

/* SELECT the places of rows c that refer to the row at d, behind 'before'. */
static void
append_places(StringInfo sql, const DjkReferrer *referrer, const char *before)
{
	appendStringInfo(sql, "SELECT %sc.tableoid, c.ctid FROM %s p JOIN %s c ON %s"
					 " WHERE p.tableoid OPERATOR(pg_catalog.=) d.oid AND p.ctid OPERATOR(pg_catalog.=) d.tid",
					 before, referrer->referred_sql, referrer->table_sql, referrer->match);
	if (referrer->referred_is_one)
		appendStringInfo(sql, " AND d.oid OPERATOR(pg_catalog.=) '%u'::pg_catalog.oid", referrer->referred);
}

/* The places of all rows that go. */
static void
append_going(StringInfo sql, const DjkRouteState *state)
{
	bool		any = false;
	ListCell   *lc;

	appendStringInfoString(sql, ", djk_going(oid, tid) AS (SELECT g.oid, g.tid FROM djk_gone g");
	foreach(lc, state->referrers)
	{
		if (!is_followed(state, lfirst(lc)))
			continue;
		appendStringInfoString(sql, any ? " UNION ALL " :
							   " UNION SELECT x.oid, x.tid FROM djk_going d CROSS JOIN LATERAL (");
		append_places(sql, lfirst(lc), "");
		any = true;
	}
	appendStringInfoString(sql, any ? ") x(oid, tid))" : ")");
}

/* Of the rows that stay those whose references become null; n: by which referrer. */
static void
append_losing(StringInfo sql, const DjkRouteState *state)
{
	bool		any = false;

	appendStringInfoString(sql, ", djk_losing(n, oid, tid) AS (SELECT x.n, x.oid, x.tid FROM djk_going d CROSS JOIN LATERAL (");
	for (int i = 0; i < list_length(state->referrers); i++)
	{
		const DjkReferrer *referrer = list_nth(state->referrers, i);

		if (referrer->goes_by_itself)
			continue;
		appendStringInfoString(sql, any ? " UNION ALL " : "");
		append_places(sql, referrer, psprintf("%d, ", i));
		any = true;
	}
	appendStringInfoString(sql, ") x(n, oid, tid) WHERE NOT EXISTS (SELECT FROM djk_going g"
						   " WHERE g.oid OPERATOR(pg_catalog.=) x.oid AND g.tid OPERATOR(pg_catalog.=) x.tid))");
}

/*
 * The referrer by whose table its rows are written: its own, or the partitioned one's of
 * that.  A row can be written once in a statement.
 */
static int
writer_of(const DjkRouteState *state, int number)
{
	const DjkReferrer *referrer = list_nth(state->referrers, number);
	int			writer = number;

	for (int i = 0; i < list_length(state->referrers); i++)
	{
		const DjkReferrer *other = list_nth(state->referrers, i);
		const DjkReferrer *best = list_nth(state->referrers, writer);

		if (other->goes_by_itself || !list_member_oid(other->tables, referrer->table))
			continue;
		if (list_length(other->tables) > list_length(best->tables) ||
			(other->table == best->table && i < writer))
			writer = i;
	}
	return writer;
}

/*
 * Whether the row c is at the place d.  What somebody has changed meanwhile is elsewhere by
 * now, and may refer to another row.  Releases before 15.15, 16.11, 17.7 and 18.1 do not
 * look again at the place by which they have got to it, only at what no scan of places takes.
 */
#define AT_PLACE \
	"c.tableoid OPERATOR(pg_catalog.=) d.oid AND c.ctid OPERATOR(pg_catalog.=) d.tid" \
	" AND c.ctid OPERATOR(pg_catalog.>=) d.tid AND c.ctid OPERATOR(pg_catalog.<=) d.tid"

static void
append_deletion(StringInfo sql, const DjkReferrer *referrer)
{
	appendStringInfo(sql, "DELETE FROM %s c USING djk_going d WHERE " AT_PLACE " RETURNING '1'::pg_catalog.int8",
					 referrer->table_sql);
}

/* Whether a column refers by several of those that one statement writes: then it becomes null by any of them. */
static char *
loses_sql(const DjkRouteState *state, int writer, const char *column)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < list_length(state->referrers); i++)
	{
		const DjkReferrer *referrer = list_nth(state->referrers, i);
		ListCell   *lc;

		if (referrer->goes_by_itself || writer_of(state, i) != writer)
			continue;
		foreach(lc, referrer->columns)
		{
			if (strcmp(lfirst(lc), column) == 0)
				appendStringInfo(&sql, "%sl.n OPERATOR(pg_catalog.=) %d", sql.len > 0 ? " OR " : "", i);
		}
	}
	return sql.data;
}

/* Names of the columns that refer, by whichever of those that one statement writes; *count: how many these are. */
static List *
columns_of(const DjkRouteState *state, int writer, int *count)
{
	List	   *columns = NIL;

	*count = 0;
	for (int i = 0; i < list_length(state->referrers); i++)
	{
		const DjkReferrer *referrer = list_nth(state->referrers, i);
		ListCell   *lc;

		if (referrer->goes_by_itself || writer_of(state, i) != writer)
			continue;
		(*count)++;
		foreach(lc, referrer->columns)
		{
			bool		there = false;
			ListCell   *other;

			foreach(other, columns)
				there |= strcmp(lfirst(other), lfirst(lc)) == 0;
			if (!there)
				columns = lappend(columns, lfirst(lc));
		}
	}
	return columns;
}

static void
append_loss(StringInfo sql, const DjkRouteState *state, int writer)
{
	const DjkReferrer *referrer = list_nth(state->referrers, writer);
	StringInfoData lost;
	int			count;
	List	   *columns = columns_of(state, writer, &count);
	int			number = 0;
	ListCell   *lc;

	initStringInfo(&lost);
	appendStringInfo(sql, "UPDATE %s c SET ", referrer->table_sql);
	foreach(lc, columns)
	{
		const char *name = quote_identifier(lfirst(lc));

		appendStringInfo(sql, "%s%s = ", number > 0 ? ", " : "", name);
		if (count == 1)
			appendStringInfoString(sql, "NULL");
		else
		{
			appendStringInfo(&lost, ", pg_catalog.bool_or(%s) AS lost_%d", loses_sql(state, writer, lfirst(lc)), number);
			appendStringInfo(sql, "CASE WHEN d.lost_%d THEN NULL ELSE c.%s END", number, name);
		}
		number++;
	}
	appendStringInfo(sql, " FROM (SELECT l.oid, l.tid, pg_catalog.count(*) AS n%s FROM djk_losing l GROUP BY l.oid, l.tid) d"
					 " WHERE " AT_PLACE " RETURNING d.n",
					 lost.data);
}

char *
djk_referrers_sql(const DjkRouteState *state, const char *deletion)
{
	bool		cascades = state->route->on_referenced == DJK_REFERENCED_CASCADE;
	StringInfoData sql;
	StringInfoData taken;

	initStringInfo(&sql);
	initStringInfo(&taken);
	appendStringInfo(&sql, "WITH RECURSIVE djk_gone(oid, tid) AS (%s RETURNING t.tableoid, t.ctid)", deletion);
	append_going(&sql, state);
	if (!cascades)
		append_losing(&sql, state);
	for (int i = 0; i < list_length(state->referrers); i++)
	{
		const DjkReferrer *referrer = list_nth(state->referrers, i);

		if (referrer->goes_by_itself || writer_of(state, i) != i)
			continue;
		appendStringInfo(&sql, ", djk_taken_%d(n) AS (", i);
		if (cascades)
			append_deletion(&sql, referrer);
		else
			append_loss(&sql, state, i);
		appendStringInfoChar(&sql, ')');
		appendStringInfo(&taken, "%sSELECT n FROM djk_taken_%d", taken.len > 0 ? " UNION ALL " : "", i);
	}
	appendStringInfo(&sql, " SELECT coalesce(pg_catalog.sum(x.n), '0')::pg_catalog.int8 FROM (%s) x(n)", taken.data);
	return sql.data;
}
