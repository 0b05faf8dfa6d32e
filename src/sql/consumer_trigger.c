/*-------------------------------------------------------------------------
 *
 * consumer_trigger.c
 *	  The trigger that checks rows of djkafka_consumer.
 *
 * A row is checked the same whoever writes it: a function, SQL or an ORM.  A
 * row that carries another home came with a restored dump: it cannot run here,
 * so what it refers to need not exist.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/property.h"
#include "base/settings.h"
#include "base/topic.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "kafka/conf.h"
#include "miscadmin.h"
#include "state/row.h"
#include "sql/consumer_owner.h"
#include "sql/start_at.h"
#include "state/catalog.h"
#include "state/connection.h"
#include "state/consumer_row.h"
#include "state/dead_letter.h"
#include "state/event.h"
#include "state/offset_left.h"
#include "state/outbox.h"
#include "state/produce.h"
#include "state/shmem.h"
#include "state/spi.h"
#include "state/wake.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(djkafka_consumer_validate);
PG_FUNCTION_INFO_V1(djkafka_wake_trigger);

#define GROUP_ID_MAX	255

/* No consumer is changed so often. */
#define REVISION_MAX	INT64CONST(1000000000000000)

/* Fills owner and home; returns whether the row belongs to this database. */
static bool
check_identity(DjkCatalogRow *row, const DjkCatalogRow *old)
{
	bool		isnull;
	Oid			owner;
	Datum		home_datum;
	DjkHome		home;
	DjkIdentity identity;
	bool		is_home;

	/* '-' is what a regrole is without a role. */
	if (DatumGetObjectId(djk_catalog_row_get(row, "owner", &isnull)) == InvalidOid)
		djk_catalog_row_set(row, "owner", (Datum) 0, true);
	djk_catalog_row_fill(row, old, "owner", ObjectIdGetDatum(GetUserId()));
	owner = DatumGetObjectId(djk_catalog_row_get(row, "owner", &isnull));
	djk_require_consumer_owner(owner);

	home_datum = djk_catalog_row_get(row, "home", &isnull);
	djk_catalog_enter(&identity);
	if (isnull)
		djk_home_require(&home);
	else
		djk_home_load(&home);
	djk_catalog_leave(&identity);

	if (isnull)
	{
		pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

		*copy = home.id;
		djk_catalog_row_set(row, "home", UUIDPGetDatum(copy), false);
		is_home = true;
	}
	else
		is_home = memcmp(DatumGetUUIDP(home_datum), &home.id, sizeof(pg_uuid_t)) == 0;

	if (old != NULL)
	{
		Datum		old_home = djk_catalog_row_get(old, "home", &isnull);

		djk_require_consumer_owner(DatumGetObjectId(djk_catalog_row_get(old, "owner", &isnull)));
		home_datum = djk_catalog_row_get(row, "home", &isnull);
		if (memcmp(DatumGetUUIDP(home_datum), DatumGetUUIDP(old_home), sizeof(pg_uuid_t)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("home of a consumer cannot be changed"),
					 errhint("In a copy of a database, djkafka_adopt() makes all that is in it its own.")));
	}
	return is_home;
}

/* ---------- who reads the retries of another one ---------- */

typedef struct Main
{
	char	   *name;
	char	   *group;
	char	   *server;
	Oid			owner;
	bool		is_main;		/* it does not read retries itself */
	bool		is_home;		/* it belongs to this database */
} Main;

static bool
load_main(int64 id, Main *main)
{
	static DjkStatement select_main = {
		.sql = "SELECT c.group_id, c.server, c.owner::oid, c.retries_of IS NULL, c.home = h.home, c.name"
		" FROM @.djkafka_consumer c CROSS JOIN @.djkafka_home h WHERE c.id = $1 FOR SHARE OF c",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[1] = {Int64GetDatum(id)};
	DjkIdentity identity;
	bool		isnull;
	bool		found;

	memset(main, 0, sizeof(*main));
	djk_catalog_enter(&identity);
	found = djk_catalog_execute(&select_main, values, NULL) == 1;
	if (found)
	{
		main->group = djk_row_text(0, 1, context);
		main->server = djk_row_text(0, 2, context);
		main->owner = DatumGetObjectId(djk_row_datum(0, 3, &isnull));
		main->is_main = djk_row_bool(0, 4);
		main->is_home = djk_row_bool(0, 5);
		main->name = djk_row_text(0, 6, context);
	}
	djk_catalog_leave(&identity);
	return found;
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

pg_noreturn static void
throw_not_its_own(const char *column, const char *hint)
{
	djk_catalog_look_at(column);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a consumer that reads the retries of another one has no %s of its own", column),
			 errhint("%s", hint)));
}

