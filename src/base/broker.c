/*-------------------------------------------------------------------------
 *
 * broker.c
 *	  How the addresses of Kafka's brokers are written.
 *
 * librdkafka takes nearly everything: it reads "localhost:9o92" as port 9, an
 * empty list as no broker, and says so in a line of the log at most.  So what
 * cannot be an address is refused where it is written.
 *
 *-------------------------------------------------------------------------
 */
#include "base/broker.h"

#include <ctype.h>

#define ADDRESS_HINT	"Write host:port, with commas between several; 9092 is the port where none is given."
#define SCHEME_HINT		"Write host:port alone, and say how to connect with security_protocol: plaintext, ssl, sasl_plaintext or sasl_ssl."

#define HOST_CHARS		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
#define IPV6_CHARS		"0123456789abcdefABCDEF:.%"
#define BLANKS			" \t\r\n"

/* Ports are 16 bits. */
#define PORT_MAX		65535

/* One address of the list; nothing of it is zero-terminated. */
typedef struct Address
{
	const char *start;
	int			len;
} Address;

static bool
refuse(char **detail, const char **hint, char *why, const char *instead)
{
	*detail = why;
	*hint = instead;
	return false;
}

/* Cuts the next address off the list, without the blanks around it; false behind the last. */
static bool
next_address(const char **list, Address *address)
{
	if (**list == '\0')
		return false;
	address->start = *list + strspn(*list, BLANKS);
	address->len = strcspn(address->start, ",");
	*list = address->start + address->len;
	if (**list == ',')
		(*list)++;
	while (address->len > 0 && strchr(BLANKS, address->start[address->len - 1]) != NULL)
		address->len--;
	return true;
}

/* How many bytes of the address "protocol://" takes; -1: no protocol of Kafka's. */
static int
protocol_length(const Address *address)
{
	static const char *const protocols[] = {"plaintext://", "ssl://", "sasl_plaintext://", "sasl_ssl://"};

	if (strstr(pnstrdup(address->start, address->len), "://") == NULL)
		return 0;
	for (int i = 0; i < lengthof(protocols); i++)
		if (pg_strncasecmp(address->start, protocols[i], strlen(protocols[i])) == 0)
			return strlen(protocols[i]);
	return -1;
}

/* How many bytes the host takes, with the brackets of IPv6; 0 if there is none. */
static int
host_length(const char *host, int len)
{
	int			n;

	if (len == 0)
		return 0;
	if (host[0] != '[')
		return Min(len, strspn(host, HOST_CHARS));
	n = 1 + strspn(host + 1, IPV6_CHARS);
	return n > 1 && n < len && host[n] == ']' ? n + 1 : 0;
}

static bool
is_port(const char *port, int len)
{
	int			number = 0;

	if (len < 1 || len > 5)
		return false;
	for (int i = 0; i < len; i++)
	{
		if (!isdigit((unsigned char) port[i]))
			return false;
		number = number * 10 + (port[i] - '0');
	}
	return number > 0 && number <= PORT_MAX;
}

static bool
is_address(const Address *address, char **detail, const char **hint)
{
	const char *rest = address->start;
	int			len = address->len;
	int			n = protocol_length(address);

	/* What stands before an at sign may be a password. */
	if (memchr(rest, '@', len) != NULL)
		return refuse(detail, hint, pstrdup("An address holds no name and no password"),
					  "Credentials belong to a user mapping, or to djkafka's settings.");
	if (n < 0)
		return refuse(detail, hint, psprintf("\"%.*s\" names a protocol that is not Kafka's", len, rest), SCHEME_HINT);
	rest += n;
	len -= n;
	n = host_length(rest, len);
	if (n == 0)
		return refuse(detail, hint, psprintf("\"%.*s\" names no host", address->len, address->start), ADDRESS_HINT);
	if (n == len)
		return true;
	if (rest[n] != ':')
		return refuse(detail, hint, psprintf("\"%.*s\" is not the address of a broker", address->len, address->start),
					  ADDRESS_HINT);
	if (!is_port(rest + n + 1, len - n - 1))
		return refuse(detail, hint, psprintf("The port of \"%.*s\" is not a number from 1 to %d",
											 address->len, address->start, PORT_MAX), ADDRESS_HINT);
	return true;
}

bool
djk_broker_list_is_valid(const char *list, char **detail, const char **hint)
{
	Address		address;
	int			count = 0;

	*detail = NULL;
	*hint = NULL;
	if (strcmp(list, DJK_BROKER_EMBEDDED) == 0)
		return true;
	while (next_address(&list, &address))
	{
		if (address.len == 0)
			return refuse(detail, hint, pstrdup("An address is empty"), ADDRESS_HINT);
		if (!is_address(&address, detail, hint))
			return false;
		count++;
	}
	return count > 0 || refuse(detail, hint, pstrdup("It names no broker"), ADDRESS_HINT);
}
