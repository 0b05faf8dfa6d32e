/*-------------------------------------------------------------------------
 *
 * embedded_broker.c
 *	  The process that keeps a Kafka broker in memory, for tests and demos.
 *
 * Only with djkafka.embedded_broker = on.  The port is a free one, told in
 * shared memory together with an incarnation: a uuid of this run, since what
 * the broker held before is gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "kafka/mock.h"
#include "miscadmin.h"
#include "port.h"
#include "state/shmem.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/uuid.h"
#include "worker/worker.h"

#define LOOK_AGAIN_MS	10000

PGDLLEXPORT void djkafka_embedded_broker_main(Datum arg);

static void
withdraw(int code, Datum arg)
{
	pg_uuid_t	none = {{0}};

	djk_embedded_publish("", &none);
}

static void
publish(const char *bootstrap)
{
	pg_uuid_t	incarnation;

	if (!pg_strong_random(&incarnation, sizeof(incarnation)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	djk_embedded_publish(bootstrap, &incarnation);
	before_shmem_exit(withdraw, (Datum) 0);
}

static void
attach_slot(void)
{
	DjkSlotKey	key = {DJK_KIND_EMBEDDED_BROKER, InvalidOid, 0, 0};
	uint32		generation;
	int			slot = djk_slot_reserve(&key, &generation);

	if (slot < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("djkafka has no free slot for the embedded broker"),
				 errhint("Raise djkafka.max_workers.")));
	djk_slot_attach(slot, generation);
	djk_slot_set_state(slot, DJK_STATE_RUNNING, "a broker in memory, for tests only", NULL);
}

static void
run_broker(void *arg)
{
	DjkMock    *mock;

	attach_slot();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	mock = djk_mock_create(TopMemoryContext);
	publish(djk_mock_bootstrap(mock));
	ereport(LOG,
			(errmsg("djkafka's embedded broker listens on %s", djk_mock_bootstrap(mock)),
			 errdetail("It is for tests and demonstrations: what it holds is lost when the server stops.")));

	for (;;)
	{
		const char *text;
		int			level;

		(void) djk_worker_housekeep();
		while ((text = djk_mock_log(mock, &level)) != NULL)
			elog(DEBUG1, "embedded broker: %s", text);
		djk_worker_wait(-1, LOOK_AGAIN_MS, "DjkafkaEmbeddedBroker");
	}
}

void
djkafka_embedded_broker_main(Datum arg)
{
	djk_worker_init();
	djk_worker_run(run_broker, NULL);
}
