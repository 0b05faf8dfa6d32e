/*-------------------------------------------------------------------------
 *
 * property.c
 *	  The allow-list of librdkafka's properties: a pure table.
 *
 * Some properties of the library load code, run a shell, read or write files
 * as the server's operating system user, or connect to where the caller says.
 * Others would undo what djkafka promises: it owns positions, groups and
 * acknowledgements.  So each property that any version from 2.0.2 on has is
 * listed with the rule it is under, and a name that is not listed is refused: a
 * newer library cannot open a hole.  djkafka_unclassified_properties() shows
 * what the linked library has and the table lacks; a test wants it empty.
 *
 * Bounds are given where a value costs memory, or keeps djkafka waiting.  All other values are checked
 * by the library itself (kafka/conf).
 *
 *-------------------------------------------------------------------------
 */
#include "base/property.h"

#include "base/broker.h"
#include "base/error.h"
#include "base/registry.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#define KB	INT64CONST(1024)
#define MB	(1024 * KB)

/* No longer name is ever a property; keeps the search for near matches cheap. */
#define NAME_LIMIT	63

#define ANY(name, rule)					{name, DJK_PROPERTY_##rule, DJK_SCOPE_BOTH}
#define CONSUMER(name)					{name, DJK_PROPERTY_ALLOWED, DJK_SCOPE_CONSUMER}
#define PRODUCER(name)					{name, DJK_PROPERTY_ALLOWED, DJK_SCOPE_PRODUCER}
#define BOUND(name, scope, min, max)	{name, DJK_PROPERTY_ALLOWED, DJK_SCOPE_##scope, NULL, NULL, min, max}
#define REGISTRY(name, rule)			{name, DJK_PROPERTY_##rule, DJK_SCOPE_REGISTRY}
#define OWNED(name, scope, value, instead)	{name, DJK_PROPERTY_OWNED, DJK_SCOPE_##scope, value, instead}
#define NEVER(name, why)				{name, DJK_PROPERTY_NEVER, DJK_SCOPE_BOTH, NULL, why}

#define RUNS_CODE	"It loads code into the database server."
#define RUNS_SHELL	"It runs a shell as the server's operating system user."
#define LEAKS_FILE	"It sends the content of a file of the server away."
#define WRITES_FILE	"It writes files as the server's operating system user."
#define SIGNALS		"It takes over a signal of the server's process."
#define TEST_HOOK	"It is a test hook of the library."
#define CALLBACK	"It is not a value but a function of the library's caller."
#define NO_PURPOSE	"It has no effect here."

#define IN_CONSUMER "Positions belong to djkafka: see start_from of the consumer, and djkafka_seek()."
#define IN_OUTBOX	"The outbox keeps each message until Kafka has acknowledged it, in order."

