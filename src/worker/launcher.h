/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  Registers what runs from the start of the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LAUNCHER_H
#define DJK_LAUNCHER_H

#include "base/djk.h"

/* From _PG_init while preloading. */
extern void djk_launcher_init(void);

#endif							/* DJK_LAUNCHER_H */
