/*-------------------------------------------------------------------------
 *
 * shim.c
 *	  Just enough of a server to run the codecs in a plain program.
 *
 * Every allocation is a malloc() of exactly the size asked for, so that a
 * sanitizer sees each byte beyond it; the server's own allocator would hide
 * most.  The database is UTF-8, so conversions are never called.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdio.h>

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

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

char *
psprintf(const char *fmt,...)
{
	char		buf[4096];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(buf, sizeof(buf), fmt, args);
	va_end(args);
	return pstrdup(buf);
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