static const DjkPropertySpec table[] = {
	/* where and how to connect */
	ANY("bootstrap.servers", NETWORK),
	ANY("client.dns.lookup", NETWORK),
	ANY("security.protocol", NETWORK),
	ANY("sasl.mechanisms", NETWORK),
	ANY("sasl.oauthbearer.method", NETWORK),
	ANY("sasl.oauthbearer.grant.type", NETWORK),
	ANY("sasl.oauthbearer.token.endpoint.url", NETWORK),
	ANY("ssl.ca.pem", NETWORK),
	ANY("https.ca.pem", NETWORK),
	ANY("ssl.curves.list", NETWORK),
	ANY("broker.address.family", NETWORK),

	REGISTRY("registry.url", NETWORK),
	REGISTRY("registry.ssl.ca.pem", NETWORK),

	/* who we are, there */
	ANY("sasl.username", SECRET),
	ANY("sasl.password", SECRET),
	ANY("sasl.oauthbearer.config", SECRET),
	ANY("sasl.oauthbearer.client.id", SECRET),
	ANY("sasl.oauthbearer.client.secret", SECRET),
	ANY("sasl.oauthbearer.assertion.private.key.pem", SECRET),
	ANY("sasl.oauthbearer.assertion.private.key.passphrase", SECRET),
	ANY("ssl.key.pem", SECRET),
	ANY("ssl.key.password", SECRET),
	ANY("ssl.certificate.pem", SECRET),
	ANY("ssl.keystore.password", SECRET),
	REGISTRY("registry.username", SECRET),
	REGISTRY("registry.password", SECRET),
	REGISTRY("registry.token", SECRET),
	REGISTRY("registry.ssl.certificate.pem", SECRET),
	REGISTRY("registry.ssl.key.pem", SECRET),
	REGISTRY("registry.ssl.key.password", SECRET),
	ANY("sasl.oauthbearer.scope", ALLOWED),
	ANY("sasl.oauthbearer.extensions", ALLOWED),
	ANY("sasl.oauthbearer.sub.claim.name", ALLOWED),
	ANY("sasl.oauthbearer.assertion.algorithm", ALLOWED),
	ANY("sasl.oauthbearer.assertion.claim.aud", ALLOWED),
	ANY("sasl.oauthbearer.assertion.claim.exp.seconds", ALLOWED),
	ANY("sasl.oauthbearer.assertion.claim.iss", ALLOWED),
	ANY("sasl.oauthbearer.assertion.claim.jti.include", ALLOWED),
	ANY("sasl.oauthbearer.assertion.claim.nbf.seconds", ALLOWED),
	ANY("sasl.oauthbearer.assertion.claim.sub", ALLOWED),

	/* reads files as the server */
	ANY("ssl.key.location", SERVER_FILE),
	ANY("ssl.certificate.location", SERVER_FILE),
	ANY("ssl.ca.location", SERVER_FILE),
	ANY("ssl.crl.location", SERVER_FILE),
	ANY("ssl.keystore.location", SERVER_FILE),
	ANY("https.ca.location", SERVER_FILE),
	REGISTRY("registry.ssl.ca.location", SERVER_FILE),
	REGISTRY("registry.ssl.certificate.location", SERVER_FILE),
	REGISTRY("registry.ssl.key.location", SERVER_FILE),
	ANY("sasl.oauthbearer.assertion.private.key.file", SERVER_FILE),
	ANY("sasl.oauthbearer.assertion.jwt.template.file", SERVER_FILE),

	/* weakens security, floods the log, or acts as the host */
	ANY("enable.ssl.certificate.verification", SUPERUSER),
	ANY("ssl.endpoint.identification.algorithm", SUPERUSER),
	ANY("enable.sasl.oauthbearer.unsecure.jwt", SUPERUSER),
	ANY("ssl.cipher.suites", SUPERUSER),
	ANY("ssl.sigalgs.list", SUPERUSER),
	ANY("sasl.kerberos.principal", SUPERUSER),
	ANY("sasl.kerberos.keytab", SUPERUSER),
	ANY("sasl.kerberos.service.name", SUPERUSER),
	ANY("sasl.oauthbearer.metadata.authentication.type", SUPERUSER),
	ANY("debug", SUPERUSER),
	ANY("log_level", SUPERUSER),
	ANY("log.thread.name", SUPERUSER),
	ANY("api.version.request", SUPERUSER),
	ANY("api.version.fallback.ms", SUPERUSER),
	ANY("broker.version.fallback", SUPERUSER),
	ANY("client.software.name", SUPERUSER),
	ANY("client.software.version", SUPERUSER),

	/* harmless */
	ANY("client.id", ALLOWED),
	ANY("client.rack", ALLOWED),
	ANY("api.version.request.timeout.ms", ALLOWED),
	ANY("broker.address.ttl", ALLOWED),
	ANY("connections.max.idle.ms", ALLOWED),
	ANY("enable.random.seed", ALLOWED),
	ANY("enable.sparse.connections", ALLOWED),
	ANY("log.connection.close", ALLOWED),
	ANY("metadata.max.age.ms", ALLOWED),
	ANY("metadata.recovery.strategy", ALLOWED),
	ANY("metadata.recovery.rebootstrap.trigger.ms", ALLOWED),
	ANY("metadata.request.timeout.ms", ALLOWED),
	ANY("reconnect.backoff.ms", ALLOWED),
	ANY("reconnect.backoff.max.ms", ALLOWED),
	ANY("reconnect.backoff.jitter.ms", ALLOWED),
	ANY("retry.backoff.ms", ALLOWED),
	ANY("retry.backoff.max.ms", ALLOWED),
	ANY("socket.blocking.max.ms", ALLOWED),
	ANY("socket.connection.setup.timeout.ms", ALLOWED),
	ANY("socket.keepalive.enable", ALLOWED),
	ANY("socket.max.fails", ALLOWED),
	ANY("socket.nagle.disable", ALLOWED),
	ANY("socket.timeout.ms", ALLOWED),
	ANY("topic.metadata.refresh.fast.cnt", ALLOWED),
	ANY("topic.metadata.refresh.fast.interval.ms", ALLOWED),
	ANY("topic.metadata.propagation.max.ms", ALLOWED),
	ANY("topic.metadata.refresh.sparse", ALLOWED),
	BOUND("topic.metadata.refresh.interval.ms", BOTH, 500, 3600000),
	CONSUMER("check.crcs"),
	CONSUMER("coordinator.query.interval.ms"),
	CONSUMER("fetch.error.backoff.ms"),
	CONSUMER("fetch.queue.backoff.ms"),
	/* whatever a broker is asked waits behind a fetch */
	BOUND("fetch.wait.max.ms", CONSUMER, 0, 250),
	BOUND("heartbeat.interval.ms", CONSUMER, 100, 300000),
	BOUND("max.poll.interval.ms", CONSUMER, 10000, 86400000),
	BOUND("session.timeout.ms", CONSUMER, 1000, 3600000),
	PRODUCER("batch.num.messages"),
	PRODUCER("compression.codec"),
	PRODUCER("compression.level"),
	PRODUCER("partitioner"),
	PRODUCER("queue.buffering.max.ms"),
	PRODUCER("request.timeout.ms"),
	PRODUCER("sticky.partitioning.linger.ms"),
	BOUND("transaction.timeout.ms", PRODUCER, 10000, 900000),

	/* costs memory */
	BOUND("receive.message.max.bytes", BOTH, 1000, 256 * MB),
	BOUND("message.max.bytes", BOTH, 1000, 256 * MB),
	BOUND("message.copy.max.bytes", BOTH, 0, 1 * MB),
	BOUND("socket.send.buffer.bytes", BOTH, 0, 16 * MB),
	BOUND("socket.receive.buffer.bytes", BOTH, 0, 16 * MB),
	BOUND("fetch.max.bytes", CONSUMER, 0, 256 * MB),
	BOUND("fetch.message.max.bytes", CONSUMER, 1, 256 * MB),
	BOUND("fetch.min.bytes", CONSUMER, 1, 16 * MB),
	BOUND("queued.min.messages", CONSUMER, 1, 1000000),
	BOUND("queue.buffering.max.messages", PRODUCER, 1, 1000000),
	BOUND("queue.buffering.max.kbytes", PRODUCER, 1, 256 * KB),
	BOUND("batch.size", PRODUCER, 1, 16 * MB),
	OWNED("queued.max.messages.kbytes", CONSUMER, NULL, "Use the setting djkafka.queue_size."),

	/* djkafka owns positions and groups */
	OWNED("group.id", CONSUMER, NULL, "Use the argument group_id of djkafka_create_consumer()."),
	OWNED("group.instance.id", CONSUMER, NULL, "Each worker is a static member under a name of its own."),
	OWNED("group.protocol", CONSUMER, "classic", "Only the classic protocol is supported."),
	OWNED("group.protocol.type", CONSUMER, "consumer", NULL),
	OWNED("group.remote.assignor", CONSUMER, NULL, "Only the classic protocol is supported."),
	OWNED("partition.assignment.strategy", CONSUMER, NULL, "The consumer's own column says how partitions are assigned."),
	OWNED("enable.auto.commit", CONSUMER, "false", IN_CONSUMER),
	OWNED("auto.commit.enable", CONSUMER, "false", IN_CONSUMER),
	OWNED("auto.commit.interval.ms", CONSUMER, NULL, IN_CONSUMER),
	OWNED("enable.auto.offset.store", CONSUMER, "false", IN_CONSUMER),
	OWNED("auto.offset.reset", CONSUMER, "error", IN_CONSUMER),
	OWNED("enable.partition.eof", CONSUMER, "true", NULL),
	OWNED("isolation.level", CONSUMER, "read_committed", "Messages of aborted transactions are never applied."),
	OWNED("allow.auto.create.topics", BOTH, "false", "Create the topic in Kafka; a consumer picks it up within seconds."),
	OWNED("topic.blacklist", CONSUMER, NULL, "Name the wanted topics in the routes, or a narrower pattern."),
	OWNED("max.poll.records", CONSUMER, NULL, "Use the setting djkafka.batch_messages."),
	OWNED("share.acknowledgement.mode", CONSUMER, NULL, "Share groups are not supported."),
	OWNED("log.queue", BOTH, "true", NULL),
	OWNED("enable.metrics.push", BOTH, "false", "What a worker does is shown by djkafka_status."),
	OWNED("statistics.interval.ms", BOTH, "0", "What a worker does is shown by djkafka_status."),
	OWNED("sasl.kerberos.min.time.before.relogin", BOTH, "0", "The operating system keeps the ticket fresh."),

	/* djkafka owns acknowledgements and order */
	OWNED("enable.idempotence", PRODUCER, "true", IN_OUTBOX),
	OWNED("request.required.acks", PRODUCER, "all", IN_OUTBOX),
	OWNED("max.in.flight.requests.per.connection", PRODUCER, NULL, IN_OUTBOX),
	OWNED("message.send.max.retries", PRODUCER, NULL, IN_OUTBOX),
	OWNED("message.timeout.ms", PRODUCER, "0", IN_OUTBOX),
	OWNED("enable.gapless.guarantee", PRODUCER, "true", IN_OUTBOX),
	OWNED("queuing.strategy", PRODUCER, "fifo", IN_OUTBOX),
	OWNED("queue.buffering.backpressure.threshold", PRODUCER, "1", IN_OUTBOX),
	OWNED("delivery.report.only.error", PRODUCER, "false", IN_OUTBOX),
	OWNED("produce.offset.report", PRODUCER, NULL, IN_OUTBOX),
	OWNED("transactional.id", PRODUCER, NULL, "It is derived from the database's home, see djkafka_home."),

	/* never */
	NEVER("plugin.library.paths", RUNS_CODE),
	NEVER("interceptors", RUNS_CODE),
	NEVER("ssl.engine.location", RUNS_CODE),
	NEVER("ssl.engine.id", RUNS_CODE),
	NEVER("ssl.providers", RUNS_CODE),
	NEVER("sasl.kerberos.kinit.cmd", RUNS_SHELL),
	NEVER("sasl.oauthbearer.assertion.file", LEAKS_FILE),
	NEVER("offset.store.method", WRITES_FILE),
	NEVER("offset.store.path", WRITES_FILE),
	NEVER("offset.store.sync.interval.ms", WRITES_FILE),
	NEVER("internal.termination.signal", SIGNALS),
	NEVER("test.mock.num.brokers", TEST_HOOK),
	NEVER("test.mock.broker.rtt", TEST_HOOK),
	NEVER("ut_handle_produceresponse", TEST_HOOK),
	NEVER("builtin.features", NO_PURPOSE),
	NEVER("ssl.ca.certificate.stores", NO_PURPOSE),
	NEVER("ssl.truststore.location", NO_PURPOSE),
	NEVER("sasl.jaas.config", NO_PURPOSE),
	NEVER("consume.callback.max.messages", NO_PURPOSE),
	NEVER("enabled_events", CALLBACK),
	NEVER("error_cb", CALLBACK),
	NEVER("throttle_cb", CALLBACK),
	NEVER("stats_cb", CALLBACK),
	NEVER("log_cb", CALLBACK),
	NEVER("background_event_cb", CALLBACK),
	NEVER("socket_cb", CALLBACK),
	NEVER("connect_cb", CALLBACK),
	NEVER("closesocket_cb", CALLBACK),
	NEVER("open_cb", CALLBACK),
	NEVER("resolve_cb", CALLBACK),
	NEVER("opaque", CALLBACK),
	NEVER("default_topic_conf", CALLBACK),
	NEVER("ssl_key", CALLBACK),
	NEVER("ssl_certificate", CALLBACK),
	NEVER("ssl_ca", CALLBACK),
	NEVER("ssl_engine_callback_data", CALLBACK),
	NEVER("ssl.certificate.verify_cb", CALLBACK),
	NEVER("oauthbearer_token_refresh_cb", CALLBACK),
	NEVER("enable_sasl_queue", CALLBACK),
	NEVER("consume_cb", CALLBACK),
	NEVER("rebalance_cb", CALLBACK),
	NEVER("offset_commit_cb", CALLBACK),
	NEVER("dr_cb", CALLBACK),
	NEVER("dr_msg_cb", CALLBACK),
	NEVER("partitioner_cb", CALLBACK),
	NEVER("msg_order_cmp", CALLBACK),
};

