/*-------------------------------------------------------------------------
 *
 * adopt_outbox.h
 *	  What djkafka_adopt() is asked for, and has done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ADOPT_OUTBOX_H
#define DJK_ADOPT_OUTBOX_H

#include "base/djk.h"

#include "state/catalog.h"

typedef struct DjkAdoption
{
	bool		keep_offsets;
	bool		keep_outbox;
	bool		keep_groups;
	bool		new_home;
	DjkHome		home;			/* to which all belongs afterwards */

	/* what was done */
	int64		consumers;
	int64		publications;
	int64		outboxes;
	int64		offsets_deleted;
	int64		parked_deleted;
	int64		messages_kept;
	int64		messages_deleted;
	int64		dead_deleted;
} DjkAdoption;

/* Lets the outboxes of other homes begin afresh (adopt_outbox.c). */
extern void djk_adopt_outboxes(DjkAdoption *adoption);

#endif							/* DJK_ADOPT_OUTBOX_H */
