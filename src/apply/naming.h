/*-------------------------------------------------------------------------
 *
 * naming.h
 *	  Which column a field's name means.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_NAMING_H
#define DJK_NAMING_H

#include "apply/fold.h"
#include "apply/renamed.h"

/*
 * Fills what columns are found by.  ERROR ambiguous_column if two of them could
 * not be told apart.
 */
extern void djk_naming_build(DjkRouteState *state);

/*
 * The column of a field, by its very name, or else by the route's naming or a
 * name that the column had before; 'hint' is where to look first.
 */
extern DjkColumn *djk_naming_find(DjkRouteState *state, const DjkField *field, int hint);

/* Whether a field's name means the column of this name, now or before. */
static inline bool
djk_naming_fits(const DjkRouteState *state, const DjkField *field, const char *name)
{
	return djk_fold_is_same(state->route->naming, field, name) || djk_renamed_is(state, field, name);
}

/* A field's name as an error shows it. */
extern char *djk_naming_show(const DjkField *field);

static inline bool
djk_naming_is_exact(const DjkField *field, const DjkColumn *column)
{
	return column->name_len == field->name_len && memcmp(column->name, field->name, field->name_len) == 0;
}

#endif							/* DJK_NAMING_H */
