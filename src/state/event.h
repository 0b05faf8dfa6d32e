/*-------------------------------------------------------------------------
 *
 * event.h
 *	  Rows of djkafka_event, and the notifications that go with them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_EVENT_H
#define DJK_EVENT_H

#include "base/djk.h"

#define DJK_CHANNEL		"djkafka"

typedef struct DjkEvent
{
	const char *kind;			/* "state", "seek", "decision", "start", "reincarnation" … */
	int64		consumer_id;	/* 0: none */
	const char *consumer;		/* all strings may be NULL */
	const char *topic;
	int			partition;		/* -1: none */
	const char *state;
	const char *reason;
	const char *detail;			/* JSON */
} DjkEvent;

/*
 * Writes the event and, as NOTIFY djkafka at commit, its JSON.  Between
 * djk_catalog_enter() and leave.
 */
extern void djk_event_write(const DjkEvent *event);

/* Removes events older than djkafka.event_retention; returns how many. */
extern int	djk_event_trim(void);

/*
 * NOTIFY djkafka for the rows of a topic that a batch wrote; 'keys' are JSON
 * values, dropped as a whole where they do not fit.  Needs a transaction.
 */
extern void djk_event_notify_rows(const char *consumer, const char *topic, int64 rows,
								  char *const *keys, int nkeys);

#endif							/* DJK_EVENT_H */
