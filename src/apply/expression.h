/*-------------------------------------------------------------------------
 *
 * expression.h
 *	  The filter and the mapped columns of a route as one query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_EXPRESSION_H
#define DJK_EXPRESSION_H

#include "base/djk.h"

#include "apply/route_state.h"

/* Columns of the result, from 1. */
enum
{
	DJK_RESULT_ORD = 1,
	DJK_RESULT_FILTER,			/* null if there is none */
	DJK_RESULT_DELETE,			/* the message deletes its row, by what djk_delete or deleted_when says */
	DJK_RESULT_EXPRESSIONS		/* as many as the state has, and then, as text, what each lookup looked for */
};

/*
 * The plan that evaluates them over DJK_INPUT_RELATION, which is registered.
 * ERROR for what is not one expression each.  SPI is connected; the plan is not
 * kept.
 */
extern SPIPlanPtr djk_expressions_prepare(DjkRouteState *state);

/* Whether there is a plan, and nothing that it was made of has changed. */
extern bool djk_expressions_are_planned(const DjkRouteState *state);

/* Looks what the plan may read (state->reads), if it is another one than the last time. */
extern void djk_expressions_note_reads(DjkRouteState *state);

/*
 * ERROR unless a result is of the types that the columns have.  Looked at with
 * each result, because a plan may be made again with other types.
 */
extern void djk_expressions_require_types(const DjkRouteState *state, TupleDesc desc);

/* Whether a row of the result has found what it looked for; strings of *error in CurrentMemoryContext. */
extern bool djk_expressions_check_lookups(const DjkRouteState *state, HeapTuple tuple, TupleDesc desc,
										  DjkError *error);

#endif							/* DJK_EXPRESSION_H */
