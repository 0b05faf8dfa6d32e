/*-------------------------------------------------------------------------
 *
 * publication_trigger.c
 *	  The triggers that check rows of djkafka_publication, and keep the
 *	  triggers of published tables as they say.
 *
 * A table is published by whoever owns it: all that a publication runs, runs
 * with its owner's rights.  A row that carries another home came with a
 * restored dump, which brings the table's triggers itself, later.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/relation.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/topic.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sql/publish.h"
#include "state/row.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(djkafka_publication_validate);
PG_FUNCTION_INFO_V1(djkafka_publication_changed);
PG_FUNCTION_INFO_V1(djkafka_unpublish);

/* ---------- values ---------- */

/* Two databases whose names differ in what Kafka does not take would share their topics. */
static const char *
topic_prefix(void)
{
	const char *database;

	if (djk_topic_prefix != NULL && djk_topic_prefix[0] != '\0')
		return djk_topic_prefix;
	database = get_database_name(MyDatabaseId);
	djk_topic_name_require(database, "It is the database's name: set djkafka.topic_prefix, or name the topic.");
	return database;
}

/* As Debezium names topics, characters that Kafka does not take become underscores. */
static char *
default_topic(Oid relation)
{
	char	   *topic = psprintf("%s.%s.%s", topic_prefix(), get_namespace_name(get_rel_namespace(relation)),
								 get_rel_name(relation));

	for (char *p = topic; *p != '\0'; p++)
	{
		char		one[2] = {*p, '\0'};

		if (*p != '.' && !djk_topic_name_is_valid(one))
			*p = '_';
	}
	return topic;
}

/* A name that was made of another table's may be the same: "a b" and a_b. */
static void
require_own_topic(const char *topic, Oid relation)
{
	static DjkStatement select_other = {
		.sql = "SELECT relation::oid FROM @.djkafka_publication WHERE topic = $1 AND relation <> $2 AND shape = 'rows' LIMIT 1",
		.nargs = 2,
		.argtypes = {TEXTOID, REGCLASSOID}
	};
	Datum		values[2] = {CStringGetTextDatum(topic), ObjectIdGetDatum(relation)};

	if (djk_catalog_has(&select_other, values, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("another table is published to topic \"%s\" already", topic),
				 errdetail("It is the default for table \"%s\"; what Kafka does not take in a name became \"_\".",
						   get_rel_name(relation)),
				 errhint("Name another topic, or this one if both tables are to be published to it.")));
}

static void
check_topic(DjkCatalogRow *row, Oid relation)
{
	bool		is_outbox = strcmp(djk_catalog_row_require_text(row, "shape"), "outbox") == 0;
	char	   *topic = djk_catalog_row_text(row, "topic");

	if (topic == NULL && is_outbox)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic of a publication of shape \"outbox\" must not be null"),
				 errhint("It is what the topics' names begin with; '' for nothing.")));
	if (topic == NULL)
	{
		topic = default_topic(relation);
		require_own_topic(topic, relation);
		djk_catalog_row_set_text(row, "topic", topic);
	}
	if (!is_outbox)
		djk_topic_require_writable(topic);
	else if (topic[0] != '\0')
		djk_topic_name_require(topic, NULL);
}

static void
require_null(const DjkCatalogRow *row, const char *column)
{
	bool		isnull;

	(void) djk_catalog_row_get(row, column, &isnull);
	if (!isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no meaning for a publication of shape \"outbox\"", column)));
}

static void
check_words(const DjkCatalogRow *row)
{
	static const char *const shapes[] = {"rows", "outbox", NULL};
	static const char *const key_formats[] = {"json", "text", NULL};
	static const char *const spellings[] = {"exact", "lower", "any", NULL};
	static const char *const formats[] = {"json", NULL};
	static const char *const silences[] = {"owner", "writers", NULL};
	static const char *const units[] = {"s", "ms", "us", "ns", NULL};

	djk_catalog_row_check_word(row, "shape", shapes);
	djk_catalog_row_check_word(row, "key_format", key_formats);
	djk_catalog_row_check_word(row, "key_spelling", spellings);
	djk_catalog_row_check_word(row, "format", formats);
	djk_catalog_row_check_word(row, "silence", silences);
	djk_catalog_row_check_word(row, "time_unit", units);
}

