/*-------------------------------------------------------------------------
 *
 * schema_forgotten.c
 *	  The trigger by which workers forget schemas whose rows were changed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/inval.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(djkafka_schema_forgotten);

Datum
djkafka_schema_forgotten(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "djkafka_schema_forgotten must be called as a trigger");
	CacheInvalidateRelcache(trigdata->tg_relation);
	return PointerGetDatum(NULL);
}
