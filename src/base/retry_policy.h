/*-------------------------------------------------------------------------
 *
 * retry_policy.h
 *	  When a message that failed is tried again, as people write it.
 *
 * An object of JSON, of the setting djkafka.retry, a consumer and a route: what
 * lies above overlays what is below, key by key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_RETRY_POLICY_H
#define DJK_RETRY_POLICY_H

#include "base/djk.h"

#define DJK_RETRY_FOR_EVER		(-1)

/* Which errors are worth a try. */
typedef enum DjkRetryErrors
{
	DJK_RETRY_HELPFUL,			/* those that may pass: apply/retry.c */
	DJK_RETRY_INCLUDED,			/* these alone */
	DJK_RETRY_NOT_EXCLUDED		/* all but these */
} DjkRetryErrors;

typedef struct DjkRetryPolicy
{
	int			max_retries;	/* 0: none; DJK_RETRY_FOR_EVER */
	int64		delay_ms;		/* before the first */
	double		backoff;		/* each is so many times as long as the one before */
	int64		max_delay_ms;	/* 0: what backoff alone is bounded by */
	bool		jitter;
	bool		blocking;		/* the partition waits */
	bool		through_topics; /* messages wait in topics; else here */
	int			log_every;		/* 0: none is logged */
	DjkRetryErrors errors;
	int		   *conditions;		/* see base/condition.h */
	int			nconditions;
} DjkRetryPolicy;

/* What holds where nobody says anything: no retries. */
extern void djk_retry_policy_init(DjkRetryPolicy *policy);

/*
 * What 'json' says, over what is there; "" and NULL say nothing.  False with
 * *error if it is wrong, 'policy' is then undefined; both in CurrentMemoryContext.
 * Does not throw.
 */
extern bool djk_retry_policy_overlay(DjkRetryPolicy *policy, const char *json, DjkError *error);

/* Milliseconds to wait before retry number 'attempt' (from 1); 'random' is in [0, 1). */
extern int64 djk_retry_policy_delay_ms(const DjkRetryPolicy *policy, int attempt, double random);

/* Whether an error is one that the policy names: with DJK_RETRY_HELPFUL none is. */
extern bool djk_retry_policy_names(const DjkRetryPolicy *policy, int sqlstate);

#endif							/* DJK_RETRY_POLICY_H */
