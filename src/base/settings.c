/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Definition of the djkafka.* settings.
 *
 * One small call per setting, in alphabetical order within its group.  A wrong
 * value is refused when it is set; what needs shared memory can only be set
 * before the server starts.
 *
 *-------------------------------------------------------------------------
 */
#include "base/settings.h"

#include "base/broker.h"
#include "base/options.h"
#include "base/registry.h"
#include "base/retry_policy.h"
#include "base/topic.h"

#include <limits.h>

#include "access/xact.h"
#include "base/compat.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

char	   *djk_databases = NULL;
bool		djk_embedded_broker = false;
int			djk_max_workers = DJK_MAX_WORKERS_DEFAULT;
int			djk_max_partitions = DJK_MAX_PARTITIONS_DEFAULT;
int			djk_batch_messages = DJK_BATCH_MESSAGES_DEFAULT;
int			djk_max_parked = DJK_MAX_PARKED_DEFAULT;
char	   *djk_retry = NULL;
int			djk_batch_size_kb = DJK_BATCH_SIZE_DEFAULT;
int			djk_queue_size_kb = DJK_QUEUE_SIZE_DEFAULT;
int			djk_max_retry_interval_s = 60;
int			djk_dead_letter_retention_s = 0;
int			djk_max_dead_letters = 0;
double		djk_storm_share = DJK_STORM_SHARE_DEFAULT;
int			djk_storm_window = DJK_STORM_WINDOW_DEFAULT;
int			djk_event_retention_s = 30 * 24 * 60 * 60;

int			djk_delivery = DJK_AT_LEAST_ONCE;
int			djk_delivery_retention_s = 0;
static char *suppressed = NULL;
static const DjkSilencer *silencer = NULL;
char	   *djk_topic_prefix = NULL;

static char *bootstrap_servers = NULL;
static char *client_id = NULL;
static char *more_properties = NULL;
int			djk_properties_generation = 0;

/*
 * What was set before the library was loaded is checked while its settings are
 * defined, and replaced by the default if refused: a misspelled "sasl_ssl" would
 * become plaintext.  It is kept, and refused when it is used.
 */
static bool defining = false;

/* The library takes the words of an enumeration in any case, mechanisms as they are. */
static bool
check_security_protocol(char **newval, void **extra, GucSource source)
{
	static const char *const words[] = {"", "plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (pg_strcasecmp(*newval, words[i]) == 0)
			return true;
	}
	GUC_check_errhint("Valid values are \"plaintext\", \"ssl\", \"sasl_plaintext\" and \"sasl_ssl\".");
	return defining;
}

static bool
check_sasl_mechanism(char **newval, void **extra, GucSource source)
{
	if (**newval == '\0' || djk_mechanism_is_valid(*newval))
		return true;
	GUC_check_errhint(DJK_MECHANISMS_HINT);
	return defining;
}

static bool
check_bootstrap_servers(char **newval, void **extra, GucSource source)
{
	char	   *detail;
	const char *hint;

	if (**newval == '\0' || djk_broker_list_is_valid(*newval, &detail, &hint))
		return true;
	GUC_check_errdetail("%s.", detail);
	GUC_check_errhint("%s", hint);
	return defining;
}

static bool
check_registry_url(char **newval, void **extra, GucSource source)
{
	char	   *detail;
	const char *hint;

	if (**newval == '\0' || djk_registry_list_is_valid(*newval, &detail, &hint))
		return true;
	GUC_check_errdetail("%s.", detail);
	GUC_check_errhint("%s", hint);
	return defining;
}

static const char *show_registry_password(void);
static const char *show_registry_token(void);
static const char *show_sasl_password(void);
static const char *show_ssl_key_password(void);

/*
 * Settings that are properties of the library.  What a superuser writes here
 * anybody may use to whom djkafka_use_settings() is granted, so it can be set
 * for a database, but not by whoever likes.
 */
typedef struct PropertySetting
{
	const char *setting;
	const char *property;
	const char *description;
	int			flags;
	GucStringCheckHook check;
	GucShowHook show;
	char	   *value;
} PropertySetting;