/* What is given, and not as it was, must be what the other consumer has. */
static void
require_shared(const DjkCatalogRow *row, const DjkCatalogRow *old, const char *column, const char *wanted)
{
	const char *given = djk_catalog_row_text(row, column);

	if (is_same(given, wanted) || (old == NULL ? given == NULL : is_same(given, djk_catalog_row_text(old, column))))
		return;
	throw_not_its_own(column, "Leave it out: it follows from that consumer.");
}

/* What becomes of a message is said by the consumer whose retries they are. */
static void
require_no_policies(const DjkCatalogRow *row)
{
	static const char *const defaults[][2] = {
		{"on_error", "dead_letter"}, {"notify", "off"}, {"retry", NULL}, {"dead_letters", "table"},
		{"dead_letter_topic", "{group}.{topic}.dlt"}
	};

	for (int i = 0; i < lengthof(defaults); i++)
	{
		if (!is_same(djk_catalog_row_text(row, defaults[i][0]), defaults[i][1]))
			throw_not_its_own(defaults[i][0], "It has the routes and policies of that consumer.");
	}
}

static void
check_suffix(DjkCatalogRow *row, const char *group)
{
	const char *suffix = djk_catalog_row_text(row, "retry_suffix");

	if (suffix == NULL)
		djk_catalog_row_set_text(row, "retry_suffix", suffix = "retry");
	djk_catalog_look_at("retry_suffix");
	djk_topic_template_require("retry_suffix", psprintf("{group}.{topic}.%s.1", suffix), group);
}

/* A dump brings rows in any order, with the home that they had. */
static bool
is_restored(const DjkCatalogRow *row)
{
	bool		isnull;
	Datum		row_home = djk_catalog_row_get(row, "home", &isnull);
	DjkIdentity identity;
	DjkHome		home;

	if (isnull)
		return false;
	djk_catalog_enter(&identity);
	djk_home_load(&home);
	djk_catalog_leave(&identity);
	return memcmp(DatumGetUUIDP(row_home), &home.id, sizeof(pg_uuid_t)) != 0;
}

static void
take_main(DjkCatalogRow *row, const DjkCatalogRow *old, int64 id)
{
	Main		main;
	const char *group;

	/* Who reads the routes of all reads its topics too, whatever else is wrong with it. */
	if (is_restored(row))
	{
		check_suffix(row, "g");
		return;
	}
	if (!load_main(id, &main) || !main.is_main)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retries_of names no consumer whose retries could be read: " INT64_FORMAT, id),
				 errhint("Name one that does not read the retries of another one.")));
	/* Its routes are nobody's before it is adopted. */
	if (!main.is_home)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer \"%s\", whose retries are to be read, belongs to another database", main.name),
				 errhint("Make what came with the copy this database's with djkafka_adopt.")));
	require_no_policies(row);
	check_suffix(row, main.group);
	group = psprintf("%s.retry", main.group);
	require_shared(row, old, "group_id", group);
	require_shared(row, old, "server", main.server);
	/* A row of another home may have had one, and is not given away by whoever adopts it. */
	require_shared(row, NULL, "owner", DatumGetCString(DirectFunctionCall1(regroleout, ObjectIdGetDatum(main.owner))));
	djk_catalog_row_set_text(row, "group_id", group);
	djk_catalog_row_set(row, "server", main.server ? CStringGetTextDatum(main.server) : (Datum) 0, main.server == NULL);
	djk_catalog_row_set(row, "owner", ObjectIdGetDatum(main.owner), false);
}

