/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Schema registries: how their addresses are written, and what they are
 *	  asked for.
 *
 * What is no URL of http or https is refused where it is written: the library that
 * asks knows many protocols, and would read files.
 *
 *-------------------------------------------------------------------------
 */
#include "base/registry.h"

#include <ctype.h>

#define BLANKS			" \t\r\n"
#define HOST_CHARS		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
#define IPV6_CHARS		"0123456789abcdefABCDEF:."
#define PATH_CHARS		HOST_CHARS "/~%!$&'()*+;=:@"
#define URL_HINT		"Write http:// or https://, a host, and a port and a path if need be, with commas between several."
#define PORT_MAX		65535

static bool
refuse(char **detail, const char **hint, char *why, const char *instead)
{
	*detail = why;
	*hint = instead;
	return false;
}

/* Cuts the next URL off the list, palloc'd without the blanks around it; NULL behind the last. */
static char *
next_url(const char **list)
{
	const char *start = *list + strspn(*list, BLANKS);
	int			len = strcspn(start, ",");

	if (**list == '\0')
		return NULL;
	*list = start + len;
	if (**list == ',')
		(*list)++;
	while (len > 0 && strchr(BLANKS, start[len - 1]) != NULL)
		len--;
	return pnstrdup(start, len);
}

/* What is behind the scheme; NULL: it is none that is spoken here. */
static const char *
skip_scheme(const char *url)
{
	if (pg_strncasecmp(url, "http://", 7) == 0)
		return url + 7;
	if (pg_strncasecmp(url, "https://", 8) == 0)
		return url + 8;
	return NULL;
}

/* What is behind the host, which may be an address of IPv6 in brackets; NULL: there is none. */
static const char *
skip_host(const char *host)
{
	size_t		n;

	if (host[0] != '[')
	{
		n = strspn(host, HOST_CHARS);
		return n > 0 ? host + n : NULL;
	}
	n = 1 + strspn(host + 1, IPV6_CHARS);
	return n > 1 && host[n] == ']' ? host + n + 1 : NULL;
}

/* What is behind ":port", or NULL if that is no port. */
static const char *
skip_port(const char *port)
{
	int			number = 0;
	int			digits = 0;

	if (port[0] != ':')
		return port;
	for (port++; isdigit((unsigned char) *port) && digits < 6; port++, digits++)
		number = number * 10 + (*port - '0');
	return digits > 0 && number > 0 && number <= PORT_MAX ? port : NULL;
}

static bool
is_url(const char *url, char **detail, const char **hint)
{
	const char *host = skip_scheme(url);
	const char *rest;

	/* What stands before an at sign may be a password. */
	if (memchr(url, '@', host ? (size_t) (host - url) + strcspn(host, "/?#") : strlen(url)) != NULL)
		return refuse(detail, hint, pstrdup("A URL of a registry holds no name and no password"),
					  "Set registry_username and registry_password in a user mapping, or djkafka.registry_username and djkafka.registry_password.");
	if (host == NULL)
		return refuse(detail, hint, psprintf("\"%s\" is no URL of http or https", url), URL_HINT);
	if ((rest = skip_host(host)) == NULL)
		return refuse(detail, hint, psprintf("\"%s\" names no host", url), URL_HINT);
	if ((rest = skip_port(rest)) == NULL)
		return refuse(detail, hint, psprintf("The port of \"%s\" is not a number from 1 to %d", url, PORT_MAX), URL_HINT);
	if (*rest != '\0' && (*rest != '/' || rest[strspn(rest, PATH_CHARS)] != '\0'))
		return refuse(detail, hint, psprintf("\"%s\" is not the URL of a registry", url), URL_HINT);
	return true;
}

bool
djk_registry_list_is_valid(const char *list, char **detail, const char **hint)
{
	char	   *url;
	int			count = 0;

	*detail = NULL;
	*hint = NULL;
	if (strlen(list) > DJK_REGISTRY_LIST_MAX)
		return refuse(detail, hint, pstrdup("It is longer than " CppAsString2(DJK_REGISTRY_LIST_MAX) " bytes"), URL_HINT);
	while ((url = next_url(&list)) != NULL)
	{
		if (*url == '\0')
			return refuse(detail, hint, pstrdup("A URL is empty"), URL_HINT);
		if (!is_url(url, detail, hint))
			return false;
		count++;
	}
	return count > 0 || refuse(detail, hint, pstrdup("It names no registry"), URL_HINT);
}

char **
djk_registry_urls(const char *list, int *count)
{
	char	  **urls = palloc((strlen(list) + 1) * sizeof(char *));
	char	   *url;

	*count = 0;
	while ((url = next_url(&list)) != NULL)
	{
		size_t		len = strlen(url);

		while (len > 0 && url[len - 1] == '/')
			url[--len] = '\0';
		urls[(*count)++] = url;
	}
	return urls;
}

char *
djk_schema_guid_text(const DjkSchemaKey *key)
{
	const unsigned char *g = key->guid;

	return psprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
					g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7],
					g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

char *
djk_schema_describe(const DjkSchemaKey *key)
{
	return key->by_guid ? psprintf("schema %s", djk_schema_guid_text(key)) : psprintf("schema %u", key->id);
}