static const struct
{
	const char *alias;
	const char *name;
}			aliases[] = {
	{"metadata.broker.list", "bootstrap.servers"},
	{"max.in.flight", "max.in.flight.requests.per.connection"},
	{"sasl.mechanism", "sasl.mechanisms"},
	{"sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"},
	{"sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"},
	{"max.partition.fetch.bytes", "fetch.message.max.bytes"},
	{"linger.ms", "queue.buffering.max.ms"},
	{"retries", "message.send.max.retries"},
	{"compression.type", "compression.codec"},
	{"acks", "request.required.acks"},
	{"delivery.timeout.ms", "message.timeout.ms"},
};

const DjkPropertySpec *
djk_property_table(int *count)
{
	*count = lengthof(table);
	return table;
}

/* 'name' is in lower case. */
static const DjkPropertySpec *
find_exact(const char *name)
{
	for (int i = 0; i < lengthof(aliases); i++)
		if (strcmp(aliases[i].alias, name) == 0)
			name = aliases[i].name;
	for (int i = 0; i < lengthof(table); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

const DjkPropertySpec *
djk_property_find(const char *name)
{
	char		lower[NAME_LIMIT + 1];
	const DjkPropertySpec *spec;
	size_t		length = strlen(name);

	if (length > NAME_LIMIT)
		return NULL;
	for (size_t i = 0; i <= length; i++)
		lower[i] = pg_ascii_tolower((unsigned char) name[i]);

	spec = find_exact(lower);
	if (spec != NULL)
		return spec;
	for (char *c = lower; *c != '\0'; c++)
		if (*c == '_')
			*c = '.';
	spec = find_exact(lower);
	if (spec == NULL && strncmp(lower, "topic.", 6) == 0)
		spec = find_exact(lower + 6);
	return spec;
}

/* The name in the table that is nearest to 'name', or NULL if none is near. */
static const char *
nearest(const char *name)
{
	const char *best = NULL;
	int			length = strlen(name);
	int			limit = 4;

	if (length > NAME_LIMIT)
		return NULL;
	for (int i = 0; i < lengthof(table); i++)
	{
		int			distance;

		if (table[i].rule == DJK_PROPERTY_NEVER || table[i].rule == DJK_PROPERTY_OWNED)
			continue;
		distance = varstr_levenshtein_less_equal(table[i].name, strlen(table[i].name),
												 name, length, 1, 1, 1, limit, true);
		if (distance <= limit && distance <= length / 2)
		{
			limit = distance - 1;
			best = table[i].name;
		}
		if (limit < 0)
			break;
	}
	return best;
}

bool
djk_mechanism_is_valid(const char *name)
{
	static const char *const names[] = {"GSSAPI", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Fills *error; returns false for the caller to return. */
static bool
refuse(DjkError *error, int sqlstate, char *message, const char *detail, const char *hint)
{
	memset(error, 0, sizeof(*error));
	error->sqlstate = sqlstate;
	error->message = message;
	error->detail = detail ? pstrdup(detail) : NULL;
	error->hint = hint ? pstrdup(hint) : NULL;
	return false;
}

/* Is 'value' the one that djkafka sets anyway?  The library takes 1 and "yes" for true. */
static bool
is_enforced(const DjkPropertySpec *spec, const char *value)
{
	bool		wanted;
	bool		given;

	if (spec->enforced == NULL)
		return false;
	if (pg_strcasecmp(spec->enforced, value) == 0)
		return true;
	if (strcmp(spec->name, "request.required.acks") == 0)
		return strcmp(value, "-1") == 0;
	return strcmp(spec->enforced, "0") != 0 &&
		parse_bool(spec->enforced, &wanted) && parse_bool(value, &given) && wanted == given;
}

static bool
check_owned(const DjkPropertySpec *spec, const char *name, const char *value, DjkError *error)
{
	const char *detail = "djkafka sets it itself.";

	if (is_enforced(spec, value))
		return true;
	if (spec->enforced != NULL)
		detail = psprintf("djkafka always sets it to \"%s\".", spec->enforced);
	return refuse(error, DJK_ERRCODE_PROPERTY,
				  psprintf("property \"%s\" cannot be set", name), detail, spec->instead);
}

static bool
check_bounds(const DjkPropertySpec *spec, const char *name, const char *value, DjkError *error)
{
	char	   *end;
	int64		number;

	if (spec->min == 0 && spec->max == 0)
		return true;
	errno = 0;
	number = strtoll(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0)
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("value of property \"%s\" is not a whole number", name), NULL, NULL);
	if (number < spec->min || number > spec->max)
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("value of property \"%s\" is out of range", name),
					  psprintf("It must be from " INT64_FORMAT " to " INT64_FORMAT ".",
							   spec->min, spec->max), NULL);
	return true;
}

/*
 * The library puts these into a shell command.  That command never runs here,
 * but nothing in them could say anything to a shell either.
 */
static bool
check_kerberos(const DjkPropertySpec *spec, const char *name, const char *value, DjkError *error)
{
	const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/@-";

	if (strncmp(spec->name, "sasl.kerberos.", 14) != 0 || value[strspn(value, allowed)] == '\0')
		return true;
	return refuse(error, DJK_ERRCODE_PROPERTY,
				  psprintf("value of property \"%s\" holds a character that is not allowed", name),
				  "Only letters, digits and . _ / @ - are.", NULL);
}

/* Of a token that is sent as it is in a line of a request. */
#define TOKEN_CHARS	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-"

/* What the library would take, and only say in its log that it leads nowhere. */
static bool
check_address(const DjkPropertySpec *spec, const char *name, const char *value, DjkError *error)
{
	char	   *detail;
	const char *hint;

	if (strcmp(spec->name, "bootstrap.servers") == 0 && !djk_broker_list_is_valid(value, &detail, &hint))
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("invalid value for property \"%s\"", name), psprintf("%s.", detail), hint);
	if (strcmp(spec->name, "registry.url") == 0 && !djk_registry_list_is_valid(value, &detail, &hint))
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("invalid value for property \"%s\"", name), psprintf("%s.", detail), hint);
	if (strcmp(spec->name, "registry.token") == 0 && value[strspn(value, TOKEN_CHARS)] != '\0')
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("value of property \"%s\" holds a character that is not allowed", name),
					  "Only letters, digits and . _ ~ + / = - are.", NULL);
	if (strcmp(spec->name, "sasl.mechanisms") == 0 && !djk_mechanism_is_valid(value))
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("invalid value for property \"%s\"", name), NULL, DJK_MECHANISMS_HINT);
	return true;
}

