/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Plans that a route keeps.
 *
 * They live in the server's own context, so the state has a list of them by
 * which they go with it.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/plan.h"

#include "parser/parser.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* What a backslash is in an expression was settled when the route was checked, and not by whoever runs it. */
SPIPlanPtr
djk_plan_prepare(const char *sql)
{
	int			guc_level = NewGUCNestLevel();
	SPIPlanPtr	plan;

	if (!standard_conforming_strings)
		(void) set_config_option("standard_conforming_strings", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	AtEOXact_GUC(false, guc_level);
	return plan;
}

SPIPlanPtr
djk_plan_keep(DjkRouteState *state, SPIPlanPtr plan)
{
	MemoryContext old;

	SPI_keepplan(plan);
	old = MemoryContextSwitchTo(state->context);
	state->plans = lappend(state->plans, plan);
	MemoryContextSwitchTo(old);
	return plan;
}

void
djk_plan_forget(DjkRouteState *state, SPIPlanPtr plan)
{
	state->plans = list_delete_ptr(state->plans, plan);
	SPI_freeplan(plan);
}

/* Nothing but the list is looked at: what else the context had may be gone. */
void
djk_plans_free(DjkRouteState *state)
{
	ListCell   *lc;

	foreach(lc, state->plans)
		SPI_freeplan(lfirst(lc));
	state->plans = NIL;
}
