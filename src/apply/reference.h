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

/* A foreign key of one column, an integer or a uuid, which is checked at once. */
typedef struct DjkReference
{
	int			column;			/* of the route's state: it refers, */
	Oid			type;
	Oid			parent;			/* … to this table's */
	AttrNumber	parent_column;
	char	   *equal_operator;
} DjkReference;

/* Keys that were asked for, and the answer. */
typedef struct DjkQuestion
{
	const DjkReference *reference;
	Datum		keys;			/* an array: of the reference's type, */
	bool		in_text;		/* … or of text */
	int			nkeys;
	int			lock_ms;		/* so long it waits for a lock at most; 0: as long as the transaction does */
	int		   *lacking;		/* numbers of those without a row, in their order: room for all of them */
	int			nlacking;
} DjkQuestion;

/* Whether a foreign key is such a one, of the route's target. */
extern bool djk_reference_read(const DjkRouteState *state, HeapTuple constraint, DjkReference *reference);

/*
 * Whether nothing that the route's statements compute looks at rows, and each row has a
 * key of its own that can be told from others.
 */
extern bool djk_reference_is_plain(const DjkRouteState *state);

/*
 * Asks the parent, as the foreign key's own check does: by its operator, as the parent's
 * owner, past policies.  Returns the error, in 'error_context', if it cannot be asked;
 * where somebody holds its table nothing is found to lack.  Needs a transaction.
 */
extern ErrorData *djk_reference_ask(DjkQuestion *question, MemoryContext error_context);

#endif							/* DJK_REFERENCE_H */