/* Whoever reads the retries has what its consumer had. */
static void
require_followed(const DjkCatalogRow *row, const DjkCatalogRow *old)
{
	static DjkStatement select_follower = {
		.sql = "SELECT name FROM @.djkafka_consumer WHERE retries_of = $1 AND owner = $2",
		.nargs = 2,
		.argtypes = {INT8OID, OIDOID}
	};
	static const char *const shared[] = {"group_id", "server", "owner"};
	MemoryContext context = CurrentMemoryContext;
	bool		isnull;
	Datum		values[2] = {djk_catalog_row_get(row, "id", &isnull), djk_catalog_row_get(old, "owner", &isnull)};
	const char *changed = NULL;
	char	   *follower = NULL;
	DjkIdentity identity;

	for (int i = 0; i < lengthof(shared); i++)
	{
		if (!is_same(djk_catalog_row_text(row, shared[i]), djk_catalog_row_text(old, shared[i])))
			changed = shared[i];
	}
	if (changed == NULL)
		return;
	djk_catalog_enter(&identity);
	if (djk_catalog_execute(&select_follower, values, NULL) > 0)
		follower = djk_row_text(0, 1, context);
	djk_catalog_leave(&identity);
	if (follower != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s of a consumer whose retries are read by consumer \"%s\" cannot be changed", changed, follower),
				 errhint("Drop that consumer before, and make it again.")));
}

static void
check_retries_of(DjkCatalogRow *row, const DjkCatalogRow *old)
{
	bool		is_main;
	bool		was_main;
	int64		id = DatumGetInt64(djk_catalog_row_get(row, "retries_of", &is_main));
	int64		old_id = old != NULL ? DatumGetInt64(djk_catalog_row_get(old, "retries_of", &was_main)) : id;

	if (old != NULL && (is_main != was_main || id != old_id))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("retries_of of a consumer cannot be changed"),
				 errhint("Create another consumer.")));
	if (!is_main)
		take_main(row, old, id);
	else if (djk_catalog_row_text(row, "retry_suffix") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a consumer that does not read retries has no retry_suffix"),
				 errhint("Give it to the one that is made with retries_of.")));
}

/* After a change: the other one of the two is read again, or goes with its consumer. */
static void
tell_other(const DjkCatalogRow *row, bool is_gone)
{
	static DjkStatement delete_follower = {
		.sql = "DELETE FROM @.djkafka_consumer WHERE retries_of OPERATOR(pg_catalog.=) $1"
		" AND owner OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, OIDOID}
	};
	bool		isnull;
	int64		id = DatumGetInt64(djk_catalog_row_get(row, "id", &isnull));
	int64		main_id = DatumGetInt64(djk_catalog_row_get(row, "retries_of", &isnull));
	bool		no_owner;
	Oid			owner = DatumGetObjectId(djk_catalog_row_get(row, "owner", &no_owner));
	Datum		values[2] = {Int64GetDatum(id), ObjectIdGetDatum(owner)};
	DjkIdentity identity;
	bool		has_other;

	djk_catalog_enter(&identity);
	has_other = djk_consumer_row_raise_other(id, isnull ? 0 : main_id, owner);
	djk_catalog_leave(&identity);
	if (!has_other || !is_gone || !isnull)
		return;
	djk_spi_connect();
	(void) djk_catalog_execute(&delete_follower, values, NULL);
	SPI_finish();
}

/* Said better than by the unique constraint, which is left the race. */
static void
check_group(DjkCatalogRow *row)
{
	static DjkStatement select_same = {
		/* One of the same name is left to the unique constraint, and to ON CONFLICT. */
		.sql = "SELECT name FROM @.djkafka_consumer WHERE group_id = $1 AND name <> $2"
		" AND server IS NOT DISTINCT FROM $3 AND id <> $4",
		.nargs = 4,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID}
	};
	char	   *group = djk_catalog_row_text(row, "group_id");
	char	   *name = djk_catalog_row_text(row, "name");
	char	   *server = djk_catalog_row_text(row, "server");
	MemoryContext context = CurrentMemoryContext;
	DjkIdentity identity;
	Datum		values[4];
	bool		isnull;
	char	   *other = NULL;

	djk_catalog_enter(&identity);
	if (group == NULL || group[0] == '\0')
	{
		DjkHome		home;
		char		prefix[9];

		djk_home_load(&home);
		djk_home_prefix(&home, prefix);
		group = psprintf("djkafka-%s-%s", prefix, name);
	}
	values[0] = CStringGetTextDatum(group);
	values[1] = CStringGetTextDatum(name);
	values[2] = server ? CStringGetTextDatum(server) : (Datum) 0;
	values[3] = djk_catalog_row_get(row, "id", &isnull);
	if (djk_catalog_execute(&select_same, values, server ? "    " : "  n ") > 0)
		other = djk_row_text(0, 1, context);
	group = MemoryContextStrdup(context, group);
	djk_catalog_leave(&identity);
	djk_catalog_look_at("group_id");

	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("consumer \"%s\" is in group \"%s\" already", other, group),
				 errhint("Raise workers of that consumer, or name another group_id.")));
	/* What is committed there, the outbox takes for what it has sent. */
	if (strncmp(group, DJK_OUTBOX_GROUP, strlen(DJK_OUTBOX_GROUP)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_id of a consumer must not begin with \"%s\"", DJK_OUTBOX_GROUP),
				 errdetail("These are the groups of outboxes.")));
	if (strlen(group) > GROUP_ID_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_id of a consumer has 1 to %d bytes", GROUP_ID_MAX)));
	djk_catalog_row_set_text(row, "group_id", group);
}

