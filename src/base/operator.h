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

#endif							/* DJK_OPERATOR_H */
