/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Rows of the catalog's tables, read and changed by the names of their columns.
 *
 *-------------------------------------------------------------------------
 */
#include "state/row.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* What is wrong in a row is mostly in the column that was read last. */
static const char *looked_at = NULL;

void
djk_catalog_look_at(const char *column)
{
	looked_at = column;
}

/* As the error that was caught, with the names of the table and its column. */
pg_noreturn static void
rethrow(Relation rel, const char *column, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	if (column != NULL && error->column_name == NULL &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_OPERATOR_INTERVENTION)
	{
		error->schema_name = get_namespace_name(RelationGetNamespace(rel));
		error->table_name = pstrdup(RelationGetRelationName(rel));
		error->column_name = pstrdup(column);
	}
	ReThrowError(error);
}

Datum
djk_catalog_validate(TriggerData *trigdata, Datum (*validate) (TriggerData *trigdata))
{
	MemoryContext context = CurrentMemoryContext;
	const char *outer = looked_at;
	Datum		result;

	looked_at = NULL;
	PG_TRY();
	{
		result = validate(trigdata);
	}
	PG_CATCH();
	{
		const char *column = looked_at;

		looked_at = outer;
		rethrow(trigdata->tg_relation, column, context);
	}
	PG_END_TRY();
	looked_at = outer;
	return result;
}

DjkCatalogRow
djk_catalog_row_new(TriggerData *trigdata, const char *what)
{
	DjkCatalogRow row;

	row.tuple = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newtuple : trigdata->tg_trigtuple;
	row.desc = RelationGetDescr(trigdata->tg_relation);
	row.what = what;
	return row;
}

DjkCatalogRow
djk_catalog_row_found(int row, const char *what)
{
	return (DjkCatalogRow) {SPI_tuptable->vals[row], SPI_tuptable->tupdesc, what};
}

static int
column_number(const DjkCatalogRow *row, const char *column)
{
	int			number = SPI_fnumber(row->desc, column);

	if (number <= 0)
		elog(ERROR, "the catalog has no column \"%s\"", column);
	return number;
}

Datum
djk_catalog_row_get(const DjkCatalogRow *row, const char *column, bool *isnull)
{
	looked_at = column;
	return heap_getattr(row->tuple, column_number(row, column), row->desc, isnull);
}

char *
djk_catalog_row_text(const DjkCatalogRow *row, const char *column)
{
	looked_at = column;
	return SPI_getvalue(row->tuple, row->desc, column_number(row, column));
}

char *
djk_catalog_row_require_text(const DjkCatalogRow *row, const char *column)
{
	char	   *text = djk_catalog_row_text(row, column);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of a %s must not be null", column, row->what)));
	return text;
}

void
djk_catalog_row_check_name(const DjkCatalogRow *row, const char *column, const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name in %s of a %s: \"%s\"", column, row->what, name),
				 errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

int
djk_catalog_row_names(const DjkCatalogRow *row, const char *column, char ***names)
{
	bool		isnull;
	Datum		array = djk_catalog_row_get(row, column, &isnull);
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	*names = NULL;
	if (isnull)
		return 0;
	/* Statements of ours put such arrays together, those of all rows. */
	if (ARR_NDIM(DatumGetArrayTypeP(array)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s of a %s must be an array of one dimension", column, row->what)));
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a %s must not be empty", column, row->what),
				 errhint("Use null for none.")));
	*names = palloc(n * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s of a %s must not contain null", column, row->what)));
		(*names)[i] = TextDatumGetCString(elements[i]);
		djk_catalog_row_check_name(row, column, (*names)[i]);
		for (int j = 0; j < i; j++)
		{
			if (strcmp((*names)[i], (*names)[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("%s of a %s names \"%s\" twice", column, row->what, (*names)[i])));
		}
	}
	return n;
}

bool
djk_catalog_row_bool(const DjkCatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

int64
djk_catalog_row_int64(const DjkCatalogRow *row, const char *column, int64 null)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);

	if (isnull)
		return null;
	return TupleDescAttr(row->desc, column_number(row, column) - 1)->atttypid == INT4OID ? DatumGetInt32(value) :
		DatumGetInt64(value);
}

bool
djk_catalog_row_is(const DjkCatalogRow *row, const char *column, const char *word)
{
	char	   *text = djk_catalog_row_text(row, column);

	return text != NULL && strcmp(text, word) == 0;
}

