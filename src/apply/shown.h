/*-------------------------------------------------------------------------
 *
 * shown.h
 *	  The row that a message is about, for a person to see.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SHOWN_H
#define DJK_SHOWN_H

#include "apply/work.h"
#include "utils/snapshot.h"

/*
 * What a message of the batch at hand has been made into, which an attempt that
 * failed may have thrown away, is made again; nothing is written.
 */
extern void djk_shown_prepare(DjkApply *apply, int message);

/* Whether it is known which row the message is about; so it is where each message is one. */
extern bool djk_shown_has_key(const DjkApply *apply, int message);

/*
 * The row of the message's key as a snapshot sees it, several where a deletion
 * names a part of a key: jsonb in CurrentMemoryContext.  False if there is none, or
 * nobody knows: it has no key, or the owner may not read the table.
 */
extern bool djk_shown_row(DjkApply *apply, int message, Snapshot snapshot, Datum *row);

/* The columns that the message itself fills, as jsonb. */
extern bool djk_shown_given(DjkApply *apply, int message, Datum *row);

#endif							/* DJK_SHOWN_H */
