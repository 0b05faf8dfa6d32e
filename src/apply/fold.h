/*-------------------------------------------------------------------------
 *
 * fold.h
 *	  Names as a route's naming compares them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FOLD_H
#define DJK_FOLD_H

#include "base/djk.h"

#include "codec/codec.h"
#include "state/consumer_row.h"

/* Writes the folded name; returns its length, -1 where names are not folded or no column's can be so long. */
extern int	djk_fold(DjkNaming naming, const char *name, int len, char folded[NAMEDATALEN]);

/* Whether a field's name means the column of this name. */
extern bool djk_fold_is_same(DjkNaming naming, const DjkField *field, const char *name);

#endif							/* DJK_FOLD_H */
