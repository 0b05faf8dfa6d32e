/*-------------------------------------------------------------------------
 *
 * input.h
 *	  The relation of messages that expressions and handlers read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_INPUT_H
#define DJK_INPUT_H

#include "apply/work.h"
#include "utils/tuplestore.h"

/*
 * A tuplestore of the input relation for messages (djk_ord = index in 'indexes');
 * bad ones fail (input.c).  'deciding': it is not known yet whether they are the
 * route's, and what only its columns need is the row's to refuse; else those
 * behind one that stops its consumer are left out.
 */
extern Tuplestorestate *djk_input_store(DjkApply *apply, DjkRouteState *state, const int *indexes,
										int n, bool deciding, int *nrows);

#endif							/* DJK_INPUT_H */
