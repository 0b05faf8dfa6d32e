/*-------------------------------------------------------------------------
 *
 * uses.h
 *	  What an expression takes of its message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_USES_H
#define DJK_USES_H

#include "base/djk.h"

#include "nodes/bitmapset.h"
#include "nodes/parsenodes.h"

typedef struct DjkUses
{
	Bitmapset  *columns;		/* of the input relation, by number from 0 */
	List	   *fields;			/* names (char *) of fields of one of them, 'value' or 'key', that it takes */
	bool		whole;			/* it takes that otherwise as well */
	bool		asks;			/* it asks whether a field is there */
} DjkUses;

/*
 * Adds what a query takes, in CurrentMemoryContext: an analyzed SELECT of one
 * expression from the input relation; 'column' is the number of the one whose
 * fields are wanted.
 */
extern void djk_uses_collect(Query *query, int column, DjkUses *uses);

/* Adds what another one takes. */
extern void djk_uses_add(DjkUses *uses, const DjkUses *other);

/* Whether a field is among those that are taken by name. */
extern bool djk_uses_name(const DjkUses *uses, const char *name, int len);

#endif							/* DJK_USES_H */
