/*-------------------------------------------------------------------------
 *
 * publish_trigger.c
 *	  The triggers of published tables: making them, dropping them, and telling
 *	  them from others that call the same function.
 *
 * Whoever may create a trigger chooses its table, events, arguments and
 * transition tables, so the function believes none of them.  A trigger is a
 * publication's if it has, on the very table that the publication names, the
 * name and the whole definition that we give it.  Names are unique for a table,
 * and made of the publication's id, which a dump keeps: so this holds after a
 * restore, too, and where numbers are used again.  What the table's owner may
 * change otherwise (whether it is enabled, what it depends on) proves nothing.
 *
 * They are made with the rights of djkafka's tables' owner, after it was seen
 * that the publication is the table owner's to make: nobody else needs EXECUTE
 * on the function, but who restores a dump.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publish.h"

#include "access/relation.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define TRIGGER_FUNCTION	"djkafka_publish_trigger"

typedef struct TableTrigger
{
	const char *suffix;
	const char *event;
	const char *tables;
	const char *old_table;		/* as the catalog has what 'tables' says */
	const char *new_table;
	int16		type;			/* pg_trigger.tgtype */
	bool		of_outbox;
} TableTrigger;

static const TableTrigger table_triggers[] = {
	[DJK_PUBLISH_INSERT] = {
		"insert", "AFTER INSERT", " REFERENCING NEW TABLE AS " DJK_PUBLISH_NEW,
		NULL, DJK_PUBLISH_NEW, TRIGGER_TYPE_INSERT, true
	},
	[DJK_PUBLISH_UPDATE] = {
		"update", "AFTER UPDATE", " REFERENCING OLD TABLE AS " DJK_PUBLISH_OLD " NEW TABLE AS " DJK_PUBLISH_NEW,
		DJK_PUBLISH_OLD, DJK_PUBLISH_NEW, TRIGGER_TYPE_UPDATE, false
	},
	[DJK_PUBLISH_DELETE] = {
		"delete", "AFTER DELETE", " REFERENCING OLD TABLE AS " DJK_PUBLISH_OLD,
		DJK_PUBLISH_OLD, NULL, TRIGGER_TYPE_DELETE, false
	},
	[DJK_PUBLISH_TRUNCATE] = {
		"truncate", "BEFORE TRUNCATE", "",
		NULL, NULL, TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_TRUNCATE, false
	}
};

/* ---------- knowing them ---------- */

static char *
trigger_name(int64 id, const TableTrigger *kind)
{
	return psprintf("djkafka_publish_" INT64_FORMAT "_%s", id, kind->suffix);
}

Oid
djk_publish_trigger_function(void)
{
	Oid			no_arguments[1] = {InvalidOid};
	List	   *name = list_make2(makeString(djk_catalog_schema_name()), makeString(TRIGGER_FUNCTION));

	return LookupFuncName(name, 0, no_arguments, false);
}

static bool
is_same_name(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
is_of_publication(const Trigger *trigger, int64 id)
{
	return trigger->tgnargs == 1 && strcmp(trigger->tgargs[0], psprintf(INT64_FORMAT, id)) == 0;
}

/* Whether this is what we would make for the event. */
static bool
is_as_made(const Trigger *trigger, int64 id, const TableTrigger *kind)
{
	return is_of_publication(trigger, id) && strcmp(trigger->tgname, trigger_name(id, kind)) == 0 &&
		trigger->tgtype == kind->type && trigger->tgnattr == 0 && trigger->tgqual == NULL &&
		!trigger->tgisinternal && is_same_name(trigger->tgoldtable, kind->old_table) &&
		is_same_name(trigger->tgnewtable, kind->new_table);
}

bool
djk_publish_trigger_identify(const Trigger *trigger, int64 *id, DjkPublishEvent *event)
{
	*id = trigger->tgnargs == 1 ? strtoll(trigger->tgargs[0], NULL, 10) : 0;
	for (*event = DJK_PUBLISH_INSERT; *event <= DJK_PUBLISH_TRUNCATE; (*event)++)
	{
		if (is_as_made(trigger, *id, &table_triggers[*event]))
			return true;
	}
	return false;
}

/* ---------- making and dropping them ---------- */

static void
execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

static char *
table_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

/* Whether the publication has the trigger, if it is to have any. */
static bool
is_kind_of(const DjkPublicationRow *publication, const TableTrigger *kind)
{
	return !publication->is_outbox || kind->of_outbox;
}

/* What a table has of a publication: which of the triggers, and what calls the function besides or by another name. */
typedef struct Present
{
	bool		made[lengthof(table_triggers)];
	List	   *others;			/* names */
} Present;

static void
look_at_trigger(const DjkPublicationRow *publication, const Trigger *trigger, Present *present)
{
	for (int k = 0; k < lengthof(table_triggers); k++)
	{
		if (is_kind_of(publication, &table_triggers[k]) &&
			is_as_made(trigger, publication->id, &table_triggers[k]))
		{
			present->made[k] = true;
			return;
		}
	}
	present->others = lappend(present->others, pstrdup(trigger->tgname));
}

static void
look_at(const DjkPublicationRow *publication, Relation rel, Present *present)
{
	Oid			function = djk_publish_trigger_function();

	memset(present, 0, sizeof(*present));
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgfoid == function && is_of_publication(trigger, publication->id))
			look_at_trigger(publication, trigger, present);
	}
}

static void
drop_trigger(const char *name, const char *table)
{
	execute(psprintf("DROP TRIGGER %s ON %s", quote_identifier(name), table));
}

/* DEPENDS ON EXTENSION lets DROP EXTENSION take the trigger along. */
static void
make_trigger(int64 id, const TableTrigger *kind, const char *table)
{
	char	   *name = trigger_name(id, kind);

	execute(psprintf("CREATE TRIGGER %s %s ON %s%s FOR EACH STATEMENT"
					 " EXECUTE FUNCTION %s." TRIGGER_FUNCTION "(" INT64_FORMAT ")",
					 name, kind->event, table, kind->tables, djk_catalog_schema(), id));
	execute(psprintf("ALTER TRIGGER %s ON %s DEPENDS ON EXTENSION " DJK_EXTENSION_NAME, name, table));
}

void
djk_publish_triggers_sync(const DjkPublicationRow *publication, bool wanted)
{
	Relation	rel = try_relation_open(publication->relation, ShareRowExclusiveLock);
	Present		present;
	DjkIdentity identity;
	char	   *table;
	ListCell   *lc;

	if (rel == NULL)
		return;
	look_at(publication, rel, &present);
	relation_close(rel, NoLock);
	table = table_name(publication->relation);
	djk_catalog_enter(&identity);
	foreach(lc, present.others)
		drop_trigger(lfirst(lc), table);
	for (int k = 0; k < lengthof(table_triggers); k++)
	{
		bool		wants = wanted && is_kind_of(publication, &table_triggers[k]);

		if (wants && !present.made[k])
			make_trigger(publication->id, &table_triggers[k], table);
		else if (!wants && present.made[k])
			drop_trigger(trigger_name(publication->id, &table_triggers[k]), table);
	}
	djk_catalog_leave(&identity);
}
