/*-------------------------------------------------------------------------
 *
 * judge.h
 *	  Whose fault an error is: the message's, the definition's, nobody's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_JUDGE_H
#define DJK_JUDGE_H

#include "apply/work.h"

/* What is known in one attempt at isolating; all of it in batch_context. */
typedef struct DjkJudge
{
	DjkApply   *apply;
	List	   *suspects;		/* messages whose error may be the definition's */
	int64	   *applied;		/* messages, by route */
	struct DjkEmptiness *empty; /* what became of the route without any message, by route */
} DjkJudge;

/* A caught error as a value, with the hints that djkafka can add; strings in 'context'. */
extern void djk_judge_describe(const ErrorData *edata, MemoryContext context, DjkError *error);

extern void djk_judge_begin(DjkJudge *judge, DjkApply *apply);

/* Whether an error of [from, to) is to be waited out: it is nobody's, and patience has not ended. */
extern bool djk_judge_is_transient(const DjkApply *apply, int from, int to, const ErrorData *edata);

/*
 * A message of its own has failed, in its deferred constraints or before.  It
 * gets its fate by its route's policy; if the error may be the definition's the
 * message becomes a suspect too.  Throws where the route fails without it, as
 * DJK_ERRCODE_BROKEN, or as what it is if that is transient.  Needs a
 * transaction in the state before the message.
 */
extern void djk_judge_message(DjkJudge *judge, int message, ErrorData *edata, bool deferred);

/* Whether so many have failed, and none was applied, that more would tell nothing. */
extern bool djk_judge_has_enough(const DjkJudge *judge, int message);

/* Messages of [from, to) have been applied. */
extern void djk_judge_note_applied(DjkJudge *judge, int from, int to);

/*
 * The end of the attempt at [from, decided): returns how much of it may stay.
 * If that is less the attempt is undone, and what lies before is applied again;
 * *condemned is then a message whose fate is final, or -1.  Throws
 * DJK_ERRCODE_BROKEN, with apply->doubtful set, if nothing of it may stay.
 */
extern int	djk_judge_settle(DjkJudge *judge, int from, int decided, int *condemned);

/* [from, to) is committed: what that says of the routes. */
extern void djk_judge_note_committed(DjkApply *apply, int from, int to);

#endif							/* DJK_JUDGE_H */
