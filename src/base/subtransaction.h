/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *	  Something that may fail, tried in a subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SUBTRANSACTION_H
#define DJK_SUBTRANSACTION_H

#include "base/djk.h"

#include "utils/elog.h"

/*
 * Calls the body, which says whether what it does is to stay.  Returns its error,
 * in 'error_context', or NULL; after an error nothing of it stays.  The memory
 * context is what it was.
 */
extern ErrorData *djk_subtransaction_try(bool (*body) (void *arg), void *arg, MemoryContext error_context);

#endif							/* DJK_SUBTRANSACTION_H */
