/*-------------------------------------------------------------------------
 *
 * conf.h
 *	  Building a configuration of librdkafka, and asking about the library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_CONF_H
#define DJK_KAFKA_CONF_H

#include <librdkafka/rdkafka.h>

#include "base/property.h"

/* Sets one property; on failure destroys 'conf' and ERRORs DJK_ERRCODE_PROPERTY. */
extern void djk_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value);
extern void djk_conf_set_int(rd_kafka_conf_t *conf, const char *name, int64 value);

/* Sets a property that an older library may lack; nothing happens then. */
extern void djk_conf_set_if_known(rd_kafka_conf_t *conf, const char *name, const char *value);

/* What consumers and producers have in common: set before what a person says, and after it. */
extern void djk_conf_set_defaults(rd_kafka_conf_t *conf);

/* Has the library write one more kind of lines into its debugging log. */
extern void djk_conf_add_debug(rd_kafka_conf_t *conf, const char *context);
extern void djk_conf_set_enforced(rd_kafka_conf_t *conf);

/* Sets those of 'properties' that concern 'role'; fails as djk_conf_set() does. */
extern void djk_conf_apply(rd_kafka_conf_t *conf, const DjkProperty *properties, int nproperties,
						   DjkPropertyScope role);

/*
 * Lets the library check a value without keeping it: ERROR
 * DJK_ERRCODE_PROPERTY.  Only for names that djk_property_require() has let
 * pass: the library acts on some at once.
 */
extern void djk_conf_require(const char *name, const char *value);

/* Whether a text of the library repeats a part of one of the secrets in 'conf'. */
extern bool djk_conf_tells_secret(rd_kafka_conf_t *conf, const char *text);

/* Every property the linked library names, palloc'd in CurrentMemoryContext. */
extern char **djk_conf_known_names(int *count);

/* Version of the linked library as 0xMMmmrrpp and as text. */
extern int	djk_kafka_library_version(void);
extern const char *djk_kafka_library_version_text(void);

/* cooperative-sticky can loop for ever before 2.6.1. */
extern bool djk_kafka_library_cooperates(void);

/* The library backs off full queues by a property of its own, since 2.2.0. */
#define DJK_KAFKA_VERSION_QUEUE_BACKOFF	0x02020000

/* Before 2.1.0 an instance whose topic was deleted never ends. */
#define DJK_KAFKA_VERSION_ENDS			0x02010000

#endif							/* DJK_KAFKA_CONF_H */
