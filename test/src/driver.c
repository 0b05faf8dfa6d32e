/*-------------------------------------------------------------------------
 *
 * driver.c
 *	  Arguments that the SQL functions of the tests share.
 *
 *-------------------------------------------------------------------------
 */
#include "driver.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

char *
driver_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

DjkProperty *
driver_properties(FunctionCallInfo fcinfo, int names, int *count)
{
	DjkProperty *properties;
	Datum	   *keys;
	Datum	   *values;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(names), TEXTOID, -1, false, TYPALIGN_INT, &keys, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(names + 1), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	properties = palloc((n + 1) * sizeof(DjkProperty));
	properties[0].name = "bootstrap.servers";
	properties[0].value = driver_text(fcinfo, 1);
	for (int i = 0; i < n; i++)
	{
		properties[i + 1].name = TextDatumGetCString(keys[i]);
		properties[i + 1].value = TextDatumGetCString(values[i]);
	}
	*count = n + 1;
	return properties;
}
