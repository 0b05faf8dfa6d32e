/*-------------------------------------------------------------------------
 *
 * error.h
 *	  Errors that are kept as values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ERROR_H
#define DJK_ERROR_H

#include "base/compat.h"
#include "base/djk.h"

/* ERROR as *error says; DJK_ERRCODE_KAFKA where it has no code of its own. */
pg_noreturn extern void djk_error_throw(const DjkError *error);

/* A copy with texts of its own in 'context'. */
static inline void
djk_error_copy(const DjkError *error, MemoryContext context, DjkError *copy)
{
	*copy = *error;
	copy->message = error->message == NULL ? NULL : MemoryContextStrdup(context, error->message);
	copy->detail = error->detail == NULL ? NULL : MemoryContextStrdup(context, error->detail);
	copy->hint = error->hint == NULL ? NULL : MemoryContextStrdup(context, error->hint);
}

#endif							/* DJK_ERROR_H */
