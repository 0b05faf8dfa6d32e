/*-------------------------------------------------------------------------
 *
 * start_at.h
 *	  Where to start: earliest, latest, group, an offset or a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_START_AT_H
#define DJK_START_AT_H

#include "base/djk.h"

/*
 * The word as it is stored: a time becomes absolute, since the worker's session
 * reads it with another time zone and on another day.  ERROR
 * invalid_parameter_value if it is none of them.  'what' names the argument; an
 * offset is only allowed with 'offset_allowed'.
 */
extern char *djk_start_at_normalize(const char *word, const char *what, bool offset_allowed);

#endif							/* DJK_START_AT_H */