static PropertySetting property_settings[] = {
	{"djkafka.registry_password", "registry.password", "Password with which djkafka authenticates with the schema registry.",
	GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, show_registry_password},
	{"djkafka.registry_ssl_ca_location", "registry.ssl.ca.location", "File with the certificates that the schema registry is verified by."},
	{"djkafka.registry_token", "registry.token", "Bearer token with which djkafka authenticates with the schema registry.",
	GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, show_registry_token},
	{"djkafka.registry_url", "registry.url", "URLs of the schema registry, which are asked in turn.",
	0, check_registry_url},
	{"djkafka.registry_username", "registry.username", "Name with which djkafka authenticates with the schema registry.",
	GUC_SUPERUSER_ONLY},
	{"djkafka.sasl_mechanism", "sasl.mechanisms", "How djkafka authenticates with Kafka.",
	0, check_sasl_mechanism},
	{"djkafka.sasl_password", "sasl.password", "Password with which djkafka authenticates with Kafka.",
	GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, show_sasl_password},
	{"djkafka.sasl_username", "sasl.username", "Name with which djkafka authenticates with Kafka.",
	GUC_SUPERUSER_ONLY},
	{"djkafka.security_protocol", "security.protocol", "How djkafka talks to Kafka: plaintext, ssl, sasl_plaintext or sasl_ssl.",
	0, check_security_protocol},
	{"djkafka.ssl_ca_location", "ssl.ca.location", "File with the certificates that Kafka's brokers are verified by."},
	{"djkafka.ssl_certificate_location", "ssl.certificate.location", "File with djkafka's own certificate."},
	{"djkafka.ssl_key_location", "ssl.key.location", "File with the private key of djkafka's certificate."},
	{"djkafka.ssl_key_password", "ssl.key.password", "Password of the private key of djkafka's certificate.",
	GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, show_ssl_key_password},
};

/*
 * pg_monitor reads what PostgreSQL shows to superusers only; what lets in
 * whoever knows it is shown to these alone.
 */
static const char *
show_secret(const char *value)
{
	return value == NULL || value[0] == '\0' || superuser() ? value : "********";
}

static const char *
show_setting(const char *name)
{
	for (int i = 0; i < lengthof(property_settings); i++)
	{
		if (strcmp(property_settings[i].setting, name) == 0)
			return show_secret(property_settings[i].value);
	}
	elog(ERROR, "no setting \"%s\"", name);
}

static const char *
show_registry_password(void)
{
	return show_setting("djkafka.registry_password");
}

static const char *
show_registry_token(void)
{
	return show_setting("djkafka.registry_token");
}

static const char *
show_sasl_password(void)
{
	return show_setting("djkafka.sasl_password");
}

static const char *
show_ssl_key_password(void)
{
	return show_setting("djkafka.ssl_key_password");
}

static const char *
show_properties(void)
{
	return show_secret(more_properties);
}

static bool
check_properties(char **newval, void **extra, GucSource source)
{
	DjkProperty *properties;
	DjkError	error = {0};
	int			count;
	bool		ok = djk_options_parse(*newval, &properties, &count, &error);

	for (int i = 0; ok && i < count; i++)
		ok = djk_property_check(properties[i].name, properties[i].value, DJK_PLACE_SETTING, &error);
	if (!ok)
	{
		/* The server's own message quotes the value, which may hold secrets. */
		GUC_check_errmsg("invalid value for parameter \"djkafka.properties\"");
		GUC_check_errdetail("%s", error.message);
		if (error.hint != NULL)
			GUC_check_errhint("%s", error.hint);
	}
	return ok;
}

static bool
check_retry(char **newval, void **extra, GucSource source)
{
	DjkRetryPolicy policy;
	DjkError	error = {0};

	djk_retry_policy_init(&policy);
	if (djk_retry_policy_overlay(&policy, *newval, &error))
		return true;
	GUC_check_errdetail("%s.", error.message);
	GUC_check_errhint("%s", error.hint);
	return false;
}

static void
note_properties(const char *newval, void *extra)
{
	djk_properties_generation++;
}

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

/* Cuts the next topic off a comma-separated list; NULL behind the last. */
static const char *
next_topic(const char **list, int *len)
{
	const char *start = *list + strspn(*list, " \t\n");

	if (*start == '\0')
		return NULL;
	*len = strcspn(start, ", \t\n");
	*list = start + *len;
	*list += strspn(*list, " \t\n");
	if (**list == ',')
		(*list)++;
	return start;
}

