/*-------------------------------------------------------------------------
 *
 * parked_write.c
 *	  Messages that begin to wait, or wait for something else.
 *
 * Where children come before their parents all of a batch are such.  Their rows are
 * inserted without the executor, some of them together: it would ask for the offset row
 * of each, and whoever writes here has that locked.  The table's trigger is for
 * everybody else.
 *
 *-------------------------------------------------------------------------
 */
#include "state/parked.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* So many rows are inserted together, or fewer that have so many bytes: they are in memory twice. */
#define ROWS_TOGETHER	200
#define BYTES_TOGETHER	(1024 * 1024)

static const char *const columns[] = {
	"id", "consumer_id", "offset_id", "topic", "partition", "offset", "parked_at", "message_time", "key", "value", "headers",
	/* … and what put_state() gives. */
	"route_id", "lane", "key_hash", "sqlstate", "message", "detail", "hint", "attempt", "due_at", "parent", "children",
	"constraint_name", "missing_key", "row_key"
};

#define COLUMNS			lengthof(columns)
#define STATE_COLUMNS	14

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
}

static Datum
json_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text != NULL ? DirectFunctionCall1(jsonb_in, CStringGetDatum(text)) : (Datum) 0;
}

static void
put_state(Datum *values, bool *nulls, const DjkParkedState *state)
{
	const DjkError *error = state->error;

	memset(nulls, false, STATE_COLUMNS * sizeof(bool));
	values[0] = Int64GetDatum(state->route_id);
	values[1] = Int64GetDatum(state->lane);
	nulls[2] = state->key_hash == NULL;
	values[2] = Int64GetDatum(state->key_hash ? *state->key_hash : 0);
	values[3] = text_or_null(error ? unpack_sql_state(error->sqlstate) : NULL, &nulls[3]);
	values[4] = text_or_null(error ? error->message : NULL, &nulls[4]);
	values[5] = text_or_null(error ? error->detail : NULL, &nulls[5]);
	values[6] = text_or_null(error ? error->hint : NULL, &nulls[6]);
	values[7] = Int32GetDatum(state->attempt);
	nulls[8] = state->due_at == 0;
	values[8] = TimestampTzGetDatum(state->due_at);
	nulls[9] = !OidIsValid(state->lack.parent);
	values[9] = ObjectIdGetDatum(state->lack.parent);
	nulls[10] = !OidIsValid(state->lack.children);
	values[10] = ObjectIdGetDatum(state->lack.children);
	values[11] = text_or_null(state->lack.constraint, &nulls[11]);
	values[12] = json_or_null(state->lack.key, &nulls[12]);
	nulls[13] = state->row_key == NULL;
	values[13] = PointerGetDatum(state->row_key);
}

/* ---------- new ones ---------- */

struct DjkParkedRows
{
	int64		consumer_id;
	Relation	rel;
	Oid			sequence;		/* of their numbers */
	int			numbers[COLUMNS];	/* of the table's columns, from 1 */
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *slots[ROWS_TOGETHER];
	MemoryContext context;		/* as long as this lives */
	int			n;				/* of these, not inserted yet, */
	Size		bytes;			/* … with so many bytes of keys, values and headers */
};

DjkParkedRows *
djk_parked_rows_create(int64 consumer_id)
{
	DjkParkedRows *rows = palloc0(sizeof(DjkParkedRows));

	rows->consumer_id = consumer_id;
	rows->context = CurrentMemoryContext;
	rows->rel = table_open(djk_catalog_table("djkafka_parked"), RowExclusiveLock);
	rows->sequence = djk_catalog_table("djkafka_parked_id_seq");
	for (int c = 0; c < COLUMNS; c++)
	{
		rows->numbers[c] = SPI_fnumber(RelationGetDescr(rows->rel), columns[c]);
		if (rows->numbers[c] <= 0)
			elog(ERROR, "the catalog has no column \"%s\"", columns[c]);
	}
	rows->estate = CreateExecutorState();
	rows->info = makeNode(ResultRelInfo);
	InitResultRelInfo(rows->info, rows->rel, 1, NULL, 0);
	ExecOpenIndices(rows->info, false);
	return rows;
}

static Datum
bytes_or_null(const char *bytes, int len, bool *isnull)
{
	*isnull = bytes == NULL;
	return bytes != NULL ? djk_bytea_datum(bytes, len) : (Datum) 0;
}

