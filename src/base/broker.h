/*-------------------------------------------------------------------------
 *
 * broker.h
 *	  How the addresses of Kafka's brokers are written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_BROKER_H
#define DJK_BROKER_H

#include "base/djk.h"

/* The word that stands for the broker that djkafka itself can start. */
#define DJK_BROKER_EMBEDDED		"embedded"

/*
 * Whether 'list' is what bootstrap.servers takes: addresses with commas
 * between them, or "embedded".  Else false, with what is wrong in *detail and
 * what to write in *hint; both are null otherwise.  *detail has no full stop and is
 * allocated in CurrentMemoryContext, *hint is constant.
 */
extern bool djk_broker_list_is_valid(const char *list, char **detail, const char **hint);

#endif							/* DJK_BROKER_H */
