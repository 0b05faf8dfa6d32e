/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Requests to a schema registry, each in a thread of its own.
 *
 * libcurl's own way not to block does not do here: where it waits for a name
 * server in a thread, ending the request waits for that thread.  So a request is a
 * call in a thread of ours (base/call.h), which touches malloc'd memory alone, and
 * one that nobody waits for any more is left to end by its own deadline.
 *
 * Nothing but http and https is spoken, no redirection is followed, no file,
 * variable or proxy of the server's environment is used, and what an answer may
 * cost is bounded.
 *
 *-------------------------------------------------------------------------
 */
#include "registry/http.h"

#include <curl/curl.h>

#include "base/clock.h"
#include "base/registry.h"

#define REASON_SIZE		600
#define UNRESERVED		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
#define SHOWN_MAX		200

/* What a registry may want to know of us; by the property that says it. */
typedef enum AccessValue
{
	USERNAME,
	PASSWORD,
	TOKEN,
	CA_FILE,
	CA_PEM,
	CERTIFICATE_FILE,
	CERTIFICATE_PEM,
	KEY_FILE,
	KEY_PEM,
	KEY_PASSWORD,
	ACCESS_VALUES
} AccessValue;

static const char *const value_properties[ACCESS_VALUES] = {
	"registry.username", "registry.password", "registry.token",
	"registry.ssl.ca.location", "registry.ssl.ca.pem",
	"registry.ssl.certificate.location", "registry.ssl.certificate.pem",
	"registry.ssl.key.location", "registry.ssl.key.pem", "registry.ssl.key.password"
};

struct DjkHttpAccess
{
	char	  **urls;
	int			nurls;
	int			first;			/* that has answered last */
	char	   *values[ACCESS_VALUES];	/* NULL: nothing */
};

/* Shared with the thread; malloc'd with all that it holds. */
typedef struct Exchange
{
	char	  **urls;			/* whole, in the order in which they are asked */
	int			nurls;
	char	   *values[ACCESS_VALUES];

	/* the answer */
	int			answered;		/* by which of the URLs; -1: by none */
	long		status;
	char	   *body;
	size_t		len;
	size_t		size;
	bool		too_large;
	char		reason[REASON_SIZE];
} Exchange;

struct DjkHttpRequest
{
	DjkHttpAccess *access;
	DjkCall    *call;
	Exchange   *exchange;
};

/* ---------- access ---------- */

static const char *
find_value(const DjkProperty *properties, int nproperties, const char *name)
{
	for (int i = 0; i < nproperties; i++)
	{
		if (strcmp(properties[i].name, name) == 0 && properties[i].value[0] != '\0')
			return properties[i].value;
	}
	return NULL;
}

DjkHttpAccess *
djk_http_access(const DjkProperty *properties, int nproperties)
{
	const char *list = find_value(properties, nproperties, "registry.url");
	DjkHttpAccess *access;

	if (list == NULL)
		return NULL;
	access = palloc0(sizeof(DjkHttpAccess));
	access->urls = djk_registry_urls(list, &access->nurls);
	for (int v = 0; v < ACCESS_VALUES; v++)
	{
		const char *value = find_value(properties, nproperties, value_properties[v]);

		access->values[v] = value == NULL ? NULL : pstrdup(value);
	}
	return access;
}

/* ---------- in the thread ---------- */

static size_t
take_bytes(char *bytes, size_t one, size_t n, void *arg)
{
	Exchange   *exchange = arg;

	if (n > DJK_HTTP_ANSWER_MAX - exchange->len)
	{
		exchange->too_large = true;
		return 0;
	}
	if (exchange->len + n + 1 > exchange->size)
	{
		size_t		size = Max(exchange->size * 2, exchange->len + n + 1);
		char	   *body = realloc(exchange->body, size);

		if (body == NULL)
			return 0;
		exchange->body = body;
		exchange->size = size;
	}
	memcpy(exchange->body + exchange->len, bytes, n);
	exchange->len += n;
	exchange->body[exchange->len] = '\0';
	return n;
}

static void
set_pem(CURL *curl, CURLoption option, const char *pem)
{
	struct curl_blob blob = {0};

	if (pem == NULL)
		return;
	blob.data = unconstify(char *, pem);
	blob.len = strlen(pem);
	blob.flags = CURL_BLOB_COPY;
	curl_easy_setopt(curl, option, &blob);
}

