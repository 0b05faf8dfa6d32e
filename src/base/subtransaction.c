/*-------------------------------------------------------------------------
 *
 * subtransaction.c
 *	  Something that may fail, tried in a subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/subtransaction.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

ErrorData *
djk_subtransaction_try(bool (*body) (void *arg), void *arg, MemoryContext error_context)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	volatile bool stays = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		stays = body(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(error_context);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (stays)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return edata;
}
