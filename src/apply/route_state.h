/*-------------------------------------------------------------------------
 *
 * route_state.h
 *	  What a worker derives from a route: columns, key, plans.
 *
 * All of it lives in one memory context and is rebuilt together: when the
 * target's relation is invalidated, and once after an error that speaks of the
 * definition (SQLSTATE class 42 or XX) before the batch is judged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROUTE_STATE_H
#define DJK_ROUTE_STATE_H

#include "base/djk.h"

#include "access/tupdesc.h"
#include "apply/mapping.h"
#include "apply/reads.h"
#include "apply/uses.h"
#include "codec/codec.h"
#include "codec/convert.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/primnodes.h"
#include "state/consumer_row.h"
#include "utils/hsearch.h"

/* Names of the ephemeral relations that statements read. */
#define DJK_INPUT_RELATION	"djkafka_input" /* messages, for expressions and handlers */
#define DJK_ROWS_RELATION	"djkafka_rows"	/* decoded rows, to be written */

/* Columns of the input relation, in this order. */
enum
{
	DJK_INPUT_ORD,
	DJK_INPUT_VALUE,
	DJK_INPUT_KEY,
	DJK_INPUT_TOPIC,
	DJK_INPUT_PARTITION,
	DJK_INPUT_OFFSET,
	DJK_INPUT_TIME,
	DJK_INPUT_HEADERS,
	DJK_INPUT_MESSAGE,
	DJK_INPUT_DELETE,			/* the message says that its row is gone */
	DJK_INPUT_TOMBSTONE,		/* it has no value */
	DJK_INPUT_GIVEN,			/* boolean[], by expression: whether the message speaks of its column */
	DJK_INPUT_COLUMNS
};

/* What fills a column. */
typedef enum DjkSource
{
	DJK_SOURCE_FIELD,			/* the field of its name */
	DJK_SOURCE_TOPIC,			/* parts of the message, formats text and raw */
	DJK_SOURCE_PARTITION,
	DJK_SOURCE_OFFSET,
	DJK_SOURCE_TIMESTAMP,
	DJK_SOURCE_KEY,
	DJK_SOURCE_VALUE,
	DJK_SOURCE_HEADERS,
	DJK_SOURCE_PATH,			/* the field that its mapping names */
	DJK_SOURCE_EXPRESSION
} DjkSource;

typedef struct DjkColumn
{
	char	   *name;
	int			name_len;
	char	   *folded;			/* the name as the route's naming compares it */
	int			folded_len;		/* -1: by the name alone */
	Oid			type;
	Oid			base_type;		/* of a domain */
	int32		typmod;
	Oid			collation;
	DjkSource	source;
	const DjkMapping *mapping;	/* NULL: none */
	int			expression;		/* index into the state's expressions */
	bool		insert_only;	/* never updated */
	bool		is_key;
	bool		null_is_key;	/* of a NULLS NOT DISTINCT key: null identifies a row as any value does */
	bool		always_identity;	/* needs OVERRIDING SYSTEM VALUE, cannot be updated */
	bool		not_null;
	bool		constrained;	/* a value may be refused when it is written */
	int			index_limit;	/* … and one of more bytes by an index; 0: it is in none */
	bool		counting_default;	/* its default differs from row to row */
	bool		constant_default;	/* its default is known: */
	bool		default_is_null;
	Datum		default_value;
	Expr	   *stable_default; /* it is one value within a transaction; NULL: it is constant, differs, or is none */
	DjkConverter *converter;
	FmgrInfo   *hash;			/* of key columns; NULL: the type has none */
	FmgrInfo   *equal;
	char	   *equal_operator; /* OPERATOR(schema.=) */
	const char *compared_as;	/* a cast of what is compared by operators, or "" */
	bool		for_delete;		/* a deletion needs it too: the key, the version */
} DjkColumn;

typedef struct DjkUnchanged DjkUnchanged;
typedef struct DjkMessageTypes DjkMessageTypes;

typedef enum DjkHandlerKind
{
	DJK_HANDLER_JSONB,
	DJK_HANDLER_MESSAGE,
	DJK_HANDLER_MESSAGES
} DjkHandlerKind;

/* What a statement reads. */
typedef struct DjkAtHand
{
	struct DjkRow **rows;		/* as it reads them; NULL: nobody has said */
	int			nrows;
	int			failed;			/* at which of them it has failed; -1: not known */
} DjkAtHand;

/* A statement that is being run. */
typedef struct DjkRunning
{
	bool		now;			/* else there is none */
	int			kind;			/* DjkRouteSql */
	const Bitmapset *present;	/* lives as long as the attempt */
} DjkRunning;

