/*-------------------------------------------------------------------------
 *
 * statement_sql.c
 *	  The text of the statements that write a route's target.
 *
 * The columns of a batch's rows are djk_1, djk_2 and so on, whatever those of
 * the target are named.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/statement.h"

#include "apply/numbered.h"
#include "apply/referrer.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

static void
append_columns(StringInfo sql, const DjkRouteState *state, const Bitmapset *present, const char *format)
{
	int			c = -1;
	bool		first = true;

	while ((c = bms_next_member(present, c)) >= 0)
	{
		const char *name = quote_identifier(state->columns[c].name);

		appendStringInfoString(sql, first ? "" : ", ");
		if (strcmp(format, "name") == 0)
			appendStringInfoString(sql, name);
		else
			appendStringInfo(sql, "r.djk_%d", c + 1);
		first = false;
	}
}

/* SET c = prefix.x for what is not the key; false if there is nothing to set. */
static bool
append_assignments(StringInfo sql, const DjkRouteState *state, const Bitmapset *present, bool excluded)
{
	int			c = -1;
	bool		any = false;

	while ((c = bms_next_member(present, c)) >= 0)
	{
		const char *name = quote_identifier(state->columns[c].name);

		if (state->columns[c].is_key || state->columns[c].always_identity || state->columns[c].insert_only)
			continue;
		appendStringInfo(sql, "%s%s = ", any ? ", " : "", name);
		if (excluded)
			appendStringInfo(sql, "EXCLUDED.%s", name);
		else
			appendStringInfo(sql, "r.djk_%d", c + 1);
		any = true;
	}
	if (state->route->skip_column != NULL)
	{
		appendStringInfo(sql, "%s%s = true", any ? ", " : "", quote_identifier(state->route->skip_column));
		any = true;
	}
	return any;
}

/* Key columns that may be null, whose combinations are spelt out. */
#define NULL_KEYS_SPELT		4

static void
append_equal(StringInfo sql, const DjkRouteState *state, int key)
{
	const DjkColumn *column = &state->columns[state->keys[key]];

	appendStringInfo(sql, "t.%s%s %s r.djk_%d%s", quote_identifier(column->name), column->compared_as,
					 column->equal_operator, state->keys[key] + 1, column->compared_as);
}

static void
append_both_null(StringInfo sql, const DjkRouteState *state, int key)
{
	const DjkColumn *column = &state->columns[state->keys[key]];

	appendStringInfo(sql, "t.%s IS NULL AND r.djk_%d IS NULL", quote_identifier(column->name), state->keys[key] + 1);
}

/*
 * Of key columns that may be null all combinations, each of which an index
 * serves as a whole; an OR for each column would be served by its first column
 * alone, and IS NOT DISTINCT FROM not at all.
 */
static void
append_null_match(StringInfo sql, const DjkRouteState *state, const int *keys, int nkeys)
{
	for (int nulls = 0; nulls < 1 << nkeys; nulls++)
	{
		appendStringInfoString(sql, nulls > 0 ? " OR " : "(");
		for (int i = 0; i < nkeys; i++)
		{
			appendStringInfoString(sql, i > 0 ? " AND " : "");
			if (nulls & (1 << i))
				append_both_null(sql, state, keys[i]);
			else
				append_equal(sql, state, keys[i]);
		}
	}
	appendStringInfoChar(sql, ')');
}

/* By the columns of the key that are in 'part'; NULL: by all. */
static void
append_part_match(StringInfo sql, const DjkRouteState *state, const Bitmapset *part)
{
	int			spelt[NULL_KEYS_SPELT];
	int			nspelt = 0;
	bool		any = false;

	for (int i = 0; i < state->nkeys; i++)
	{
		const DjkColumn *column = &state->columns[state->keys[i]];

		if (part != NULL && !bms_is_member(state->keys[i], part))
			continue;
		if (column->null_is_key && nspelt < NULL_KEYS_SPELT)
		{
			spelt[nspelt++] = i;
			continue;
		}
		appendStringInfoString(sql, any ? " AND " : "");
		if (column->null_is_key)
			append_null_match(sql, state, &i, 1);
		else
			append_equal(sql, state, i);
		any = true;
	}
	if (nspelt == 0)
		return;
	appendStringInfoString(sql, any ? " AND " : "");
	append_null_match(sql, state, spelt, nspelt);
}

