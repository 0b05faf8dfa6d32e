/*-------------------------------------------------------------------------
 *
 * row_fields.h
 *	  The fields of a value become columns of a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROW_FIELDS_H
#define DJK_ROW_FIELDS_H

#include "apply/work.h"

typedef struct DjkRowBuilder
{
	DjkApply   *apply;
	DjkRouteState *state;
	DjkDecoded	decoded;
	Bitmapset  *present;		/* scratch */
	Bitmapset  *telling;		/* columns by which a message says more than its key; NULL: it need not */
	int		   *field_columns;	/* scratch, by field: the column that it fills, or -1 */
	int			max_fields;
	int		   *last_fields;	/* scratch, by column: the field that fills it, or -1 */
	int		   *other_fields;	/* scratch, by column: one that would as well, or -1 */
	const void *shape;			/* DjkDecoded's, of what these three were found for; NULL: of none */
	bool		shape_is_deleted;	/* … and whether its row is gone */
	MemoryContext scratch;		/* for one field; NULL where the format makes none of its own */
	DjkEffect	effect;			/* what the value's format says of the row */
	bool		in_key;			/* what is put comes from the message's key */
	const DjkColumn *converting;	/* whose type may throw just now, or NULL */
	DjkError	error;			/* first one of a column that is not in the key */
} DjkRowBuilder;

/*
 * Puts a field into its column.  False and *error if a column of the key does
 * not take it; what another does not take is kept in builder->error.  'type' is
 * what the message's schema says of it, NULL if it says nothing.
 */
extern bool djk_row_put_field(DjkRowBuilder *builder, DjkRow *row, DjkColumn *column,
							  const DjkField *field, const DjkConnectType *type, DjkError *error);

/* Puts the fields of builder->decoded, which is an object. */
extern bool djk_row_put_fields(DjkRowBuilder *builder, DjkRow *row, DjkError *error);

/*
 * The field of builder->decoded, the message's key and an object, that fills a
 * column; NULL if none does.  False and *error if it is not clear which.
 */
extern bool djk_row_find_field(const DjkRowBuilder *builder, const DjkColumn *column,
							   const DjkField **field, DjkError *error);

/*
 * Marks the columns as present that an expression has filled, and of which the
 * message speaks; but for those that depend on a field by its path, which is one
 * of djk_row_put_fields().  'value' is the whole value, NULL if there is none.
 */
extern void djk_row_mark_given(DjkRowBuilder *builder, const DjkDecoded *value);

/* Puts columns that are parts of the message, in the formats text and raw (row_envelope.c). */
extern bool djk_row_put_envelope(DjkRowBuilder *builder, DjkRow *row, const DjkMessage *message,
								 DjkError *error);

/* Whether a field is the one that says that its row is gone. */
static inline bool
djk_row_is_deleted_field(const DjkRouteState *state, const DjkField *field)
{
	return field->name_len == state->deleted_field_len &&
		memcmp(field->name, state->route->deleted_field, field->name_len) == 0;
}

#endif							/* DJK_ROW_FIELDS_H */
