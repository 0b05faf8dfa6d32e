/*-------------------------------------------------------------------------
 *
 * shim.c
 *	  Just enough of a server to run the codecs in a plain program.
 *
 * Every allocation is a malloc() of exactly the size asked for, so that a
 * sanitizer sees each byte beyond it; the server's own allocator would hide
 * most.  The database is UTF-8, so conversions are never called; what makes times
 * of numbers is the server's, and only has its form here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdio.h>

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shim.h"

typedef struct Chunk
{
	struct Chunk *previous;
	struct Chunk *next;
	size_t		size;
	size_t		padding;		/* keeps what follows aligned */
} Chunk;

static Chunk chunks = {&chunks, &chunks, 0, 0};
static size_t allocated = 0;
static size_t limit = 0;		/* of allocated; 0: none */

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;

static void *
allocate(size_t size)
{
	Chunk	   *chunk = malloc(sizeof(Chunk) + size);

	if (chunk == NULL)
		abort();
	chunk->size = size;
	chunk->previous = &chunks;
	chunk->next = chunks.next;
	chunks.next->previous = chunk;
	chunks.next = chunk;
	allocated += size;
	if (limit > 0 && allocated > limit)
	{
		fprintf(stderr, "memory is out of proportion\n");
		abort();
	}
	return chunk + 1;
}

void
pfree(void *pointer)
{
	Chunk	   *chunk = (Chunk *) pointer - 1;

	chunk->previous->next = chunk->next;
	chunk->next->previous = chunk->previous;
	allocated -= chunk->size;
	free(chunk);
}

void
shim_free_all(void)
{
	while (chunks.next != &chunks)
		pfree(chunks.next + 1);
}

size_t
shim_allocated(void)
{
	return allocated;
}

void
shim_limit(size_t bytes)
{
	limit = bytes == 0 ? 0 : allocated + bytes;
}

void *
palloc(Size size)
{
	return allocate(size);
}

void *
palloc0(Size size)
{
	return memset(allocate(size), 0, size);
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return allocate(size);
}

void *
MemoryContextAllocHuge(MemoryContext context, Size size)
{
	return allocate(size);
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	size_t		size = strlen(string) + 1;

	return memcpy(allocate(size), string, size);
}

char *
pstrdup(const char *in)
{
	return MemoryContextStrdup(NULL, in);
}

void *
repalloc(void *pointer, Size size)
{
	void	   *grown = allocate(size);

	memcpy(grown, pointer, Min(size, ((Chunk *) pointer - 1)->size));
	pfree(pointer);
	return grown;
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return palloc0(size);
}

char *
pnstrdup(const char *in, Size len)
{
	char	   *out = allocate(len + 1);

	memcpy(out, in, len);
	out[len] = '\0';
	return out;
}

/* What is made in a context is not told from the rest, and goes with it. */
MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size min, Size init, Size max)
{
	return (MemoryContext) &chunks;
}

void
MemoryContextDelete(MemoryContext context)
{
}

void
MemoryContextSetParent(MemoryContext context, MemoryContext parent)
{
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

Oid
FindDefaultConversionProc(int32 for_encoding, int32 to_encoding)
{
	abort();
}

int
pg_do_encoding_conversion_buf(Oid proc, int src_encoding, int dest_encoding,
							  unsigned char *src, int srclen,
							  unsigned char *dest, int destlen, bool noError)
{
	abort();
}

int
pg_mbcliplen(const char *mbstr, int len, int most)
{
	return Min(len, most);
}

/* ---------- what a program that is alone has none of ---------- */

volatile sig_atomic_t InterruptPending = false;

void
ProcessInterrupts(void)
{
}

void
check_stack_depth(void)
{
}

Size
MemoryContextMemAllocated(MemoryContext context, bool recurse)
{
	return allocated;
}

/* ---------- the server's text of numbers, and of times: something of the form ---------- */

int
pg_ulltoa_n(uint64 value, char *a)
{
	return sprintf(a, UINT64_FORMAT, value);
}

int
pg_lltoa(int64 value, char *a)
{
	return sprintf(a, INT64_FORMAT, value);
}

uint64
hex_encode(const char *src, size_t len, char *dst)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++)
	{
		*dst++ = digits[(unsigned char) src[i] >> 4];
		*dst++ = digits[(unsigned char) src[i] & 15];
	}
	return 2 * len;
}

void
j2date(int jd, int *year, int *month, int *day)
{
	*year = jd;
	*month = *day = 1;
}

int
time2tm(TimeADT time, struct pg_tm *tm, fsec_t *fsec)
{
	*fsec = (fsec_t) (time % USECS_PER_SEC);
	return 0;
}

int
timestamp2tm(Timestamp dt, int *tzp, struct pg_tm *tm, fsec_t *fsec, const char **tzn, pg_tz *attimezone)
{
	tm->tm_year = (int) (dt / USECS_PER_DAY);
	*fsec = 0;
	return 0;
}

void
interval2itm(Interval span, struct pg_itm *itm)
{
	itm->tm_hour = span.time;
}

void
EncodeDateOnly(struct pg_tm *tm, int style, char *str)
{
	sprintf(str, "%d-01-01", tm->tm_year);
}

void
EncodeTimeOnly(struct pg_tm *tm, fsec_t fsec, bool print_tz, int tz, int style, char *str)
{
	sprintf(str, "00:00:00.%d", fsec);
}

void
EncodeDateTime(struct pg_tm *tm, fsec_t fsec, bool print_tz, int tz, const char *tzn, int style, char *str)
{
	sprintf(str, "%d-01-01%c00:00:00", tm->tm_year, style == USE_XSD_DATES ? 'T' : ' ');
}

void
EncodeInterval(struct pg_itm *itm, int style, char *str)
{
	sprintf(str, INT64_FORMAT " hours", itm->tm_hour);
}
