/*-------------------------------------------------------------------------
 *
 * condemn.h
 *	  Messages that take the server down.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONDEMN_H
#define DJK_CONDEMN_H

#include "apply/work.h"

/*
 * The end of the next transaction over [from, to), and the mark of it for a
 * server that goes down meanwhile.  A message that this has happened at often
 * enough gets its fate here, unseen.  No transaction may be open.
 */
extern int	djk_condemn_begin(DjkApply *apply, int from, int to);

/* After it, whatever came of it. */
extern void djk_condemn_end(DjkApply *apply);

#endif							/* DJK_CONDEMN_H */
