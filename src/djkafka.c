/*-------------------------------------------------------------------------
 *
 * djkafka.c
 *	  The library's entry: what is called when it is loaded.
 *
 * Preloaded by the postmaster it sets up shared memory, the hooks and the
 * launcher.  Loaded by a backend it only defines its settings: functions that
 * need no worker then work, and all others say what is missing.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "base/settings.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "state/awaited.h"
#include "state/crash_mark.h"
#include "state/segments.h"
#include "state/waiters.h"
#include "state/wake.h"
#include "worker/launcher.h"
#include "worker/vacate.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	djk_settings_init();
	djk_wake_init();
	if (!process_shared_preload_libraries_in_progress)
	{
		if (creating_extension)
			ereport(WARNING,
					(errcode(DJK_ERRCODE_NOT_PRELOADED),
					 errmsg("djkafka is not in shared_preload_libraries"),
					 errdetail("Everything can be defined, but no worker runs."),
					 errhint("Add djkafka to shared_preload_libraries and restart the server.")));
		return;
	}
	djk_segments_init();
	djk_waiters_init();
	djk_awaited_init();
	djk_crash_init();
	djk_vacate_init();
	djk_launcher_init();
}
