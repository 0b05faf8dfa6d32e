/*-------------------------------------------------------------------------
 *
 * route_look.c
 *	  What a worker would make of a route, in somebody's session.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/route_look.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/*
 * Planning an expression runs what is immutable in it.  So this is done with
 * the rights of the consumer's owner, as all else that the worker will do, and
 * as in maintenance commands on other people's tables.  That the current user
 * is the owner says nothing: it may be a superuser after SET ROLE, which the
 * owner's code could undo.
 */
void
djk_route_look(const DjkRouteRow *route, Oid owner, void (*look) (DjkRouteState *state, void *arg), void *arg)
{
	Oid			caller;
	int			sec_context;
	int			guc_level;
	DjkRouteState *state;

	GetUserIdAndSecContext(&caller, &sec_context);
	SetUserIdAndSecContext(owner, sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	state = djk_route_state_create(route, CurrentMemoryContext);
	look(state, arg);
	djk_route_state_destroy(state);
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(caller, sec_context);
}
