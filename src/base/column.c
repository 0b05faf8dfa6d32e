/*-------------------------------------------------------------------------
 *
 * column.c
 *	  A column that is meant, but named in another way.
 *
 *-------------------------------------------------------------------------
 */
#include "base/djk.h"

#include "base/column.h"

static bool
is_meant(const char *name, const char *column)
{
	size_t		len = strlen(name);

	if (len > 2 && name[0] == '"' && name[len - 1] == '"')
	{
		name++;
		len -= 2;
	}
	return strlen(column) == len && pg_strncasecmp(name, column, len) == 0;
}

const char *
djk_column_hint(TupleDesc desc, const char *name, const char *hint)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && is_meant(name, NameStr(att->attname)))
			return psprintf("There is a column \"%s\": write its name as it is, with its capitals and without quotes.",
							NameStr(att->attname));
	}
	return hint;
}
