/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Definition of the djkafka.* settings.
 *
 * One small call a setting, in alphabetical order within its group.  A wrong
 * value is refused when it is set; what needs shared memory can only be set
 * before the server starts.
 *
 *-------------------------------------------------------------------------
 */
#include "base/settings.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

char	   *djk_databases = NULL;
bool		djk_embedded_broker = false;
int			djk_max_workers = DJK_MAX_WORKERS_DEFAULT;
int			djk_max_partitions = DJK_MAX_PARTITIONS_DEFAULT;
int			djk_batch_messages = DJK_BATCH_MESSAGES_DEFAULT;
int			djk_batch_size_kb = DJK_BATCH_SIZE_DEFAULT;
int			djk_queue_size_kb = DJK_QUEUE_SIZE_DEFAULT;
int			djk_max_retry_interval_s = 60;
int			djk_event_retention_s = 30 * 24 * 60 * 60;

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *raw = pstrdup(*newval);
	List	   *names;
	bool		ok = SplitIdentifierString(raw, ',', &names);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	else
		list_free(names);
	pfree(raw);
	return ok;
}

static void
define_int(const char *name, const char *description, int *variable,
		   int boot, int min, int max, GucContext context, int flags)
{
	DefineCustomIntVariable(name, description, NULL, variable, boot, min, max,
							context, flags, NULL, NULL, NULL);
}

static void
define_process_settings(void)
{
	DefineCustomStringVariable("djkafka.databases",
							   "Databases in which djkafka's workers run.",
							   "A comma-separated list; each needs CREATE EXTENSION djkafka.",
							   &djk_databases, "", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);

	if (!process_shared_preload_libraries_in_progress)
		return;

	DefineCustomBoolVariable("djkafka.embedded_broker",
							 "Runs a Kafka broker in memory, for tests and demonstrations only.",
							 "What it holds is gone with each restart of the server.",
							 &djk_embedded_broker, false, PGC_POSTMASTER, 0,
							 NULL, NULL, NULL);
	define_int("djkafka.max_partitions", "Most partitions whose readers are shown in djkafka_partition_status.",
			   &djk_max_partitions, DJK_MAX_PARTITIONS_DEFAULT,
			   DJK_MAX_PARTITIONS_MIN, DJK_MAX_PARTITIONS_MAX, PGC_POSTMASTER, 0);
	define_int("djkafka.max_workers", "Most processes of djkafka in all databases together.",
			   &djk_max_workers, DJK_MAX_WORKERS_DEFAULT,
			   DJK_MAX_WORKERS_MIN, DJK_MAX_WORKERS_MAX, PGC_POSTMASTER, 0);
}

static void
define_consumer_settings(void)
{
	define_int("djkafka.batch_messages", "Most messages that are applied in one transaction.",
			   &djk_batch_messages, DJK_BATCH_MESSAGES_DEFAULT,
			   DJK_BATCH_MESSAGES_MIN, DJK_BATCH_MESSAGES_MAX, PGC_SIGHUP, 0);
	define_int("djkafka.batch_size", "Most bytes of messages that are applied in one transaction.",
			   &djk_batch_size_kb, DJK_BATCH_SIZE_DEFAULT,
			   DJK_BATCH_SIZE_MIN, DJK_BATCH_SIZE_MAX, PGC_SIGHUP, GUC_UNIT_KB);
	define_int("djkafka.event_retention", "Age at which rows of djkafka_event are removed.",
			   &djk_event_retention_s, 30 * 24 * 60 * 60, 60, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("djkafka.max_retry_interval", "Longest wait before a failed worker or batch is tried again.",
			   &djk_max_retry_interval_s, 60, 1, 3600, PGC_SIGHUP, GUC_UNIT_S);
	define_int("djkafka.queue_size", "Memory in which a worker holds messages fetched ahead.",
			   &djk_queue_size_kb, DJK_QUEUE_SIZE_DEFAULT,
			   DJK_QUEUE_SIZE_MIN, DJK_QUEUE_SIZE_MAX, PGC_SIGHUP, GUC_UNIT_KB);
}

void
djk_settings_init(void)
{
	define_process_settings();
	define_consumer_settings();
	MarkGUCPrefixReserved("djkafka");
}

List *
djk_settings_databases(void)
{
	List	   *names;

	if (djk_databases == NULL || !SplitIdentifierString(pstrdup(djk_databases), ',', &names))
		return NIL;
	return names;
}