static void
append_key_match(StringInfo sql, const DjkRouteState *state)
{
	append_part_match(sql, state, NULL);
}

/*
 * Only what is newer than the row.  The version has been compared already; this
 * is about a row that another session has made since.
 */
static void
append_version_guard(StringInfo sql, const DjkRouteState *state, const char *before, const char *other)
{
	const char *name;
	const char *cast;

	if (state->version < 0)
		return;
	name = quote_identifier(state->columns[state->version].name);
	cast = state->columns[state->version].compared_as;
	appendStringInfo(sql, "%s (t.%s IS NULL OR %s IS NULL OR t.%s%s %s %s%s)", before, name, other, name, cast,
					 state->version_less, other, cast);
}

/* The version of the row at hand: of EXCLUDED, or of the batch's. */
static const char *
version_name(const DjkRouteState *state, bool excluded)
{
	if (state->version < 0)
		return "";
	return excluded ? psprintf("EXCLUDED.%s", quote_identifier(state->columns[state->version].name)) :
		psprintf("r.djk_%d", state->version + 1);
}

/*
 * Columns of 'numbered' (DjkNumbered *) get the number that the row has, if it
 * is there: numbered.c.
 */
static void
append_insert(StringInfo sql, const DjkRouteState *state, const Bitmapset *present, const List *numbered)
{
	const char *skip = state->route->skip_column;
	const char *comma = bms_is_empty(present) ? "" : ", ";
	int			c = -1;
	bool		override = false;
	ListCell   *lc;

	while ((c = bms_next_member(present, c)) >= 0)
		override |= state->columns[c].always_identity;

	appendStringInfo(sql, "INSERT INTO %s AS t", state->target_sql);
	if (!bms_is_empty(present) || skip != NULL)
	{
		appendStringInfoString(sql, " (");
		append_columns(sql, state, present, "name");
		if (skip != NULL)
			appendStringInfo(sql, "%s%s", comma, quote_identifier(skip));
		foreach(lc, numbered)
		{
			appendStringInfo(sql, ", %s", ((DjkNumbered *) lfirst(lc))->name);
			override |= ((DjkNumbered *) lfirst(lc))->always_identity;
		}
		appendStringInfoChar(sql, ')');
	}
	if (override)
		appendStringInfoString(sql, " OVERRIDING SYSTEM VALUE");
	appendStringInfoString(sql, " SELECT ");
	append_columns(sql, state, present, "row");
	if (skip != NULL)
		appendStringInfo(sql, "%strue", comma);
	foreach(lc, numbered)
		appendStringInfo(sql, ", coalesce(t.%s, %s)", ((DjkNumbered *) lfirst(lc))->name, ((DjkNumbered *) lfirst(lc))->next);
	appendStringInfo(sql, " FROM %s r", DJK_ROWS_RELATION);
	if (numbered == NIL)
		return;
	appendStringInfo(sql, " LEFT JOIN %s AS t ON ", state->target_sql);
	append_key_match(sql, state);
}

