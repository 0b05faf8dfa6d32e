/*-------------------------------------------------------------------------
 *
 * version.c
 *	  Messages that are not newer than their row.
 *
 * With a version_column the greatest version of a row wins, not the last
 * message.  The versions that the rows of a batch have are asked for once, and
 * the rows locked; then each message is compared with what its row would be
 * after those before it.  What is left is written as by any other route.
 *
 * With remember_deleted the version of a row that is deleted is kept in
 * djkafka_deleted, so that what was said of it before does not bring it back, by
 * whichever route to the table.
 *
 * A row that is missing when it is asked for may be there when it is written, by
 * another session: the statements compare once more (statement_sql.c).
 *
 *-------------------------------------------------------------------------
 */
#include "apply/version.h"

#include "apply/key_table.h"
#include "apply/statement.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/deleted.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* A row as the messages so far have made it. */
typedef struct Version
{
	bool		exists;
	bool		known;			/* its version; of a row that is gone, the one that is remembered of it */
	Datum		value;
	char	   *remembered_key; /* as djkafka_deleted has it, or would; NULL: it was not asked */
	char	   *remembered;		/* the version that it has under this key, for those who see what we see; NULL: none */
	DjkRow	   *deleted_by;		/* the first of these messages that did, the last of which had, or found, this version: */
	Datum		deleted_value;
} Version;

typedef struct DjkVersions
{
	DjkRouteState *state;
	MemoryContext context;
	DjkKeyTable keys;
	Version    *versions;		/* by change of 'keys'; of the one row, if it cannot be hashed */
	DjkRow	   *first;			/* of the one row */
} Versions;

/* Whether messages of several rows can be compared before the first is written. */
static bool
rows_are_independent(const DjkRouteState *state)
{
	return !state->meets && !state->alone && !state->is_view && !state->has_policies && djk_key_table_serves(state);
}

/*
 * Where what one message writes may be refused or changed by something else than
 * its own row, the next one of its key must see what became of it.
 */
int
djk_version_stretch(DjkApply *apply, DjkRouteState *state, const int *indexes, int n)
{
	DjkKeyTable keys;

	if (!rows_are_independent(state))
		return 1;
	if (state->merge)
		return n;
	djk_key_table_init(&keys, state, n);
	for (int i = 0; i < n; i++)
	{
		bool		found;

		(void) djk_key_table_enter(&keys, &apply->work[indexes[i]].row, &found);
		if (found)
			return i;
	}
	return n;
}

static Version *
version_of(Versions *versions, DjkRow *row, bool *found)
{
	if (!djk_key_table_serves(versions->state))
	{
		*found = versions->first != NULL;
		versions->first = row;
		return &versions->versions[0];
	}
	return &versions->versions[djk_key_table_enter(&versions->keys, row, found) - versions->keys.changes];
}

static int
count_rows(const Versions *versions)
{
	return djk_key_table_serves(versions->state) ? versions->keys.nchanges : 1;
}

static DjkRow *
key_of(const Versions *versions, int i)
{
	return djk_key_table_serves(versions->state) ? versions->keys.changes[i].key : versions->first;
}

/* ---------- what is there ---------- */

static void
take_version(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Versions   *versions = arg;
	DjkRouteState *state = versions->state;
	const FormData_pg_attribute *att = TupleDescAttr(state->rows_desc, state->version);
	MemoryContext old = MemoryContextSwitchTo(versions->context);
	DjkRow	   *row = palloc0(sizeof(DjkRow));
	Version    *version;
	bool		found = false;
	bool		isnull;
	Datum		value;

	/* It stays, should its type's equality say that it does not equal itself. */
	row->values = palloc(state->ncolumns * sizeof(Datum));
	row->nulls = palloc(state->ncolumns * sizeof(bool));
	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];
		const FormData_pg_attribute *key = TupleDescAttr(state->rows_desc, c);

		row->values[c] = SPI_getbinval(tuple, desc, i + 1, &row->nulls[c]);
		if (!row->nulls[c])
			row->values[c] = datumCopy(row->values[c], key->attbyval, key->attlen);
	}
	version = version_of(versions, row, &found);
	value = SPI_getbinval(tuple, desc, state->nkeys + 1, &isnull);
	version->exists = true;
	version->known = !isnull;
	if (!isnull)
		version->value = datumCopy(value, att->attbyval, att->attlen);
	MemoryContextSwitchTo(old);
}

/* What the table holds for the keys of the messages. */
static void
look_up(DjkApply *apply, Versions *versions, const int *indexes, int n)
{
	DjkRouteState *state = versions->state;
	Tuplestorestate *store = tuplestore_begin_heap(true, false, work_mem);

	for (int i = 0; i < n; i++)
	{
		DjkRow	   *row = &apply->work[indexes[i]].row;
		bool		found = false;

		(void) version_of(versions, row, &found);
		if (!found)
			tuplestore_putvalues(store, state->rows_desc, row->values, row->nulls);
	}
	(void) djk_route_sql_run_told(state, DJK_SQL_VERSIONS, NULL, store, n, take_version, versions);
	tuplestore_end(store);
}