typedef struct DjkRouteState
{
	const DjkRouteRow *route;
	MemoryContext context;		/* all below; deleted at rebuild */
	bool		valid;
	uint64		shape;			/* a number of its own, shared by those whose rows are made of the same */
	uint64		form;			/* equal where messages become the same rows, which meet the same foreign keys; not 0 */
	List	   *tables;			/* OIDs of what it was derived from: the target, its children, and what lies below a view */
	const DjkCodec *codec;
	DjkConnectCache *schemas;	/* what messages have brought */
	int			deleted_field_len;	/* of route->deleted_field; -1: none */
	char	  **root;			/* names that lead to the object whose fields count */
	int			nroot;
	DjkMessageTypes *types;		/* those that it takes: message_type.h; NULL: all */
	DjkUnchanged *unchanged;	/* the value of a field that was not sent; NULL: none */

	/* a table or view */
	char	   *target_sql;		/* qualified and quoted */
	bool		is_view;
	bool		merge;			/* several messages of a key may become one row */
	bool		ordered;		/* somebody could see the order of rows: triggers, constraints */
	bool		has_policies;	/* which may hide rows from an UPDATE or a DELETE */
	bool		supersedes;		/* of what was written before a row is deleted nobody sees more than that */
	bool		cascades;		/* a row that goes or changes its key takes others along */
	List	   *referrers;		/* DjkReferrer *: what goes, or loses its reference, with a row that is deleted; NIL: nothing */
	bool		follows;		/* its rows go or change with those of a table that it refers to */
	bool		meets;			/* it looks for rows of other tables, or others may see its own */
	DjkCounters counters;		/* of what the table computes; of triggers and handlers nobody knows */
	bool		values_read;	/* to make a value of a column may read tables */
	bool		alone;			/* rows may depend on each other: a statement each */
	bool		constrained;	/* so is some column, written by the route or not */
	bool		counting_excluded;	/* a column with such a default is not in columns */
	DjkColumn  *columns;		/* those the route may write */
	int			ncolumns;
	int		   *keys;			/* indexes into columns */
	int			nkeys;
	int			version;		/* index of the version_column; -1: none */
	FmgrInfo   *version_compare;
	char	   *version_less;	/* OPERATOR(schema.<) */
	bool		has_expressions;	/* expressions or a filter: the input relation is evaluated */
	bool		fields_optional;	/* every column may be filled without fields */
	Bitmapset  *needed;			/* columns (indexes) whose absence forbids INSERT … ON CONFLICT */
	bool		needed_excluded;	/* such a column is not in columns at all */
	List	   *numbered;		/* DjkNumbered *: numbers of sequences that an upsert must not burn */
	List	   *old_names;		/* DjkOldName *: what columns were named before (renamed.c) */
	List	   *generated;		/* names (char *) of generated columns: known, and never written */
	bool		excludes_columns;	/* the table has columns that are not in columns */
	bool		has_checks;		/* constraints, perhaps a partition's or a policy's, that only the whole row can satisfy */
	Bitmapset  *mapped_columns;
	TupleDesc	rows_desc;
	List	   *row_types;		/* of its columns (row_types.h) */

	DjkHandlerKind handler_kind;	/* of a handler */
	char	   *handler_sql;
	/* both */
	DjkMapping *mappings;		/* as many as the route has */
	DjkMapping **expressions;	/* those that SQL evaluates */
	int			nexpressions;
	int			nlookups;		/* of these, whose value is looked up */
	DjkUses		uses;			/* of filter and expressions, once they are planned */
	DjkUses		key_uses;		/* their fields of 'key' */
	DjkUses		deciding;		/* of those that decide whether it is the route's, and which row */
	DjkUses		taking;			/* of the filter alone, … */
	DjkUses		taking_key;		/* … and the same of the key */
	TupleDesc	input_desc;
	bool		input_used[DJK_INPUT_COLUMNS];
	DjkConverter *jsonb_converter;
	int64		lane;			/* equal for routes by which messages of one key are known by one hash; neither 0 nor -1 */
	int64		lane_of_parts;	/* the same where one of them has partial_deletes: */
	bool		has_parts;		/* a deletion, by whichever route, may name a part of a key */
	TupleDesc	message_desc;	/* djkafka_message */
	Oid			header_type;
	SPIPlanPtr	input_plan;		/* filter and expressions: */
	DjkReads	reads;			/* what they may read, once they are planned, */
	int			reads_generation;	/* … by which plan; 0: none */
	SPIPlanPtr	call_plan;		/* the handler */
	HTAB	   *statements;		/* see statement.c */
	List	   *plans;			/* all that must be freed with the context */
	DjkRunning	running;		/* which has failed if this stays so */
	DjkAtHand	at_hand;
	int64		rows_written;	/* with the join plans at hand */
	int64		rows_at_plan;
} DjkRouteState;

/*
 * Builds the state of a route in a new child of 'parent'; needs a transaction
 * with an active snapshot, and runs as the current user.  ERROR
 * DJK_ERRCODE_BROKEN (or what the server says) where the definition does not
 * fit, with the fix as the hint.
 */
extern DjkRouteState *djk_route_state_create(const DjkRouteRow *route, MemoryContext parent);
extern void djk_route_state_destroy(DjkRouteState *state);

/* Whether rows that were built for one state can be written with the other. */
extern bool djk_route_state_same_shape(const DjkRouteState *a, const DjkRouteState *b);

/* Number of the column of this name; -1 if the route writes none. */
static inline int
djk_route_state_column(const DjkRouteState *state, const char *name)
{
	for (int c = 0; c < state->ncolumns; c++)
	{
		if (strcmp(state->columns[c].name, name) == 0)
			return c;
	}
	return -1;
}

/* Marks states whose target was invalidated since they were built. */
extern void djk_route_state_init(void);

/*
 * Whether a message speaks of a mapped column (route_mapping.c).  'decoded' is
 * its value, or the object at the route's root if the mapping has a path; NULL
 * if there is none.  Memory comes from decoded->context.
 */
extern bool djk_route_state_is_given(const DjkRouteState *state, const DjkColumn *column,
									 const DjkDecoded *decoded);

/* SET LOCAL search_path and TimeZone of the route; undone by AtEOXact_GUC. */
extern int	djk_route_state_enter(const DjkRouteState *state);
extern void djk_route_state_leave(int guc_level);

#endif							/* DJK_ROUTE_STATE_H */