/* May it be written there at all, whoever writes it? */
static bool
check_place(const DjkPropertySpec *spec, const char *name, DjkPropertyPlace place, DjkError *error)
{
	bool		for_user = spec->rule == DJK_PROPERTY_SECRET || spec->rule == DJK_PROPERTY_SERVER_FILE ||
		(strncmp(spec->name, "sasl.", 5) == 0 && spec->rule != DJK_PROPERTY_NETWORK);

	if (place == DJK_PLACE_SETTING)
		return true;
	if (place == DJK_PLACE_USER_MAPPING && !for_user)
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("property \"%s\" cannot be set in a user mapping", name), NULL,
					  "Set it in the OPTIONS of the server.");
	if (place != DJK_PLACE_USER_MAPPING && spec->rule == DJK_PROPERTY_SECRET)
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("property \"%s\" is a secret", name),
					  "What a server or a consumer holds can be read by others.",
					  "Set it in the OPTIONS of a user mapping, or in the settings of djkafka.");
	if (place == DJK_PLACE_CONSUMER &&
		(spec->rule == DJK_PROPERTY_NETWORK || spec->rule == DJK_PROPERTY_SERVER_FILE))
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("property \"%s\" cannot be set by a consumer", name), NULL,
					  "Set it in the OPTIONS of a server, or in the settings of djkafka.");
	/* What rights to ask for is up to who owns the credentials. */
	if (place == DJK_PLACE_CONSUMER && for_user && spec->rule == DJK_PROPERTY_ALLOWED)
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("property \"%s\" cannot be set by a consumer", name), NULL,
					  "Set it in the OPTIONS of a server or of a user mapping, or in the settings of djkafka.");
	return true;
}

