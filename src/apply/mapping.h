/*-------------------------------------------------------------------------
 *
 * mapping.h
 *	  How a route's 'columns' fill a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MAPPING_H
#define DJK_MAPPING_H

#include "base/djk.h"

#include "apply/lookup.h"
#include "apply/uses.h"
#include "codec/codec.h"

typedef struct DjkMapping
{
	const char *column;
	const char *expression;		/* NULL: the field is converted as that of an unmapped column is */
	char	  **path;			/* of the field; NULL: the expression names what it needs */
	int			npath;
	bool		always;			/* whatever fields the message has */
	bool		insert_only;	/* for new rows alone */
	DjkLookup  *lookup;			/* the expression says which row of another table fills it; NULL: it fills it */
	DjkUses		uses;			/* of the expression, once it is planned */
} DjkMapping;

/*
 * Reads what 'columns' has for a column: an expression, or an object that says
 * more.  In CurrentMemoryContext; ERROR invalid_parameter_value that names the
 * forms.
 */
extern void djk_mapping_parse(const char *column, const char *text, DjkMapping *mapping);

/* Whether it depends on fields at all; of an expression only once it is planned. */
extern bool djk_mapping_is_conditional(const DjkMapping *mapping);

/*
 * Whether the mapping takes something of a field: by a path that begins with it
 * or, where 'top' says that it is one of the whole value, by its expression.
 */
extern bool djk_mapping_takes(const DjkMapping *mapping, const DjkField *field, bool top);

/* Whether this is just the field that the column is mapped from, as it is. */
extern bool djk_mapping_is_field(const DjkMapping *mapping, const DjkField *field);

#endif							/* DJK_MAPPING_H */
