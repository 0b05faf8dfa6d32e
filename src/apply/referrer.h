/*-------------------------------------------------------------------------
 *
 * referrer.h
 *	  What refers to the rows of a target, and goes or loses its reference with them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_REFERRER_H
#define DJK_REFERRER_H

#include "apply/route_state.h"
#include "utils/relcache.h"

/* A foreign key that refers to the target, or to what goes with its rows. */
typedef struct DjkReferrer
{
	Oid			constraint;
	Oid			parent_constraint;	/* of a partitioned table, which has made it; InvalidOid: none */
	Oid			table;			/* that refers, */
	List	   *tables;			/* … with its partitions */
	char	   *table_sql;		/* as FROM, UPDATE and DELETE name it */
	Oid			referred;
	char	   *referred_sql;
	bool		referred_is_one;	/* it has no partitions */
	bool		goes_by_itself; /* ON DELETE CASCADE */
	char	   *match;			/* of p, a row that is referred to, and c, one that refers to it */
	List	   *columns;		/* names (char *) of those that refer */
} DjkReferrer;

/*
 * Fills state->referrers: by the route's on_referenced, NIL where that is nothing or
 * nothing refers to the target.  ERROR 42501 where the current user may not write a
 * table that it would have to.
 */
extern void djk_referrers_build(DjkRouteState *state, Relation rel);

/* Whether one of the tables that refer has partitions. */
extern bool djk_referrers_have_partitions(const DjkRouteState *state);

/* They stay as they are until the transaction ends.  ERROR serialization_failure if they may have changed already. */
extern void djk_referrers_lock(const DjkRouteState *state);

/* … and so may what their names mean, after a wait: a schema is renamed whoever holds its tables. */
extern void djk_referrers_require_same(const DjkRouteState *state);

/*
 * The statement that deletes rows of the target (t) by 'deletion', with what refers to
 * them: a SELECT of one number, of how many rows went, or references became null.
 */
extern char *djk_referrers_sql(const DjkRouteState *state, const char *deletion);

#endif							/* DJK_REFERRER_H */
