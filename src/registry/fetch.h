/*-------------------------------------------------------------------------
 *
 * fetch.h
 *	  A schema of a registry, with those that it names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FETCH_H
#define DJK_FETCH_H

#include "base/registry.h"
#include "registry/http.h"

typedef enum DjkFetchStatus
{
	DJK_FETCH_PENDING,
	DJK_FETCH_FOUND,
	DJK_FETCH_ABSENT,			/* the registry has no such schema, or lacks one that it names */
	DJK_FETCH_FAILED			/* no registry has answered, or as none does */
} DjkFetchStatus;

typedef struct DjkFetch DjkFetch;

/*
 * Begins to ask; lives in a context of its own below 'parent', with which it ends
 * if nobody has ended it before.  'access' must stay.
 */
extern DjkFetch *djk_fetch_begin(DjkHttpAccess *access, const DjkSchemaKey *key, MemoryContext parent);

/*
 * Waits until 'until_ms' of djk_clock_ms() at most (0: not at all), and up to one
 * slice.  Answers no interrupts, and throws nothing but for want of memory.
 */
extern DjkFetchStatus djk_fetch_wait(DjkFetch *fetch, double until_ms);

/* The same in a session, answering interrupts. */
extern DjkFetchStatus djk_fetch_finish(DjkFetch *fetch, double until_ms);

/* What was found; lives as long as the fetch. */
extern const DjkSchemaText *djk_fetch_text(const DjkFetch *fetch);

/* Why it is absent, or has failed. */
extern const char *djk_fetch_reason(const DjkFetch *fetch);

extern void djk_fetch_end(DjkFetch *fetch);

#endif							/* DJK_FETCH_H */
