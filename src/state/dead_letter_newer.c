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
#include "utils/array.h"
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

static Datum
key_array(const DjkMessage *const *messages, int n)
{
	Datum	   *keys = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		keys[i] = djk_bytea_datum(messages[i]->key, messages[i]->key_len);
	return PointerGetDatum(construct_array(keys, n, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* The letters' own keys are not returned: there may be many, each as large as a message. */
DjkLetterKey *
djk_dead_letter_find_keys(int64 consumer_id, const DjkBatchPartition *partition, const DjkMessage *const *messages,
						  const int64 *hashes, int nmessages, int64 last_offset, int *nletters)
{
	static DjkStatement select_letters = {
		.sql = "SELECT d.*, h.n FROM unnest($2, $7) WITH ORDINALITY AS h(hash, key, n) CROSS JOIN LATERAL (SELECT id, \"offset\""
		"  FROM @.djkafka_dead_letter WHERE watched = $1 AND key_hash = h.hash"
		"  AND consumer_id + 0 = $3 AND topic || '' = $4 AND partition + 0 = $5 AND \"offset\" + 0 <= $6 AND key = h.key OFFSET 0) d",
		.nargs = 7,
		.argtypes = {INT8OID, INT8ARRAYOID, INT8OID, TEXTOID, INT4OID, INT8OID, BYTEAARRAYOID}
	};
	Datum		values[7] = {
		Int64GetDatum(partition->watched), djk_int8_array_datum(hashes, nmessages), Int64GetDatum(consumer_id),
		CStringGetTextDatum(partition->topic), Int32GetDatum(partition->partition), Int64GetDatum(last_offset),
		key_array(messages, nmessages)
	};
	int			n = (int) djk_catalog_execute_by_index(&select_letters, values, NULL);
	DjkLetterKey *letters = palloc(Max(n, 1) * sizeof(DjkLetterKey));

	for (int i = 0; i < n; i++)
	{
		letters[i].id = djk_row_int64(i, 1, 0);
		letters[i].offset = djk_row_int64(i, 2, 0);
		letters[i].message = (int) djk_row_int64(i, 3, 0) - 1;
	}
	*nletters = n;
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
