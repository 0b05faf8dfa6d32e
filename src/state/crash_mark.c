/*-------------------------------------------------------------------------
 *
 * crash_mark.c
 *	  Where a worker stood when it took the server down.
 *
 * The file is a header, a fixed number of suspects and a mark for each slot.
 * It is mapped by the postmaster and inherited; marks are written by their own
 * process alone, suspects are made by the postmaster before any process runs,
 * and afterwards only lose places, each by a single store, so there is no lock.
 * Nothing is flushed: it must outlive processes, not the machine.  What is not
 * of this version and size, or makes no sense, is not believed.
 *
 *-------------------------------------------------------------------------
 */
#include "state/crash_mark.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/parallel.h"
#include "base/settings.h"
#include "common/file_perm.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MARK_FILE		PG_STAT_TMP_DIR "/djkafka.marks"
#define MAGIC			UINT64CONST(0x646a6b6d61726b31) /* djkmark1 */
#define PLACES_MAX		64		/* partitions in one transaction at most */
#define SUSPECTS_MAX	64

/* Messages of one partition, between two offsets; offset_id 0: passed. */
typedef struct Place
{
	int64		offset_id;		/* djkafka_offset.id */
	int64		generation;
	int64		first;
	int64		last;
	bool		again;			/* they waited in djkafka_parked */
} Place;

/* Whose it is: ids are given out again by an extension that is made again. */
typedef struct Owner
{
	Oid			database;
	Oid			extension;
	int64		consumer_id;
	int64		revision;
} Owner;

typedef enum MarkState
{
	MARK_IDLE,
	MARK_APPLYING
} MarkState;

typedef struct Mark
{
	volatile int state;
	int			nplaces;
	int			nmessages;
	Owner		owner;
	Place		places[PLACES_MAX];
} Mark;

typedef struct Suspect
{
	Owner		owner;			/* database InvalidOid: free */
	TimestampTz since;
	int			deaths;
	bool		lone;			/* one message */
	int			nplaces;
	Place		places[PLACES_MAX];
} Suspect;

typedef struct MarkFile
{
	uint64		magic;
	uint32		size;			/* of the whole */
	uint32		nmarks;
	Suspect		suspects[SUSPECTS_MAX];
	Mark		marks[FLEXIBLE_ARRAY_MEMBER];
} MarkFile;

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static MarkFile *file = NULL;	/* NULL: there are no marks */
static Mark *my_mark = NULL;
static Owner my_owner;

/* ---------- what was died at ---------- */

static bool
same_owner(const Owner *a, const Owner *b)
{
	return a->database == b->database && a->extension == b->extension &&
		a->consumer_id == b->consumer_id && a->revision == b->revision;
}

static bool
is_within(const Place *place, const Place *range)
{
	return place->offset_id == range->offset_id && place->generation == range->generation &&
		place->again == range->again &&
		place->first >= range->first && place->last <= range->last;
}

static bool
holds(const Suspect *suspect, const Place *place)
{
	for (int i = 0; i < suspect->nplaces; i++)
	{
		if (is_within(place, &suspect->places[i]))
			return true;
	}
	return false;
}

/* A free one, or else the oldest. */
static Suspect *
new_suspect(MarkFile *marks)
{
	Suspect    *found = &marks->suspects[0];

	for (int i = 0; i < SUSPECTS_MAX; i++)
	{
		Suspect    *suspect = &marks->suspects[i];

		if (!OidIsValid(suspect->owner.database))
			return suspect;
		if (suspect->since < found->since)
			found = suspect;
	}
	return found;
}

/* The suspect of one message, or of a batch that holds it. */
static Suspect *
find_suspect(MarkFile *marks, const Owner *owner, const Place *place, bool lone)
{
	for (int i = 0; i < SUSPECTS_MAX; i++)
	{
		Suspect    *suspect = &marks->suspects[i];

		if (OidIsValid(suspect->owner.database) && suspect->lone == lone &&
			same_owner(&suspect->owner, owner) && holds(suspect, place))
			return suspect;
	}
	return NULL;
}

static void
suspect_mark(MarkFile *marks, const Mark *mark)
{
	bool		lone = mark->nmessages == 1;
	Suspect    *suspect = lone ? find_suspect(marks, &mark->owner, &mark->places[0], true) : NULL;

	if (suspect == NULL)
	{
		Suspect    *wide = lone ? find_suspect(marks, &mark->owner, &mark->places[0], false) : NULL;
		int			deaths = wide != NULL ? wide->deaths : 0;

		suspect = new_suspect(marks);
		suspect->owner = mark->owner;
		suspect->deaths = deaths;
		suspect->lone = lone;
		suspect->nplaces = mark->nplaces;
		memcpy(suspect->places, mark->places, mark->nplaces * sizeof(Place));
	}
	suspect->since = GetCurrentTimestamp();
	suspect->deaths++;
	ereport(LOG,
			(errmsg("a djkafka worker of consumer " INT64_FORMAT " in database %u ended without a word while it applied %d messages",
					mark->owner.consumer_id, mark->owner.database, mark->nmessages),
			 errdetail("Deaths counted there: %d. What it applied is applied one by one now.", suspect->deaths)));
}