static void
append_on_conflict(StringInfo sql, const DjkRouteState *state, const Bitmapset *present, bool update)
{
	StringInfoData assignments;

	initStringInfo(&assignments);
	appendStringInfoString(sql, " ON CONFLICT (");
	for (int i = 0; i < state->nkeys; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", quote_identifier(state->columns[state->keys[i]].name));
	appendStringInfoString(sql, ") DO ");
	if (update && append_assignments(&assignments, state, present, true))
	{
		appendStringInfo(sql, "UPDATE SET %s", assignments.data);
		append_version_guard(sql, state, " WHERE", version_name(state, true));
	}
	else
		appendStringInfoString(sql, "NOTHING");
}

static void
append_returned_key(StringInfo sql, const DjkRouteState *state)
{
	for (int i = 0; i < state->nkeys; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : " RETURNING ",
						 quote_identifier(state->columns[state->keys[i]].name));
}

/* Locked, but for what may not be a table: nobody else makes a row newer before it is written. */
static void
append_versions(StringInfo sql, const DjkRouteState *state)
{
	appendStringInfoString(sql, "SELECT ");
	for (int i = 0; i < state->nkeys; i++)
		appendStringInfo(sql, "r.djk_%d, ", state->keys[i] + 1);
	appendStringInfo(sql, "t.%s FROM %s r JOIN %s AS t ON ", quote_identifier(state->columns[state->version].name),
					 DJK_ROWS_RELATION, state->target_sql);
	append_key_match(sql, state);
	if (!state->is_view)
		appendStringInfoString(sql, " FOR NO KEY UPDATE OF t");
}

static void
append_deletion(StringInfo sql, const DjkRouteState *state, const Bitmapset *present)
{
	appendStringInfo(sql, "DELETE FROM %s AS t USING %s r WHERE ", state->target_sql, DJK_ROWS_RELATION);
	append_part_match(sql, state, state->route->partial_deletes ? present : NULL);
	append_version_guard(sql, state, " AND", version_name(state, false));
}

/* Nobody refers to them any more until they are gone, nor moves them elsewhere. */
static void
append_lock(StringInfo sql, const DjkRouteState *state, const Bitmapset *present)
{
	appendStringInfo(sql, "SELECT FROM %s AS t JOIN %s r ON ", state->target_sql, DJK_ROWS_RELATION);
	append_part_match(sql, state, state->route->partial_deletes ? present : NULL);
	appendStringInfoString(sql, " FOR UPDATE OF t");
}

char *
djk_route_sql_text(const DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present)
{
	StringInfoData sql;

	initStringInfo(&sql);
	switch (kind)
	{
		case DJK_SQL_INSERT:
			append_insert(&sql, state, present, NIL);
			break;
		case DJK_SQL_INSERT_NEW:
		case DJK_SQL_INSERT_TOLD:
		case DJK_SQL_UPSERT:
			append_insert(&sql, state, present, djk_numbered_absent(state, present));
			append_on_conflict(&sql, state, present, kind == DJK_SQL_UPSERT);
			if (kind == DJK_SQL_INSERT_TOLD)
				append_returned_key(&sql, state);
			break;
		case DJK_SQL_UPDATE:
			appendStringInfo(&sql, "UPDATE %s AS t SET ", state->target_sql);
			if (!append_assignments(&sql, state, present, false))
				return NULL;
			appendStringInfo(&sql, " FROM %s r WHERE ", DJK_ROWS_RELATION);
			append_key_match(&sql, state);
			append_version_guard(&sql, state, " AND", version_name(state, false));
			break;
		case DJK_SQL_INSERT_MISSING:
			append_insert(&sql, state, present, NIL);
			appendStringInfo(&sql, " WHERE NOT EXISTS (SELECT FROM %s AS t WHERE ", state->target_sql);
			append_key_match(&sql, state);
			appendStringInfoChar(&sql, ')');
			if (!state->is_view)
				append_on_conflict(&sql, state, present, true);
			break;
		case DJK_SQL_DELETE:
			append_deletion(&sql, state, present);
			break;
		case DJK_SQL_DELETE_REFERRED:
			append_deletion(&sql, state, present);
			return djk_referrers_sql(state, sql.data);
		case DJK_SQL_LOCK:
			append_lock(&sql, state, present);
			break;
		case DJK_SQL_SKIP:
			appendStringInfo(&sql, "UPDATE %s AS t SET %s = true FROM %s r WHERE ", state->target_sql,
							 quote_identifier(state->route->skip_column), DJK_ROWS_RELATION);
			append_part_match(&sql, state, state->route->partial_deletes ? present : NULL);
			append_version_guard(&sql, state, " AND", version_name(state, false));
			break;
		case DJK_SQL_FIND:
			appendStringInfo(&sql, "SELECT FROM %s r WHERE EXISTS (SELECT FROM %s AS t WHERE ",
							 DJK_ROWS_RELATION, state->target_sql);
			append_key_match(&sql, state);
			appendStringInfoChar(&sql, ')');
			break;
		case DJK_SQL_VERSIONS:
			append_versions(&sql, state);
			break;
	}
	return sql.data;
}

bool
djk_route_sql_may_conflict(const DjkRouteState *state, const Bitmapset *present)
{
	if (state->is_view || state->needed_excluded || !bms_is_subset(state->needed, present))
		return false;
	return !state->has_checks ||
		(!state->excludes_columns && bms_num_members(present) == state->ncolumns);
}