/* What the server is configured with is its administrator's word. */
static DjkSilencer *
make_silencer(GucSource source)
{
	DjkSilencer *made = djk_guc_malloc(sizeof(DjkSilencer));
	int			sec_context;

	if (made == NULL)
		return NULL;
	/* Nobody yet where a session begins. */
	GetUserIdAndSecContext(&made->role, &sec_context);
	if (source <= PGC_S_ARGV)
		made->role = BOOTSTRAP_SUPERUSERID;
	made->transaction = IsTransactionState() ? GetCurrentTransactionStartTimestamp() : 0;
	return made;
}

static bool
check_suppress(char **newval, void **extra, GucSource source)
{
	const char *list = *newval;
	const char *topic;
	char		name[DJK_TOPIC_MAX + 1];
	int			len;

	while ((topic = next_topic(&list, &len)) != NULL)
	{
		if (len <= DJK_TOPIC_MAX)
			strlcpy(name, topic, len + 1);
		if (len <= DJK_TOPIC_MAX && djk_topic_name_is_valid(name))
			continue;
		GUC_check_errdetail("\"%.*s\" is not the name of a topic.", len, topic);
		GUC_check_errhint("Use on, off, or the names of topics with commas between them.");
		return false;
	}
	*extra = make_silencer(source);
	return *extra != NULL;
}

static void
assign_suppress(const char *newval, void *extra)
{
	silencer = extra;
}

/* The words of a switch, and not what begins like one: that may be a topic. */
static bool
is_switch(const char *text, bool *on)
{
	static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (pg_strcasecmp(text, words[i]) != 0)
			continue;
		*on = i % 2 != 0;
		return true;
	}
	return false;
}

static bool
is_suppressed(const char *topic)
{
	const char *list = suppressed;
	const char *name;
	int			len;
	bool		all;

	if (list == NULL || list[0] == '\0')
		return false;
	if (is_switch(list, &all))
		return all;
	while ((name = next_topic(&list, &len)) != NULL)
		if (strlen(topic) == len && memcmp(topic, name, len) == 0)
			return true;
	return false;
}

