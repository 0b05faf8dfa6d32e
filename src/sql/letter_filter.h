/*-------------------------------------------------------------------------
 *
 * letter_filter.h
 *	  Which dead letters a function is called for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LETTER_FILTER_H
#define DJK_LETTER_FILTER_H

#include "base/djk.h"

#include "fmgr.h"
#include "state/dead_letter.h"

/* The numbers of the arguments; -1: the function has none such. */
typedef struct DjkLetterArguments
{
	int			ids;
	int			consumer;
	int			topic;
	int			sqlstate;
	int			since;
	int			until;
	int			max_letters;
} DjkLetterArguments;

/*
 * ERROR invalid_parameter_value unless ids or a consumer are named, or if something is
 * malformed; undefined_object if there is no consumer of this name, unless 'gone_too':
 * then the letters of one that was dropped are meant.
 */
extern void djk_letter_filter_read(FunctionCallInfo fcinfo, const DjkLetterArguments *arguments, bool gone_too,
								   DjkLetterFilter *filter);

#endif							/* DJK_LETTER_FILTER_H */
