/*-------------------------------------------------------------------------
 *
 * driver.h
 *	  Arguments that the SQL functions of the tests share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TEST_DRIVER_H
#define DJK_TEST_DRIVER_H

#include "base/djk.h"

#include "base/property.h"
#include "fmgr.h"

/* Argument n, a text; NULL if null. */
extern char *driver_text(FunctionCallInfo fcinfo, int n);

/*
 * The properties of a client: argument 1 as bootstrap.servers and the pairs of
 * two text[], arguments names and names + 1.  Palloc'd, *count of them.
 */
extern DjkProperty *driver_properties(FunctionCallInfo fcinfo, int names, int *count);

#endif							/* DJK_TEST_DRIVER_H */