/* All processes are gone: what is still being applied was died at. */
static void
suspect_marks(MarkFile *marks)
{
	for (uint32 i = 0; i < marks->nmarks; i++)
	{
		Mark	   *mark = &marks->marks[i];

		if (mark->state == MARK_APPLYING && OidIsValid(mark->owner.database) &&
			mark->nplaces >= 1 && mark->nplaces <= PLACES_MAX && mark->nmessages >= 1)
			suspect_mark(marks, mark);
		mark->state = MARK_IDLE;
	}
}

/* ---------- the file ---------- */

static Size
file_size(Size nmarks)
{
	return offsetof(MarkFile, marks) + nmarks * sizeof(Mark);
}

static void
complain(const char *what)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("djkafka could not %s file \"%s\": %m", what, MARK_FILE),
			 errdetail("A message that crashes the server would not be found.")));
}

static bool
makes_sense(const MarkFile *marks, Size size)
{
	if (size < offsetof(MarkFile, marks) || marks->magic != MAGIC || marks->size != size ||
		file_size(marks->nmarks) != size)
		return false;
	for (int i = 0; i < SUSPECTS_MAX; i++)
	{
		if (marks->suspects[i].nplaces < 0 || marks->suspects[i].nplaces > PLACES_MAX)
			return false;
	}
	return true;
}

/* What an earlier server has left, with its marks judged; NULL if nothing that can be believed. */
static MarkFile *
read_file(int fd)
{
	struct stat st;
	MarkFile   *old;

	if (fstat(fd, &st) != 0 || st.st_size < offsetof(MarkFile, marks) || st.st_size > MaxAllocSize)
		return NULL;
	old = malloc(st.st_size);
	if (old == NULL)
		return NULL;
	if (pg_pread(fd, old, st.st_size, 0) != st.st_size || !makes_sense(old, st.st_size))
	{
		free(old);
		return NULL;
	}
	suspect_marks(old);
	return old;
}

/* Written as a whole, since a hole that finds the disk full would be SIGBUS. */
static bool
write_file(int fd, const MarkFile *old)
{
	Size		size = file_size(djk_max_workers);
	MarkFile   *new = calloc(1, size);
	bool		written;

	if (new == NULL)
		return false;
	new->magic = MAGIC;
	new->size = (uint32) size;
	new->nmarks = (uint32) djk_max_workers;
	if (old != NULL)
		memcpy(new->suspects, old->suspects, sizeof(new->suspects));
	errno = 0;
	written = ftruncate(fd, 0) == 0 && pg_pwrite(fd, new, size, 0) == (ssize_t) size;
	if (!written && errno == 0)
		errno = ENOSPC;
	free(new);
	return written;
}

static void
open_file(void)
{
	int			fd = BasicOpenFile(MARK_FILE, O_RDWR | O_CREAT | PG_BINARY);
	MarkFile   *old;
	void	   *mapped;

	if (fd < 0)
	{
		complain("open");
		return;
	}
	old = read_file(fd);
	if (!write_file(fd, old))
		complain("write");
	else
	{
		mapped = mmap(NULL, file_size(djk_max_workers), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mapped == MAP_FAILED)
			complain("map");
		else
			file = mapped;
	}
	free(old);
	close(fd);
}

/* In the postmaster, when it starts and after each crash. */
static void
start_marks(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	if (IsUnderPostmaster)
		return;
	if (file == NULL)
		open_file();
	else
		suspect_marks(file);
}

void
djk_crash_init(void)
{
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_marks;
}

/* ---------- a worker's own ---------- */

static void
clear_mark(int code, Datum arg)
{
	djk_crash_end();
}

/*
 * Somebody else has crashed, and all are ended.  A parallel worker of ours is
 * nobody else: what it did was part of applying.
 */
static void
handle_quit(SIGNAL_ARGS)
{
	if (my_mark != NULL && !ParallelContextActive())
		my_mark->state = MARK_IDLE;
	SignalHandlerForCrashExit(postgres_signal_arg);
}

/* What was changed deserves a new try. */
static void
forget_outdated(void)
{
	for (int i = 0; i < SUSPECTS_MAX; i++)
	{
		Owner	   *owner = &file->suspects[i].owner;

		if (owner->database == my_owner.database && owner->consumer_id == my_owner.consumer_id &&
			(owner->extension != my_owner.extension || owner->revision < my_owner.revision))
			owner->database = InvalidOid;
	}
}

void
djk_crash_attach(int slot, Oid extension, int64 consumer_id, int64 revision)
{
	if (file == NULL || slot < 0 || slot >= (int) file->nmarks)
		return;
	my_owner = (Owner) {MyDatabaseId, extension, consumer_id, revision};
	my_mark = &file->marks[slot];
	my_mark->state = MARK_IDLE;
	forget_outdated();
	before_shmem_exit(clear_mark, (Datum) 0);
	pqsignal(SIGQUIT, handle_quit);
}