static void
check_shape(const DjkCatalogRow *row)
{
	static const char *const columns[] = {"key_columns", "include", "exclude", "omit_nulls", "filter"};
	bool		isnull;

	check_words(row);
	if (strcmp(djk_catalog_row_text(row, "shape"), "outbox") == 0)
	{
		for (int i = 0; i < lengthof(columns); i++)
			require_null(row, columns[i]);
	}
	else if (DatumGetBool(djk_catalog_row_get(row, "delete_rows", &isnull)) && !isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delete_rows is for publications of shape \"outbox\"")));
	else if (djk_catalog_row_text(row, "headers") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers is for publications of shape \"outbox\"")));
}

/* Said better than by the unique constraint, which is left the race. */
static void
check_duplicate(const DjkCatalogRow *row)
{
	static DjkStatement select_same = {
		.sql = "SELECT FROM @.djkafka_publication WHERE relation = $1 AND topic = $2 AND id <> $3",
		.nargs = 3,
		.argtypes = {REGCLASSOID, TEXTOID, INT8OID}
	};
	Datum		values[3];
	bool		isnull;

	values[0] = djk_catalog_row_get(row, "relation", &isnull);
	values[1] = djk_catalog_row_get(row, "topic", &isnull);
	values[2] = djk_catalog_row_get(row, "id", &isnull);
	if (djk_catalog_has(&select_same, values, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is published to topic \"%s\" already", djk_catalog_row_text(row, "relation"),
						djk_catalog_row_text(row, "topic")),
				 errhint("Change the row of djkafka_publication, or drop it with djkafka_unpublish.")));
}

/* ---------- the table ---------- */

static Oid
require_relation(const DjkCatalogRow *row)
{
	bool		isnull;

	(void) djk_catalog_row_require_text(row, "relation");
	return DatumGetObjectId(djk_catalog_row_get(row, "relation", &isnull));
}

/* False if the table is gone; ERROR if the current user is not its owner. */
static bool
require_owner(Oid relation)
{
	Oid			owner = djk_table_owner(relation);

	if (!OidIsValid(owner))
		return false;
	if (has_privs_of_role(GetUserId(), owner))
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of table %s", get_rel_name(relation)),
			 errdetail("A publication runs with the rights of the table's owner.")));
}

/*
 * A number that no table has may be one's tomorrow, with another owner: such a
 * row is an error, and what a dump brings of them is left out.
 */
static bool
is_stray(bool exists, bool is_home, Oid relation)
{
	if (exists)
		return false;
	ereport(is_home ? ERROR : WARNING,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("the table of a publication does not exist"),
			 errdetail("Relation %u is not in the database.", relation),
			 is_home ? errhint("Name a table that exists.") : errhint("The publication is left out.")));
	return true;
}

static void
require_table(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", name),
				 errdetail("Changes are seen by triggers, which only tables can have."),
				 errhint("Publish the tables that it reads.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a temporary table", name)));
	if (getExtensionOfObject(RelationRelationId, RelationGetRelid(rel)) == get_extension_oid(DJK_EXTENSION_NAME, true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a table of djkafka", name)));
}

/* Fills home; whether the row was made here. */
static bool
check_home(DjkCatalogRow *row)
{
	DjkIdentity identity;
	DjkHome		home;
	bool		isnull;
	Datum		datum = djk_catalog_row_get(row, "home", &isnull);
	pg_uuid_t  *copy;

	djk_catalog_enter(&identity);
	if (isnull)
		djk_home_require(&home);
	else
		djk_home_load(&home);
	djk_catalog_leave(&identity);
	if (!isnull)
		return memcmp(DatumGetUUIDP(datum), &home.id, sizeof(pg_uuid_t)) == 0;
	copy = palloc(sizeof(pg_uuid_t));
	*copy = home.id;
	djk_catalog_row_set(row, "home", UUIDPGetDatum(copy), false);
	return true;
}

/* Later a column may be dropped, which leaves nothing out any more. */
static void
check_omit_nulls(const DjkPublicationRow *publication, Relation rel)
{
	for (int i = 0; i < publication->nomit_nulls; i++)
	{
		const char *name = publication->omit_nulls[i];

		if (djk_publish_find_column(rel, name) == NULL &&
			!djk_publish_is_listed(name, publication->column_names, publication->ncolumns))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("\"%s\" in omit_nulls is no field of the publication", name),
					 errhint("Name columns of the table, or fields of columns.")));
	}
}

