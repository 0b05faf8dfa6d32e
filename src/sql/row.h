/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Reading and changing the new row of a BEFORE trigger by column name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SQL_ROW_H
#define DJK_SQL_ROW_H

#include "base/djk.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "commands/trigger.h"

typedef struct DjkTriggerRow
{
	HeapTuple	tuple;
	TupleDesc	desc;
	const char *what;			/* "consumer", "route": for messages */
} DjkTriggerRow;

/* The row being inserted or updated. */
extern DjkTriggerRow djk_trigger_row(TriggerData *trigdata, const char *what);

extern Datum djk_trigger_row_get(const DjkTriggerRow *row, const char *column, bool *isnull);
/* palloc'd; NULL if null */
extern char *djk_trigger_row_text(const DjkTriggerRow *row, const char *column);
/* ERROR null_value_not_allowed if null */
extern char *djk_trigger_row_require_text(const DjkTriggerRow *row, const char *column);
/* ERROR invalid_name if it is empty or too long for an identifier */
extern void djk_trigger_row_check_name(const DjkTriggerRow *row, const char *column, const char *name);
/* text[] of names: n = 0 and NULL if null; ERROR if empty, with a null, or a name is too long */
extern int	djk_trigger_row_names(const DjkTriggerRow *row, const char *column, char ***names);
/* jsonb object of scalars, or of objects too, as text: likewise; ERROR if it is something else */
extern int	djk_trigger_row_object(const DjkTriggerRow *row, const char *column, bool objects,
								   char ***names, char ***values);
/* ERROR unless null or within the bounds */
extern void djk_trigger_row_check_int(const DjkTriggerRow *row, const char *column, int min, int max);

extern void djk_trigger_row_set(DjkTriggerRow *row, const char *column, Datum value, bool isnull);
extern void djk_trigger_row_set_text(DjkTriggerRow *row, const char *column, const char *value);

#endif							/* DJK_SQL_ROW_H */
