/*-------------------------------------------------------------------------
 *
 * lack.h
 *	  Which row a message waits for, or which rows it waits for to go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LACK_H
#define DJK_LACK_H

#include "base/djk.h"

#include "access/htup.h"
#include "apply/work.h"

/* Whether an error is of a reference: what others write may end it. */
extern bool djk_lack_may_end(int sqlstate);

/* The foreign key that an error names, to be released, and its table; NULL: it names none. */
extern HeapTuple djk_lack_find_constraint(const ErrorData *edata, Oid *table);

/*
 * A message has failed alone, and what was prepared of it is still there: notes what
 * its foreign key lacks, if that is what the error says.
 */
extern void djk_lack_note(DjkApply *apply, int message, const ErrorData *edata);

/* The same where the foreign key is known. */
extern void djk_lack_note_constraint(DjkApply *apply, int message, const ErrorData *edata, Oid table, HeapTuple constraint);

/* The same of one that could not be prepared, for want of a row that it looks up. */
extern void djk_lack_note_lookup(DjkApply *apply, int message);

/* It waits for something else, or for nothing. */
extern void djk_lack_forget(DjkApply *apply, int message);

#endif							/* DJK_LACK_H */
