/*-------------------------------------------------------------------------
 *
 * mock.c
 *	  A Kafka broker in this process's memory: librdkafka's mock cluster.
 *
 * It lives in a thread of the library and needs nothing from us but to be kept.
 * What it cannot do (2.0.2): it keeps some 5 MB a partition and forgets the
 * oldest, has no timestamps, creates a topic with four partitions when it is
 * first asked for, and delivers messages of aborted transactions.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/mock.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "kafka/conf.h"
#include "kafka/handle.h"

struct DjkMock
{
	DjkHandle  *handle;
	rd_kafka_mock_cluster_t *cluster;
	rd_kafka_event_t *event;	/* the log line that was handed out last */
};

/* The cluster ends before the instance it hangs on. */
static void
release(void *arg)
{
	DjkMock    *mock = arg;

	if (mock->event != NULL)
		rd_kafka_event_destroy(mock->event);
	mock->event = NULL;
	if (mock->cluster != NULL)
		rd_kafka_mock_cluster_destroy(mock->cluster);
	mock->cluster = NULL;
}

static rd_kafka_conf_t *
create_conf(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	djk_conf_set(conf, "client.id", "djkafka-embedded-broker");
	djk_conf_set(conf, "log.queue", "true");
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR);
	return conf;
}

DjkMock *
djk_mock_create(MemoryContext context)
{
	DjkMock    *mock = MemoryContextAllocZero(context, sizeof(DjkMock));
	sigset_t	saved;

	mock->handle = djk_handle_create(context, RD_KAFKA_PRODUCER, create_conf());
	mock->handle->release = release;
	mock->handle->release_arg = mock;

	/* Unlike rd_kafka_new() it does not block signals in its thread by itself. */
	djk_signals_block(&saved);
	mock->cluster = rd_kafka_mock_cluster_new(mock->handle->rk, 1);
	djk_signals_restore(&saved);
	if (mock->cluster == NULL)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_KAFKA),
				 errmsg("could not start the embedded broker"),
				 errdetail("It found no free port on the loopback interface, or no memory.")));
	return mock;
}

const char *
djk_mock_bootstrap(const DjkMock *mock)
{
	return rd_kafka_mock_cluster_bootstraps(mock->cluster);
}

const char *
djk_mock_log(DjkMock *mock, int *level)
{
	const char *facility;
	const char *text;

	*level = 0;
	for (;;)
	{
		if (mock->event != NULL)
			rd_kafka_event_destroy(mock->event);
		mock->event = rd_kafka_queue_poll(mock->handle->queue, 0);
		if (mock->event == NULL)
			return NULL;
		if (rd_kafka_event_log(mock->event, &facility, &text, level) == 0)
			return text;
	}
}