const DjkSilencer *
djk_suppressed(const char *topic)
{
	return is_suppressed(topic) ? silencer : NULL;
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
	define_int("djkafka.dead_letter_retention", "Time after its last failure at which a dead letter is removed; 0: never.",
			   &djk_dead_letter_retention_s, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("djkafka.max_dead_letters", "Most dead letters of a consumer that are kept, the newest; 0: all.",
			   &djk_max_dead_letters, 0, 0, INT_MAX, PGC_SIGHUP, 0);
	define_int("djkafka.max_parked", "Most messages of a consumer that wait for a parent.",
			   &djk_max_parked, DJK_MAX_PARKED_DEFAULT,
			   DJK_MAX_PARKED_MIN, DJK_MAX_PARKED_MAX, PGC_SIGHUP, 0);
	define_int("djkafka.event_retention", "Age at which rows of djkafka_event are removed.",
			   &djk_event_retention_s, 30 * 24 * 60 * 60, 60, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("djkafka.max_retry_interval", "Longest wait before a failed worker or batch is tried again.",
			   &djk_max_retry_interval_s, 60, 1, 3600, PGC_SIGHUP, GUC_UNIT_S);
	DefineCustomStringVariable("djkafka.retry",
							   "When messages that failed are tried again, as a JSON object.",
							   "Consumers and routes overlay it, key by key.",
							   &djk_retry, "", PGC_SIGHUP, 0,
							   check_retry, NULL, NULL);
	define_int("djkafka.queue_size", "Memory in which a worker holds messages fetched ahead.",
			   &djk_queue_size_kb, DJK_QUEUE_SIZE_DEFAULT,
			   DJK_QUEUE_SIZE_MIN, DJK_QUEUE_SIZE_MAX, PGC_SIGHUP, GUC_UNIT_KB);
	DefineCustomRealVariable("djkafka.storm_share", "Share of a partition's recent messages that fail at which it stops; 1: at none.",
							 NULL, &djk_storm_share, DJK_STORM_SHARE_DEFAULT, 0, 1, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_int("djkafka.storm_window", "Number of messages of a partition that count as recent.",
			   &djk_storm_window, DJK_STORM_WINDOW_DEFAULT,
			   DJK_STORM_WINDOW_MIN, DJK_STORM_WINDOW_MAX, PGC_SIGHUP, 0);
}

static void
define_outbox_settings(void)
{
	static const struct config_enum_entry modes[] = {
		{DJK_DELIVERY_AT_LEAST_ONCE, DJK_AT_LEAST_ONCE, false},
		{DJK_DELIVERY_EXACTLY_ONCE, DJK_EXACTLY_ONCE, false},
		{NULL, 0, false}
	};

	DefineCustomEnumVariable("djkafka.delivery", "What the outbox promises where the server's option delivery does not say.",
							 NULL, &djk_delivery, DJK_AT_LEAST_ONCE, modes, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_int("djkafka.delivery_retention", "How long djkafka_delivery can tell where a message went; 0: not at all.",
			   &djk_delivery_retention_s, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	DefineCustomStringVariable("djkafka.suppress",
							   "Topics that nothing is produced for: on for all, off for none, or a list.",
							   "For SET LOCAL: such a transaction changes published tables, or calls djkafka_produce, without a message.",
							   &suppressed, "off", PGC_USERSET, 0,
							   check_suppress, assign_suppress, NULL);
	DefineCustomStringVariable("djkafka.topic_prefix",
							   "First part of the topics that djkafka_publish chooses: PREFIX.SCHEMA.TABLE.",
							   "Empty: the name of the database.",
							   &djk_topic_prefix, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
}

static void
define_string(const char *name, const char *description, char **variable, int flags,
			  GucStringCheckHook check, GucShowHook show)
{
	DefineCustomStringVariable(name, description, NULL, variable, "", PGC_SUSET, flags,
							   check, NULL, show);
}

static void
define_connection_settings(void)
{
	define_string("djkafka.bootstrap_servers", "Kafka brokers to ask first, as host:port, ...; or \"embedded\".",
				  &bootstrap_servers, 0, check_bootstrap_servers, NULL);
	define_string("djkafka.client_id", "Name by which Kafka's logs and quotas know this server.",
				  &client_id, 0, NULL, NULL);
	DefineCustomStringVariable("djkafka.properties",
							   "Further properties of librdkafka, as a JSON object.", NULL,
							   &more_properties, "", PGC_SUSET,
							   GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   check_properties, note_properties, show_properties);
	for (int i = 0; i < lengthof(property_settings); i++)
		define_string(property_settings[i].setting, property_settings[i].description,
					  &property_settings[i].value, property_settings[i].flags, property_settings[i].check,
					  property_settings[i].show);
}

static bool
is_set(const char *value)
{
	return value != NULL && value[0] != '\0';
}

/* Layers lie one above the other: the last of a name wins. */
DjkProperty *
djk_settings_properties(int *count)
{
	DjkProperty *given = NULL;
	DjkProperty *properties;
	DjkError	error = {0};
	int			ngiven = 0;

	/* The check hook let it pass. */
	if (is_set(more_properties) &&
		!djk_options_parse(more_properties, &given, &ngiven, &error))
		ngiven = 0;
	properties = palloc((ngiven + lengthof(property_settings) + 2) * sizeof(DjkProperty));
	for (*count = 0; *count < ngiven; (*count)++)
		properties[*count] = given[*count];

	if (is_set(bootstrap_servers))
		properties[(*count)++] = (DjkProperty) {"bootstrap.servers", bootstrap_servers};
	if (is_set(client_id))
		properties[(*count)++] = (DjkProperty) {"client.id", client_id};
	for (int i = 0; i < lengthof(property_settings); i++)
		if (is_set(property_settings[i].value))
			properties[(*count)++] = (DjkProperty) {property_settings[i].property, property_settings[i].value};
	return properties;
}

void
djk_settings_init(void)
{
	define_process_settings();
	define_consumer_settings();
	define_outbox_settings();
	defining = true;
	define_connection_settings();
	defining = false;
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

bool
djk_settings_list_database(const char *name)
{
	ListCell   *lc;

	foreach(lc, djk_settings_databases())
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}
