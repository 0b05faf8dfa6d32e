/*-------------------------------------------------------------------------
 *
 * mock.h
 *	  A Kafka broker in this process's memory: librdkafka's mock cluster.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_MOCK_H
#define DJK_KAFKA_MOCK_H

#include "base/djk.h"

typedef struct DjkMock DjkMock;

/*
 * Starts one broker on a free port of the loopback interface; 'context' owns
 * it.  ERROR DJK_ERRCODE_KAFKA.
 */
extern DjkMock *djk_mock_create(MemoryContext context);

/* Where it listens, "127.0.0.1:port"; lives as long as the broker. */
extern const char *djk_mock_bootstrap(const DjkMock *mock);

/* The library's log lines: takes the next, or NULL.  Valid until the next call. */
extern const char *djk_mock_log(DjkMock *mock, int *level);

#endif							/* DJK_KAFKA_MOCK_H */
