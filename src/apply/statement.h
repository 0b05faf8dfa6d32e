/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  The SQL that a route runs: text, plans, execution over a batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STATEMENT_H
#define DJK_STATEMENT_H

#include "base/djk.h"

#include "apply/route_state.h"
#include "base/compat.h"
#include "utils/tuplestore.h"

/*
 * The order counts: what comes before UPDATE writes rows without a look at those
 * that are there; from UPDATE on a statement joins its rows with the target, by key;
 * and from DELETE on its text is the same whatever they have, partial deletes apart.
 */
typedef enum DjkRouteSql
{
	DJK_SQL_INSERT,				/* plain INSERT */
	DJK_SQL_INSERT_NEW,			/* … ON CONFLICT DO NOTHING */
	DJK_SQL_INSERT_TOLD,		/* the same, with the keys of what was inserted as its result */
	DJK_SQL_UPSERT,				/* … ON CONFLICT DO UPDATE */
	DJK_SQL_UPDATE,				/* UPDATE … FROM, by key */
	DJK_SQL_INSERT_MISSING,		/* INSERT of what UPDATE did not find */
	DJK_SQL_DELETE,				/* DELETE … USING, by key */
	DJK_SQL_DELETE_REFERRED,	/* … with what refers to the rows, of which it tells the number */
	DJK_SQL_LOCK,				/* SELECT … FOR UPDATE, before it */
	DJK_SQL_SKIP,				/* UPDATE … SET skip_column, before it */
	DJK_SQL_FIND,				/* SELECT what UPDATE would find */
	DJK_SQL_VERSIONS			/* SELECT key and version of it, locked */
} DjkRouteSql;

/*
 * Runs a statement over 'rows' (of state->rows_desc), all of which have the
 * same columns present; returns the number of rows processed.  Needs an active
 * snapshot; runs as the current user, under the route's search_path.  'take'
 * gets each row of the result, and must not keep it; NULL: there is none.
 */
extern uint64 djk_route_sql_run_told(DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present,
									 Tuplestorestate *rows, int nrows,
									 void (*take) (HeapTuple tuple, TupleDesc desc, void *arg), void *arg);

static inline uint64
djk_route_sql_run(DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present,
				  Tuplestorestate *rows, int nrows)
{
	return djk_route_sql_run_told(state, kind, present, rows, nrows, NULL, NULL);
}

/* Its text (statement_sql.c); NULL: there is nothing to do. */
extern char *djk_route_sql_text(const DjkRouteState *state, DjkRouteSql kind, const Bitmapset *present);

/* Whether INSERT … ON CONFLICT can serve rows with these columns present. */
extern bool djk_route_sql_may_conflict(const DjkRouteState *state, const Bitmapset *present);

/*
 * Evaluates filter and expressions over 'input' (of state->input_desc).
 * Leaves SPI connected with the result in SPI_tuptable, one row per message:
 * as expression.h has it; the caller calls SPI_finish().
 */
extern void djk_route_sql_evaluate(DjkRouteState *state, Tuplestorestate *input, int nrows);

/*
 * What filter and expressions may read besides the message; makes known what they
 * take of it, too.  May plan and run them, over nothing.
 */
extern const DjkReads *djk_route_sql_reads(DjkRouteState *state);

/* ERROR: an expression gave more or fewer rows than messages, or some message's twice. */
pg_noreturn extern void djk_route_sql_throw_set(const DjkRouteState *state);

/* Calls the handler for each message of 'input', or once for all of them. */
extern void djk_route_sql_call(DjkRouteState *state, Tuplestorestate *input, int nrows);

/*
 * Runs what the route runs, the statement that has failed above all, over no
 * message.  Throws what they then throw.
 */
extern void djk_route_sql_try_empty(DjkRouteState *state);

/* Prepares what evaluate or call needs, to find errors in the definition. */
extern void djk_route_sql_check(DjkRouteState *state);

#endif							/* DJK_STATEMENT_H */
