/*-------------------------------------------------------------------------
 *
 * overtaken.c
 *	  Dead letters that newer messages of their keys overtake.
 *
 * To apply a letter again once a later message of its key has been applied would
 * put an older state over a newer one.  So whoever applies a message, or a
 * deletion, notes it at the letters of its key in the same partition that were
 * read before it, in the same transaction.  It is Kafka's key that counts, byte
 * for byte: what has none is in no order.
 *
 * Partitions without such letters are known behind the fence, and cost no more than
 * that.  Of the others a sieve is kept from batch to batch, a bit for each hash of a
 * key: what does not fall through it is looked up.  A bit too many costs a look, so
 * none is ever taken back but all of them: when a session has written letters, by hand
 * (sql/dead_letter_guard.c) or by djkafka_run, which is told as a change of the table's
 * definition is.
 * Whatever others write otherwise comes with another load of the partition's row.
 *
 * Messages that do not come from Kafka have no row, and are all looked up.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/overtaken.h"

#include "apply/writer.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/dead_letter.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#define SIEVE_BITS		(UINT64CONST(1) << 23)

/* A partition whose letters are in the sieve. */
typedef struct SievedPartition
{
	int64		watched;		/* hash key: of the partition */
	int64		load;			/* of its row when they were read */
} SievedPartition;

typedef struct DjkLetterSieve
{
	uint64		written;		/* as letters_written when it was made */
	uint64	   *bits;
	HTAB	   *partitions;
} DjkLetterSieve;

/* Rises when letters may have been written in a session. */
static uint64 letters_written = 0;
static Oid	letters_table = InvalidOid;

/* ---------- the sieve ---------- */

static void
note_written(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == letters_table)
		letters_written++;
}

static void
listen_to_writers(void)
{
	static bool done = false;

	letters_table = djk_catalog_table("djkafka_dead_letter");
	if (!done)
		CacheRegisterRelcacheCallback(note_written, (Datum) 0);
	done = true;
}

