/*-------------------------------------------------------------------------
 *
 * key_table.c
 *	  Rows of a batch by their key.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/key_table.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "state/catalog.h"
#include "utils/lsyscache.h"

/* An image that is larger is none. */
#define IMAGE_BYTES		1000

void
djk_key_table_init(DjkKeyTable *table, DjkRouteState *state, int n)
{
	uint32		size = pg_nextpower2_32(Max(2 * n, 16));

	table->state = state;
	table->changes = palloc(Max(n, 1) * sizeof(DjkChange));
	table->nchanges = 0;
	table->buckets = palloc(size * sizeof(int));
	table->mask = size - 1;
	memset(table->buckets, 0xff, size * sizeof(int));
}

void
djk_key_table_reset(DjkKeyTable *table)
{
	memset(table->buckets, 0xff, (table->mask + 1) * sizeof(int));
	table->nchanges = 0;
}

bool
djk_key_table_serves(const DjkRouteState *state)
{
	for (int i = 0; i < state->nkeys; i++)
	{
		if (state->columns[state->keys[i]].hash == NULL)
			return false;
	}
	return true;
}

uint32
djk_key_hash(const DjkRouteState *state, const DjkRow *row)
{
	uint32		hash = 0;

	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];
		DjkColumn  *key = &state->columns[c];
		uint32		of_key = 0;

		if (!row->nulls[c])
			of_key = DatumGetUInt32(FunctionCall1Coll(key->hash, key->collation, row->values[c]));
		hash = hash_combine(hash, of_key);
	}
	return hash;
}

bool
djk_key_equal(const DjkRouteState *state, const DjkRow *a, const DjkRow *b)
{
	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];
		DjkColumn  *key = &state->columns[c];

		if (a->nulls[c] != b->nulls[c])
			return false;
		if (!a->nulls[c] &&
			!DatumGetBool(FunctionCall2Coll(key->equal, key->collation, a->values[c], b->values[c])))
			return false;
	}
	return true;
}

static bool
column_is_its_text(const DjkColumn *column)
{
	switch (column->base_type)
	{
		case BOOLOID:
		case BYTEAOID:
		case CHAROID:
		case DATEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case UUIDOID:
			return true;
		case NAMEOID:
		case TEXTOID:
		case VARCHAROID:
			return get_collation_isdeterministic(column->collation);
		default:
			return type_is_enum(column->base_type);
	}
}

bool
djk_key_is_its_text(const DjkRouteState *state)
{
	for (int i = 0; i < state->nkeys; i++)
	{
		if (!column_is_its_text(&state->columns[state->keys[i]]))
			return false;
	}
	return true;
}

/* Of a value whose equals have the same bytes. */
static void
append_image(StringInfo image, const DjkColumn *column, Datum value)
{
	int16		len;
	bool		byval;

	get_typlenbyval(column->type, &len, &byval);
	appendBinaryStringInfo(image, (const char *) &column->type, sizeof(column->type));
	if (byval)
		appendBinaryStringInfo(image, (const char *) &value, sizeof(value));
	else if (len == -1)
	{
		struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
		uint32		size = VARSIZE_ANY_EXHDR(packed);

		appendBinaryStringInfo(image, (const char *) &size, sizeof(size));
		appendBinaryStringInfo(image, VARDATA_ANY(packed), Min(size, IMAGE_BYTES));
	}
	else
		appendBinaryStringInfo(image, DatumGetPointer(value), len);
}

bytea *
djk_key_image(const DjkRouteState *state, const DjkRow *row)
{
	StringInfoData image;
	bytea	   *copy = NULL;

	if (!djk_key_is_its_text(state))
		return NULL;
	initStringInfo(&image);
	appendBinaryStringInfo(&image, (const char *) &state->route->target, sizeof(Oid));
	for (int i = 0; i < state->nkeys && image.len <= IMAGE_BYTES; i++)
	{
		int			c = state->keys[i];

		if (row->nulls[c])
			break;
		append_image(&image, &state->columns[c], row->values[c]);
		if (i == state->nkeys - 1 && image.len <= IMAGE_BYTES)
			copy = DatumGetByteaPP(djk_bytea_datum(image.data, image.len));
	}
	pfree(image.data);
	return copy;
}

bool
djk_key_image_equal(const bytea *a, const bytea *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

DjkChange *
djk_key_table_enter(DjkKeyTable *table, DjkRow *row, bool *found)
{
	uint32		hash = djk_key_hash(table->state, row);
	uint32		bucket = hash & table->mask;
	DjkChange  *change;

	for (; table->buckets[bucket] >= 0; bucket = (bucket + 1) & table->mask)
	{
		change = &table->changes[table->buckets[bucket]];
		if (change->hash == hash && djk_key_equal(table->state, change->key, row))
		{
			*found = true;
			return change;
		}
	}
	table->buckets[bucket] = table->nchanges;
	change = &table->changes[table->nchanges++];
	change->hash = hash;
	change->key = row;
	change->row = NULL;
	change->delete_first = false;
	*found = false;
	return change;
}
