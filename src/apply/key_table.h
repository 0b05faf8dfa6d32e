/*-------------------------------------------------------------------------
 *
 * key_table.h
 *	  Rows of a batch by their key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KEY_TABLE_H
#define DJK_KEY_TABLE_H

#include "apply/work.h"

/* A row to write: one message's, or several merged. */
typedef struct DjkChange
{
	DjkRow	   *row;			/* NULL: deleted and not written again */
	DjkRow	   *key;			/* where the key's values are */
	bool		delete_first;
	int			position;		/* of the first message of 'row', among the batch's */
	uint32		hash;
} DjkChange;

/* Open addressing over changes by key. */
typedef struct DjkKeyTable
{
	DjkRouteState *state;
	DjkChange  *changes;
	int			nchanges;
	int		   *buckets;		/* index into changes, -1 free */
	uint32		mask;
} DjkKeyTable;

/* Room for n keys, in CurrentMemoryContext. */
extern void djk_key_table_init(DjkKeyTable *table, DjkRouteState *state, int n);

/* Forgets all keys. */
extern void djk_key_table_reset(DjkKeyTable *table);

/* Whether the route's key can be hashed. */
extern bool djk_key_table_serves(const DjkRouteState *state);

/* Equal for rows of equal keys; for a key that can be hashed. */
extern uint32 djk_key_hash(const DjkRouteState *state, const DjkRow *row);

/* Whether two rows have one key; for a key that can be hashed. */
extern bool djk_key_equal(const DjkRouteState *state, const DjkRow *a, const DjkRow *b);

/*
 * Whether equal keys have one text under settings that are the same: numeric 1 and
 * 1.0, or two spellings of a citext, have not.
 */
extern bool djk_key_is_its_text(const DjkRouteState *state);

/*
 * The key itself: two rows have the same image only if they are one row.  In
 * CurrentMemoryContext; NULL where equal keys may differ in their bytes, one of its
 * columns is null, or it is large.
 */
extern bytea *djk_key_image(const DjkRouteState *state, const DjkRow *row);

/* Of images, NULL included. */
extern bool djk_key_image_equal(const bytea *a, const bytea *b);

/* The change of a row's key; a new one if *found is false, which refers to the row. */
extern DjkChange *djk_key_table_enter(DjkKeyTable *table, DjkRow *row, bool *found);

#endif							/* DJK_KEY_TABLE_H */