static bool
check_privilege(const DjkPropertySpec *spec, const char *name, DjkPropertyPlace place, DjkError *error)
{
	if (place == DJK_PLACE_SETTING)
		return true;
	if (spec->rule == DJK_PROPERTY_SUPERUSER && !superuser())
		return refuse(error, ERRCODE_INSUFFICIENT_PRIVILEGE,
					  psprintf("permission denied to set property \"%s\"", name),
					  "Only superusers may set it.", NULL);
	if (spec->rule == DJK_PROPERTY_SERVER_FILE && !superuser() &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		return refuse(error, ERRCODE_INSUFFICIENT_PRIVILEGE,
					  psprintf("permission denied to set property \"%s\"", name),
					  "Only roles with privileges of \"pg_read_server_files\" may let the server read a file.",
					  "A property whose name ends in .pem takes the content of the file instead.");
	return true;
}

bool
djk_property_check(const char *name, const char *value, DjkPropertyPlace place, DjkError *error)
{
	const DjkPropertySpec *spec = djk_property_find(name);
	const char *near;

	if (spec == NULL)
	{
		near = nearest(name);
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("unknown property \"%s\"", name), NULL,
					  near ? psprintf("Perhaps you meant the property \"%s\".", near) : NULL);
	}
	if (spec->rule == DJK_PROPERTY_NEVER)
		return refuse(error, DJK_ERRCODE_PROPERTY,
					  psprintf("property \"%s\" is not allowed", name), spec->instead, NULL);
	if (spec->rule == DJK_PROPERTY_OWNED)
		return check_owned(spec, name, value, error);
	return check_place(spec, name, place, error) &&
		check_privilege(spec, name, place, error) &&
		check_bounds(spec, name, value, error) &&
		check_address(spec, name, value, error) &&
		check_kerberos(spec, name, value, error);
}

void
djk_property_require(const char *name, const char *value, DjkPropertyPlace place)
{
	DjkError	error = {0};

	if (!djk_property_check(name, value, place, &error))
		djk_error_throw(&error);
}
