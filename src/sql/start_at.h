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

/* ERROR 42501 unless the current user is a member of a consumer's owner. */
extern void djk_require_consumer_owner(Oid owner);

#endif							/* DJK_START_AT_H */
