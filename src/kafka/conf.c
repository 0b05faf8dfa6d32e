/*-------------------------------------------------------------------------
 *
 * conf.c
 *	  Building a configuration of librdkafka, and asking about the library.
 *
 * Names have passed the allow-list of base/property before they come here, so
 * what is refused here is a value, or a property that the linked library is
 * too old for.  A value never gets into a message if it might be a secret.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/conf.h"

#include <stdio.h>

#define VERSION_COOPERATES	0x02060100

/* So much of a secret in a text is no accident. */
#define SECRET_PART			8

static bool
is_secret(const char *name)
{
	const DjkPropertySpec *spec = djk_property_find(name);

	return spec == NULL || spec->rule == DJK_PROPERTY_SECRET;
}

static void
throw_refused(const char *name, rd_kafka_conf_res_t result, const char *reason)
{
	if (result == RD_KAFKA_CONF_UNKNOWN)
		ereport(ERROR,
				(errcode(DJK_ERRCODE_PROPERTY),
				 errmsg("property \"%s\" is not known to librdkafka %s",
						name, rd_kafka_version_str()),
				 errhint("A newer librdkafka may have it.")));
	if (is_secret(name))
		ereport(ERROR,
				(errcode(DJK_ERRCODE_PROPERTY),
				 errmsg("invalid value for property \"%s\"", name)));
	ereport(ERROR,
			(errcode(DJK_ERRCODE_PROPERTY),
			 errmsg("invalid value for property \"%s\"", name),
			 errdetail("librdkafka says: %s.", reason)));
}

void
djk_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		reason[512] = "";
	rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, reason, sizeof(reason));

	if (result == RD_KAFKA_CONF_OK)
		return;
	rd_kafka_conf_destroy(conf);
	throw_refused(name, result, reason);
}

void
djk_conf_set_int(rd_kafka_conf_t *conf, const char *name, int64 value)
{
	char		text[32];

	snprintf(text, sizeof(text), INT64_FORMAT, value);
	djk_conf_set(conf, name, text);
}

void
djk_conf_set_if_known(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		reason[512] = "";
	rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, reason, sizeof(reason));

	if (result == RD_KAFKA_CONF_OK || result == RD_KAFKA_CONF_UNKNOWN)
		return;
	rd_kafka_conf_destroy(conf);
	throw_refused(name, result, reason);
}

void
djk_conf_set_defaults(rd_kafka_conf_t *conf)
{
	/* A topic or partition that is created, deleted or grown is noticed within seconds. */
	djk_conf_set(conf, "topic.metadata.refresh.interval.ms", "3000");
	djk_conf_set(conf, "topic.metadata.propagation.max.ms", "5000");
	djk_conf_set(conf, "reconnect.backoff.ms", "100");
	djk_conf_set(conf, "reconnect.backoff.max.ms", "3000");
	djk_conf_set(conf, "socket.keepalive.enable", "true");
}

void
djk_conf_add_debug(rd_kafka_conf_t *conf, const char *context)
{
	char		contexts[512] = "";
	size_t		size = sizeof(contexts);

	if (rd_kafka_conf_get(conf, "debug", contexts, &size) == RD_KAFKA_CONF_OK && contexts[0] != '\0')
		context = psprintf("%s,%s", contexts, context);
	djk_conf_set(conf, "debug", context);
}

void
djk_conf_set_enforced(rd_kafka_conf_t *conf)
{
	djk_conf_set(conf, "log.queue", "true");
	djk_conf_set_if_known(conf, "enable.metrics.push", "false");
	djk_conf_set_if_known(conf, "sasl.kerberos.min.time.before.relogin", "0");
}

