/*-------------------------------------------------------------------------
 *
 * publication_guard.c
 *	  A column that a publication names is not dropped.
 *
 * Every later change of the table would fail, and those who make them did
 * nothing to it.  So the command that drops the column is refused, as it is for
 * a view.  What an expression names is known to whoever plans it: what cannot be
 * planned any more named what is gone.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "access/relation.h"
#include "sql/publish.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Bereft
{
	int64		id;
	char	   *columns;		/* that its table has lost */
} Bereft;

/* The publications whose tables the command has taken columns from. */
static List *
find_bereft(void)
{
	static DjkStatement select_publications = {
		.sql = "SELECT p.id, string_agg(DISTINCT d.object_identity, ', ') FROM @.djkafka_publication p"
		" JOIN pg_event_trigger_dropped_objects() d ON d.objid = p.relation::oid"
		" WHERE d.classid = 'pg_class'::regclass AND d.objsubid > 0 AND p.enabled GROUP BY p.id ORDER BY p.id"
	};
	DjkIdentity identity;
	MemoryContext context = CurrentMemoryContext;
	List	   *found = NIL;
	int			n;

	djk_catalog_enter(&identity);
	n = (int) djk_catalog_query_latest(&select_publications, NULL, NULL);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Bereft	   *bereft = palloc(sizeof(Bereft));

		bereft->id = djk_row_int64(i, 1, 0);
		bereft->columns = djk_row_text(i, 2, context);
		found = lappend(found, bereft);
		MemoryContextSwitchTo(old);
	}
	djk_catalog_leave(&identity);
	return found;
}

/* In place of an error that is of the SQL; what came from elsewhere goes on. */
static void
refuse(const Bereft *bereft, const DjkPublicationRow *row, ErrorData *error)
{
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop %s because publication " INT64_FORMAT " depends on it", bereft->columns, row->id),
			 errdetail("Table \"%s\" is published to topic \"%s\", and could not be written any more: %s",
					   get_rel_name(row->relation), row->topic, error->message),
			 errhint("First, in the same transaction, UPDATE djkafka_publication so that it does without the column, or end it with djkafka_unpublish.")));
}

static void
require_sound(const Bereft *bereft, const DjkPublicationRow *row, Relation rel)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		djk_publish_check(row, rel);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		/* Always an error again, whose abort undoes what this one has left. */
		refuse(bereft, row, error);
	}
	PG_END_TRY();
}

void
djk_publication_require_columns(void)
{
	ListCell   *lc;

	foreach(lc, find_bereft())
	{
		DjkPublicationRow row;
		Relation	rel;

		if (!djk_publication_load(((Bereft *) lfirst(lc))->id, &row))
			continue;
		rel = try_relation_open(row.relation, AccessShareLock);
		if (rel == NULL)
			continue;
		PushActiveSnapshot(GetTransactionSnapshot());
		require_sound(lfirst(lc), &row, rel);
		PopActiveSnapshot();
		relation_close(rel, NoLock);
	}
}
