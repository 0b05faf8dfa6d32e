/*-------------------------------------------------------------------------
 *
 * crash_mark.h
 *	  Where a worker stood when it took the server down.
 *
 * A crash takes shared memory with it, so marks are in a file in
 * pg_stat_tmp, mapped into every process.  A worker writes what it is about to
 * apply into the mark of its slot, at the speed of memory, and clears it
 * afterwards; whatever ends it in an orderly way clears it too, and so does the
 * signal by which the postmaster ends it because somebody else has crashed.
 * What is left when the server comes up again is what a worker died at: a crash
 * of its own, SIGKILL or the loss of power.  The postmaster makes suspects of
 * it, before any process can look.
 *
 * A batch that was died in is a wide suspect: its messages are applied one by
 * one.  A message that was died at alone is a lone suspect, and its deaths are
 * counted, the wide one with them.  Suspects are of the definition (revision)
 * that they died with, and are gone when their offsets have been passed.
 *
 * Without the file (it cannot be made) everything works but this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CRASH_MARK_H
#define DJK_CRASH_MARK_H

#include "base/djk.h"
#include "base/message.h"

/* Deaths at one message that are enough. */
#define DJK_CRASHES_ENOUGH	3

/* From _PG_init while preloading. */
extern void djk_crash_init(void);

/*
 * Gives this process the mark of its slot, and sees to it that its orderly ends
 * clear it.  Nothing below does anything before that.
 */
extern void djk_crash_attach(int slot, Oid extension, int64 consumer_id, int64 revision);

/* Whether something of this consumer is suspected. */
extern bool djk_crash_suspects(void);

/*
 * The end of what may be applied together, from 'from' on and up to 'to': one
 * message if it is suspected, else what comes before the next that is.
 */
extern int	djk_crash_limit(const DjkBatch *batch, int from, int to);

/* How often the server went down while a message was applied: 0 if not alone. */
extern int	djk_crash_deaths(const DjkBatch *batch, int message);

/* Around applying [from, to). */
extern void djk_crash_begin(const DjkBatch *batch, int from, int to);
extern void djk_crash_end(void);

/* Forgets what lies before the batch's partitions' next_offset. */
extern void djk_crash_passed(const DjkBatch *batch);

#endif							/* DJK_CRASH_MARK_H */