/* A copy may be restored where the library is an older one. */
static void
check_assignment(const DjkCatalogRow *row, bool is_home)
{
	static const char *const strategies[] = {"range", "roundrobin", "cooperative-sticky", NULL};

	djk_catalog_row_check_word(row, "assignment", strategies);
	if (is_home && djk_catalog_row_is(row, "assignment", "cooperative-sticky") && !djk_kafka_library_cooperates())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("assignment \"cooperative-sticky\" needs librdkafka 2.6.1 or newer"),
				 errhint("Use \"range\" or \"roundrobin\".")));
}

static void
check_options(const DjkCatalogRow *row, bool is_home)
{
	char	  **names;
	char	  **values;
	bool		isnull;
	int			n;

	(void) djk_catalog_row_get(row, "options", &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("options of a consumer must not be null"),
				 errhint("Use '{}' for none.")));
	n = djk_catalog_row_object(row, "options", false, &names, &values);
	for (int i = 0; is_home && i < n; i++)
	{
		djk_property_require(names[i], values[i], DJK_PLACE_CONSUMER);
		djk_conf_require(names[i], values[i]);
	}
}

static void
check_name(const DjkCatalogRow *row)
{
	const char *name = djk_catalog_row_require_text(row, "name");

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a consumer: \"%s\"", name),
				 errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
	/* It goes into the log and into titles of processes. */
	for (const char *c = name; *c != '\0'; c++)
	{
		if (iscntrl((unsigned char) *c))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("invalid name of a consumer: it holds a control character"),
					 errdetail("The character has the code %d.", *c)));
	}
}

static void
check_retry(const DjkCatalogRow *row)
{
	DjkRetryPolicy policy;

	djk_retry_policy_init(&policy);
	djk_catalog_look_at("retry");
	djk_retry_require(&policy, djk_catalog_row_text(row, "retry"));
}

static void
check_letters(const DjkCatalogRow *row, bool is_home)
{
	const char *group = djk_catalog_row_text(row, "group_id");
	bool		isnull;
	DjkLetters	letters = djk_letters_parse(djk_catalog_row_require_text(row, "dead_letters"));
	const char *topic = djk_catalog_row_require_text(row, "dead_letter_topic");

	djk_topic_template_require("dead_letter_topic", topic, letters == DJK_LETTERS_TABLE ? "g" : group);
	if (is_home && letters != DJK_LETTERS_TABLE)
		djk_produce_require_execute(DatumGetObjectId(djk_catalog_row_get(row, "owner", &isnull)));
}

static void
check_storm_share(const DjkCatalogRow *row)
{
	bool		isnull;
	double		share = DatumGetFloat8(djk_catalog_row_get(row, "storm_share", &isnull));

	if (!isnull && !(share >= 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("storm_share of a consumer must be between 0 and 1"),
				 errhint("0.9 stops a partition when more than 90 %% of its recent messages have failed, 1 never.")));
}

