/*-------------------------------------------------------------------------
 *
 * order.c
 *	  Parents before those that look them up.
 *
 * Between partitions there is no order, so a batch that brings an order and its
 * customer, each by its own topic, may as well take the customer first, whichever
 * came first; and where all parents come before all children, the batch has two
 * stretches and not many (stretch.c).
 *
 * Names tell what is looked up in what: where they do not (one is qualified in
 * another way), messages stay in the order in which they came.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/order.h"

#include "nodes/bitmapset.h"
#include "utils/memutils.h"

/* What a route looks up: DjkLookup *. */
static List *
lookups_of(const DjkRouteRow *route)
{
	List	   *lookups = NIL;

	for (int i = 0; i < route->ncolumns; i++)
	{
		const char *text = route->column_mappings[i];
		DjkMapping	mapping;

		if (strstr(text, "\"lookup\"") == NULL)
			continue;
		djk_mapping_parse(route->column_names[i], text, &mapping);
		if (mapping.lookup != NULL)
			lookups = lappend(lookups, mapping.lookup);
	}
	return lookups;
}

/* The routes that write what a route looks up; not itself. */
static Bitmapset *
parents_of(const DjkConsumerRow *consumer, int child)
{
	List	   *lookups = lookups_of(&consumer->routes[child]);
	Bitmapset  *parents = NULL;
	ListCell   *lc;

	foreach(lc, lookups)
	{
		for (int r = 0; r < consumer->nroutes; r++)
		{
			if (r != child && djk_lookup_reads(lfirst(lc), consumer->routes[r].target_name))
				parents = bms_add_member(parents, r);
		}
	}
	return parents;
}

/* Puts routes above their parents.  Whether any had to be. */
static bool
raise_levels(int *levels, Bitmapset *const *parents, int n)
{
	bool		changed = false;

	for (int child = 0; child < n; child++)
	{
		int			parent = -1;

		while ((parent = bms_next_member(parents[child], parent)) >= 0)
		{
			if (levels[child] > levels[parent] || levels[parent] >= n)
				continue;
			levels[child] = levels[parent] + 1;
			changed = true;
		}
	}
	return changed;
}

/* A route is one level above what it looks up; where that goes round, the levels end. */
void
djk_order_begin(DjkApply *apply)
{
	const DjkConsumerRow *consumer = apply->consumer;
	int			n = consumer->nroutes;
	int		   *levels = MemoryContextAllocZero(apply->context, Max(n, 1) * sizeof(int));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "djkafka order", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Bitmapset **parents = palloc(Max(n, 1) * sizeof(Bitmapset *));
	bool		any;

	for (int r = 0; r < n; r++)
		parents[r] = parents_of(consumer, r);
	any = raise_levels(levels, parents, n);
	for (int round = 1; round < n && raise_levels(levels, parents, n); round++)
		;
	apply->levels = any ? levels : NULL;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Of all routes that may take its messages the highest. */
static int
level_of(DjkApply *apply, const char *topic)
{
	Bitmapset  *routes = djk_work_routes(apply, topic);
	int			level = 0;
	int			route = -1;

	while ((route = bms_next_member(routes, route)) >= 0)
		level = Max(level, apply->levels[route]);
	return level;
}

void
djk_order_batch(DjkApply *apply)
{
	DjkBatch   *batch = apply->batch;
	DjkMessage *ordered;
	int		   *levels;
	int			highest = 0;
	int			n = 0;

	if (apply->levels == NULL || batch->npartitions < 2 || batch->nmessages < 2)
		return;
	levels = MemoryContextAlloc(apply->batch_context, batch->npartitions * sizeof(int));
	for (int p = 0; p < batch->npartitions; p++)
	{
		levels[p] = level_of(apply, batch->partitions[p].topic);
		highest = Max(highest, levels[p]);
	}
	if (highest == 0)
		return;
	ordered = MemoryContextAllocHuge(apply->batch_context, batch->nmessages * sizeof(DjkMessage));
	for (int level = 0; level <= highest; level++)
	{
		for (int i = 0; i < batch->nmessages; i++)
		{
			if (levels[batch->messages[i].partition] == level)
				ordered[n++] = batch->messages[i];
		}
	}
	memcpy(batch->messages, ordered, n * sizeof(DjkMessage));
	pfree(ordered);
}
