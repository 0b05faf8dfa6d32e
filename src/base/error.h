/*-------------------------------------------------------------------------
 *
 * error.h
 *	  Errors that were kept as values, raised.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ERROR_H
#define DJK_ERROR_H

#include "base/compat.h"
#include "base/djk.h"

/* ERROR as *error says; DJK_ERRCODE_KAFKA where it has no code of its own. */
pg_noreturn extern void djk_error_throw(const DjkError *error);

#endif							/* DJK_ERROR_H */