double
djk_catalog_row_seconds(const DjkCatalogRow *row, const char *column, double null)
{
	bool		isnull;
	Datum		value = djk_catalog_row_get(row, column, &isnull);

	if (isnull)
		return null;
	return DatumGetFloat8(DirectFunctionCall2(interval_part, CStringGetTextDatum("epoch"), value));
}

static char *
scalar_text(const DjkCatalogRow *row, const char *column, const char *name, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" in %s of a %s is not a string, number or boolean", name, column, row->what)));
	}
}

int
djk_catalog_row_object(const DjkCatalogRow *row, const char *column, bool objects,
					   char ***names, char ***values)
{
	bool		isnull;
	Datum		datum = djk_catalog_row_get(row, column, &isnull);
	Jsonb	   *object;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	*names = *values = NULL;
	if (isnull)
		return 0;
	object = DatumGetJsonbP(datum);
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a %s is not a JSON object", column, row->what)));
	*names = palloc((JB_ROOT_COUNT(object) + 1) * sizeof(char *));
	*values = palloc((JB_ROOT_COUNT(object) + 1) * sizeof(char *));
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			(*names)[n] = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			if (objects && value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data))
				(*values)[n] = JsonbToCString(NULL, value.val.binary.data, value.val.binary.len);
			else
				(*values)[n] = scalar_text(row, column, (*names)[n], &value);
			n++;
		}
	}
	return n;
}

void
djk_catalog_row_check_int(const DjkCatalogRow *row, const char *column, int min, int max)
{
	bool		isnull;
	int			value = DatumGetInt32(djk_catalog_row_get(row, column, &isnull));

	if (!isnull && (value < min || value > max))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is outside the valid range for %s of a %s (%d .. %d)", value, column, row->what, min, max)));
}

int
djk_word_index(const char *what, const char *word, const char *const *words)
{
	StringInfoData list;
	int			n = 0;

	for (; words[n] != NULL; n++)
	{
		if (strcmp(word, words[n]) == 0)
			return n;
	}
	initStringInfo(&list);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", words[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", what, word),
			 n == 1 ? errhint("The only valid value is %s.", list.data) : errhint("Valid values are %s.", list.data)));
}

void
djk_catalog_row_check_word(const DjkCatalogRow *row, const char *column, const char *const *words)
{
	(void) djk_word_index(column, djk_catalog_row_require_text(row, column), words);
}

void
djk_catalog_row_set(DjkCatalogRow *row, const char *column, Datum value, bool isnull)
{
	int			number = column_number(row, column);

	row->tuple = heap_modify_tuple_by_cols(row->tuple, row->desc, 1, &number, &value, &isnull);
}

void
djk_catalog_row_set_text(DjkCatalogRow *row, const char *column, const char *value)
{
	djk_catalog_row_set(row, column, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* ---------- rows of forms ---------- */

void
djk_catalog_row_empty_is_null(DjkCatalogRow *row)
{
	for (int i = 0; i < row->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->desc, i);
		bool		isnull;
		Datum		value;

		if (att->attisdropped || att->attnotnull || att->atttypid != TEXTOID)
			continue;
		value = heap_getattr(row->tuple, att->attnum, row->desc, &isnull);
		if (!isnull && VARSIZE_ANY_EXHDR(PG_DETOAST_DATUM_PACKED(value)) == 0)
			djk_catalog_row_set(row, NameStr(att->attname), (Datum) 0, true);
	}
}

void
djk_catalog_row_fill(DjkCatalogRow *row, const DjkCatalogRow *old, const char *column, Datum value)
{
	bool		isnull;

	(void) djk_catalog_row_get(row, column, &isnull);
	if (!isnull)
		return;
	if (old != NULL)
		value = djk_catalog_row_get(old, column, &isnull);
	djk_catalog_row_set(row, column, value, false);
}

void
djk_catalog_row_fill_times(DjkCatalogRow *row, const DjkCatalogRow *old)
{
	djk_catalog_row_fill(row, old, "created_at", TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	djk_catalog_row_fill(row, NULL, "updated_at", TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	if (old != NULL)
		djk_catalog_row_set(row, "updated_at", TimestampTzGetDatum(GetCurrentTimestamp()), false);
}