static void
check_values(const DjkCatalogRow *row)
{
	static const char *const policies[] = {"needs_decision", "earliest", NULL};

	(void) djk_on_error_parse(djk_catalog_row_require_text(row, "on_error"));
	(void) djk_notify_parse(djk_catalog_row_require_text(row, "notify"));
	(void) djk_catalog_row_require_text(row, "workers");
	(void) djk_catalog_row_require_text(row, "enabled");
	(void) djk_catalog_row_require_text(row, "synchronous_commit");
	djk_catalog_row_check_int(row, "workers", DJK_WORKERS_MIN, DJK_WORKERS_MAX);
	djk_catalog_row_check_int(row, "batch_messages", DJK_BATCH_MESSAGES_MIN, DJK_BATCH_MESSAGES_MAX);
	djk_catalog_row_check_int(row, "batch_bytes", DJK_BATCH_SIZE_MIN * 1024, DJK_BATCH_SIZE_MAX / 2 * 1024);
	djk_catalog_row_check_int(row, "storm_window", DJK_STORM_WINDOW_MIN, DJK_STORM_WINDOW_MAX);
	djk_catalog_row_check_word(row, "on_new_topic", policies);
	check_retry(row);
	check_storm_share(row);
}

static void
require_same_id(const DjkCatalogRow *row, const DjkCatalogRow *old)
{
	bool		isnull;

	if (DatumGetInt64(djk_catalog_row_get(old, "id", &isnull)) == DatumGetInt64(djk_catalog_row_get(row, "id", &isnull)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("id of a consumer cannot be changed"),
			 errhint("Create another consumer.")));
}

/*
 * Dead letters outlive their consumer and are applied again by that of its id:
 * under an id that was somebody else's they would be given to whoever takes it.
 * Asked when the id is ours, and so its last owner has ended, and as of then.
 * A dump brings both, and in a copy nothing is applied again before it is adopted;
 * so a row of another home is let in, but not over what was left here.
 */
static void
require_no_letters(const DjkCatalogRow *row)
{
	bool		isnull;
	int64		id = DatumGetInt64(djk_catalog_row_get(row, "id", &isnull));
	Datum		row_home = djk_catalog_row_get(row, "home", &isnull);
	DjkIdentity identity;
	DjkHome		home;
	bool		is_home;
	bool		is_left;

	djk_catalog_enter(&identity);
	djk_home_load(&home);
	is_home = memcmp(DatumGetUUIDP(row_home), &home.id, sizeof(pg_uuid_t)) == 0;
	if (is_home)
		djk_dead_letter_lock_id(id, ExclusiveLock);
	is_left = (is_home || djk_offset_left_has_id(id)) && djk_dead_letter_is_left(id);
	djk_catalog_leave(&identity);
	if (is_left)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("id " INT64_FORMAT " was another consumer's, which has left dead letters", id),
				 errhint("Leave id out, so that the consumer gets a new one.")));
}

/* Where a consumer that is dropped has come to is kept, for one that is made again. */
static void
leave_offsets(const DjkCatalogRow *row)
{
	DjkIdentity identity;
	bool		isnull;

	djk_catalog_enter(&identity);
	djk_offset_leave(DatumGetInt64(djk_catalog_row_get(row, "id", &isnull)));
	djk_catalog_leave(&identity);
}

/* A consumer whose group has been read already, here, goes on; or is said not to. */
static void
take_left(const DjkCatalogRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	bool		isnull;
	int64		id = DatumGetInt64(djk_catalog_row_get(row, "id", &isnull));
	const char *name = djk_catalog_row_text(row, "name");
	const char *group = djk_catalog_row_text(row, "group_id");
	DjkIdentity identity;
	char	   *owner = NULL;
	int			taken;

	djk_catalog_enter(&identity);
	taken = djk_offset_take_left(id);
	if (taken == 0)
		owner = djk_offset_left_owner(id, context);
	djk_catalog_leave(&identity);
	if (taken > 0)
		ereport(NOTICE,
				(errmsg("consumer \"%s\" goes on where group \"%s\" stopped when its consumer was dropped", name, group),
				 errdetail_plural("It takes the offset of %d partition.", "It takes the offsets of %d partitions.", taken, taken),
				 errhint("To begin elsewhere use djkafka_seek(name, topic, start_at).")));
	else if (owner != NULL)
		ereport(NOTICE,
				(errmsg("consumer \"%s\" does not go on where group \"%s\" stopped", name, group),
				 errdetail("The consumer that was dropped was %s's.", owner),
				 errhint("Make it with owner => %s to go on there.", quote_literal_cstr(owner))));
}