static void
set_protocols(CURL *curl)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static void
set_bounds(CURL *curl)
{
	set_protocols(curl);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long) DJK_HTTP_CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) DJK_HTTP_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, (long) DJK_HTTP_ANSWER_MAX);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "djkafka");
}

static void
set_identity(CURL *curl, char *const *values)
{
	if (values[TOKEN] != NULL)
	{
		curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
		curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, values[TOKEN]);
	}
	else if (values[USERNAME] != NULL || values[PASSWORD] != NULL)
	{
		curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
		curl_easy_setopt(curl, CURLOPT_USERNAME, values[USERNAME] ? values[USERNAME] : "");
		curl_easy_setopt(curl, CURLOPT_PASSWORD, values[PASSWORD] ? values[PASSWORD] : "");
	}
	/* In place of the system's, which libcurl would look into as well. */
	if (values[CA_FILE] != NULL || values[CA_PEM] != NULL)
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	if (values[CA_FILE] != NULL)
		curl_easy_setopt(curl, CURLOPT_CAINFO, values[CA_FILE]);
	set_pem(curl, CURLOPT_CAINFO_BLOB, values[CA_PEM]);
	if (values[CERTIFICATE_FILE] != NULL)
		curl_easy_setopt(curl, CURLOPT_SSLCERT, values[CERTIFICATE_FILE]);
	set_pem(curl, CURLOPT_SSLCERT_BLOB, values[CERTIFICATE_PEM]);
	if (values[KEY_FILE] != NULL)
		curl_easy_setopt(curl, CURLOPT_SSLKEY, values[KEY_FILE]);
	set_pem(curl, CURLOPT_SSLKEY_BLOB, values[KEY_PEM]);
	if (values[KEY_PASSWORD] != NULL)
		curl_easy_setopt(curl, CURLOPT_KEYPASSWD, values[KEY_PASSWORD]);
}

/* Why there is no answer of this URL; or that it sends elsewhere. */
static void
note_reason(Exchange *exchange, CURL *curl, CURLcode code, const char *url, const char *details)
{
	char	   *elsewhere = NULL;

	if (exchange->too_large)
		snprintf(exchange->reason, REASON_SIZE, "%.*s: the answer has more than %d bytes", SHOWN_MAX, url, DJK_HTTP_ANSWER_MAX);
	else if (code != CURLE_OK)
		snprintf(exchange->reason, REASON_SIZE, "%.*s: %.*s", SHOWN_MAX, url, SHOWN_MAX,
				 details[0] != '\0' ? details : curl_easy_strerror(code));
	else if (exchange->status >= 300 && exchange->status < 400)
	{
		curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &elsewhere);
		snprintf(exchange->reason, REASON_SIZE, "%.*s: answers %ld and sends to %.*s, which is not followed", SHOWN_MAX, url,
				 exchange->status, SHOWN_MAX, elsewhere ? elsewhere : "another address");
	}
	else
		snprintf(exchange->reason, REASON_SIZE, "%.*s: answers %ld", SHOWN_MAX, url, exchange->status);
}

/* What a registry says of a thing that it lacks, unlike others who answer 404. */
static bool
says_absent(const Exchange *exchange)
{
	return exchange->status == 404 && exchange->len > 0 && strstr(exchange->body, "error_code") != NULL;
}

/* True if the others need not be asked. */
static bool
ask_one(Exchange *exchange, CURL *curl, const char *url)
{
	char		details[CURL_ERROR_SIZE] = "";
	CURLcode	code;

	exchange->status = 0;
	exchange->len = 0;
	exchange->too_large = false;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
	code = curl_easy_perform(curl);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange->status);
	note_reason(exchange, curl, code, url, details);
	return code == CURLE_OK && (exchange->status == 200 || says_absent(exchange));
}

