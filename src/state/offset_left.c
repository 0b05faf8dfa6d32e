/*-------------------------------------------------------------------------
 *
 * offset_left.c
 *	  Rows of djkafka_offset_left: where dropped consumers had stopped.
 *
 * Kafka keeps a group's offsets when its members are gone, and so does this.
 * What the group has committed in Kafka would not do: it is told after the
 * commit, for lag tools alone, and may be behind.  Whoever makes a consumer again
 * in a group of theirs, as a migration that is undone and done again does, goes on
 * after the last message that was applied, and nothing is lost or doubled.
 *
 * With start_from 'group' it is Kafka's word that counts, for another program may
 * have gone on in the group meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "state/offset_left.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/parked.h"

/* Of a consumer of this database, and no copy of it. */
#define OF_THIS_HOME \
	" JOIN @.djkafka_home h ON h.home = c.home" \
	" JOIN pg_database this ON this.oid = h.database AND this.datname = current_database()"

#define IN_GROUP_OF_C	"l.home = c.home AND l.server IS NOT DISTINCT FROM c.server AND l.group_id = c.group_id"

#define KEPT \
	"topic, partition, start_at, next_offset, state, reason, cluster_id, incarnation, topic_uuid, anchor_offset, anchor_hash"

static uint64
execute_for(DjkStatement *statement, int64 consumer_id)
{
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	return djk_catalog_execute(statement, values, NULL);
}

void
djk_offset_leave(int64 consumer_id)
{
	/* A worker's batch is waited for: what it moves counts. */
	static DjkStatement lock_offsets = {
		.sql = "SELECT FROM @.djkafka_offset WHERE consumer_id = $1 ORDER BY consumer_id, topic, partition FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement delete_older = {
		.sql = "DELETE FROM @.djkafka_offset_left l USING @.djkafka_consumer c" OF_THIS_HOME
		" WHERE c.id = $1 AND l.owner = c.owner AND " IN_GROUP_OF_C,
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement insert_left = {
		.sql = "INSERT INTO @.djkafka_offset_left (home, server, group_id, owner, consumer_id, consumer, " KEPT ")"
		" SELECT c.home, c.server, c.group_id, c.owner, c.id, c.name, " KEPT
		" FROM @.djkafka_offset o JOIN @.djkafka_consumer c ON c.id = o.consumer_id" OF_THIS_HOME
		" WHERE o.consumer_id = $1 ORDER BY o.topic, o.partition",
		.nargs = 1,
		.argtypes = {INT8OID}
	};

	(void) execute_for(&lock_offsets, consumer_id);
	(void) execute_for(&delete_older, consumer_id);
	if (execute_for(&insert_left, consumer_id) > 0)
		djk_parked_give_up_consumer(consumer_id);
}

/* What was left after the transaction's snapshot was not taken, and would be read again. */
static void
require_all_seen(int64 consumer_id)
{
	static DjkStatement select_unseen = {
		.sql = "SELECT FROM @.djkafka_offset_left l JOIN @.djkafka_consumer c ON " IN_GROUP_OF_C OF_THIS_HOME
		" WHERE c.id = $1 AND l.owner = c.owner LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	djk_catalog_require_all_seen(&select_unseen, values, "dropped the consumer of this group");
}

int
djk_offset_take_left(int64 consumer_id)
{
	/* An id that somebody else's consumer had: what has it from now on is not that one's. */
	static DjkStatement release_id = {
		.sql = "UPDATE @.djkafka_offset_left l SET consumer_id = NULL FROM @.djkafka_consumer c"
		" WHERE c.id = $1 AND l.consumer_id = c.id AND NOT (l.owner = c.owner AND " IN_GROUP_OF_C ")",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement move_letters = {
		.sql = "UPDATE @.djkafka_dead_letter d SET consumer_id = c.id, consumer = c.name"
		" FROM @.djkafka_consumer c" OF_THIS_HOME
		" WHERE c.id = $1 AND d.consumer_id IN (SELECT l.consumer_id FROM @.djkafka_offset_left l"
		"  WHERE l.owner = c.owner AND " IN_GROUP_OF_C ")",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static DjkStatement take_left = {
		.sql = "WITH l AS (DELETE FROM @.djkafka_offset_left l USING @.djkafka_consumer c" OF_THIS_HOME
		"  WHERE c.id = $1 AND l.owner = c.owner AND " IN_GROUP_OF_C " RETURNING l.*, c.start_from)"
		" INSERT INTO @.djkafka_offset (consumer_id, first_offset, " KEPT ")"
		" SELECT $1, next_offset, " KEPT " FROM l WHERE start_from <> 'group' ORDER BY topic, partition",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	int			taken;

	(void) execute_for(&release_id, consumer_id);
	(void) execute_for(&move_letters, consumer_id);
	taken = (int) execute_for(&take_left, consumer_id);
	require_all_seen(consumer_id);
	/* As djk_offset_create() does. */
	if (taken > 0)
		ForceSyncCommit();
	return taken;
}

Oid
djk_offset_left_consumer_owner(int64 consumer_id)
{
	static DjkStatement select_owner = {
		.sql = "SELECT owner::oid FROM @.djkafka_consumer WHERE id = $1 UNION ALL"
		" SELECT owner::oid FROM @.djkafka_offset_left WHERE consumer_id = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};
	Oid			owner = InvalidOid;
	DjkIdentity identity;
	bool		isnull;

	djk_catalog_enter(&identity);
	if (djk_catalog_query_latest(&select_owner, values, NULL) > 0)
		owner = DatumGetObjectId(djk_row_datum(0, 1, &isnull));
	djk_catalog_leave(&identity);
	return owner;
}

bool
djk_offset_left_has_id(int64 consumer_id)
{
	static DjkStatement select_left = {
		.sql = "SELECT FROM @.djkafka_offset_left WHERE consumer_id = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(consumer_id)};

	return djk_catalog_query_latest(&select_left, values, NULL) > 0;
}

char *
djk_offset_left_owner(int64 consumer_id, MemoryContext context)
{
	static DjkStatement select_owner = {
		.sql = "SELECT l.owner::text FROM @.djkafka_offset_left l JOIN @.djkafka_consumer c ON " IN_GROUP_OF_C
		OF_THIS_HOME " WHERE c.id = $1 AND c.start_from <> 'group' ORDER BY l.id DESC LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};

	return execute_for(&select_owner, consumer_id) > 0 ? djk_row_text(0, 1, context) : NULL;
}
