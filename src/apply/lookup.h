/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  A column that is filled by the row of another table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_LOOKUP_H
#define DJK_LOOKUP_H

#include "base/djk.h"

typedef struct DjkLookup
{
	/* as the route has it */
	char	   *table;
	char	   *column;
	char	   *returns;		/* NULL: the primary key */
	bool		missing_is_null;	/* else it is the message's error */

	/* once it is resolved */
	int			number;			/* among those of the route, from 0 */
	Oid			relation;
	char	   *table_sql;
	char	   *type_sql;		/* of 'column', */
	char	   *equal_operator; /* … its own, whatever "=" the search_path has, */
	const char *compared_as;	/* … and a cast of what is compared, or "" */
} DjkLookup;

/*
 * Finds the table and its columns by the search_path at hand.  ERROR, with the
 * fix as the hint, where one is missing.  In CurrentMemoryContext.
 */
extern void djk_lookup_resolve(DjkLookup *lookup, const char *for_column);

/* The scalar sub-select that finds the row for an expression of the column's type. */
extern char *djk_lookup_sql(const DjkLookup *lookup, const char *wanted);

/* Whether a route's target, by its qualified name, is the table, as far as names tell. */
extern bool djk_lookup_reads(const DjkLookup *lookup, const char *target_name);

/* That there is no row for a value. */
extern void djk_lookup_describe_missing(const DjkLookup *lookup, const char *value, DjkError *error);

#endif							/* DJK_LOOKUP_H */
