/*-------------------------------------------------------------------------
 *
 * crash_test.c
 *	  A process that crashes, on demand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PGDLLEXPORT Datum djkafka_test_crash(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(djkafka_test_crash);

/* As a wild pointer does it. */
Datum
djkafka_test_crash(PG_FUNCTION_ARGS)
{
	volatile int *nowhere = NULL;

	*nowhere = 1;
	PG_RETURN_VOID();
}
