/*-------------------------------------------------------------------------
 *
 * type_choice.h
 *	  Messages that go to routes by their type.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TYPE_CHOICE_H
#define DJK_TYPE_CHOICE_H

#include "apply/work.h"

/* What is known of a message's type from the routes that it has been offered to. */
typedef struct DjkTypeChoice
{
	bool		is_known;		/* one of them takes it, or ignores it */
	int			refused_by;		/* the first of them to which an unknown one is an error; -1: none */
} DjkTypeChoice;

/*
 * Leaves of the candidates of a route those of its types, and returns how many.
 * 'choices' are those of the messages from 'from' on.  One whose type cannot be read
 * is the route's, and noted as unprepared.
 */
extern int	djk_type_choice_make(DjkApply *apply, int route, int *indexes, int n, int from, DjkTypeChoice *choices);

/* A message that no route has taken: false if its type is an error, which is noted with its route. */
extern bool djk_type_choice_is_forgiven(DjkApply *apply, int message, const DjkTypeChoice *choice);

#endif							/* DJK_TYPE_CHOICE_H */