static void
empty_sieve(DjkLetterSieve *sieve, MemoryContext context)
{
	HASHCTL		ctl = {0};

	if (sieve->partitions != NULL)
		hash_destroy(sieve->partitions);
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(SievedPartition);
	ctl.hcxt = context;
	sieve->partitions = hash_create("djkafka sieved partitions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	memset(sieve->bits, 0, SIEVE_BITS / 8);
	sieve->written = letters_written;
}

/* One in which no letters are but those that there may be now. */
static DjkLetterSieve *
open_sieve(DjkApply *apply)
{
	DjkLetterSieve *sieve = apply->letters;

	if (sieve != NULL && sieve->written == letters_written)
		return sieve;
	if (sieve == NULL)
	{
		listen_to_writers();
		sieve = MemoryContextAllocZero(apply->context, sizeof(DjkLetterSieve));
		sieve->bits = MemoryContextAlloc(apply->context, SIEVE_BITS / 8);
	}
	empty_sieve(sieve, apply->context);
	return apply->letters = sieve;
}

static uint64
bit_of(int64 watched, int64 hash)
{
	return hash_combine64((uint64) watched, (uint64) hash) % SIEVE_BITS;
}

typedef struct Sieving
{
	DjkLetterSieve *sieve;
	int64		watched;
} Sieving;

static void
add_bit(void *arg, int64 hash)
{
	const Sieving *sieving = arg;
	uint64		bit = bit_of(sieving->watched, hash);

	sieving->sieve->bits[bit / 64] |= UINT64CONST(1) << (bit % 64);
}

static bool
has_bit(const DjkLetterSieve *sieve, int64 watched, int64 hash)
{
	uint64		bit = bit_of(watched, hash);

	return (sieve->bits[bit / 64] >> (bit % 64) & 1) != 0;
}

/* The letters that this transaction has written are read, or added to those that were. */
static DjkLetterSieve *
sieve_for(DjkApply *apply, int partition, int from, int to)
{
	const DjkBatchPartition *p = &apply->batch->partitions[partition];
	DjkLetterSieve *sieve = open_sieve(apply);
	Sieving		sieving = {sieve, p->watched};
	SievedPartition *sieved = hash_search(sieve->partitions, &p->watched, HASH_FIND, NULL);

	if (sieved == NULL || sieved->load != p->load)
	{
		djk_dead_letter_each_hash(p->watched, add_bit, &sieving);
		sieved = hash_search(sieve->partitions, &p->watched, HASH_ENTER, NULL);
		sieved->load = p->load;
		return sieve;
	}
	for (int i = from; i < to; i++)
	{
		const DjkMessage *m = &apply->batch->messages[i];

		if (m->partition == partition && m->key != NULL && apply->work[i].fate == DJK_FATE_DEAD)
			add_bit(&sieving, djk_dead_letter_key_hash(m->key, m->key_len));
	}
	return sieve;
}

/* ---------- what was applied ---------- */

/* The messages of this batch that were applied with a hash. */
typedef struct AppliedKey
{
	int64		hash;			/* hash key */
	int			message;		/* the first of those with the same */
} AppliedKey;

/* Those of one partition. */
typedef struct Applied
{
	const DjkBatch *batch;
	HTAB	   *keys;
	int		   *next;			/* by message: the next one with the same hash, or -1 */
	const DjkMessage **wanted;	/* one of each key, */
	int64	   *hashes;			/* … with its hash */
	int			nwanted;
	int64		last_offset;
	bool		ascending;		/* by offset, as all but those that are given to djkafka_run */
} Applied;

static bool
is_same_key(const DjkMessage *a, const DjkMessage *b)
{
	return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0;
}

static void
add(Applied *applied, int message, int64 hash)
{
	const DjkMessage *m = &applied->batch->messages[message];
	bool		found;
	AppliedKey *entry = hash_search(applied->keys, &hash, HASH_ENTER, &found);
	int			same = found ? entry->message : -1;

	while (same >= 0 && !is_same_key(&applied->batch->messages[same], m))
		same = applied->next[same];
	if (same < 0)
	{
		applied->wanted[applied->nwanted] = m;
		applied->hashes[applied->nwanted++] = hash;
	}
	applied->next[message] = found ? entry->message : -1;
	entry->message = message;
}

/* The messages with a key that were applied, by partition: the last of each, and what comes before each in its partition. */
typedef struct AppliedMessages
{
	int		   *last;			/* by partition; -1: none */
	int		   *previous;		/* by message; -1: it is the first */
} AppliedMessages;

static bool
has_key(const DjkApply *apply, int message)
{
	const DjkRouteState *state = apply->states[apply->work[message].route];
	const DjkMessage *m = &apply->batch->messages[message];

	return state == NULL ? m->key != NULL : djk_message_has_key(state, m);
}

static void
sort_by_partition(const DjkApply *apply, int from, int to, AppliedMessages *messages)
{
	const DjkBatch *batch = apply->batch;

	messages->last = palloc(Max(batch->npartitions, 1) * sizeof(int));
	messages->previous = palloc(Max(batch->nmessages, 1) * sizeof(int));
	for (int p = 0; p < batch->npartitions; p++)
		messages->last[p] = -1;
	for (int i = from; i < to; i++)
	{
		int		   *last = &messages->last[batch->messages[i].partition];

		if (apply->work[i].fate != DJK_FATE_APPLIED || !has_key(apply, i))
			continue;
		messages->previous[i] = *last;
		*last = i;
	}
}

/* Of those of a partition what the sieve lets through; NULL: all. */
static void
find_applied(const DjkApply *apply, int partition, const AppliedMessages *messages, const DjkLetterSieve *sieve,
			 Applied *applied)
{
	int64		watched = apply->batch->partitions[partition].watched;
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(AppliedKey);
	ctl.hcxt = CurrentMemoryContext;
	applied->keys = hash_create("djkafka applied keys", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	applied->nwanted = 0;
	applied->last_offset = -1;
	for (int i = messages->last[partition]; i >= 0; i = messages->previous[i])
	{
		const DjkMessage *m = &apply->batch->messages[i];
		int64		hash = djk_dead_letter_key_hash(m->key, m->key_len);

		if (sieve == NULL || has_bit(sieve, watched, hash))
		{
			add(applied, i, hash);
			applied->last_offset = Max(applied->last_offset, m->offset);
		}
	}
}

/* ---------- noting ---------- */

/*
 * The offset of the first message of the letter's key that is not older than it, as if
 * they had been applied one by one; -1: there is none.  The very message of a letter is
 * read again where its partition was sought.
 */
static int64
first_newer(const Applied *applied, const DjkLetterKey *letter)
{
	const AppliedKey *entry = hash_search(applied->keys, &applied->hashes[letter->message], HASH_FIND, NULL);
	int64		first = -1;

	for (int i = entry ? entry->message : -1; i >= 0 && (first < 0 || !applied->ascending); i = applied->next[i])
	{
		const DjkMessage *m = &applied->batch->messages[i];

		if (m->offset >= letter->offset && (first < 0 || m->offset < first) &&
			is_same_key(m, applied->wanted[letter->message]))
			first = m->offset;
	}
	return first;
}

static void
note_partition(const DjkApply *apply, int partition, const Applied *applied)
{
	const DjkBatchPartition *p = &apply->batch->partitions[partition];
	int			nletters;
	DjkLetterKey *letters = djk_dead_letter_find_keys(apply->consumer->id, p, applied->wanted, applied->hashes,
													  applied->nwanted, applied->last_offset, &nletters);
	int64	   *ids = palloc(Max(nletters, 1) * sizeof(int64));
	int64	   *newer = palloc(Max(nletters, 1) * sizeof(int64));
	int			n = 0;

	for (int i = 0; i < nletters; i++)
	{
		int64		offset;

		CHECK_FOR_INTERRUPTS();
		offset = first_newer(applied, &letters[i]);
		if (offset < 0)
			continue;
		ids[n] = letters[i].id;
		newer[n++] = offset;
	}
	if (n > 0)
		djk_dead_letter_set_newer(ids, newer, n);
}

void
djk_overtaken_begin(DjkApply *apply)
{
	for (int p = 0; p < apply->batch->npartitions; p++)
	{
		DjkBatchPartition *partition = &apply->batch->partitions[p];

		partition->watched = djk_dead_letter_partition_hash(apply->consumer->id, partition->topic, partition->partition);
	}
}

/* What gives up waiting moves no offset, by which the partition's worker would know. */
void
djk_overtaken_written(const DjkApply *apply)
{
	if (apply->inside)
		CacheInvalidateRelcacheByRelid(djk_catalog_table("djkafka_dead_letter"));
}

void
djk_overtaken_read_again(DjkApply *apply, int partition)
{
	DjkBatchPartition *p = &apply->batch->partitions[partition];

	p->has_letters = true;
	if (apply->letters != NULL)
		(void) hash_search(apply->letters->partitions, &p->watched, HASH_REMOVE, NULL);
}

static bool
any_letters(const DjkBatch *batch)
{
	for (int p = 0; p < batch->npartitions; p++)
	{
		if (batch->partitions[p].has_letters)
			return true;
	}
	return batch->detached;
}

void
djk_overtaken_note(DjkApply *apply, int from, int to)
{
	const DjkBatch *batch = apply->batch;
	AppliedMessages messages;
	Applied		applied = {.batch = batch, .ascending = !batch->detached || batch->replayed};

	if (!any_letters(batch))
		return;
	sort_by_partition(apply, from, to, &messages);
	applied.next = palloc(Max(batch->nmessages, 1) * sizeof(int));
	applied.wanted = palloc(Max(to - from, 1) * sizeof(DjkMessage *));
	applied.hashes = palloc(Max(to - from, 1) * sizeof(int64));
	for (int p = 0; p < batch->npartitions; p++)
	{
		const DjkLetterSieve *sieve;

		CHECK_FOR_INTERRUPTS();
		if (!batch->partitions[p].has_letters && !batch->detached)
			continue;
		/* What has failed goes into the sieve, whether something was applied or not. */
		sieve = batch->detached ? NULL : sieve_for(apply, p, from, to);
		if (messages.last[p] < 0)
			continue;
		find_applied(apply, p, &messages, sieve, &applied);
		if (applied.nwanted > 0)
			note_partition(apply, p, &applied);
		hash_destroy(applied.keys);
	}
}
