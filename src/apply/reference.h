/*-------------------------------------------------------------------------
 *
 * reference.h
 *	  A foreign key whose parents can be asked for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_REFERENCE_H
#define DJK_REFERENCE_H

#include "apply/route_state.h"

#include "access/htup.h"
#include "utils/relcache.h"

typedef struct DjkReferenceColumn
{
	int			column;			/* of the route's state: it refers, */
	Oid			type;			/* … of this type, or of a domain over it, */
	AttrNumber	parent_column;	/* … to this one */
	Oid			equal_operator;
} DjkReferenceColumn;

/* A foreign key of a route's target, of columns that are equal where they look so. */
typedef struct DjkReference
{
	Oid			parent;
	bool		deferred;		/* it is checked at the end of the transaction, unless somebody sets that */
	int			ncolumns;
	DjkReferenceColumn columns[INDEX_MAX_KEYS];
} DjkReference;

/* Keys that were asked for, and the answer. */
typedef struct DjkQuestion
{
	const DjkReference *reference;
	Datum		keys[INDEX_MAX_KEYS];	/* an array for each column: of its type, */
	bool		in_text;		/* … or of text */
	int			nkeys;
	int			lock_ms;		/* so long it waits for a lock at most; 0: as long as the transaction does */
	int		   *lacking;		/* numbers of those without a row, in their order: room for all of them */
	int			nlacking;
} DjkQuestion;

/* Whether a foreign key is such a one, of the route's target. */
extern bool djk_reference_read(const DjkRouteState *state, HeapTuple constraint, DjkReference *reference);

/* The route's own key, as if rows referred to themselves by it; false where it cannot be asked for. */
extern bool djk_reference_read_key(const DjkRouteState *state, DjkReference *key);

/*
 * Whether nothing that the route's statements compute looks at rows, and each row has a
 * key of its own that can be told from others.
 */
extern bool djk_reference_is_plain(const DjkRouteState *state);

/* Whether a message of a plain route that refers to a row always does so, whenever it is tried. */
extern bool djk_reference_is_lasting(const DjkRouteState *state, const DjkReference *reference);

/* Whether a message that is not deleted keeps its row's values of these columns, if it has one. */
extern bool djk_reference_keeps(const DjkRouteState *state, Oid table, const AttrNumber *columns, int n);

/*
 * Asks the parent, as the foreign key's own check does: by its operators, as the parent's
 * owner, past policies.  Returns the error, in 'error_context', if it cannot be asked;
 * where somebody holds its table nothing is found to lack.  Needs a transaction.
 */
extern ErrorData *djk_reference_ask(DjkQuestion *question, MemoryContext error_context);

#endif							/* DJK_REFERENCE_H */
