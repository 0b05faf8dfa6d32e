/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Rows of the catalog's tables, read and changed by the names of their columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_STATE_ROW_H
#define DJK_STATE_ROW_H

#include "base/djk.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "commands/trigger.h"

typedef struct DjkCatalogRow
{
	HeapTuple	tuple;
	TupleDesc	desc;
	const char *what;			/* "consumer", "route": for messages */
} DjkCatalogRow;

/* The row that a BEFORE trigger sees inserted or updated. */
extern DjkCatalogRow djk_catalog_row_new(TriggerData *trigdata, const char *what);

/* One that djk_catalog_execute() has found; lives until the next statement. */
extern DjkCatalogRow djk_catalog_row_found(int row, const char *what);

extern Datum djk_catalog_row_get(const DjkCatalogRow *row, const char *column, bool *isnull);

/* palloc'd; NULL if null */
extern char *djk_catalog_row_text(const DjkCatalogRow *row, const char *column);

/* ERROR null_value_not_allowed if null */
extern char *djk_catalog_row_require_text(const DjkCatalogRow *row, const char *column);

/* ERROR invalid_name if it is empty or too long for an identifier */
extern void djk_catalog_row_check_name(const DjkCatalogRow *row, const char *column, const char *name);

/* text[] of names: n = 0 and NULL if null; ERROR if empty, with a null, or a name is too long */
extern int	djk_catalog_row_names(const DjkCatalogRow *row, const char *column, char ***names);

/* jsonb object of scalars, or of objects too, as text: likewise; ERROR if it is something else */
extern int	djk_catalog_row_object(const DjkCatalogRow *row, const char *column, bool objects,
								   char ***names, char ***values);

/* false if null */
extern bool djk_catalog_row_bool(const DjkCatalogRow *row, const char *column);

/* whether a text is this word */
extern bool djk_catalog_row_is(const DjkCatalogRow *row, const char *column, const char *word);

/* Which of the words it is, the last of which is followed by NULL; ERROR invalid_parameter_value: none.  'what' is what it says. */
extern int	djk_word_index(const char *what, const char *word, const char *const *words);

/* the same of a text, of which nobody asks which it is */
extern void djk_catalog_row_check_word(const DjkCatalogRow *row, const char *column, const char *const *words);

/* of an interval, as extract(epoch) counts them */
/* A bigint or integer; 'null' where there is none. */
extern int64 djk_catalog_row_int64(const DjkCatalogRow *row, const char *column, int64 null);
extern double djk_catalog_row_seconds(const DjkCatalogRow *row, const char *column, double null);

/* ERROR unless null or within the bounds */
extern void djk_catalog_row_check_int(const DjkCatalogRow *row, const char *column, int min, int max);

/*
 * What a trigger checks of a row: errors get the name of the column that was read
 * last of any row, or of the one that was said to be looked at.
 */
extern Datum djk_catalog_validate(TriggerData *trigdata, Datum (*validate) (TriggerData *trigdata));
extern void djk_catalog_look_at(const char *column);

/*
 * Rows as forms write them: an empty text is null where the column may be that, and
 * what is null but must not be is as before, or that value.
 */
extern void djk_catalog_row_empty_is_null(DjkCatalogRow *row);
extern void djk_catalog_row_fill(DjkCatalogRow *row, const DjkCatalogRow *old, const char *column, Datum value);
extern void djk_catalog_row_fill_times(DjkCatalogRow *row, const DjkCatalogRow *old);

extern void djk_catalog_row_set(DjkCatalogRow *row, const char *column, Datum value, bool isnull);
extern void djk_catalog_row_set_text(DjkCatalogRow *row, const char *column, const char *value);

#endif							/* DJK_STATE_ROW_H */