static void
check_deeply(const DjkCatalogRow *row, Oid relation, bool is_new)
{
	DjkPublicationRow publication;
	Relation	rel = relation_open(relation, AccessShareLock);

	/* From here on it stays whose it is. */
	djk_catalog_look_at("relation");
	(void) require_owner(relation);
	require_table(rel);
	djk_publication_fill(row, &publication);
	/* PostgreSQL would cut them, and two might then be one. */
	for (int i = 0; i < publication.ncolumns; i++)
		djk_catalog_row_check_name(row, "columns", publication.column_names[i]);
	djk_catalog_look_at("omit_nulls");
	check_omit_nulls(&publication, rel);
	djk_catalog_look_at("server");
	djk_connection_require_kept(publication.server, rel->rd_rel->relowner);
	PushActiveSnapshot(GetTransactionSnapshot());
	djk_publish_check(&publication, rel);
	PopActiveSnapshot();
	if (is_new)
		djk_publish_warn_of_secrets(&publication, rel);
	relation_close(rel, NoLock);
}

static Datum
validate(TriggerData *trigdata)
{
	DjkCatalogRow row;
	Oid			relation;
	bool		exists;
	bool		is_home;

	row = djk_catalog_row_new(trigdata, "publication");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	relation = require_relation(&row);
	exists = require_owner(relation);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		return PointerGetDatum(row.tuple);
	djk_catalog_row_empty_is_null(&row);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		DjkCatalogRow old = {trigdata->tg_trigtuple, row.desc, row.what};

		(void) require_owner(require_relation(&old));
		djk_catalog_row_fill_times(&row, &old);
	}
	else
		djk_catalog_row_fill_times(&row, NULL);
	if (djk_catalog_row_text(&row, "search_path") == NULL)
		djk_catalog_row_set_text(&row, "search_path", GetConfigOption("search_path", false, false));
	djk_publish_settings_complete(&row);
	is_home = check_home(&row);
	if (is_stray(exists, is_home || TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event), relation))
		return PointerGetDatum(NULL);
	check_shape(&row);
	check_topic(&row, relation);
	check_duplicate(&row);
	if (is_home || TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		check_deeply(&row, relation, TRIGGER_FIRED_BY_INSERT(trigdata->tg_event));
	return PointerGetDatum(row.tuple);
}

Datum
djkafka_publication_validate(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_publication_validate must be called as a trigger");
	return djk_catalog_validate((TriggerData *) fcinfo->context, validate);
}

/* ---------- after a change ---------- */

/* Whether the triggers of the old row are not those of the new. */
static bool
needs_others(const DjkPublicationRow *old, const DjkPublicationRow *new)
{
	return old->id != new->id || old->relation != new->relation;
}

static bool
is_foreign(DjkCatalogRow *row)
{
	return !check_home(row);
}

/* Sessions build again what they derived from the publication. */
static void
invalidate(Oid relation)
{
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		CacheInvalidateRelcacheByRelid(relation);
}

Datum
djkafka_publication_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TriggerEvent event = trigdata->tg_event;
	DjkCatalogRow row;
	DjkPublicationRow new;
	DjkPublicationRow old;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_publication_changed must be called as a trigger");
	row = djk_catalog_row_new(trigdata, "publication");
	djk_publication_fill(&row, &new);
	if (TRIGGER_FIRED_BY_UPDATE(event))
	{
		DjkCatalogRow old_row = {trigdata->tg_trigtuple, row.desc, row.what};

		djk_publication_fill(&old_row, &old);
		if (needs_others(&old, &new))
			djk_publish_triggers_sync(&old, false);
		invalidate(old.relation);
	}
	if (TRIGGER_FIRED_BY_DELETE(event))
		djk_publish_triggers_sync(&new, false);
	else if (TRIGGER_FIRED_BY_UPDATE(event) || !is_foreign(&row))
		djk_publish_triggers_sync(&new, true);
	invalidate(new.relation);
	return PointerGetDatum(NULL);
}

/* ---------- ending ---------- */

Datum
djkafka_unpublish(PG_FUNCTION_ARGS)
{
	static DjkStatement delete_publications = {
		.sql = "DELETE FROM @.djkafka_publication WHERE relation OPERATOR(pg_catalog.=) $1"
		" AND ($2 IS NULL OR topic OPERATOR(pg_catalog.=) $2)",
		.nargs = 2,
		.argtypes = {REGCLASSOID, TEXTOID}
	};
	Datum		values[2];
	char		nulls[] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', '\0'};
	const char *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"relation\" must not be null")));
	name = get_rel_name(PG_GETARG_OID(0));
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	djk_spi_connect();
	if (djk_catalog_execute(&delete_publications, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 name != NULL ? errmsg("table \"%s\" has no such publication", name) :
				 errmsg("relation with OID %u does not exist", PG_GETARG_OID(0)),
				 errhint("SELECT relation, topic FROM djkafka_publication shows those that exist.")));
	SPI_finish();
	PG_RETURN_VOID();
}