static void
insert_rows(DjkParkedRows *rows)
{
	if (rows->n == 0)
		return;
	table_multi_insert(rows->rel, rows->slots, rows->n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < rows->n; i++)
	{
		(void) djk_insert_index_tuples(rows->info, rows->slots[i], rows->estate);
		ExecClearTuple(rows->slots[i]);
		ResetPerTupleExprContext(rows->estate);
	}
	rows->n = 0;
	rows->bytes = 0;
}

static TupleTableSlot *
next_slot(DjkParkedRows *rows)
{
	TupleTableSlot **slot = &rows->slots[rows->n++];
	MemoryContext old = MemoryContextSwitchTo(rows->context);

	if (*slot == NULL)
		*slot = table_slot_create(rows->rel, NULL);
	MemoryContextSwitchTo(old);
	return *slot;
}

static void
store(TupleTableSlot *slot, const int *numbers, const Datum *values, const bool *nulls)
{
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int c = 0; c < COLUMNS; c++)
	{
		slot->tts_values[numbers[c] - 1] = values[c];
		slot->tts_isnull[numbers[c] - 1] = nulls[c];
	}
	ExecStoreVirtualTuple(slot);
	ExecMaterializeSlot(slot);
}

void
djk_parked_rows_add(DjkParkedRows *rows, const DjkBatchPartition *partition, const DjkMessage *message,
					Datum headers, const DjkParkedState *state)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {0};

	values[0] = Int64GetDatum(nextval_internal(rows->sequence, false));
	values[1] = Int64GetDatum(rows->consumer_id);
	values[2] = Int64GetDatum(partition->offset_id);
	values[3] = CStringGetTextDatum(partition->topic);
	values[4] = Int32GetDatum(partition->partition);
	values[5] = Int64GetDatum(message->offset);
	values[6] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[7] = message->timestamp_ms < 0;
	values[7] = TimestampTzGetDatum(djk_timestamp_from_kafka(Max(message->timestamp_ms, 0)));
	values[8] = bytes_or_null(message->key, message->key_len, &nulls[8]);
	values[9] = bytes_or_null(message->value, message->value_len, &nulls[9]);
	nulls[10] = headers == (Datum) 0;
	values[10] = headers;
	put_state(values + COLUMNS - STATE_COLUMNS, nulls + COLUMNS - STATE_COLUMNS, state);
	store(next_slot(rows), rows->numbers, values, nulls);
	rows->bytes += message->key_len + message->value_len +
		(headers != (Datum) 0 ? VARSIZE_ANY(DatumGetPointer(headers)) : 0);
	if (rows->n == ROWS_TOGETHER || rows->bytes >= BYTES_TOGETHER)
		insert_rows(rows);
}

void
djk_parked_rows_write(DjkParkedRows *rows)
{
	insert_rows(rows);
	for (int i = 0; i < ROWS_TOGETHER && rows->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(rows->slots[i]);
	ExecCloseIndices(rows->info);
	table_close(rows->rel, NoLock);
	FreeExecutorState(rows->estate);
	pfree(rows);
	CommandCounterIncrement();
}

/* ---------- those that go on waiting ---------- */

void
djk_parked_update(int64 id, const DjkParkedState *state)
{
	static DjkStatement update_parked = {
		.sql = "UPDATE @.djkafka_parked p SET route_id = $2, lane = $3, key_hash = $4, attempt = $9, due_at = $10,"
		" sqlstate = coalesce($5, p.sqlstate), message = CASE WHEN $5 IS NULL THEN p.message ELSE $6 END,"
		" detail = CASE WHEN $5 IS NULL THEN p.detail ELSE $7 END, hint = CASE WHEN $5 IS NULL THEN p.hint ELSE $8 END,"
		" parent = CASE WHEN $5 IS NULL THEN p.parent ELSE $11 END,"
		" children = CASE WHEN $5 IS NULL THEN p.children ELSE $12 END,"
		" constraint_name = CASE WHEN $5 IS NULL THEN p.constraint_name ELSE $13 END,"
		" missing_key = CASE WHEN $5 IS NULL THEN p.missing_key ELSE $14 END,"
		" row_key = $15"
		" WHERE id = $1",
		.nargs = 1 + STATE_COLUMNS,
		.argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID,
			REGCLASSOID, REGCLASSOID, TEXTOID, JSONBOID, BYTEAOID}
	};
	Datum		values[1 + STATE_COLUMNS];
	bool		isnull[1 + STATE_COLUMNS] = {0};
	char		nulls[2 + STATE_COLUMNS] = {0};

	values[0] = Int64GetDatum(id);
	put_state(values + 1, isnull + 1, state);
	for (int i = 0; i <= STATE_COLUMNS; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';
	(void) djk_catalog_execute(&update_parked, values, nulls);
}
