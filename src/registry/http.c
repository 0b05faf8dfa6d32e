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
	char	   *url;			/* whole */
	char	   *values[ACCESS_VALUES];

	/* the answer */
	long		status;			/* 0: there is none */
	char	   *body;
	size_t		len;
	size_t		size;
	bool		too_large;
	char		reason[REASON_SIZE];
} Exchange;

struct DjkHttpRequest
{
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

int
djk_http_count(const DjkHttpAccess *access)
{
	return access->nurls;
}

int
djk_http_first(const DjkHttpAccess *access)
{
	return access->first;
}

void
djk_http_prefer(DjkHttpAccess *access, int address)
{
	access->first = address;
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

/* How the library is told what it may do; once it does not know something, nobody is asked. */
typedef struct Setup
{
	CURL	   *curl;
	CURLcode	code;
	const char *refused;		/* what it does not know, or does not take */
} Setup;

static void
note_code(Setup *setup, const char *what, CURLcode code)
{
	if (setup->code != CURLE_OK || code == CURLE_OK)
		return;
	setup->code = code;
	setup->refused = what;
}

static void
set_number(Setup *setup, const char *what, CURLoption option, long number)
{
	note_code(setup, what, curl_easy_setopt(setup->curl, option, number));
}

static void
set_text(Setup *setup, const char *what, CURLoption option, const char *text)
{
	note_code(setup, what, curl_easy_setopt(setup->curl, option, text));
}

/* Of what a registry is to know or to show: as it is said, or not at all. */
static void
set_value(Setup *setup, char *const *values, AccessValue value, CURLoption option)
{
	if (values[value] != NULL)
		set_text(setup, value_properties[value], option, values[value]);
}

static void
set_pem(Setup *setup, char *const *values, AccessValue value, CURLoption option)
{
	struct curl_blob blob = {0};

	if (values[value] == NULL)
		return;
	blob.data = values[value];
	blob.len = strlen(values[value]);
	blob.flags = CURL_BLOB_COPY;
	note_code(setup, value_properties[value], curl_easy_setopt(setup->curl, option, &blob));
}

static void
set_protocols(Setup *setup)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	set_text(setup, "protocols", CURLOPT_PROTOCOLS_STR, "http,https");
#else
	set_number(setup, "protocols", CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static void
set_bounds(Setup *setup)
{
	set_protocols(setup);
	set_number(setup, "no signals", CURLOPT_NOSIGNAL, 1);
	set_number(setup, "no redirections", CURLOPT_FOLLOWLOCATION, 0);
	set_number(setup, "no names in URLs", CURLOPT_DISALLOW_USERNAME_IN_URL, 1);
	set_number(setup, "paths as they are", CURLOPT_PATH_AS_IS, 1);
	set_text(setup, "no proxy", CURLOPT_PROXY, "");
	set_number(setup, "no .netrc", CURLOPT_NETRC, CURL_NETRC_IGNORED);
	set_number(setup, "HTTP/1.1", CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	set_number(setup, "time limits", CURLOPT_CONNECTTIMEOUT_MS, DJK_HTTP_CONNECT_MS);
	set_number(setup, "time limits", CURLOPT_TIMEOUT_MS, DJK_HTTP_TIMEOUT_MS);
	set_number(setup, "size limits", CURLOPT_MAXFILESIZE, DJK_HTTP_ANSWER_MAX);
	set_number(setup, "verification of certificates", CURLOPT_SSL_VERIFYPEER, 1);
	set_number(setup, "verification of certificates", CURLOPT_SSL_VERIFYHOST, 2);
	set_text(setup, "a name of ours", CURLOPT_USERAGENT, "djkafka");
}

static void
set_credentials(Setup *setup, char *const *values)
{
	if (values[TOKEN] != NULL)
	{
		set_number(setup, "bearer tokens", CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
		set_value(setup, values, TOKEN, CURLOPT_XOAUTH2_BEARER);
	}
	else if (values[USERNAME] != NULL || values[PASSWORD] != NULL)
	{
		set_number(setup, "basic authentication", CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
		/* Both, for else it asks without either. */
		set_text(setup, value_properties[USERNAME], CURLOPT_USERNAME, "");
		set_text(setup, value_properties[PASSWORD], CURLOPT_PASSWORD, "");
		set_value(setup, values, USERNAME, CURLOPT_USERNAME);
		set_value(setup, values, PASSWORD, CURLOPT_PASSWORD);
	}
}

static void
set_certificates(Setup *setup, char *const *values)
{
	/* In place of the system's, which libcurl would look into as well. */
	if (values[CA_FILE] != NULL || values[CA_PEM] != NULL)
		set_text(setup, "only the certificates that are named", CURLOPT_CAPATH, NULL);
	set_value(setup, values, CA_FILE, CURLOPT_CAINFO);
	set_pem(setup, values, CA_PEM, CURLOPT_CAINFO_BLOB);
	set_value(setup, values, CERTIFICATE_FILE, CURLOPT_SSLCERT);
	set_pem(setup, values, CERTIFICATE_PEM, CURLOPT_SSLCERT_BLOB);
	set_value(setup, values, KEY_FILE, CURLOPT_SSLKEY);
	set_pem(setup, values, KEY_PEM, CURLOPT_SSLKEY_BLOB);
	set_value(setup, values, KEY_PASSWORD, CURLOPT_KEYPASSWD);
}

static void
set_question(Setup *setup, Exchange *exchange, struct curl_slist *headers, char *details)
{
	note_code(setup, "headers", curl_easy_setopt(setup->curl, CURLOPT_HTTPHEADER, headers));
	note_code(setup, "answers", curl_easy_setopt(setup->curl, CURLOPT_WRITEFUNCTION, take_bytes));
	note_code(setup, "answers", curl_easy_setopt(setup->curl, CURLOPT_WRITEDATA, exchange));
	note_code(setup, "reasons", curl_easy_setopt(setup->curl, CURLOPT_ERRORBUFFER, details));
	set_text(setup, "the URL", CURLOPT_URL, exchange->url);
}

/* Why there is no answer; or that it sends elsewhere. */
static void
note_reason(Exchange *exchange, CURL *curl, CURLcode code, const char *details)
{
	char	   *elsewhere = NULL;

	if (exchange->too_large)
		snprintf(exchange->reason, REASON_SIZE, "%.*s: the answer has more than %d bytes", SHOWN_MAX, exchange->url,
				 DJK_HTTP_ANSWER_MAX);
	else if (code != CURLE_OK)
		snprintf(exchange->reason, REASON_SIZE, "%.*s: %.*s", SHOWN_MAX, exchange->url, SHOWN_MAX,
				 details[0] != '\0' ? details : curl_easy_strerror(code));
	else if (exchange->status >= 300 && exchange->status < 400)
	{
		(void) curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &elsewhere);
		snprintf(exchange->reason, REASON_SIZE, "%.*s: answers %ld and sends to %.*s, which is not followed", SHOWN_MAX,
				 exchange->url, exchange->status, SHOWN_MAX, elsewhere ? elsewhere : "another address");
	}
	else
		snprintf(exchange->reason, REASON_SIZE, "%.*s: answers %ld", SHOWN_MAX, exchange->url, exchange->status);
}

static void
perform(Exchange *exchange, CURL *curl, const char *details)
{
	CURLcode	code = curl_easy_perform(curl);

	if (code == CURLE_OK)
		code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange->status);
	note_reason(exchange, curl, code, details);
}

static void
run_exchange(void *arg)
{
	Exchange   *exchange = arg;
	char		details[CURL_ERROR_SIZE] = "";
	Setup		setup = {curl_easy_init(), CURLE_OK, NULL};
	struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/vnd.schemaregistry.v1+json, application/json");

	snprintf(exchange->reason, REASON_SIZE, "out of memory");
	if (setup.curl != NULL && headers != NULL)
	{
		set_bounds(&setup);
		set_credentials(&setup, exchange->values);
		set_certificates(&setup, exchange->values);
		set_question(&setup, exchange, headers, details);
		if (setup.code == CURLE_OK)
			perform(exchange, setup.curl, details);
		else
			snprintf(exchange->reason, REASON_SIZE, "%.*s: is not asked, for libcurl refuses %s: %s", SHOWN_MAX, exchange->url,
					 setup.refused, curl_easy_strerror(setup.code));
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(setup.curl);
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
	free(exchange->url);
	free(exchange->body);
	free(exchange);
}

/* ---------- in the process ---------- */

static bool
fill_exchange(Exchange *exchange, const DjkHttpAccess *access, int address, const char *path)
{
	char	   *whole = psprintf("%s%s", access->urls[address], path);

	exchange->url = strdup(whole);
	pfree(whole);
	for (int v = 0; v < ACCESS_VALUES; v++)
	{
		if (access->values[v] != NULL && (exchange->values[v] = strdup(access->values[v])) == NULL)
			return false;
	}
	return exchange->url != NULL;
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
djk_http_get(const DjkHttpAccess *access, int address, const char *path)
{
	DjkHttpRequest *request = palloc0(sizeof(DjkHttpRequest));
	DjkCalls   *calls = prepare_calls();
	Exchange   *exchange = calls == NULL ? NULL : calloc(1, sizeof(Exchange));

	if (exchange == NULL)
		return NULL;
	if (fill_exchange(exchange, access, address, path))
		request->call = djk_call_start(calls, run_exchange, discard_exchange, exchange, -1);
	if (request->call == NULL)
	{
		discard_exchange(exchange);
		return NULL;
	}
	request->exchange = exchange;
	return request;
}

bool
djk_http_wait(DjkHttpRequest *request, double until_ms, DjkHttpAnswer *answer)
{
	Exchange   *exchange = request->exchange;

	if (request->call != NULL && !djk_call_wait(request->call, until_ms))
		return false;
	/* It is not the thread's any more, whatever there is no memory for now. */
	request->call = NULL;
	memset(answer, 0, sizeof(*answer));
	answer->status = (int) exchange->status;
	answer->reason = djk_http_printable(exchange->reason, strlen(exchange->reason), REASON_SIZE);
	if (exchange->status != 0 && exchange->len > 0)
	{
		answer->body = pnstrdup(exchange->body, exchange->len);
		answer->len = strlen(answer->body);
	}
	discard_exchange(exchange);
	pfree(request);
	return true;
}

void
djk_http_abandon(DjkHttpRequest *request)
{
	if (request->call == NULL || djk_call_abandon(request->call))
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
