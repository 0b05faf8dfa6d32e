/*-------------------------------------------------------------------------
 *
 * operator.h
 *	  Operators in SQL that does not depend on the search_path.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OPERATOR_H
#define DJK_OPERATOR_H

#include "base/djk.h"

/* "OPERATOR(schema.name)", in CurrentMemoryContext. */
extern char *djk_operator_sql(Oid operator);

/*
 * The cast that a value of a type needs beside an operator, or "".  SQL takes
 * a domain for the type that it is over, but where that is an enum.
 */
extern const char *djk_operator_cast(Oid type);

#endif							/* DJK_OPERATOR_H */
