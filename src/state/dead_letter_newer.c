/*-------------------------------------------------------------------------
 *
 * dead_letter_newer.c
 *	  Dead letters of whose key a newer message has been applied.
 *
 * They are found by hashes of their partition and their key, in an index that holds
 * only those of which none is known yet: a letter is noted once, and costs nothing from
 * then on.  Statements name no other column that is indexed, and need no statistics.
 *
 *-------------------------------------------------------------------------
 */
#include "state/dead_letter.h"

#include "base/compat.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "state/catalog.h"
#include "utils/builtins.h"

#define FETCH_HASHES		1000

int64
djk_dead_letter_partition_hash(int64 consumer_id, const char *topic, int partition)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) topic, strlen(topic), partition);

	return (int64) hash_combine64(hash, (uint64) consumer_id);
}

int64
djk_dead_letter_key_hash(const char *key, int len)
{
	return (int64) hash_bytes_extended((const unsigned char *) key, len, 0);
}

void
djk_dead_letter_each_hash(int64 watched, void (*take) (void *arg, int64 hash), void *arg)
{
	static DjkStatement select_hashes = {
		.sql = "SELECT key_hash FROM @.djkafka_dead_letter WHERE watched = $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(watched)};
	Portal		portal = djk_catalog_open(&select_hashes, values, NULL);
	uint64		fetched;

	do
	{
		SPI_cursor_fetch(portal, true, FETCH_HASHES);
		fetched = SPI_processed;
		for (uint64 i = 0; i < fetched; i++)
			take(arg, djk_row_int64((int) i, 1, 0));
		SPI_freetuptable(SPI_tuptable);
	} while (fetched > 0);
	SPI_cursor_close(portal);
}

DjkLetterKey *
djk_dead_letter_find_keys(int64 consumer_id, const DjkBatchPartition *partition,
						  const int64 *hashes, int nhashes, int64 last_offset, int *nletters)
{
	static DjkStatement select_letters = {
		.sql = "SELECT d.* FROM unnest($2) AS h(hash) CROSS JOIN LATERAL (SELECT id, \"offset\", key_hash, key"
		"  FROM @.djkafka_dead_letter WHERE watched = $1 AND key_hash = h.hash"
		"  AND consumer_id + 0 = $3 AND topic || '' = $4 AND partition + 0 = $5 AND \"offset\" + 0 <= $6 OFFSET 0) d",
		.nargs = 6,
		.argtypes = {INT8OID, INT8ARRAYOID, INT8OID, TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[6] = {
		Int64GetDatum(partition->watched), djk_int8_array_datum(hashes, nhashes), Int64GetDatum(consumer_id),
		CStringGetTextDatum(partition->topic), Int32GetDatum(partition->partition), Int64GetDatum(last_offset)
	};
	int			n = (int) djk_catalog_execute_by_index(&select_letters, values, NULL);
	DjkLetterKey *letters = palloc(Max(n, 1) * sizeof(DjkLetterKey));

	*nletters = 0;
	for (int i = 0; i < n; i++)
	{
		DjkLetterKey *letter = &letters[(*nletters)++];
		bool		isnull;
		bytea	   *key = DatumGetByteaPCopy(djk_row_datum(i, 4, &isnull));

		letter->id = djk_row_int64(i, 1, 0);
		letter->offset = djk_row_int64(i, 2, 0);
		letter->hash = djk_row_int64(i, 3, 0);
		letter->key = VARDATA_ANY(key);
		letter->key_len = VARSIZE_ANY_EXHDR(key);
	}
	return letters;
}

void
djk_dead_letter_begin_again(int64 offset_id)
{
	static DjkStatement update_letters = {
		.sql = "UPDATE @.djkafka_dead_letter d SET newer_offset = -1, watched = NULL FROM @.djkafka_offset o"
		" WHERE o.id = $1 AND d.consumer_id = o.consumer_id AND d.topic = o.topic AND d.partition = o.partition"
		" AND d.watched IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(offset_id)};

	(void) djk_catalog_execute(&update_letters, values, NULL);
}

/* Locked in the order of their ids, as whoever discards letters does. */
void
djk_dead_letter_set_newer(const int64 *ids, const int64 *newer_offsets, int n)
{
	static DjkStatement lock_letters = {
		.sql = "SELECT FROM @.djkafka_dead_letter WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	static DjkStatement update_letters = {
		.sql = "UPDATE @.djkafka_dead_letter d SET newer_offset = n.newer, watched = NULL FROM unnest($1, $2) AS n(id, newer)"
		" WHERE d.id = n.id",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[2] = {djk_int8_array_datum(ids, n), djk_int8_array_datum(newer_offsets, n)};

	(void) djk_catalog_execute_by_index(&lock_letters, values, NULL);
	(void) djk_catalog_execute_by_index(&update_letters, values, NULL);
}