/* Workers that leave because nobody wants them say nothing: who paused them does. */
static void
tell_enabled(const DjkCatalogRow *old, const DjkCatalogRow *row)
{
	DjkEvent	event = {0};
	DjkIdentity identity;
	bool		isnull;
	bool		enabled = DatumGetBool(djk_catalog_row_get(row, "enabled", &isnull));

	if (DatumGetBool(djk_catalog_row_get(old, "enabled", &isnull)) == enabled)
		return;
	event.kind = "state";
	event.consumer_id = DatumGetInt64(djk_catalog_row_get(row, "id", &isnull));
	event.consumer = djk_catalog_row_text(row, "name");
	event.partition = -1;
	event.state = enabled ? "starting" : "paused";
	event.reason = enabled ? "resumed" : "paused by djkafka_pause or enabled = false";
	djk_catalog_enter(&identity);
	djk_event_write(&event);
	djk_catalog_leave(&identity);
}

/* It is raised by whoever drops or renames the target of a route, too. */
static void
check_revision(const DjkCatalogRow *row)
{
	bool		isnull;
	int64		revision = DatumGetInt64(djk_catalog_row_get(row, "revision", &isnull));

	if (revision < 0 || revision > REVISION_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("revision of a consumer is out of range: " INT64_FORMAT, revision),
				 errhint("Leave it out.")));
}

static Datum
validate(TriggerData *trigdata)
{
	DjkCatalogRow row;
	DjkCatalogRow old_row;
	DjkCatalogRow *old = NULL;
	bool		is_home;
	bool		isnull;

	row = djk_catalog_row_new(trigdata, "consumer");
	if (djk_catalog_entered(trigdata->tg_relation->rd_rel->relowner))
		return PointerGetDatum(row.tuple);
	if (TRIGGER_FIRED_AFTER(trigdata->tg_event))
	{
		if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		{
			require_no_letters(&row);
			take_left(&row);
		}
		tell_other(&row, TRIGGER_FIRED_BY_DELETE(trigdata->tg_event));
		return PointerGetDatum(NULL);
	}
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		djk_require_consumer_owner(DatumGetObjectId(djk_catalog_row_get(&row, "owner", &isnull)));
		leave_offsets(&row);
		return PointerGetDatum(row.tuple);
	}

	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		old_row = (DjkCatalogRow) {trigdata->tg_trigtuple, row.desc, row.what};
		old = &old_row;
	}
	djk_catalog_row_empty_is_null(&row);
	djk_catalog_row_fill_times(&row, old);
	djk_catalog_row_fill(&row, old, "revision", Int64GetDatum(1));
	check_revision(&row);
	check_name(&row);
	check_values(&row);
	djk_catalog_row_set_text(&row, "start_from",
							 djk_start_at_normalize(djk_catalog_row_require_text(&row, "start_from"), "start_from", false));
	check_retries_of(&row, old);
	is_home = check_identity(&row, old);
	if (old != NULL)
		require_same_id(&row, old);
	/* Workers tell it by this from another one of its id, so it is not to be a copy of that one's. */
	if (old == NULL && is_home)
		djk_catalog_row_set(&row, "created_at", TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), false);
	check_assignment(&row, is_home);
	check_options(&row, is_home);
	if (is_home)
	{
		Oid			owner = DatumGetObjectId(djk_catalog_row_get(&row, "owner", &isnull));

		djk_require_usable_owner(owner);
		djk_connection_require_kept(djk_catalog_row_text(&row, "server"), owner);
	}
	check_group(&row);
	if (old != NULL)
		require_followed(&row, old);
	check_letters(&row, is_home);

	if (old != NULL)
	{
		djk_catalog_row_set(&row, "revision",
							Int64GetDatum(DatumGetInt64(djk_catalog_row_get(old, "revision", &isnull)) + 1), false);
		tell_enabled(old, &row);
	}
	return PointerGetDatum(row.tuple);
}

Datum
djkafka_consumer_validate(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_consumer_validate must be called as a trigger");
	return djk_catalog_validate((TriggerData *) fcinfo->context, validate);
}

Datum
djkafka_wake_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_wake_trigger must be called as a trigger");
	/* Sessions may remember a row that is gone; TRUNCATE says so by itself. */
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		CacheInvalidateRelcache(trigdata->tg_relation);
	if (djk_shmem_available())
		djk_wake_at_commit();
	return PointerGetDatum(NULL);
}