void
djk_conf_apply(rd_kafka_conf_t *conf, const DjkProperty *properties, int nproperties,
			   DjkPropertyScope role)
{
	for (int i = 0; i < nproperties; i++)
	{
		const DjkPropertySpec *spec = djk_property_find(properties[i].name);

		/* Checked when it was set; the table is the last word all the same. */
		if (spec == NULL || spec->rule == DJK_PROPERTY_NEVER)
		{
			rd_kafka_conf_destroy(conf);
			ereport(ERROR,
					(errcode(DJK_ERRCODE_PROPERTY),
					 errmsg("property \"%s\" is not allowed", properties[i].name)));
		}
		if (spec->rule == DJK_PROPERTY_OWNED)
			continue;			/* a no-op, see djk_property_require() */
		if (spec->scope == DJK_SCOPE_BOTH || spec->scope == role)
			djk_conf_set(conf, spec->name, properties[i].value);
	}
}

void
djk_conf_require(const char *name, const char *value)
{
	const DjkPropertySpec *spec = djk_property_find(name);
	rd_kafka_conf_t *conf;

	if (spec == NULL || spec->rule == DJK_PROPERTY_OWNED || spec->rule == DJK_PROPERTY_NEVER ||
		spec->scope == DJK_SCOPE_REGISTRY)
		return;
	conf = rd_kafka_conf_new();
	djk_conf_set(conf, spec->name, value);
	rd_kafka_conf_destroy(conf);
}

/* Whether SECRET_PART bytes of 'secret' in a row, or all of a shorter one, are in 'text'. */
static bool
repeats(const char *text, const char *secret)
{
	char		part[SECRET_PART + 1];

	for (size_t i = 0; secret[i] != '\0'; i++)
	{
		strlcpy(part, secret + i, sizeof(part));
		if (strstr(text, part) != NULL)
			return true;
		if (strlen(secret + i) <= SECRET_PART)
			break;
	}
	return false;
}

bool
djk_conf_tells_secret(rd_kafka_conf_t *conf, const char *text)
{
	int			n;
	const DjkPropertySpec *table = djk_property_table(&n);
	bool		tells = false;

	for (int i = 0; i < n && !tells; i++)
	{
		size_t		size = 0;
		char	   *value;

		if (table[i].rule != DJK_PROPERTY_SECRET ||
			rd_kafka_conf_get(conf, table[i].name, NULL, &size) != RD_KAFKA_CONF_OK || size <= 1)
			continue;
		value = palloc0(size + 1);
		if (rd_kafka_conf_get(conf, table[i].name, value, &size) == RD_KAFKA_CONF_OK)
			tells = repeats(text, value);
		explicit_bzero(value, strlen(value));
		pfree(value);
	}
	return tells;
}

/*
 * A line of the library's own table begins with the name, blanks and a bar.
 * (A dump of a fresh configuration would lack what has no default.)
 */
static char *
name_of_line(const char *line)
{
	const char *end = line + strcspn(line, " |\n");

	if (end == line || line[0] < 'a' || line[0] > 'z' ||
		strchr(line, '|') == NULL || strspn(end, " ") != strcspn(end, "|"))
		return NULL;
	return pnstrdup(line, end - line);
}

char **
djk_conf_known_names(int *count)
{
	char	   *text = NULL;
	size_t		size = 0;
	FILE	   *stream = open_memstream(&text, &size);
	char	  **names;
	char	   *copy;
	int			room = 256;

	*count = 0;
	if (stream == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	rd_kafka_conf_properties_show(stream);
	fclose(stream);
	copy = pstrdup(text);
	free(text);

	names = palloc(room * sizeof(char *));
	for (char *line = copy; line != NULL && *line != '\0';)
	{
		char	   *next = strchr(line, '\n');
		char	   *name;

		if (next != NULL)
			*next++ = '\0';
		name = name_of_line(line);
		if (name != NULL)
		{
			if (*count == room)
				names = repalloc(names, (room *= 2) * sizeof(char *));
			names[(*count)++] = name;
		}
		line = next;
	}
	return names;
}

int
djk_kafka_library_version(void)
{
	return rd_kafka_version();
}

const char *
djk_kafka_library_version_text(void)
{
	return rd_kafka_version_str();
}

bool
djk_kafka_library_cooperates(void)
{
	return rd_kafka_version() >= VERSION_COOPERATES;
}