/* ---------- what was there ---------- */

/* Texts that do not depend on anybody's settings: what one session has remembered another must find. */
static int
enter_formats(const DjkRouteState *state)
{
	static const char *const formats[][2] = {
		{"DateStyle", "ISO"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"}, {"extra_float_digits", "1"},
		{"bytea_output", "hex"}, {"lc_monetary", "C"}, {"quote_all_identifiers", "off"}
	};
	int			guc_level = djk_route_state_enter(state);

	for (int i = 0; i < lengthof(formats); i++)
		(void) set_config_option(formats[i][0], formats[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

static char *
text_of(Oid type, Datum value)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

/* Of a domain a value of what it is over: its checks may have changed since. */
static Datum
value_of(Oid type, char *text)
{
	Oid			input;
	Oid			param;

	getTypeInputInfo(getBaseType(type), &input, &param);
	return OidInputFunctionCall(input, text, param, -1);
}

/* Whether a row is known by the text of its key, which cannot be told otherwise of a key without a hash. */
static bool
is_known_by_text(const DjkRouteState *state)
{
	return !djk_key_table_serves(state) || djk_key_is_its_text(state);
}

/* A key as an array of JSON. */
static char *
key_text(const DjkRouteState *state, const DjkRow *row)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];

		appendStringInfoString(&text, i > 0 ? ", " : "[");
		if (row->nulls[c])
			appendStringInfoString(&text, "null");
		else
			escape_json(&text, text_of(state->columns[c].type, row->values[c]));
	}
	appendStringInfoChar(&text, ']');
	return text.data;
}

/*
 * By what rows are known to all routes that know them alike.  Where roles see
 * different rows, none says what is gone for another.
 */
static DjkDeletedTerms
terms_of(const DjkRouteState *state)
{
	DjkDeletedTerms terms = {.target = state->route->target, .ncolumns = state->nkeys + 1};
	Oid		   *types = palloc(terms.ncolumns * sizeof(Oid));

	terms.columns = palloc(terms.ncolumns * sizeof(char *));
	terms.types = types;
	for (int i = 0; i < terms.ncolumns; i++)
	{
		const DjkColumn *column = &state->columns[i < state->nkeys ? state->keys[i] : state->version];

		terms.columns[i] = column->name;
		types[i] = column->type;
	}
	if (state->has_policies || state->is_view)
		terms.seen_by = GetUserId();
	return terms;
}

/*
 * A label that was renamed while somebody else had what is remembered locked, or was
 * just remembering it, is none any more.
 */
static bool
is_legible(Oid type, const char *text)
{
	type = getBaseType(type);
	return text == NULL || !type_is_enum(type) ||
		(strlen(text) < NAMEDATALEN &&
		 SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(type), CStringGetDatum(text)));
}

/* Whether what is remembered is of types that still have such values. */
static bool
may_be_read(const DjkRouteState *state, const DjkRemembered *found)
{
	bool		may = is_legible(state->columns[state->version].type, found->version);

	for (int i = 0; i < found->ntexts && found->ntexts == state->nkeys; i++)
		may = may && is_legible(state->columns[state->keys[i]].type, found->texts[i]);
	return may;
}

/* The row whose key was remembered as these texts. */
static DjkRow *
row_of_texts(const DjkRouteState *state, char **texts)
{
	DjkRow	   *row = palloc0(sizeof(DjkRow));

	row->values = palloc0_array(Datum, state->ncolumns);
	row->nulls = palloc0_array(bool, state->ncolumns);
	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];

		row->nulls[c] = texts[i] == NULL;
		if (!row->nulls[c])
			row->values[c] = value_of(state->columns[c].type, texts[i]);
	}
	return row;
}

/* Found by a hash it may be another row's. */
static bool
is_of_row(const DjkRouteState *state, const DjkRemembered *found, const DjkRow *row)
{
	return found->ntexts < 0 ||
		(found->ntexts == state->nkeys && djk_key_equal(state, row_of_texts(state, found->texts), row));
}

/* Of several versions of a row the greatest counts; it goes on under the first of its keys. */
static void
take_remembered(const DjkRouteState *state, Version *version, char *key, Datum value)
{
	if (version->remembered_key == NULL || strcmp(key, version->remembered_key) < 0)
		version->remembered_key = key;
	if (version->exists)
		return;
	if (!version->known || DatumGetInt32(FunctionCall2Coll(state->version_compare, state->columns[state->version].collation,
														   value, version->value)) > 0)
		version->value = value;
	version->known = true;
}

/* What is to be replaced by a deletion, whether it could be read or not. */
static void
note_remembered(Versions *versions, const int *numbers, const DjkRemembered *found, int nfound)
{
	for (int i = 0; i < nfound; i++)
	{
		Version    *version = &versions->versions[numbers[found[i].row]];

		if (found[i].is_own && strcmp(found[i].key, version->remembered_key) == 0)
			version->remembered = found[i].version;
	}
}

/*
 * Of rows that are not there, what is remembered of them; of those that are, under
 * which key, where one row has several.  Those of a view are not locked: somebody
 * else may delete them yet.
 */
