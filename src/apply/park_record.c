/*-------------------------------------------------------------------------
 *
 * park_record.c
 *	  What a batch leaves in djkafka_parked.
 *
 * In the transaction that moves its offsets, or, for a batch of those that waited,
 * that records what became of them.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/park_record.h"

#include "apply/key_table.h"
#include "apply/message_row.h"
#include "apply/park.h"
#include "state/catalog.h"
#include "state/parked.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

static int64
route_id(const DjkApply *apply, const DjkWork *work)
{
	return work->route >= 0 ? apply->consumer->routes[work->route].id : 0;
}

static const DjkError *
error_of(const DjkWork *work)
{
	return work->error.sqlstate != 0 ? &work->error : NULL;
}

static DjkParkedState
state_of(const DjkApply *apply, const DjkWork *work)
{
	DjkParkedState state = {
		.route_id = route_id(apply, work),
		.lane = work->lane,
		.key_hash = work->has_key ? &work->key_hash : NULL,
		.row_key = work->row_key,
		.error = error_of(work),
		.lack = work->lack.row,
		.attempt = work->attempt,
		.due_at = work->due_at
	};

	return state;
}

static void
add_new(DjkApply *apply, DjkParkedRows *rows, int message, Oid header_type)
{
	DjkBatch   *batch = apply->batch;
	const DjkMessage *m = &batch->messages[message];
	DjkParkedState state = state_of(apply, &apply->work[message]);
	DjkHeader  *headers = NULL;
	int			nheaders = 0;

	if (batch->load_headers != NULL)
		nheaders = batch->load_headers(batch, m, &headers);
	djk_parked_rows_add(rows, &batch->partitions[m->partition], m, djk_headers_datum(header_type, headers, nheaders), &state);
}

static void
write_new(DjkApply *apply, int from, int to)
{
	DjkParkedRows *rows = NULL;
	Oid			header_type = InvalidOid;
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "djkafka parked message", ALLOCSET_DEFAULT_SIZES);

	for (int i = from; i < to; i++)
	{
		MemoryContext old;

		if (apply->work[i].fate != DJK_FATE_PARKED)
			continue;
		if (rows == NULL)
		{
			rows = djk_parked_rows_create(apply->consumer->id);
			header_type = djk_catalog_type("djkafka_header");
		}
		old = MemoryContextSwitchTo(each);
		add_new(apply, rows, i, header_type);
		MemoryContextSwitchTo(old);
		MemoryContextReset(each);
	}
	if (rows != NULL)
		djk_parked_rows_write(rows);
	MemoryContextDelete(each);
}

static bool
is_same_key(const char *key, const Jsonb *told)
{
	Jsonb	   *json;

	if (key == NULL || told == NULL)
		return key == NULL && told == NULL;
	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(key)));
	return compareJsonbContainers(&json->root, &unconstify(Jsonb *, told)->root) == 0;
}

/* Whether the row says already why the message waits. */
static bool
is_told(const DjkWork *work, const DjkParked *parked)
{
	const char *constraint = work->lack.row.constraint;

	if (error_of(work) == NULL)
		return true;
	return parked->has_error && parked->parent == work->lack.row.parent && parked->children == work->lack.row.children &&
		(constraint == NULL || (parked->constraint != NULL && strcmp(constraint, parked->constraint) == 0)) &&
		is_same_key(work->lack.row.key, parked->missing_key);
}

/* One that goes on waiting: by another route or key perhaps, or now for itself. */
static void
write_changed(DjkApply *apply, const DjkWork *work, const DjkParked *parked)
{
	DjkParkedState state;

	if (parked->route_id == route_id(apply, work) && !djk_park_has_another_key(work, parked) && is_told(work, parked) &&
		djk_key_image_equal(work->row_key, parked->row_key) && parked->attempt == work->attempt && parked->due_at == work->due_at)
		return;
	state = state_of(apply, work);
	djk_parked_update(parked->id, &state);
}

static void
write_again(DjkApply *apply, int from, int to)
{
	int64	   *gone = palloc(Max(to - from, 1) * sizeof(int64));
	int			ngone = 0;

	for (int i = from; i < to; i++)
	{
		const DjkWork *work = &apply->work[i];
		const DjkParked *parked = apply->batch->messages[i].source;

		if (work->fate == DJK_FATE_PARKED)
			write_changed(apply, work, parked);
		else if (work->fate != DJK_FATE_LOST)
			gone[ngone++] = parked->id;
	}
	if (ngone > 0)
		djk_parked_delete(gone, ngone);
}

void
djk_park_record(DjkApply *apply, int from, int to)
{
	if (apply->batch->again)
		write_again(apply, from, to);
	else
		write_new(apply, from, to);
}