static void
run_exchange(void *arg)
{
	Exchange   *exchange = arg;
	CURL	   *curl = curl_easy_init();
	struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/vnd.schemaregistry.v1+json, application/json");

	snprintf(exchange->reason, REASON_SIZE, "out of memory");
	if (curl != NULL && headers != NULL)
	{
		set_bounds(curl);
		set_identity(curl, exchange->values);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
		for (int i = 0; i < exchange->nurls && exchange->answered < 0; i++)
		{
			if (ask_one(exchange, curl, exchange->urls[i]))
				exchange->answered = i;
		}
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
}

static void
discard_exchange(void *arg)
{
	Exchange   *exchange = arg;

	for (int v = 0; v < ACCESS_VALUES; v++)
	{
		if (exchange->values[v] == NULL)
			continue;
		explicit_bzero(exchange->values[v], strlen(exchange->values[v]));
		free(exchange->values[v]);
	}
	for (int i = 0; i < exchange->nurls && exchange->urls != NULL; i++)
		free(exchange->urls[i]);
	free(exchange->urls);
	free(exchange->body);
	free(exchange);
}

/* ---------- in the process ---------- */

static bool
fill_exchange(Exchange *exchange, const DjkHttpAccess *access, const char *path)
{
	bool		ok = true;

	exchange->answered = -1;
	exchange->urls = calloc(access->nurls, sizeof(char *));
	for (int v = 0; v < ACCESS_VALUES && ok; v++)
		ok = access->values[v] == NULL || (exchange->values[v] = strdup(access->values[v])) != NULL;
	if (!ok || exchange->urls == NULL)
		return false;
	exchange->nurls = access->nurls;
	for (int i = 0; i < access->nurls && ok; i++)
	{
		char	   *url = psprintf("%s%s", access->urls[(access->first + i) % access->nurls], path);

		ok = (exchange->urls[i] = strdup(url)) != NULL;
		pfree(url);
	}
	return ok;
}

/* The library, and the calls of this process; NULL if there is no memory. */
static DjkCalls *
prepare_calls(void)
{
	static DjkCalls *calls = NULL;
	sigset_t	saved;
	CURLcode	code;

	if (calls != NULL)
		return calls;
	djk_signals_block(&saved);
	code = curl_global_init(CURL_GLOBAL_DEFAULT);
	djk_signals_restore(&saved);
	return calls = code == CURLE_OK ? djk_calls_create() : NULL;
}

DjkHttpRequest *
djk_http_get(DjkHttpAccess *access, const char *path)
{
	DjkHttpRequest *request = palloc0(sizeof(DjkHttpRequest));
	DjkCalls   *calls = prepare_calls();
	Exchange   *exchange = calls == NULL ? NULL : calloc(1, sizeof(Exchange));

	if (exchange == NULL)
		return NULL;
	if (fill_exchange(exchange, access, path))
		request->call = djk_call_start(calls, run_exchange, discard_exchange, exchange, -1);
	if (request->call == NULL)
	{
		discard_exchange(exchange);
		return NULL;
	}
	request->access = access;
	request->exchange = exchange;
	return request;
}

bool
djk_http_wait(DjkHttpRequest *request, double until_ms, DjkHttpAnswer *answer)
{
	Exchange   *exchange = request->exchange;
	DjkHttpAccess *access = request->access;

	if (!djk_call_wait(request->call, until_ms))
		return false;
	pfree(request);
	memset(answer, 0, sizeof(*answer));
	answer->status = (int) exchange->status;
	answer->reason = djk_http_printable(exchange->reason, strlen(exchange->reason), REASON_SIZE);
	if (exchange->answered >= 0)
		access->first = (access->first + exchange->answered) % access->nurls;
	if (exchange->status != 0 && exchange->len > 0)
	{
		answer->body = pnstrdup(exchange->body, exchange->len);
		answer->len = strlen(answer->body);
	}
	discard_exchange(exchange);
	return true;
}

void
djk_http_abandon(DjkHttpRequest *request)
{
	if (djk_call_abandon(request->call))
		discard_exchange(request->exchange);
	else
		djk_calls_expect_strays();
	pfree(request);
}

char *
djk_http_escape(const char *text)
{
	char	   *escaped = palloc(3 * strlen(text) + 1);
	char	   *to = escaped;

	for (; *text != '\0'; text++)
	{
		if (strchr(UNRESERVED, *text) != NULL)
			*to++ = *text;
		else
			to += sprintf(to, "%%%02X", (unsigned char) *text);
	}
	*to = '\0';
	return escaped;
}

char *
djk_http_printable(const char *text, size_t len, size_t max)
{
	char	   *printable = pnstrdup(text, Min(len, max));

	for (char *c = printable; *c != '\0'; c++)
	{
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return printable;
}
