/*-------------------------------------------------------------------------
 *
 * consumer_control.h
 *	  What functions that change a consumer ask first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONSUMER_CONTROL_H
#define DJK_CONSUMER_CONTROL_H

#include "base/djk.h"

#include "fmgr.h"

/* palloc'd; ERROR null_value_not_allowed if it is null. */
extern char *djk_require_text_arg(FunctionCallInfo fcinfo, int n, const char *name);

#endif							/* DJK_CONSUMER_CONTROL_H */
