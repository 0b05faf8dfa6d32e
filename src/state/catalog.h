/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  Access to djkafka's own tables: where they are, whose rights, plans.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CATALOG_H
#define DJK_CATALOG_H

#include "base/djk.h"

#include "executor/spi.h"
#include "utils/uuid.h"

/* The caller's identity while the catalog is in use. */
typedef struct DjkIdentity
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} DjkIdentity;

/*
 * Becomes the owner of djkafka's tables, restricted, with a pinned
 * search_path, and connects to SPI.  Only catalog SQL may run until leave; an
 * ERROR in between is undone by the abort of the (sub)transaction.  Needs a
 * transaction.  ERROR undefined_object if the extension is not installed.
 */
extern void djk_catalog_enter(DjkIdentity *saved);
extern void djk_catalog_leave(const DjkIdentity *saved);

/* True while between enter and leave: what the guard trigger of offsets asks. */
extern bool djk_catalog_entered(Oid table_owner);

/* The owner of any table; InvalidOid if it is gone. */
extern Oid	djk_table_owner(Oid table);

/* OIDs of the extension and its schema; false if it is not installed. */
extern bool djk_catalog_find(Oid *extension, Oid *schema);

/* Whether the extension was made by the current transaction. */
extern bool djk_catalog_is_own(void);

/* Whose they are. */
extern Oid	djk_catalog_extension_owner(Oid extension);
extern Oid	djk_schema_owner(Oid schema);

/* The schema, quoted or not, in CurrentMemoryContext. */
extern char *djk_catalog_schema(void);
extern char *djk_catalog_schema_name(void);

/*
 * Tells this extension from one that was dropped and made again, whose rows may
 * have the same ids; InvalidOid: there is none.
 */
extern Oid	djk_catalog_extension(void);

/* OID of one of the extension's types or tables; InvalidOid if missing. */
extern Oid	djk_catalog_type(const char *name);
extern Oid	djk_catalog_table(const char *name);

/*
 * A statement on the catalog, prepared once a session.  'sql' names tables as
 * @.djkafka_…; '@' becomes the schema.  Declare as static and give to
 * djk_catalog_execute() between enter and leave.
 */
typedef struct DjkStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[28];
	bool		generic;		/* planned once, whatever it is asked for: planning for long arrays would cost more than the rest */
	/* private */
	SPIPlanPtr	plan;
	Oid			extension;
	Oid			schema;
	char		schema_name[NAMEDATALEN];
} DjkStatement;

/* Returns SPI_processed; results are in SPI_tuptable.  nulls may be NULL. */
extern uint64 djk_catalog_execute(DjkStatement *statement, Datum *values, const char *nulls);

/* The same where a plan that was made while the table was small must serve when it is large. */
extern uint64 djk_catalog_execute_by_index(DjkStatement *statement, Datum *values, const char *nulls);

/* … and the index is to give its rows in their order, as few as are asked for. */
extern uint64 djk_catalog_execute_along_index(DjkStatement *statement, Datum *values, const char *nulls);

/* The same for a query, which sees what has been committed by now, whatever the transaction's snapshot. */
extern uint64 djk_catalog_query_latest(DjkStatement *statement, Datum *values, const char *nulls);

/*
 * For who has changed all rows that they see: under a snapshot that stays, a query
 * for such rows must find none that was committed since.  ERROR
 * t_r_serialization_failure, with 'what' has happened meanwhile.
 */
extern void djk_catalog_require_all_seen(DjkStatement *statement, Datum *values, const char *what);

/* Whether a statement finds a row, or changes one; enters and leaves by itself. */
extern bool djk_catalog_has(DjkStatement *statement, Datum *values, const char *nulls);

/* The same for a query, as djk_catalog_query_latest(). */
extern bool djk_catalog_has_latest(DjkStatement *statement, Datum *values, const char *nulls);

/* The first row's first column, in CurrentMemoryContext; NULL if it is null, or there is none. */
extern char *djk_catalog_text_latest(DjkStatement *statement, Datum *values, const char *nulls);

/* A cursor over the statement's rows, for SPI_cursor_fetch(); closed by SPI_cursor_close() or the transaction. */
extern Portal djk_catalog_open(DjkStatement *statement, Datum *values, const char *nulls);

/* Column of a row of SPI_tuptable, by number from 1. */
extern Datum djk_row_datum(int row, int column, bool *isnull);
extern char *djk_row_text(int row, int column, MemoryContext context);	/* NULL if null */
extern int64 djk_row_int64(int row, int column, int64 if_null);
extern bool djk_row_bool(int row, int column);

/* text[] -> array of C strings in context; 0 and NULL if null */
extern int	djk_row_text_array(int row, int column, MemoryContext context, char ***values);

/* A text[] from C strings, a bigint[], and a bytea from bytes. */
extern Datum djk_text_array_datum(char *const *values, int n);
extern Datum djk_int8_array_datum(const int64 *values, int n);

/* A text or bytea Datum and its null as SPI wants it; NULL is null. */
extern Datum djk_text_datum(const char *text, char *null);
extern Datum djk_bytes_datum(const char *bytes, int len, char *null);
extern Datum djk_bytea_datum(const char *bytes, int len);

/* --- home --- */

typedef struct DjkHome
{
	pg_uuid_t	id;
	Oid			database;
	bool		is_clone;		/* database is another one than ours */
} DjkHome;

/* Reads djkafka_home; between enter and leave. */
extern void djk_home_load(DjkHome *home);

/* Before something is made that belongs to a home: a clone with nothing in it makes its own. */
extern void djk_home_renew_if_empty(void);

/* Does that and reads it. */
extern void djk_home_require(DjkHome *home);

/* Makes a new home of this database; what belonged to the old one is foreign then. */
extern void djk_home_renew(void);

/* The uuid's first 8 hex digits, as in group ids. */
extern void djk_home_prefix(const DjkHome *home, char prefix[9]);

#endif							/* DJK_CATALOG_H */
