/*-------------------------------------------------------------------------
 *
 * djk.h
 *	  Names, limits and error codes that every module of djkafka shares.
 *
 * Only the server's headers may be included from here: base/ is the lowest
 * layer of the tree.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_H
#define DJK_H

#include "postgres.h"

#define DJK_EXTENSION_NAME	"djkafka"
#define DJK_LIBRARY_NAME	"djkafka"

/* Kafka's limit for the name of a topic. */
#define DJK_TOPIC_MAX		249

/*
 * Errors that only djkafka can raise are subclasses KFx of standard classes, by
 * which drivers choose the class of their exception: what may pass by itself is
 * of 08, what is wrong with a definition or refused to it of 42, with a value of
 * 22.  Whatever has a standard code keeps it (22P02 for a malformed number,
 * 42501 for a missing right).  docs/reference.md lists them.
 */
#define DJK_ERRCODE_UNREACHABLE			MAKE_SQLSTATE('0', '8', 'K', 'F', '1')	/* no broker answers; may pass */
#define DJK_ERRCODE_REGISTRY			MAKE_SQLSTATE('0', '8', 'K', 'F', '2')	/* no schema registry answers; may pass */
#define DJK_ERRCODE_NOT_PRELOADED		MAKE_SQLSTATE('0', 'A', 'K', 'F', '0')	/* shared_preload_libraries lacks djkafka */
#define DJK_ERRCODE_NEEDS_DECISION		MAKE_SQLSTATE('0', '1', 'K', 'F', '2')	/* a partition stopped for a person */

#define DJK_ERRCODE_KAFKA				MAKE_SQLSTATE('4', '2', 'K', 'F', '0')	/* the library or a broker said no */
#define DJK_ERRCODE_PROPERTY			MAKE_SQLSTATE('4', '2', 'K', 'F', '2')	/* property not allowed or malformed */
#define DJK_ERRCODE_BROKEN				MAKE_SQLSTATE('4', '2', 'K', 'F', '3')	/* definition no longer fits the database */

#define DJK_ERRCODE_MALFORMED			MAKE_SQLSTATE('2', '2', 'K', 'F', '0')	/* message is not in its route's format */
#define DJK_ERRCODE_UNKNOWN_FIELD		MAKE_SQLSTATE('2', '2', 'K', 'F', '1')	/* field without a column, unknown_fields = error */
#define DJK_ERRCODE_NO_KEY				MAKE_SQLSTATE('2', '2', 'K', 'F', '2')	/* neither value nor key fill a key column */
#define DJK_ERRCODE_TOO_SLOW			MAKE_SQLSTATE('2', '2', 'K', 'F', '3')	/* one message alone hit the batch's time limit */
#define DJK_ERRCODE_CRASHED				MAKE_SQLSTATE('2', '2', 'K', 'F', '4')	/* the server went down whenever the message was applied */
#define DJK_ERRCODE_NO_COLUMN			MAKE_SQLSTATE('2', '2', 'K', 'F', '5')	/* no field of a value has a column */
#define DJK_ERRCODE_NO_ROOT				MAKE_SQLSTATE('2', '2', 'K', 'F', '6')	/* a value has no object at its route's root */
#define DJK_ERRCODE_TWO_FIELDS			MAKE_SQLSTATE('2', '2', 'K', 'F', '7')	/* two fields of a value are for one column */
#define DJK_ERRCODE_NO_VERSION			MAKE_SQLSTATE('2', '2', 'K', 'F', '8')	/* nothing fills the version_column */
#define DJK_ERRCODE_UNKNOWN_TYPE		MAKE_SQLSTATE('2', '2', 'K', 'F', 'A')	/* no route takes messages of this type, or version */
#define DJK_ERRCODE_TOO_LARGE			MAKE_SQLSTATE('2', '2', 'K', 'F', '9')	/* a message is larger than Kafka takes */

/*
 * An error as a value: what a decoder or a converter reports instead of
 * throwing, and what a caught ErrorData is reduced to.  Strings live in the
 * memory context that the function which fills it documents; NULL if absent.
 */
typedef struct DjkError
{
	int			sqlstate;		/* MAKE_SQLSTATE form, 0 = no error */
	char	   *message;
	char	   *detail;
	char	   *hint;
	const char *name;			/* Kafka's of the error, where it is Kafka's; else NULL */
} DjkError;

#endif							/* DJK_H */
