/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  All access to the tables of the outbox.
 *
 * Writing is a session's (djk_outbox_write), everything else the worker's.
 *
 * Where the worker stands is a snapshot and not a number: ids are given out
 * before their transactions commit, so "id > last" would skip what commits
 * late.  The messages between two snapshots are those that the later sees and
 * the earlier does not; each is in exactly one such difference, whenever its
 * transaction commits.  A difference is sent in the order of ids, in batches,
 * and the position within it is an id: nothing can join it any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_H
#define DJK_OUTBOX_H

#include "base/djk.h"
#include "base/message.h"
#include "state/catalog.h"

#include "datatype/timestamp.h"

/* --- writing, in a session's transaction --- */

typedef struct DjkOutboxMessage
{
	const char *server;			/* NULL: the settings */
	const char *topic;
	int			partition;		/* -1: by the key */
	TimestampTz message_time;
	struct varlena *key;		/* bytea, NULL: null */
	struct varlena *value;		/* bytea, NULL: null */
	Datum		headers;		/* djkafka_header[] */
	bool		has_headers;
} DjkOutboxMessage;

/*
 * Writes one message and returns its id.  The caller has checked everything;
 * no privilege is asked for here.  Needs a transaction that may write.  Never
 * waits for the worker.  The caller wakes the worker at commit.
 */
extern int64 djk_outbox_write(const DjkOutboxMessage *message);

/* Forgets what is remembered of the current transaction: at its end. */
extern void djk_outbox_end_transaction(void);

#endif							/* DJK_OUTBOX_H */
