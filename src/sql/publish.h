/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  What a session derives from a publication: plans, rights, headers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PUBLISH_H
#define DJK_PUBLISH_H

#include "base/compat.h"
#include "base/djk.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "sql/publication.h"
#include "utils/reltrigger.h"
#include "utils/tuplestore.h"

typedef struct DjkPublishState
{
	const DjkPublicationRow *row;	/* NULL: not filled yet */
	MemoryContext context;		/* all below; deleted at rebuild */
	bool		valid;
	int			users;			/* statements that run with it */
	Oid			relation;
	TupleDesc	desc;			/* of it, as the plans read it */
	List	   *partitions;		/* see DjkPublishTable */
	Oid			owner;			/* of the table: whose rights everything runs with */
	bool		is_foreign;		/* it came with a copy of another database */
	char	   *search_path;	/* pg_temp last */
	char	   *label;			/* for errors' context */
	SPIPlanPtr	plans[2][DJK_PUBLISH_EVENTS];	/* second: where the command has published before */
	SPIPlanPtr	delete_plan;	/* of an outbox */
	Datum		origin;			/* headers of every message */
	Datum		origin_header;	/* the one in them */
	Size		origin_bytes;
} DjkPublishState;

/* The caller's identity and settings while a publication's SQL runs. */
typedef struct DjkPublishIdentity
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} DjkPublishIdentity;

/*
 * Whether a trigger that fires is one that a publication makes, by its name and
 * definition, and then of which publication and event.  That the publication
 * names the trigger's table is djk_publish_acquire()'s to see.
 */
extern bool djk_publish_trigger_identify(const Trigger *trigger, int64 *id, DjkPublishEvent *event);

/*
 * Makes the triggers that the table of a publication lacks, or drops those that
 * it has, and whatever else calls their function in the publication's name.  The
 * caller has seen that the user may do so.
 */
extern void djk_publish_triggers_sync(const DjkPublicationRow *publication, bool wanted);

/* OID of their function; ERROR without the extension. */
extern Oid	djk_publish_trigger_function(void);

/*
 * The state of a publication for its table, in the shape and with the owner that
 * it has now; NULL if it has no such publication.  Must be given back; needs a
 * transaction.
 */
extern DjkPublishState *djk_publish_acquire(int64 id, Relation rel);
extern void djk_publish_release(DjkPublishState *state);

/* ERROR unless every statement of the publication can be planned. */
extern void djk_publish_check(const DjkPublicationRow *row, Relation rel);

/*
 * Becomes the table's owner, in a security-restricted operation and with what
 * a value's text depends on pinned; and connects to SPI.  An ERROR in between
 * is undone by the abort of the (sub)transaction.
 */
extern void djk_publish_enter(const DjkPublishState *state, DjkPublishIdentity *saved);
extern void djk_publish_leave(const DjkPublishIdentity *saved);

/*
 * Fills what a publication's row does not say of its settings with what the
 * session has; ERROR for a name that is none of them.
 */
extern void djk_publish_settings_complete(DjkCatalogRow *row);

/* Sets search_path, and what else SQL and values depend on, until the GUC level ends. */
extern void djk_publish_settings_pin(const DjkPublicationRow *row, const char *search_path);

/* Between enter and leave: transition tables; either may be NULL. */
extern void djk_publish_register(const DjkPublishState *state, Tuplestorestate *old, Tuplestorestate *new);

/*
 * Notes that the client's command publishes rows.  Returns whether it did so
 * before, and what a statement's transition tables hold may thus be outdated.
 */
extern bool djk_publish_note_command(const DjkPublishState *state);

/*
 * Between enter and leave, with the transition tables registered: the plan of
 * an event.  ERROR if the publication does not fit the table.
 */
extern SPIPlanPtr djk_publish_plan(DjkPublishState *state, Relation rel, DjkPublishEvent event, bool outdated);

/* Between enter and leave: the plan of some SQL, which must be one query. */
extern SPIPlanPtr djk_publish_prepare(const char *sql, int nargs, Oid *argtypes);

/* The texts of the publication's expressions are not expressions. */
pg_noreturn extern void djk_publish_refuse_expressions(void);

/* Whether the changes of so many rows are not wanted; ERROR if it is not theirs to say who said so. */
extern bool djk_publish_silenced(const DjkPublishState *state, const char *topic, int64 rows);

/*
 * Whether it came with a copy and its messages would not wait there: the server's
 * row is this database's.  What is another's does nothing.
 */
extern bool djk_publish_is_kept_out(const DjkPublishState *state);

/* Rows whose messages are too large: how many, and what the first of them are. */
typedef struct DjkPublishSkipped
{
	uint64		count;
	StringInfoData keys;
} DjkPublishSkipped;

#define DJK_PUBLISH_SKIPPED_SHOWN	10

/*
 * Between enter and leave: runs a plan, each row of which is a message.  One
 * that is too large is an error, or noted in 'skipped' if that is given.
 */
extern void djk_publish_run(DjkPublishState *state, const DjkPublishIdentity *writer, SPIPlanPtr plan,
							DjkPublishSkipped *skipped);

/* Between enter and leave: runs a query whose rows are to be what the new rows of a statement are. */
extern Tuplestorestate *djk_publish_collect(SPIPlanPtr plan, Datum *values);

#endif							/* DJK_PUBLISH_H */
