/*-------------------------------------------------------------------------
 *
 * suppress.h
 *	  Whether messages are wanted that somebody has silenced.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SQL_SUPPRESS_H
#define DJK_SQL_SUPPRESS_H

#include "base/djk.h"

/*
 * Whether the transaction, or its session, has silenced a topic.  Then the role
 * that did so must be a member of 'owner', whose messages they are, or be let by
 * 'any': ERROR insufficient_privilege, with 'what' they are of
 * and a hint.
 */
extern bool djk_silenced(const char *topic, Oid owner, bool any, const char *what, const char *hint);

/* Counts messages, or rows, that were not written for it. */
extern void djk_silenced_count(int64 messages);

#endif							/* DJK_SQL_SUPPRESS_H */
