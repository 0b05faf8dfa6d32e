/*-------------------------------------------------------------------------
 *
 * publication.h
 *	  A row of djkafka_publication, and the SQL that it stands for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PUBLICATION_H
#define DJK_PUBLICATION_H

#include "base/djk.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "state/row.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

/* Transition tables, by these names in the SQL. */
#define DJK_PUBLISH_OLD		"djkafka_old"
#define DJK_PUBLISH_NEW		"djkafka_new"

/* What becomes of a key whose values may be equal and yet be written in several ways. */
typedef enum DjkKeySpelling
{
	DJK_SPELLING_EXACT,			/* it is refused */
	DJK_SPELLING_LOWER,			/* it is written in lower case */
	DJK_SPELLING_ANY			/* it is written as it stands */
} DjkKeySpelling;

/* How a column of the key is written, so that equal values are the same bytes. */
typedef enum DjkKeyForm
{
	DJK_KEY_AS_IT_IS,
	DJK_KEY_TRIMMED,			/* numeric: 1 and 1.00 */
	DJK_KEY_NOT_NEGATIVE_ZERO,	/* floating point: 0 and -0 */
	DJK_KEY_LOWER
} DjkKeyForm;

typedef struct DjkPublicationRow
{
	int64		id;
	Oid			relation;
	char	   *topic;			/* of an outbox: what topics begin with */
	bool		is_outbox;
	char	   *server;			/* NULL: the settings */
	bool		enabled;
	char	  **key_columns;	/* nkey_columns = 0: the primary key */
	int			nkey_columns;
	bool		key_is_text;
	DjkKeySpelling key_spelling;
	char	  **column_names;
	char	  **column_expressions;
	int			ncolumns;
	char	  **include;		/* NULL: all */
	int			ninclude;
	char	  **exclude;
	int			nexclude;
	char	  **omit_nulls;
	int			nomit_nulls;
	char	   *filter;			/* NULL: none */
	bool		republish;
	bool		origin;
	bool		delete_rows;
	char	  **headers;		/* of an outbox, as all below */
	int			nheaders;
	char	   *time_unit;
	bool		writers_silence;
	pg_uuid_t	home;			/* that it was made in */
	char	   *search_path;
	char	  **setting_names;	/* see publish_settings.c */
	char	  **setting_values;
	int			nsettings;
} DjkPublicationRow;

/* The row of a trigger on djkafka_publication, in CurrentMemoryContext. */
extern void djk_publication_fill(const DjkCatalogRow *row, DjkPublicationRow *publication);

/*
 * The row as it is now, whatever the transaction's snapshot says; false if it
 * is gone.  In CurrentMemoryContext.
 */
extern bool djk_publication_load(int64 id, DjkPublicationRow *publication);

/* WARNING if columns are called like a secret, and nothing says what is to become of them. */
extern void djk_publish_warn_of_secrets(const DjkPublicationRow *row, Relation rel);

/*
 * In an event trigger of sql_drop: ERROR if a publication cannot do without a
 * column that its table has lost.
 */
extern void djk_publication_require_columns(void);

typedef enum DjkPublishEvent
{
	DJK_PUBLISH_INSERT,
	DJK_PUBLISH_UPDATE,
	DJK_PUBLISH_DELETE,
	DJK_PUBLISH_TRUNCATE,
	DJK_PUBLISH_BOUND,			/* snapshot: the key that ends the next chunk */
	DJK_PUBLISH_LOCK,			/* snapshot: the rows up to it, locked */
	DJK_PUBLISH_CHUNK,			/* snapshot: the messages of these */
	DJK_PUBLISH_EVENTS
} DjkPublishEvent;

/* What the statements' columns are. */
enum
{
	DJK_PUBLISH_KEY = 1,
	DJK_PUBLISH_VALUE,
	DJK_PUBLISH_TOPIC,			/* from here on: of an outbox only */
	DJK_PUBLISH_EVENT_ID,
	DJK_PUBLISH_EVENT_TYPE,
	DJK_PUBLISH_EVENT_TIME,
	DJK_PUBLISH_EVENT_PARTITION,
	DJK_PUBLISH_EVENT_HEADERS	/* the first of them */
};

/* A publication and its table, looked at for writing SQL. */
typedef struct DjkPublishTable
{
	const DjkPublicationRow *row;
	Relation	rel;
	const List *partitions;		/* OIDs of the table and of all partitions below it; NIL: it has none */
	char	   *name;			/* qualified and quoted */
	char	   *alias;			/* quoted */
	char	   *old_rows;		/* what to read in place of the transition tables */
	char	   *new_rows;
	char	  **keys;			/* names, not quoted */
	Oid		   *key_types;
	DjkKeyForm *key_forms;
	int			nkeys;
	bool		hidden;			/* a policy may hide rows of the table from its own owner */
	bool		deferrable;		/* two rows may have one key until the transaction ends */
	bool		can_read_back;	/* the key has an index that finds rows again */
	bool		read_back;		/* rows are read from the table and not from the transition table */
} DjkPublishTable;

/*
 * Looks at the table; ERROR with a hint if the publication does not fit it.
 * In CurrentMemoryContext; the relation must be open, and stay so.
 */
extern void djk_publish_table_init(DjkPublishTable *table, const DjkPublicationRow *row, Relation rel,
								   const List *partitions);

/* NULL if there is no such column. */
extern Form_pg_attribute djk_publish_find_column(Relation rel, const char *name);
extern bool djk_publish_is_listed(const char *name, char *const *names, int n);

/* How a column of a key is to be written; ERROR if the publication does not take it (publish_key.c). */
extern DjkKeyForm djk_publish_key_form(const DjkPublicationRow *row, Relation rel, Form_pg_attribute att);

/* The columns of an outbox' table by what Debezium calls them, and the partition. */
typedef enum DjkOutboxColumn
{
	DJK_OUTBOX_ID,
	DJK_OUTBOX_TOPIC,
	DJK_OUTBOX_KEY,
	DJK_OUTBOX_TYPE,
	DJK_OUTBOX_PAYLOAD,
	DJK_OUTBOX_TIME,			/* from here on: the table need not have it */
	DJK_OUTBOX_PARTITION,
	DJK_OUTBOX_COLUMNS
} DjkOutboxColumn;

/* The column; NULL if there is none.  (publish_outbox.c) */
extern Form_pg_attribute djk_outbox_column(const DjkPublicationRow *row, Relation rel, DjkOutboxColumn column);

/* ERROR unless the table has what the publication says of it. */
extern void djk_outbox_require_columns(const DjkPublicationRow *row, Relation rel);

/* What makes messages of the rows that were inserted. */
extern void djk_outbox_append_select(StringInfo sql, const DjkPublishTable *table);

/* The SQL of an event.  Parameters: of BOUND the last key and the chunk's size, of LOCK both keys. */
extern char *djk_publish_sql(const DjkPublishTable *table, DjkPublishEvent event, bool first_chunk, bool last_chunk);

/* What deletes the rows of an outbox that were just published. */
extern char *djk_publish_sql_delete(const DjkPublishTable *table);

#endif							/* DJK_PUBLICATION_H */