static Place
place_of(const DjkBatch *batch, int message)
{
	const DjkMessage *m = &batch->messages[message];
	const DjkBatchPartition *partition = &batch->partitions[m->partition];

	return (Place) {partition->offset_id, partition->generation, m->offset, m->offset, batch->again};
}

static bool
is_suspected(const DjkBatch *batch, int message)
{
	Place		place = place_of(batch, message);

	return find_suspect(file, &my_owner, &place, false) != NULL ||
		find_suspect(file, &my_owner, &place, true) != NULL;
}

bool
djk_crash_suspects(void)
{
	if (my_mark == NULL)
		return false;
	for (int i = 0; i < SUSPECTS_MAX; i++)
	{
		if (OidIsValid(file->suspects[i].owner.database) && same_owner(&file->suspects[i].owner, &my_owner))
			return true;
	}
	return false;
}

int
djk_crash_limit(const DjkBatch *batch, int from, int to)
{
	int			partitions[PLACES_MAX];
	int			n = 0;
	bool		suspects = djk_crash_suspects();

	if (my_mark == NULL || from >= to)
		return to;
	if (suspects && is_suspected(batch, from))
		return from + 1;
	for (int i = from; i < to; i++)
	{
		int			partition = batch->messages[i].partition;
		int			p = n - 1;

		while (p >= 0 && partitions[p] != partition)
			p--;
		if (p < 0 && n == PLACES_MAX)
			return i;
		if (p < 0)
			partitions[n++] = partition;
		if (suspects && is_suspected(batch, i))
			return i;
	}
	return to;
}

int
djk_crash_deaths(const DjkBatch *batch, int message)
{
	Place		place;
	Suspect    *suspect;

	if (my_mark == NULL)
		return 0;
	place = place_of(batch, message);
	suspect = find_suspect(file, &my_owner, &place, true);
	return suspect != NULL ? suspect->deaths : 0;
}

void
djk_crash_begin(const DjkBatch *batch, int from, int to)
{
	int			n = 0;

	if (my_mark == NULL || from >= to)
		return;
	my_mark->owner = my_owner;
	for (int i = from; i < to; i++)
	{
		Place		place = place_of(batch, i);
		int			p = n - 1;

		/* They come in runs of a partition, so the last is mostly the one. */
		while (p >= 0 && my_mark->places[p].offset_id != place.offset_id)
			p--;
		if (p >= 0)
			my_mark->places[p].last = place.last;
		else if (n < PLACES_MAX)
			my_mark->places[n++] = place;
	}
	my_mark->nplaces = n;
	my_mark->nmessages = to - from;
	pg_write_barrier();
	my_mark->state = MARK_APPLYING;
}

void
djk_crash_end(void)
{
	if (my_mark != NULL)
		my_mark->state = MARK_IDLE;
}

/*
 * A partition's offset is far behind what waits of it: that is passed when it
 * was tried, or when nothing waits.  Nothing does either where the crash has taken
 * back the last commits: then the offset is where it was, and all comes again.
 */
static bool
is_behind(const Place *place, const DjkBatchPartition *partition, bool again)
{
	if (!place->again)
		return partition->next_offset > place->last;
	return (partition->parked == 0 && partition->next_offset > place->last) ||
		(again && partition->again_from <= place->first && partition->again_to > place->last);
}

/* Whether a batch of what waits has the messages of a place, as far as there are any: what is not due is left out. */
static bool
has_all(const Place *place, const DjkBatch *batch, int partition)
{
	if (!batch->partitions[partition].again_omits)
		return true;
	for (int i = 0; place->first == place->last && i < batch->nmessages; i++)
	{
		if (batch->messages[i].partition == partition && batch->messages[i].offset == place->first)
			return true;
	}
	return false;
}

static bool
is_passed(const Place *place, const DjkBatch *batch)
{
	for (int i = 0; i < batch->npartitions; i++)
	{
		const DjkBatchPartition *partition = &batch->partitions[i];

		if (partition->offset_id == place->offset_id)
			return !partition->lost &&
				(partition->generation != place->generation ||
				 is_behind(place, partition, batch->again && has_all(place, batch, i)));
	}
	return false;
}

void
djk_crash_passed(const DjkBatch *batch)
{
	if (my_mark == NULL)
		return;
	for (int i = 0; i < SUSPECTS_MAX; i++)
	{
		Suspect    *suspect = &file->suspects[i];
		bool		any = false;

		if (!OidIsValid(suspect->owner.database) || !same_owner(&suspect->owner, &my_owner))
			continue;
		for (int p = 0; p < suspect->nplaces; p++)
		{
			if (suspect->places[p].offset_id != 0 && is_passed(&suspect->places[p], batch))
				suspect->places[p].offset_id = 0;
			any |= suspect->places[p].offset_id != 0;
		}
		if (!any)
			suspect->owner.database = InvalidOid;
	}
}
