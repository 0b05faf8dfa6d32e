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

#include "utils/memutils.h"

/* Whether a route looks up something in what another one writes. */
static bool
looks_up(const DjkRouteRow *route, const DjkRouteRow *other)
{
	for (int i = 0; i < route->ncolumns && other->target_name != NULL; i++)
	{
		const char *text = route->column_mappings[i];
		DjkMapping	mapping;

		if (strstr(text, "\"lookup\"") == NULL)
			continue;
		djk_mapping_parse(route->column_names[i], text, &mapping);
		if (mapping.lookup != NULL && djk_lookup_reads(mapping.lookup, other->target_name))
			return true;
	}
	return false;
}

/* A route is one level above what it looks up; where that goes round, the levels end. */
void
djk_order_begin(DjkApply *apply)
{
	const DjkConsumerRow *consumer = apply->consumer;
	int			n = consumer->nroutes;
	MemoryContext old = MemoryContextSwitchTo(apply->context);
	int		   *levels = palloc0(Max(n, 1) * sizeof(int));
	bool		any = false;

	for (int round = 0; round < n; round++)
	{
		bool		changed = false;

		for (int child = 0; child < n; child++)
		{
			for (int parent = 0; parent < n; parent++)
			{
				if (parent == child || levels[child] > levels[parent] || levels[parent] >= n ||
					!looks_up(&consumer->routes[child], &consumer->routes[parent]))
					continue;
				levels[child] = levels[parent] + 1;
				changed = any = true;
			}
		}
		if (!changed)
			break;
	}
	apply->levels = any ? levels : NULL;
	MemoryContextSwitchTo(old);
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