static void
recall(Versions *versions)
{
	DjkRouteState *state = versions->state;
	int			total = count_rows(versions);
	char	  **keys = palloc(total * sizeof(char *));
	int		   *numbers = palloc(total * sizeof(int));
	bool		by_text = is_known_by_text(state);
	int64	   *hashes = by_text ? NULL : palloc(total * sizeof(int64));
	int			guc_level = enter_formats(state);
	DjkDeletedTerms terms = terms_of(state);
	DjkRemembered *found;
	int			nfound;
	DjkIdentity identity;
	int			n = 0;

	for (int i = 0; i < total; i++)
	{
		if (versions->versions[i].exists && by_text && !state->is_view)
			continue;
		numbers[n] = i;
		if (!by_text)
			hashes[n] = djk_key_hash(state, key_of(versions, i));
		keys[n++] = key_text(state, key_of(versions, i));
	}
	djk_catalog_enter(&identity);
	found = djk_deleted_find(&terms, keys, hashes, n, versions->context, &nfound);
	djk_catalog_leave(&identity);
	for (int i = 0; i < nfound; i++)
	{
		int			number = numbers[found[i].row];

		if (may_be_read(state, &found[i]) && is_of_row(state, &found[i], key_of(versions, number)))
			take_remembered(state, &versions->versions[number], found[i].key,
							value_of(state->columns[state->version].type, found[i].version));
	}
	for (int i = 0; i < n; i++)
	{
		Version    *version = &versions->versions[numbers[i]];

		if (version->remembered_key == NULL)
			version->remembered_key = keys[i];
	}
	note_remembered(versions, numbers, found, nfound);
	djk_route_state_leave(guc_level);
}

void
djk_version_remember(DjkVersions *versions)
{
	DjkRouteState *state = versions->state;
	int			total = count_rows(versions);
	DjkDeleted *rows = palloc0(total * sizeof(DjkDeleted));
	bool		by_text;
	int			guc_level;
	DjkIdentity identity;
	int			n = 0;

	if (state->route->remember_deleted_s < 0)
		return;
	by_text = is_known_by_text(state);
	guc_level = enter_formats(state);
	for (int i = 0; i < total; i++)
	{
		const Version *version = &versions->versions[i];

		if (version->deleted_by == NULL)
			continue;
		rows[n].state = version->remembered_key == NULL ? DJK_DELETED_ANY :
			version->remembered == NULL ? DJK_DELETED_NONE : DJK_DELETED_FOUND;
		rows[n].key = version->remembered_key;
		rows[n].found = version->remembered;
		if (rows[n].key == NULL)
			rows[n].key = key_text(state, version->deleted_by);
		rows[n].hash = by_text ? -1 : (int64) djk_key_hash(state, version->deleted_by);
		rows[n++].version = text_of(state->columns[state->version].type, version->deleted_value);
	}
	if (n > 0)
	{
		DjkDeletedTerms terms = terms_of(state);

		djk_catalog_enter(&identity);
		djk_deleted_remember(&terms, rows, n, state->route->remember_deleted_s);
		djk_catalog_leave(&identity);
	}
	djk_route_state_leave(guc_level);
}

/* ---------- what comes ---------- */

/* Whether a message comes too late; if not, it becomes what the next is compared with. */
static bool
is_stale(Versions *versions, DjkRow *row)
{
	DjkRouteState *state = versions->state;
	int			c = state->version;
	bool		found;
	Version    *version = version_of(versions, row, &found);
	bool		has_version = !row->nulls[c] && (row->is_delete || bms_is_member(c, row->present));

	if (has_version && version->known &&
		DatumGetInt32(FunctionCall2Coll(state->version_compare, state->columns[c].collation,
										row->values[c], version->value)) <= 0)
		return true;
	version->exists = !row->is_delete;
	if (has_version)
		version->value = row->values[c];
	/* Of a row that is gone nothing is known, unless somebody remembers. */
	if (row->is_delete && state->route->remember_deleted_s < 0)
		version->known = false;
	else
		version->known |= has_version;
	if (row->is_delete && version->known)
	{
		if (version->deleted_by == NULL)
			version->deleted_by = row;
		version->deleted_value = version->value;
	}
	return false;
}

int
djk_version_drop_stale(DjkApply *apply, DjkRouteState *state, int *indexes, int n, DjkVersions **result)
{
	Versions   *versions = palloc0(sizeof(Versions));
	int			nleft = 0;

	*result = versions;
	versions->state = state;
	versions->context = CurrentMemoryContext;
	versions->versions = palloc0_array(Version, 2 * n);
	if (djk_key_table_serves(state))
		djk_key_table_init(&versions->keys, state, 2 * n);
	look_up(apply, versions, indexes, n);
	if (state->route->remember_deleted_s >= 0)
		recall(versions);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_stale(versions, &apply->work[indexes[i]].row))
			apply->work[indexes[i]].fate = DJK_FATE_STALE;
		else
			indexes[nleft++] = indexes[i];
	}
	return nleft;
}
