/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  A schema of a registry, with those that it names.
 *
 * A schema may name others by subject and version, and these others in turn: each
 * is asked for once, and all are given in an order in which each comes before those
 * that name it.  How many there are, and how large they are together, is bounded.
 *
 * What a registry says is hostile: what is not understood is a reason to wait, and
 * no fault of a message's.
 *
 *-------------------------------------------------------------------------
 */
#include "registry/fetch.h"

#include <jansson.h>

#include "base/clock.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Schemas that one names, those that these name included, and bytes of all together. */
#define SCHEMAS_MAX		200
#define BYTES_MAX		(16 * 1024 * 1024)

/* Bytes of what a registry says that are shown. */
#define SHOWN_MAX		200

/* Codes of what a registry lacks: subject, version, schema; and what was deleted. */
#define ABSENT_FIRST	40401
#define ABSENT_LAST		40404

/* One schema; the first is the one that is wanted, and all others are named. */
typedef struct Named
{
	char	   *subject;		/* NULL: of the first */
	int64		version;
	char	   *text;			/* NULL: it was not asked for yet */
	int		   *names;			/* nodes that it names */
	int			nnames;
	bool		is_placed;		/* in the order */
	bool		is_entered;
} Named;

struct DjkFetch
{
	MemoryContext context;
	MemoryContextCallback callback;
	DjkHttpAccess *access;
	DjkSchemaKey key;
	DjkHttpRequest *request;	/* for nodes[asked]; NULL: none is under way */
	Named	   *nodes;
	int			nnodes;
	int			asked;
	size_t		bytes;
	DjkFetchStatus status;
	DjkSchemaText found;
	char	   *reason;
};

/* ---------- outcomes ---------- */

static DjkFetchStatus
fail(DjkFetch *fetch, char *reason)
{
	fetch->reason = reason;
	return fetch->status = DJK_FETCH_FAILED;
}

/* What an answer is about. */
static char *
describe(const DjkFetch *fetch)
{
	const Named *node = &fetch->nodes[fetch->asked];

	if (node->subject == NULL)
		return djk_schema_describe(&fetch->key);
	return psprintf("version " INT64_FORMAT " of subject \"%s\", which %s names", node->version,
					djk_http_printable(node->subject, strlen(node->subject), SHOWN_MAX), djk_schema_describe(&fetch->key));
}

static DjkFetchStatus
fail_misunderstood(DjkFetch *fetch, const DjkHttpAnswer *answer, const char *what)
{
	return fail(fetch, psprintf("%s: the answer for %s is not understood: %s", answer->reason, describe(fetch), what));
}

/* ---------- nodes ---------- */

/* The node of a subject's version, made if need be; -1: there are too many. */
static int
find_node(DjkFetch *fetch, const char *subject, int64 version)
{
	Named	   *node;

	for (int i = 1; i < fetch->nnodes; i++)
	{
		if (fetch->nodes[i].version == version && strcmp(fetch->nodes[i].subject, subject) == 0)
			return i;
	}
	if (fetch->nnodes == SCHEMAS_MAX)
		return -1;
	node = &fetch->nodes[fetch->nnodes];
	node->subject = pstrdup(subject);
	node->version = version;
	return fetch->nnodes++;
}

/* NULL, or what is not understood. */
static const char *
take_references(DjkFetch *fetch, Named *node, json_t *references)
{
	size_t		i;
	json_t	   *reference;

	if (references == NULL || json_is_null(references))
		return NULL;
	if (!json_is_array(references) || json_array_size(references) > SCHEMAS_MAX)
		return "it has no list of references, or one that is too long";
	node->names = palloc(Max(json_array_size(references), 1) * sizeof(int));
	json_array_foreach(references, i, reference)
	{
		json_t	   *subject = json_object_get(reference, "subject");
		json_t	   *version = json_object_get(reference, "version");
		int			n;

		if (!json_is_string(subject) || !json_is_integer(version))
			return "a reference has no subject or no version";
		if ((n = find_node(fetch, json_string_value(subject), json_integer_value(version))) < 0)
			return "it names more than " CppAsString2(SCHEMAS_MAX) " schemas";
		node->names[node->nnames++] = n;
	}
	return NULL;
}

