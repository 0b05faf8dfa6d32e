/*-------------------------------------------------------------------------
 *
 * operator.c
 *	  Operators in SQL that does not depend on the search_path.
 *
 *-------------------------------------------------------------------------
 */
#include "base/operator.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

char *
djk_operator_sql(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *sql;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	sql = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
				   NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return sql;
}

const char *
djk_operator_cast(Oid type)
{
	Oid			base = getBaseType(type);

	return base == type || get_typtype(base) != TYPTYPE_ENUM ? "" : psprintf("::%s", format_type_be_qualified(base));
}
