/*-------------------------------------------------------------------------
 *
 * run_apply.c
 *	  Messages applied in the caller's transaction, by whom it may be.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/run_apply.h"

#include "base/error.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/proc.h"

/*
 * SET ROLE and SET SESSION AUTHORIZATION are no walls: the owner's code could
 * undo either, so what counts is who logged in.
 */
void
djk_run_require_owner(const DjkConsumerRow *consumer)
{
	Oid			login = OidIsValid(MyProc->roleId) ? MyProc->roleId : BOOTSTRAP_SUPERUSERID;
	char	   *owner = GetUserNameFromId(consumer->owner, true);
	bool		is_gain = superuser_arg(login) && !superuser_arg(consumer->owner);

	if (consumer->owner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be the owner of consumer \"%s\"", consumer->name),
				 errdetail("Its routes run with the rights of its owner, which are not the caller's."),
				 is_gain ? errhint("Connect as role \"%s\".", owner) : errhint("SET ROLE %s first.", owner)));
	if (is_gain)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a superuser's session cannot run consumer \"%s\"", consumer->name),
				 errdetail("Code of its owner could RESET ROLE, and so become the superuser that is logged in."),
				 errhint("Connect as role \"%s\".", owner)));
}

void
djk_run_apply(DjkApply *apply, DjkBatch *batch, DjkApplyResult *total)
{
	DjkApplyResult result;

	djk_apply_inside(apply, batch, &result);
	total->applied += result.applied;
	total->filtered += result.filtered;
	total->duplicates += result.duplicates;
	total->stale += result.stale;
	total->dead += result.dead;
	total->skipped += result.skipped;
	total->key_only += result.key_only;
	if (result.status == DJK_APPLY_STOPPED)
		djk_error_throw(&result.error);
}