/* Whether a rule of these has fields encrypted. */
static bool
encrypts(json_t *rules)
{
	size_t		i;
	json_t	   *rule;

	json_array_foreach(rules, i, rule)
	{
		json_t	   *type = json_object_get(rule, "type");

		if (json_is_string(type) && pg_strncasecmp(json_string_value(type), "ENCRYPT", 7) == 0 &&
			!json_is_true(json_object_get(rule, "disabled")))
			return true;
	}
	return false;
}

/* NULL, or what is not understood. */
static const char *
take_schema(DjkFetch *fetch, json_t *answer)
{
	Named	   *node = &fetch->nodes[fetch->asked];
	json_t	   *text = json_object_get(answer, "schema");
	json_t	   *type = json_object_get(answer, "schemaType");
	json_t	   *rules = json_object_get(answer, "ruleSet");

	if (!json_is_string(text))
		return "it has no schema";
	if (type != NULL && !json_is_null(type) && !json_is_string(type))
		return "its schemaType is no string";
	if ((fetch->bytes += json_string_length(text)) > BYTES_MAX)
		return "the schemas that it names are larger than 16 MB together";
	node->text = pstrdup(json_string_value(text));
	if (fetch->asked == 0)
	{
		fetch->found.type = json_is_string(type) ? djk_http_printable(json_string_value(type), json_string_length(type), SHOWN_MAX)
			: pstrdup("AVRO");
		fetch->found.is_encrypted = encrypts(json_object_get(rules, "domainRules")) ||
			encrypts(json_object_get(rules, "encodingRules"));
	}
	return take_references(fetch, node, json_object_get(answer, "references"));
}

/* ---------- the order ---------- */

/* Those that it names come before it.  False: it names itself, by way of others. */
static bool
place(DjkFetch *fetch, int n)
{
	Named	   *node = &fetch->nodes[n];

	if (node->is_placed)
		return true;
	if (node->is_entered)
		return false;
	node->is_entered = true;
	for (int i = 0; i < node->nnames; i++)
	{
		if (!place(fetch, node->names[i]))
			return false;
	}
	node->is_placed = true;
	if (n > 0)
		fetch->found.references[fetch->found.nreferences++] = node->text;
	return true;
}

static DjkFetchStatus
complete(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	fetch->asked = 0;
	fetch->found.text = fetch->nodes[0].text;
	fetch->found.references = palloc(fetch->nnodes * sizeof(char *));
	if (!place(fetch, 0))
		return fail_misunderstood(fetch, answer, "the schemas that it names name each other in a circle");
	return fetch->status = DJK_FETCH_FOUND;
}

/* ---------- asking ---------- */

static char *
path_of(const DjkFetch *fetch)
{
	const Named *node = &fetch->nodes[fetch->asked];

	if (node->subject != NULL)
		return psprintf("/subjects/%s/versions/" INT64_FORMAT "?deleted=true", djk_http_escape(node->subject), node->version);
	/* Registries count in 32 bits with a sign: what is beyond is a negative number, which none has. */
	return fetch->key.by_guid ? psprintf("/schemas/guids/%s", djk_schema_guid_text(&fetch->key)) :
		psprintf("/schemas/ids/%d", (int32) fetch->key.id);
}

static void
ask(DjkFetch *fetch)
{
	fetch->request = djk_http_get(fetch->access, path_of(fetch));
	if (fetch->request == NULL)
		(void) fail(fetch, pstrdup("there is no memory, or no thread, to ask the registry"));
}

/* What is known by now is the answer, or leads to the next question. */
static DjkFetchStatus
go_on(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	if (++fetch->asked == fetch->nnodes)
		return complete(fetch, answer);
	ask(fetch);
	return fetch->status;
}

