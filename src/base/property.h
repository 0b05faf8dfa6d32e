/*-------------------------------------------------------------------------
 *
 * property.h
 *	  The allow-list of librdkafka's properties: a pure table.
 *
 * Nothing reaches rd_kafka_conf_set() that is not listed here, so a newer
 * library cannot open a hole.  Names are matched in lower case after aliases
 * are resolved.  See docs/reference.md for the rule of each class.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_PROPERTY_H
#define DJK_PROPERTY_H

#include "base/djk.h"

typedef enum DjkPropertyRule
{
	DJK_PROPERTY_ALLOWED,		/* anybody who may use the server or write the consumer */
	DJK_PROPERTY_SECRET,		/* user mapping only, shown nowhere */
	DJK_PROPERTY_NETWORK,		/* where and how to connect: server or setting only */
	DJK_PROPERTY_SERVER_FILE,	/* reads a file as the server: pg_read_server_files */
	DJK_PROPERTY_SUPERUSER,		/* weakens security, floods the log, or acts as the host */
	DJK_PROPERTY_OWNED,			/* djkafka sets it; the one value is a no-op, others are refused */
	DJK_PROPERTY_NEVER			/* runs code, writes files, or is a test hook */
} DjkPropertyRule;

typedef enum DjkPropertyScope
{
	DJK_SCOPE_BOTH,
	DJK_SCOPE_CONSUMER,
	DJK_SCOPE_PRODUCER,
	DJK_SCOPE_REGISTRY			/* ours, for who asks the schema registry: the library does not know it */
} DjkPropertyScope;

typedef struct DjkPropertySpec
{
	const char *name;			/* canonical, lower case */
	DjkPropertyRule rule;
	DjkPropertyScope scope;
	const char *enforced;		/* OWNED: the value that is accepted as a no-op, or NULL */
	const char *instead;		/* OWNED: what to use instead, for the hint; NEVER: why */
	int64		min;			/* ALLOWED integers: inclusive bounds; both 0 = not bounded here */
	int64		max;
} DjkPropertySpec;

/* One property as set by somebody. */
typedef struct DjkProperty
{
	const char *name;
	const char *value;
} DjkProperty;

/*
 * Finds a property by any of its names, in any case, with dots or underscores,
 * with or without the prefix "topic."; NULL if it is unknown.
 */
extern const DjkPropertySpec *djk_property_find(const char *name);

/* The whole table, for the validator's hint and for the test. */
extern const DjkPropertySpec *djk_property_table(int *count);

#define DJK_MECHANISMS_HINT	"Valid values are \"GSSAPI\", \"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\" and \"OAUTHBEARER\"."

/* Whether the library has this mechanism of SASL; it wants the name as it is written here. */
extern bool djk_mechanism_is_valid(const char *name);

/* Where a property may be written. */
typedef enum DjkPropertyPlace
{
	DJK_PLACE_SETTING,
	DJK_PLACE_SERVER,
	DJK_PLACE_USER_MAPPING,
	DJK_PLACE_CONSUMER			/* djkafka_consumer.options */
} DjkPropertyPlace;

/*
 * Checks that 'name' may be set to 'value' in 'place' by the current user;
 * false with *error (strings in CurrentMemoryContext) otherwise.  Needs a
 * transaction (privileges) but for DJK_PLACE_SETTING, which is a superuser's
 * by nature.  Never puts the value of a secret into a message.
 */
extern bool djk_property_check(const char *name, const char *value, DjkPropertyPlace place,
							   DjkError *error);

/*
 * Checks that 'name' may be set to 'value' in 'place' by the current user;
 * ERROR DJK_ERRCODE_PROPERTY (or 42501) with detail and hint otherwise.  Never
 * puts the value of a secret into a message.  Needs a transaction (privileges).
 */
extern void djk_property_require(const char *name, const char *value, DjkPropertyPlace place);

#endif							/* DJK_PROPERTY_H */