static DjkFetchStatus
take_found(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	json_error_t where;
	json_t	   *json = json_loadb(answer->body ? answer->body : "", answer->len, 0, &where);
	const char *fault = json_is_object(json) ? take_schema(fetch, json) : "it is no object of JSON";

	json_decref(json);
	return fault != NULL ? fail_misunderstood(fetch, answer, fault) : go_on(fetch, answer);
}

/* What a registry says beside its status; NULL: nothing. */
static char *
message_of(json_t *json)
{
	json_t	   *message = json_object_get(json, "message");

	return json_is_string(message) && json_string_length(message) > 0 ?
		djk_http_printable(json_string_value(message), json_string_length(message), SHOWN_MAX) : NULL;
}

static DjkFetchStatus
take_refused(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	json_error_t where;
	json_t	   *json = json_loadb(answer->body ? answer->body : "", answer->len, 0, &where);
	json_int_t	code = json_integer_value(json_object_get(json, "error_code"));
	char	   *message = message_of(json);

	json_decref(json);
	if (answer->status == 404 && code >= ABSENT_FIRST && code <= ABSENT_LAST)
	{
		fetch->reason = psprintf("the registry has no %s", describe(fetch));
		return fetch->status = DJK_FETCH_ABSENT;
	}
	return fail(fetch, message != NULL ? psprintf("%s: %s", answer->reason, message) : answer->reason);
}

static DjkFetchStatus
take_answer(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	MemoryContext old = MemoryContextSwitchTo(fetch->context);
	DjkFetchStatus status;

	if (answer->status == 200)
		status = take_found(fetch, answer);
	else if (answer->status != 0)
		status = take_refused(fetch, answer);
	else
		status = fail(fetch, answer->reason);
	MemoryContextSwitchTo(old);
	return status;
}

/* ---------- the fetch ---------- */

static void
abandon(void *arg)
{
	DjkFetch   *fetch = arg;

	if (fetch->request != NULL)
		djk_http_abandon(fetch->request);
	fetch->request = NULL;
}

DjkFetch *
djk_fetch_begin(DjkHttpAccess *access, const DjkSchemaKey *key, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "djkafka fetch of a schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkFetch   *fetch = palloc0(sizeof(DjkFetch));

	fetch->context = context;
	fetch->access = access;
	fetch->key = *key;
	fetch->nodes = palloc0(SCHEMAS_MAX * sizeof(Named));
	fetch->nnodes = 1;
	fetch->callback.func = abandon;
	fetch->callback.arg = fetch;
	MemoryContextRegisterResetCallback(context, &fetch->callback);
	ask(fetch);
	MemoryContextSwitchTo(old);
	return fetch;
}

DjkFetchStatus
djk_fetch_wait(DjkFetch *fetch, double until_ms)
{
	DjkHttpAnswer answer;
	MemoryContext old = MemoryContextSwitchTo(fetch->context);

	while (fetch->status == DJK_FETCH_PENDING && djk_http_wait(fetch->request, until_ms, &answer))
	{
		fetch->request = NULL;
		(void) take_answer(fetch, &answer);
		if (answer.body != NULL)
			pfree(answer.body);
	}
	MemoryContextSwitchTo(old);
	return fetch->status;
}

DjkFetchStatus
djk_fetch_finish(DjkFetch *fetch, double until_ms)
{
	DjkFetchStatus status;

	while ((status = djk_fetch_wait(fetch, until_ms)) == DJK_FETCH_PENDING && djk_clock_ms() < until_ms)
		CHECK_FOR_INTERRUPTS();
	return status;
}

const DjkSchemaText *
djk_fetch_text(const DjkFetch *fetch)
{
	return &fetch->found;
}

const char *
djk_fetch_reason(const DjkFetch *fetch)
{
	return fetch->status == DJK_FETCH_PENDING ? "the registry has not answered yet" : fetch->reason;
}

void
djk_fetch_end(DjkFetch *fetch)
{
	MemoryContextDelete(fetch->context);
}
